"""The HTTP servers of the control plane, on sockets that exist already."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import uvicorn
from starlette.types import ASGIApp

from smeagol import serving

__all__ = ["listening", "serve", "served"]


@contextmanager
def listening(address: str) -> Iterator[socket.socket]:
    """A socket that listens on `host:port`, an IPv6 host in brackets, or `unix:PATH`; closed at the end of the block.

    `[::]` listens for IPv4 too. Raises OSError.
    """
    if address.startswith("unix:"):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(address.removeprefix("unix:"))
            sock.listen(128)
            yield sock
        return
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    if host == "::" and not socket.has_dualstack_ipv6():
        host = "0.0.0.0"  # noqa: S104 - as asked for, on a host without IPv6
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, int(port)), family=family, dualstack_ipv6=host == "::") as sock:
        yield sock


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
