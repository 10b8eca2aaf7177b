"""Where an authority keeps its keys: one document, replaced whole, so that a crash leaves the old or the new one."""

from __future__ import annotations

import fcntl
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import ClassVar, Protocol

from smeagol.errors import SmeagolError
from smeagol.pki.secret import PrivateBytes

__all__ = ["FileKeyStore", "KeyStore", "MemoryKeyStore", "StoreError"]


class StoreError(SmeagolError):
    """Keys that can't be read or written, or that others could read."""

    code: ClassVar[str] = "SMI-K002"


class KeyStore(Protocol):
    """Holds one secret document. What is read, decided and saved within `lock()` happens as if alone."""

    def lock(self) -> AbstractContextManager[None]:
        """Keeps all other users of the store out, those of other processes too. Blocks; not reentrant."""
        ...

    def load(self) -> PrivateBytes | None:
        """The document, or None if none was ever saved."""
        ...

    def save(self, document: PrivateBytes) -> None:
        """Returns when the document would survive a loss of power."""
        ...


class MemoryKeyStore:
    """Keeps keys as long as the process lives."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._document: PrivateBytes | None = None

    @contextmanager
    def lock(self) -> Iterator[None]:
        with self._lock:
            yield

    def load(self) -> PrivateBytes | None:
        return self._document

    def save(self, document: PrivateBytes) -> None:
        self._document = document


class FileKeyStore:
    """Keeps keys in a directory that only its owner can enter (0700), in files only they can read (0600).

    A directory or file that is open to others is refused rather than mended: the keys may be known already.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._document = directory / "authority.json"
        self._lock_file = directory / "lock"

    @contextmanager
    def lock(self) -> Iterator[None]:
        with self._explained("opened"):
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._check_private(self._directory.stat(), self._directory, "chmod 700")
            fd = os.open(self._lock_file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)  # released when the file is closed, also by the death of the process
            yield
        finally:
            os.close(fd)

    def load(self) -> PrivateBytes | None:
        with self._explained("read"):
            try:
                fd = os.open(self._document, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            except FileNotFoundError:
                return None
            with os.fdopen(fd, "rb") as file:
                self._check_private(os.fstat(fd), self._document, "chmod 600")
                return PrivateBytes(file.read())

    def save(self, document: PrivateBytes) -> None:
        new = self._document.with_suffix(".new")
        with self._explained("written"):
            with suppress(FileNotFoundError):
                new.unlink()  # left by a crash; the lock says that nobody is writing it now
            fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(fd, "wb") as file:
                file.write(document.reveal())
                file.flush()
                os.fsync(fd)
            new.replace(self._document)
            directory = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(directory)  # or the new name may be lost though the content is not
            finally:
                os.close(directory)

    def _check_private(self, found: os.stat_result, path: Path, cure: str) -> None:
        if stat.S_IMODE(found.st_mode) & 0o077:
            raise StoreError(
                f"others may open it (mode {stat.S_IMODE(found.st_mode):04o}), so its keys may be known to them",
                where=str(path),
                fix=f"remove it to have new keys made, or trust the old ones with: {cure} {path}",
            )

    @contextmanager
    def _explained(self, done: str) -> Iterator[None]:
        try:
            yield
        except OSError as e:
            raise StoreError(
                f"the key store can't be {done}: {e.strerror}",
                where=str(e.filename or self._directory),
                fix="choose a directory of your own on a file system that keeps file modes",
            ) from None
