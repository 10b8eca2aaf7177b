"""Unix sockets at paths of any length: the kernel's limit is 107 bytes, so they are reached through their folder."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["connect", "listen"]


def listen(path: Path) -> socket.socket:
    """Serve messages (SOCK_SEQPACKET) at `path`, for this user only; what was there before is replaced."""
    path.unlink(missing_ok=True)
    server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with _short(path) as address:
        previous = os.umask(0o177)
        try:
            server.bind(address)
        finally:
            os.umask(previous)
    server.listen()
    return server


def connect(path: Path) -> socket.socket:
    """Connect to what `listen` serves. Raises OSError as connect does."""
    client = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        with _short(path) as address:
            client.connect(address)
    except OSError:
        client.close()
        raise
    return client


@contextmanager
def _short(path: Path) -> Iterator[str]:
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
