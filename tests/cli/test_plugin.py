"""`kubectl smeagol …`: kubectl finds the command by its name, and its completion too."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    """Both programs as an installation puts them on the PATH."""
    for name, call in (("kubectl-smeagol", "main"), ("kubectl_complete-smeagol", "kubectl_complete")):
        script = tmp_path / name
        script.write_text(f"#!{sys.executable}\nfrom smeagol.cli import {call}\n{call}()\n")
        script.chmod(0o755)
    return tmp_path


def test_it_is_called_as_kubectl_calls_it(scripts: Path) -> None:
    """Help names the command as it was typed."""
    said = subprocess.run([scripts / "kubectl-smeagol", "status", "-h"], capture_output=True, text=True).stdout
    assert "Usage: kubectl smeagol status" in said


def test_it_looks_into_a_cluster_and_nowhere_else(scripts: Path) -> None:
    """No standalone mesh is looked for; without a cluster it says so."""
    environment = {**os.environ, "KUBECONFIG": str(scripts / "none"), "HOME": str(scripts)}
    done = subprocess.run([scripts / "kubectl-smeagol", "status"], capture_output=True, text=True, env=environment)
    assert done.returncode == 1
    assert "SMI-K101" in done.stderr


@pytest.mark.parametrize(
    ("words", "wanted"),
    [(["sta"], "status"), (["status", "--kube"], "--kubeconfig"), (["proxy", ""], "config")],
)
def test_words_are_completed(scripts: Path, words: list[str], wanted: str) -> None:
    """Commands, options, and commands within commands; the last line is for the shell (cobra)."""
    done = subprocess.run([scripts / "kubectl_complete-smeagol", *words], capture_output=True, text=True)
    *found, directive = done.stdout.splitlines()
    assert wanted in found
    assert directive == ":0"


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="no kubectl on the PATH")
def test_kubectl_finds_it(scripts: Path) -> None:
    """By its name on the PATH."""
    environment = {**os.environ, "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"}
    said = subprocess.run(["kubectl", "smeagol", "--version"], capture_output=True, text=True, env=environment).stdout
    assert said.startswith("smeagol ")
