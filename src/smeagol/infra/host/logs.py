"""Log files of containers: appended to, and bounded in size."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

__all__ = ["LogFile"]


class LogFile:
    """One file of at most `most_bytes`; a full one becomes `NAME.1`, replacing the one before."""

    def __init__(self, path: Path, most_bytes: int) -> None:
        self._path = path
        self._most_bytes = most_bytes
        path.parent.mkdir(parents=True, exist_ok=True)
        self._open()

    def write(self, data: bytes) -> None:
        """Append. Raises OSError, for example when the disk is full."""
        if self._size and self._size + len(data) > self._most_bytes:
            full = self._fd
            with suppress(FileNotFoundError):  # somebody has removed it
                self._path.replace(self._path.with_name(f"{self._path.name}.1"))
            self._open()
            os.close(full)  # not before there is another: a number that is closed twice may be somebody else's
        self._size += os.write(self._fd, data)

    def close(self) -> None:
        os.close(self._fd)

    def _open(self) -> None:
        self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._size = os.fstat(self._fd).st_size
