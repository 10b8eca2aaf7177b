"""How a replica is, whether it is ready, and what it counts: plain HTTP for the kubelet and Prometheus, no secrets.

`/healthz` answers while the event loop runs; a task that ends unasked ends the process, so there is no more to check.
An API server that is away makes nobody unwell: a replica that was started anew would know less.
`/readyz` is 200 once everything that is to serve serves, and 503 with what is missing, one a line; 503 again from the
moment the process is told to end.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

__all__ = ["Readiness", "health_app"]

PROMETHEUS = "text/plain; version=0.0.4"


class Readiness:
    """What must hold before others may be sent here: each check tells what is missing, or nothing."""

    def __init__(self) -> None:
        self.ending = False
        self._checks: list[Callable[[], str]] = []

    def add(self, check: Callable[[], str]) -> None:
        """`check` returns the empty text once all is well."""
        self._checks.append(check)

    @property
    def missing(self) -> tuple[str, ...]:
        if self.ending:
            return ("it is ending",)
        return tuple(filter(None, (check() for check in self._checks)))


def health_app(
    readiness: Readiness, metrics: Callable[[], str], traffic: Callable[[], Awaitable[str]] | None = None
) -> Starlette:
    """`metrics` and `traffic`, which is that of the proxies, give Prometheus text."""

    async def healthz(_request: Request) -> PlainTextResponse:
        return PlainTextResponse("ok\n")

    async def readyz(_request: Request) -> PlainTextResponse:
        missing = readiness.missing
        return PlainTextResponse("\n".join(missing or ("ok",)) + "\n", status_code=503 if missing else 200)

    async def shown(_request: Request) -> PlainTextResponse:
        return PlainTextResponse(metrics(), media_type=PROMETHEUS)

    routes = [Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", shown)]
    if traffic is not None:

        async def counted(_request: Request) -> PlainTextResponse:
            return PlainTextResponse(await traffic(), media_type=PROMETHEUS)

        routes.append(Route("/metrics/traffic", counted))
    return Starlette(routes=routes)
