"""HTTP servers as tasks among others: uvicorn on sockets that exist already, ended by cancelling the task."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import uvicorn

__all__ = ["serve"]


class _Quiet(uvicorn.Server):
    """uvicorn without its own signal handling."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(config: uvicorn.Config, sockets: list[socket.socket]) -> None:
    """Serve until cancelled. What is being answered then is answered, idle connections are closed."""
    server = _Quiet(config)
    serving = asyncio.create_task(server.serve(sockets=sockets))
    try:
        await asyncio.shield(serving)
    except asyncio.CancelledError:
        # Cancelled itself, uvicorn would leave connections open on which nobody answers any more.
        server.should_exit = True
        await serving
        raise
