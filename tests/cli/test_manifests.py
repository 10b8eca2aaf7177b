"""`smeagol crds`, `validate` and `convert`, as a user types them."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from smeagol.api import KINDS, read_text
from smeagol.api.crd import crd
from smeagol.cli import build

GOOD = """apiVersion: smi-spec.io/v1beta1
kind: Canary
metadata: {name: web}
spec:
  service: web
  backends:
  - {service: web-v1, weight: 1}
"""
BAD = GOOD.replace("weight: 1", "weight: -1")
DEPLOYMENT = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\n"
DRAFT = "apiVersion: v1beta1\nkind: TLSConfig\nname: web\nspec: {subjectNames: [a], selector: {}}\n"


def smeagol(*arguments: str, stdin: str = "") -> Result:
    return CliRunner().invoke(build(), arguments, input=stdin)


def process(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """The real command, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", "import smeagol.cli; smeagol.cli.main()", *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


class TestCrds:
    def test_all_of_them_as_yaml(self) -> None:
        result = smeagol("crds")
        assert result.exit_code == 0
        assert [document.value for document in read_text(result.stdout).documents] == [crd(kind) for kind in KINDS]

    @pytest.mark.parametrize("name", ["MutualTLS", "mutualtls", "mtls", "MTLS"])
    def test_one_by_any_of_its_names(self, name: str) -> None:
        result = smeagol("crds", "-o", "json", name)
        assert json.loads(result.stdout)["metadata"]["name"] == "mutualtls.smi-spec.io"

    def test_several_as_json_are_a_list(self) -> None:
        result = smeagol("crds", "-o", "json")
        assert [item["spec"]["names"]["kind"] for item in json.loads(result.stdout)["items"]] == [
            kind.name for kind in KINDS
        ]

    def test_unknown_kind_is_wrong_usage(self) -> None:
        result = smeagol("crds", "TrafficJam")
        assert result.exit_code == 2
        assert "TrafficJam" in result.output


class TestValidate:
    def test_good(self) -> None:
        result = smeagol("validate", "-", stdin=GOOD + "---\n" + DEPLOYMENT)
        assert result.exit_code == 0
        assert result.stdout == "1 object, 0 problems (1 of other groups not checked)\n"

    def test_bad(self, tmp_path: Path) -> None:
        """Object, field path, cause and cure, with file and line; exit code 1."""
        file = tmp_path / "shop.yaml"
        file.write_text(GOOD + "---\n" + BAD, encoding="utf-8")
        result = smeagol("validate", str(file))
        assert result.exit_code == 1
        assert result.stdout == (
            f"{file}:15: Canary default/web, spec.backends[0].weight: Invalid value: -1: the weight is negative. "
            "Use 0 for a backend that shall get no traffic. [SMI-C005]\n"
            "2 objects, 1 problem\n"
        )

    def test_what_may_have_been_meant_is_asked(self) -> None:
        result = smeagol("validate", "-", stdin=GOOD.replace("weight: 1", "wieght: 1"))
        assert "unknown field. Did you mean 'weight'? [SMI-V004]" in result.output

    def test_json(self) -> None:
        result = smeagol("validate", "-o", "json", "-", stdin=BAD)
        assert result.exit_code == 1
        assert json.loads(result.stdout) == {
            "objects": 1,
            "others": 0,
            "problems": [
                {
                    "code": "SMI-C005",
                    "file": "-",
                    "line": 7,
                    "object": {"kind": "Canary", "namespace": "default", "name": "web"},
                    "field": "spec.backends[0].weight",
                    "cause": "Invalid value: -1: the weight is negative",
                    "cure": "Use 0 for a backend that shall get no traffic",
                }
            ],
        }

    def test_several_places_at_once(self, tmp_path: Path) -> None:
        (tmp_path / "a.yaml").write_text(BAD, encoding="utf-8")
        (tmp_path / "b.yaml").write_text("a: [", encoding="utf-8")
        result = smeagol("validate", str(tmp_path), str(tmp_path / "none.yaml"), "-", stdin=GOOD)
        assert result.exit_code == 1
        assert [line.rsplit("[", 1)[1] for line in result.stdout.splitlines()[:-1]] == [
            "SMI-C005]",
            "SMI-F003]",
            "SMI-F001]",
        ], result.stdout
        assert result.stdout.endswith("2 objects, 3 problems\n")

    @pytest.mark.parametrize("text", ["", "---\n", "# nothing\n"])
    def test_nothing_to_check_is_a_problem(self, text: str) -> None:
        result = smeagol("validate", "-", stdin=text)
        assert (result.exit_code, "SMI-F007" in result.stdout) == (1, True)

    def test_without_files_is_wrong_usage(self) -> None:
        assert smeagol("validate").exit_code == 2


class TestConvert:
    def test_prints_what_the_server_takes(self) -> None:
        result = smeagol("convert", "-", stdin=DRAFT + "---\n" + DEPLOYMENT)
        assert result.exit_code == 0
        assert "TLSConfig is MutualTLS" in result.stderr
        assert "subjectNames is clientSubjectNames" in result.stderr
        checked = smeagol("validate", "-", stdin=result.stdout)
        assert checked.stdout == "1 object, 0 problems (1 of other groups not checked)\n"

    def test_leaves_out_what_it_cannot_convert_and_says_so(self) -> None:
        result = smeagol("convert", "-", stdin=DRAFT.replace("{sub", "{x: 1, sub") + "---\n" + GOOD)
        assert result.exit_code == 1
        assert "SMI-V004" in result.stderr
        assert [document.value for document in read_text(result.stdout).documents] == [
            document.value for document in read_text(GOOD).documents
        ]


class TestCommand:
    def test_version(self) -> None:
        result = process("--version")
        assert (result.returncode, result.stdout.split()[0]) == (0, "smeagol")

    def test_help_is_fast(self) -> None:
        """What is slow to import is imported by the commands that need it."""
        code = (
            "import sys, smeagol.cli as cli\n"
            "try: cli.build()(['--help'])\n"
            "except SystemExit: pass\n"
            "slow = {'smeagol.api', 'yaml', 'grpc', 'cryptography', 'httpx2', 'cel_expr_python', 'google'}\n"
            "print('slow:', sorted(slow & set(sys.modules)))"
        )
        result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
        assert result.stdout.endswith("slow: []\n")

    def test_no_traceback_on_hostile_input(self) -> None:
        result = process("validate", "-", stdin="[" * 1_000_000)
        assert result.returncode == 1
        assert "SMI-F005" in result.stdout
        assert result.stderr == ""

    def test_closed_pipe_is_no_error(self) -> None:
        result = subprocess.run(
            f"{sys.executable} -c 'import smeagol.cli; smeagol.cli.main()' crds | head -n 1",
            shell=True,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        assert (result.stdout, result.stderr) == ("---\n", "")

    @pytest.mark.parametrize(("environment", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
    def test_colours_on_a_terminal_only(self, tmp_path: Path, environment: dict[str, str], coloured: bool) -> None:
        file = tmp_path / "bad.yaml"
        file.write_text(BAD, encoding="utf-8")
        ours, theirs = pty.openpty()
        try:
            subprocess.run(
                [sys.executable, "-c", "import smeagol.cli; smeagol.cli.main()", "validate", str(file)],
                stdout=theirs,
                env={**{key: value for key, value in os.environ.items() if key != "NO_COLOR"}, **environment},
                check=False,
                timeout=60,
            )
        finally:
            os.close(theirs)
        with os.fdopen(ours, "rb", buffering=0) as terminal:
            shown = terminal.read(10_000).decode()
        assert ("\x1b[" in shown) is coloured
        assert "\x1b[" not in process("validate", str(file)).stdout
