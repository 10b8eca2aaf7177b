"""The control API of standalone mode: what `smeagol status`, `top` and their kin ask, over a private Unix socket.

The metrics app beside it listens on the host's loopback and tells only what Prometheus scrapes.
"""

from __future__ import annotations

import asyncio
import time

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from smeagol.intent import ServiceIntent, WorkloadIntent
from smeagol.providers.envoy.metrics import exposition
from smeagol.runtime.standalone import Standalone
from smeagol.runtime.traffic import traffic

__all__ = ["control_app", "metrics_app"]


def _json(value: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status_code=status, media_type="application/json")


def _refusal(message: str, status: int) -> Response:
    return _json({"message": message}, status)


def control_app(mesh: Standalone, stop: asyncio.Event) -> Starlette:
    async def status(_: Request) -> Response:
        return _json(mesh.status())

    async def traffic_now(_: Request) -> Response:
        samples = await mesh.collector.samples()
        units = mesh.resolver.units.values()
        return _json(
            traffic(
                samples,
                at=time.monotonic(),
                workloads={u.pod: u for u in units if isinstance(u, WorkloadIntent)},
                services={u.ref: u for u in units if isinstance(u, ServiceIntent)},
            )
        )

    async def config(request: Request) -> Response:
        namespace, pod = request.path_params["namespace"], request.path_params["pod"]
        found = mesh.proxy_config(namespace, pod, request.query_params.get("type", ""))
        if found is None:
            return _refusal(f"Pod {namespace}/{pod} has no proxy", 404)
        return _json(found)

    async def restart(request: Request) -> Response:
        body = await request.json()
        namespace, name = str(body.get("namespace", "default")), str(body.get("name", ""))
        if not mesh.restart(namespace, name):
            return _refusal(f"there is no Deployment {namespace}/{name}", 404)
        return _json({})

    async def rotate(request: Request) -> Response:
        match (await request.json()).get("what"):
            case "root":
                mesh.mesh.rotate_root()
            case "certificates":
                mesh.mesh.renew_certificates()
            case other:
                return _refusal(f"'{other}' cannot be rotated; say root or certificates", 400)
        return _json({})

    async def stop_now(_: Request) -> Response:
        stop.set()
        return _json({})

    return Starlette(
        routes=[
            Route("/v1/status", status),
            Route("/v1/traffic", traffic_now),
            Route("/v1/proxies/{namespace}/{pod}/config", config),
            Route("/v1/restart", restart, methods=["POST"]),
            Route("/v1/rotate", rotate, methods=["POST"]),
            Route("/v1/stop", stop_now, methods=["POST"]),
        ]
    )


def metrics_app(mesh: Standalone) -> Starlette:
    async def metrics(_: Request) -> Response:
        text = exposition(await mesh.collector.samples())
        return PlainTextResponse(text, media_type=CONTENT_TYPE_LATEST)

    return Starlette(routes=[Route("/metrics", metrics)])
