"""What can be seen of a control plane from outside, wherever it runs: the questions of `smeagol status` and its kin."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable

import msgspec
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from smeagol import control
from smeagol.intent import ServiceIntent, WorkloadIntent
from smeagol.plan import JSON, METRICS_PORT
from smeagol.refs import PodRef
from smeagol.runtime.control_plane import ControlPlane
from smeagol.runtime.traffic import Collector, Target, traffic
from smeagol.runtime.views import type_title

__all__ = ["answer", "looking_routes", "proxy_config", "refusal", "targets"]


def answer(value: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status_code=status, media_type="application/json")


def refusal(message: str, status: int) -> Response:
    return answer({"message": message}, status)


def looking_routes(
    plane: Callable[[], ControlPlane],
    status: Callable[[], control.Status],
    collector: Collector,
    *,
    look: Callable[[], Awaitable[None]] | None = None,
) -> list[Route]:
    """Routes that change nothing. `plane` gives the control plane of the moment; `look` is awaited before a status is
    told, for what is else only looked at now and then.
    """

    async def status_now(_: Request) -> Response:
        if look is not None:
            await look()
        return answer(status())

    async def traffic_now(_: Request) -> Response:
        samples = await collector.samples()
        units = plane().resolver.units.values()
        return answer(
            traffic(
                samples,
                at=time.monotonic(),
                workloads={u.pod: u for u in units if isinstance(u, WorkloadIntent)},
                services={u.ref: u for u in units if isinstance(u, ServiceIntent)},
            )
        )

    async def config(request: Request) -> Response:
        pod = PodRef(request.path_params["namespace"], request.path_params["pod"])
        found = proxy_config(plane(), pod, request.query_params.get("type", ""))
        return answer(found) if found is not None else refusal(f"Pod {pod} has no proxy", 404)

    async def stats(request: Request) -> Response:
        pod = PodRef(request.path_params["namespace"], request.path_params["pod"])
        target = next((target for target in targets(plane()) if target.pod == pod), None)
        text = await collector.text(target) if target is not None else ""
        return PlainTextResponse(text) if text else refusal(f"the proxy of Pod {pod} does not answer", 404)

    return [
        Route("/v1/status", status_now),
        Route("/v1/traffic", traffic_now),
        Route("/v1/proxies/{namespace}/{pod}/config", config),
        Route("/v1/proxies/{namespace}/{pod}/stats", stats),
    ]


def proxy_config(plane: ControlPlane, pod: PodRef, kind: str = "") -> JSON:
    """What the proxy of a Pod was given, by type and name, with keys redacted; None if it has no proxy."""
    if not any(isinstance(unit, WorkloadIntent) and unit.pod == pod for unit in plane.resolver.units.values()):
        return None
    mesh = plane.mesh
    shown: dict[str, dict[str, JSON]] = {}
    if kind in ("", "secrets"):
        shown["secrets"] = {
            secret: {
                "names": list(issued.names),
                "serial": f"{issued.serial:x}",
                "not_before": issued.not_before.isoformat(),
                "not_after": issued.not_after.isoformat(),
                "renew_at": issued.renew_at.isoformat(),
            }
            for secret, issued in mesh.certificates.of(pod.node).items()
        }
    for resource in mesh.planner.resources:
        title = type_title(resource.type_url)
        if resource.node in (None, pod.node) and kind in ("", title):
            shown.setdefault(title, {})[resource.name] = mesh.provider.explain(resource)
    return shown


def targets(plane: ControlPlane, *, everywhere: bool = False) -> Iterable[Target]:
    """The proxies that are connected to this control plane, or all, with the labels that their series carry."""
    connected = plane.mesh.cache.acks.connected
    for unit in plane.resolver.units.values():
        if isinstance(unit, WorkloadIntent) and (everywhere or unit.node in connected):
            for address in unit.addresses[:1]:
                host = f"[{address}]" if ":" in address else address
                yield Target(
                    pod=unit.pod,
                    url=f"http://{host}:{METRICS_PORT}/stats/prometheus",
                    metric_labels=unit.metric_labels,
                )
