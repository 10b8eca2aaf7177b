"""The HTTP servers of standalone mode, on sockets that exist already."""

from __future__ import annotations

import socket

import uvicorn
from starlette.types import ASGIApp

from smeagol import serving

__all__ = ["serve"]


async def serve(app: ASGIApp, sockets: list[socket.socket]) -> None:
    """Serve until cancelled; open answers get a moment to finish."""
    config = uvicorn.Config(
        app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=1, server_header=False
    )
    await serving.serve(config, sockets)
