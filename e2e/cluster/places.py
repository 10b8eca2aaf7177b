"""Where programs are cached and where a running cluster keeps its state."""

from __future__ import annotations

import fcntl
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from e2e.cluster.errors import ClusterError

__all__ = ["ROOT", "cache_folder", "held", "state_base", "state_folder"]

ROOT = Path(__file__).parents[2]
"""The checkout."""

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,22}[a-z0-9])?")


def cache_folder() -> Path:
    """Where what takes long to build is kept, outside the checkout and shared by all of the user's clusters."""
    base = os.environ.get("XDG_CACHE_HOME")
    folder = (Path(base) if base else Path.home() / ".cache") / "smeagol" / "cluster"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def state_base() -> Path:
    """The parent of all clusters' folders, for this user alone. Raises ClusterError if it is somebody else's.

    Not the user's runtime directory: each node hides this machine's /run, and images would fill its memory.
    """
    user = os.getuid()
    base = Path(tempfile.gettempdir()) / f"smeagol-cluster-{user}"
    base.mkdir(mode=0o700, exist_ok=True)
    found = base.lstat()
    if found.st_uid != user or found.st_mode & 0o022 or base.is_symlink():
        raise ClusterError(f"{base} is not this user's alone", fix="Remove it, or set TMPDIR.")
    return base


def state_folder(name: str) -> Path:
    """The folder of the cluster `name`: keys, storage, logs. Not made here.

    Raises ClusterError for a name that is no short DNS label.
    """
    if not _NAME.fullmatch(name):
        raise ClusterError(
            f"'{name}' cannot be the name of a cluster", fix="Use at most 24 lower-case letters, digits and '-'."
        )
    return state_base() / name


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold the folder, as a lock that leaves no file behind, waiting for whoever has it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
