"""Running the programs that the cluster is made with."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from e2e.cluster.errors import ClusterError

__all__ = ["run", "wait_for"]

T = TypeVar("T")


def run(
    *command: str | Path,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    stdin: str | None = None,
    fix: str = "",
) -> str:
    """Run a program and return its output. Raises ClusterError, with what it said, if it fails or is not there."""
    arguments = [str(part) for part in command]
    try:
        done = subprocess.run(
            arguments, cwd=cwd, env=environment, input=stdin, capture_output=True, text=True, check=True
        )
    except FileNotFoundError:
        raise ClusterError(f"the program '{arguments[0]}' is missing", fix=fix or "Install it.") from None
    except subprocess.CalledProcessError as error:
        raise ClusterError(f"`{_shown(arguments)}` failed: {(error.stderr or error.stdout).strip()}", fix=fix) from None
    return done.stdout


def _shown(arguments: Sequence[str]) -> str:
    text = " ".join(arguments)
    return text if len(text) <= 200 else f"{text[:200]} …"


def wait_for(what: str, probe: Callable[[], T | None], *, within_seconds: float, every_seconds: float = 0.1) -> T:
    """Return the first answer of `probe` that is true. Raises ClusterError if there is none in time."""
    deadline = time.monotonic() + within_seconds
    while True:
        if answer := probe():
            return answer
        if time.monotonic() > deadline:
            raise ClusterError(f"{what}: not within {within_seconds:g} s")
        time.sleep(every_seconds)
