"""The HTTP servers of the control plane, on sockets that exist already."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import uvicorn
from starlette.types import ASGIApp

from smeagol import serving
from smeagol.errors import SmeagolError

__all__ = ["AddressTakenError", "listening", "serve", "served"]


class AddressTakenError(SmeagolError):
    """An address of the control plane is in use, or not this machine's."""

    code = "SMI-R008"


@contextmanager
def listening(address: str) -> Iterator[socket.socket]:
    """A socket that listens on `host:port`, an IPv6 host in brackets, or `unix:PATH`; closed at the end of the block.

    `[::]` listens for IPv4 too. Raises AddressTakenError.
    """
    try:
        opened = _opened(address)
    except OSError as error:
        raise AddressTakenError(
            f"nobody can listen here: {error.strerror or error}",
            where=address,
            fix="End what uses this address, or give another one: smeagol controller --help lists those it listens on",
        ) from error
    with opened as sock:
        yield sock


def _opened(address: str) -> socket.socket:
    if address.startswith("unix:"):
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(address.removeprefix("unix:"))
        sock.listen(128)
        return sock
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    if host == "::" and not socket.has_dualstack_ipv6():
        host = "0.0.0.0"  # noqa: S104 - as asked for, on a host without IPv6
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, int(port)), family=family, dualstack_ipv6=host == "::")


async def serve(app: ASGIApp, sockets: list[socket.socket]) -> None:
    """Serve until cancelled; open answers get a moment to finish."""
    config = uvicorn.Config(
        app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=1, server_header=False
    )
    await serving.serve(config, sockets)


@asynccontextmanager
async def served(app: ASGIApp, sockets: list[socket.socket]) -> AsyncIterator[None]:
    """Serve while the block runs, and until it has come to its end."""
    serving_it = asyncio.create_task(serve(app, sockets))
    try:
        yield
    finally:
        serving_it.cancel()
        await asyncio.wait([serving_it])
