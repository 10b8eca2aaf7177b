"""The suite tests itself: each case fails for a provider that does not keep its rules."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from conformance.mutants import BREAKS, MUTANTS
from smeagol.conformance.cases import CASES

TESTS = Path(__file__).parents[1]
WAIT_SECONDS = 3


def run(provider: str, cases: tuple[str, ...], folder: Path) -> tuple[int, dict[str, Any], str]:
    """`smeagol conformance` as its users run it: exit code, report, and what it printed."""
    output = folder / "report.yaml"
    chosen = [argument for case in cases for argument in ("--case", case)]
    options = ["-p", "envoy", "--provider", provider, "--wait", str(WAIT_SECONDS), "-o", str(output)]
    child = subprocess.run(
        [sys.executable, "-c", "from smeagol.cli import main; main()", "conformance", *options, *chosen],
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
        timeout=280,
    )
    report = yaml.safe_load(output.read_text()) if output.exists() else {}
    return child.returncode, report, child.stdout + child.stderr


@pytest.mark.envoy
@pytest.mark.netns
@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("mutant", MUTANTS)
def test_mutant_is_found_out(mutant: str, tmp_path: Path) -> None:
    """Every case that must fail does, by what it expected and saw; so says the exit code, and how to try again."""
    provider = f"conformance.mutants:is_{mutant}"
    code, report, printed = run(provider, BREAKS[mutant], tmp_path)
    assert code == 1, printed
    for case in BREAKS[mutant]:
        assert f"again: smeagol conformance -p envoy --provider {provider} --case {case}\n" in printed
    results = {case["name"]: (case["result"], "expected:" in case.get("message", "")) for case in report["cases"]}
    assert results == dict.fromkeys(BREAKS[mutant], ("failed", True)), printed


@pytest.mark.netns
def test_a_mesh_that_does_not_start_is_told_in_its_own_words(tmp_path: Path) -> None:
    """Before any number of cases is told, and with one code: that of the page which says what to do."""
    code, _, printed = run("nosuch", ("features-are-declared",), tmp_path)
    assert code == 1
    assert re.findall(r"\[(SMI-[A-Z][0-9]{3})\]", printed) == ["SMI-R004"]
    assert "cases against" not in printed


def test_each_case_has_its_mutant() -> None:
    """A case that no provider fails proves nothing."""
    assert sorted(case for cases in BREAKS.values() for case in cases) == sorted(case.name for case in CASES)
    assert set(BREAKS) == set(MUTANTS)
