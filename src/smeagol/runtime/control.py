"""The control API of standalone mode: what `smeagol status`, `top` and their kin ask, over a private Unix socket.

The metrics app beside it listens on the host's loopback and tells only what Prometheus scrapes.
"""

from __future__ import annotations

import asyncio

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from smeagol.control import Certificate
from smeagol.errors import SmeagolError
from smeagol.names import parse_name
from smeagol.pki import Purpose
from smeagol.providers.envoy.metrics import exposition
from smeagol.runtime.control_plane import now
from smeagol.runtime.looking import answer, looking_routes, refusal
from smeagol.runtime.own_metrics import own_metrics
from smeagol.runtime.standalone import Standalone

__all__ = ["control_app", "metrics_app"]


async def _fields(request: Request) -> dict[str, object]:
    """The body of a request. Raises ValueError if it is no JSON object."""
    return msgspec.json.decode(await request.body(), type=dict[str, object])


def control_app(mesh: Standalone, stop: asyncio.Event) -> Starlette:
    async def restart(request: Request) -> Response:
        body = await _fields(request)
        namespace, name = str(body.get("namespace", "default")), str(body.get("name", ""))
        if not mesh.restart(namespace, name):
            return refusal(f"there is no Deployment {namespace}/{name}", 404)
        return answer({})

    async def rotate(request: Request) -> Response:
        match (await _fields(request)).get("what"):
            case "root":
                mesh.rotate_root()
            case "certificates":
                mesh.plane.mesh.renew_certificates()
            case other:
                return refusal(f"'{other}' cannot be rotated; say root or certificates", 400)
        return answer({})

    async def restart_control_plane(request: Request) -> Response:
        seconds = (await _fields(request)).get("down", 0)
        if not isinstance(seconds, int | float) or not 0 <= seconds <= 3600:
            return refusal("'down' is how long it stays away, 0 to 3600 seconds", 400)
        await mesh.restart_control_plane(seconds)
        return answer({})

    async def issue(request: Request) -> Response:
        """A client certificate for somebody outside the mesh; whoever opens this socket owns the keys anyway."""
        given = (await _fields(request)).get("names", [])
        names = [parse_name(str(name)) for name in given] if isinstance(given, list) else []
        if not names:
            return refusal("'names' is a list of the names that the certificate is for", 400)
        issued = mesh.plane.authority.issue(names, Purpose.CLIENT, now=now())
        return answer(
            Certificate(
                certificate=issued.chain_pem.decode(),
                key=issued.key_pem.reveal().decode(),
                roots=mesh.plane.authority.trust_bundle_pem.decode(),
                not_after=issued.not_after.isoformat(),
            )
        )

    async def refuse(_: Request, error: Exception) -> Response:
        return refusal(str(error), 400)

    async def stop_now(_: Request) -> Response:
        stop.set()
        return answer({})

    return Starlette(
        routes=[
            *looking_routes(lambda: mesh.plane, mesh.status, mesh.collector),
            Route("/v1/restart", restart, methods=["POST"]),
            Route("/v1/rotate", rotate, methods=["POST"]),
            Route("/v1/control-plane/restart", restart_control_plane, methods=["POST"]),
            Route("/v1/certificates", issue, methods=["POST"]),
            Route("/v1/stop", stop_now, methods=["POST"]),
        ],
        exception_handlers={SmeagolError: refuse, ValueError: refuse},
    )


def metrics_app(mesh: Standalone) -> Starlette:
    async def metrics(_: Request) -> Response:
        text = own_metrics(mesh.plane) + exposition(await mesh.collector.samples())
        return PlainTextResponse(text, media_type=CONTENT_TYPE_LATEST)

    return Starlette(routes=[Route("/metrics", metrics)])
