"""The inside of a proxy's own network: loopback, the proxy, and Unix sockets, which no network hides, as ways out.

A program of its own, `inside.py FOLDER ADDRESS COMMAND…`, with the address of the Pod. `FOLDER/discovery.sock` leads
out.
"""

from __future__ import annotations

import asyncio
import fcntl
import socket
import struct
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

Streams: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]

DISCOVERY_PORT = 18000

_SIOCSIFFLAGS = 0x8914
_UP_AND_RUNNING = 0x41
_SIOCSIFADDR = 0x8916


def onward(opened: Callable[[], Awaitable[Streams]]) -> Callable[..., Awaitable[None]]:
    """A server that joins each connection to one that `opened` makes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there_reader, there_writer = await opened()
        except OSError:
            writer.close()
            return
        await asyncio.gather(_pass(reader, there_writer), _pass(there_reader, writer))

    return serve


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


async def _run(folder: Path, address: str, *command: str) -> None:
    with socket.socket() as sock:
        fcntl.ioctl(sock, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", _UP_AND_RUNNING))
        own = struct.pack("16sH2x4s8x", b"lo:1", socket.AF_INET, socket.inet_aton(address))
        fcntl.ioctl(sock, _SIOCSIFADDR, own)
    out = onward(lambda: asyncio.open_unix_connection(folder / "discovery.sock"))
    outward = await asyncio.start_server(out, "127.0.0.1", DISCOVERY_PORT)
    async with outward:
        proxy = await asyncio.create_subprocess_exec(*command)
        await proxy.wait()


if __name__ == "__main__":
    asyncio.run(_run(Path(sys.argv[1]), *sys.argv[2:]))
