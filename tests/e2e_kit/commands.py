"""Smeagol's own commands, as users run them."""

from __future__ import annotations

import subprocess
import sys

from e2e.cluster.cluster import Cluster

__all__ = ["smeagol"]


def smeagol(cluster: Cluster, *arguments: str) -> str:
    """What the command says of that cluster. Fails the test with its complaint if it fails."""
    command = [sys.executable, "-c", "from smeagol.cli import main; main()", *arguments]
    done = subprocess.run([*command, "--kubeconfig", cluster.kubeconfig], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
