"""Where a running mesh keeps its keys, logs and control socket, and how others find it by name."""

from __future__ import annotations

import fcntl
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from smeagol.errors import SmeagolError

__all__ = ["AlreadyRunningError", "StateError", "check_own", "control_socket", "default_base", "held", "state_folder"]

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")
_MAX_SOCKET_PATH = 107  # sun_path of unix(7), less its final zero


class StateError(SmeagolError):
    code = "SMI-R001"


class AlreadyRunningError(SmeagolError):
    code = "SMI-R002"


def state_folder(name: str = "default", base: Path | None = None) -> Path:
    """The private folder of the mesh `name`, below `base`, else the user's runtime directory, else /tmp.

    Nothing is created. Raises StateError for a name that is not a DNS label, or too long a path.
    """
    if not _NAME.fullmatch(name):
        raise StateError(
            f"'{name}' cannot be the name of a mesh", fix="use at most 40 lower-case letters, digits and '-'"
        )
    folder = (base or default_base()) / name
    if len(os.fsencode(control_socket(folder))) > _MAX_SOCKET_PATH:
        raise StateError("the path is too long for a Unix socket", where=str(folder), fix="choose a shorter one")
    return folder


def control_socket(folder: Path) -> Path:
    """Where the mesh answers the other commands."""
    return folder / "smeagol.sock"


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Make the folder, for this user alone, and hold it while the mesh runs.

    Raises AlreadyRunningError if another process holds it, StateError if it is not ours alone.
    """
    try:
        for path in (folder.parent, folder):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check_private(folder.parent, forbidden=0o022)
        _check_private(folder, forbidden=0o077)
    except OSError as error:
        raise StateError(
            f"the folder cannot be made: {error.strerror}", where=str(folder), fix="choose another by --state-dir"
        ) from error
    lock = os.open(folder / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRunningError(
                f"a mesh named '{folder.name}' is running already",
                where=str(folder),
                fix="stop it, or choose another name by --name",
            ) from None
        yield
    finally:
        os.close(lock)


def default_base() -> Path:
    if runtime := os.environ.get("XDG_RUNTIME_DIR"):
        return Path(runtime) / "smeagol"
    return Path(tempfile.gettempdir()) / f"smeagol-{os.getuid()}"


def check_own(base: Path) -> None:
    """Raise StateError if the folder is another's: who asks there hands a stranger his terminal (`smeagol exec`)."""
    with suppress(FileNotFoundError):
        _check_private(base, forbidden=0o022)


def _check_private(path: Path, *, forbidden: int) -> None:
    """In a folder that others may write to, somebody may have been here first."""
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & forbidden:
        raise StateError(
            "the folder is not this user's alone",
            where=str(path),
            fix=f"choose another by --state-dir, or make it yours alone (mode {0o777 & ~forbidden:o})",
        )
