"""HTTP servers inside the control plane: uvicorn on sockets that exist already, as one task among others."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp

__all__ = ["serve"]


class _Quiet(uvicorn.Server):
    """uvicorn without its own signal handling: cancelling the task ends it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(app: ASGIApp, sockets: list[socket.socket]) -> None:
    """Serve until cancelled; open answers get a moment to finish."""
    config = uvicorn.Config(
        app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=1, server_header=False
    )
    await _Quiet(config).serve(sockets=sockets)
