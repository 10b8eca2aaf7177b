"""From a Canary to routes: one for each port of the root, with the Service and the port as its parent.

One route object a port, for the standard channel's CEL rules allow a Service only once among a route's parents. Of the
fields, only such are written as have been there since Gateway API 1.1: a mesh that knows an older one ignores a route
with a field that is new to it.
"""

from __future__ import annotations

from collections.abc import Iterator

from smeagol.intent import CanaryIntent, Protocol
from smeagol.plan import JSON, Feature, Plan, Unsupported
from smeagol.plan.making import made, made_name, taking_part, whole_weights
from smeagol.plan.peer import Conflict, JSONObject, PeerKind, Surroundings, items, ref_of

__all__ = [
    "GROUP",
    "GRPC_ROUTE",
    "HTTP_ROUTE",
    "ROUTES",
    "TCP_ROUTE",
    "TCP_ROUTE_ALPHA",
    "TLS_ROUTES",
    "canary_conflicts",
    "canary_plan",
]

GROUP = "gateway.networking.k8s.io"
HTTP_ROUTE = PeerKind(f"{GROUP}/v1", "HTTPRoute", "httproutes")
GRPC_ROUTE = PeerKind(f"{GROUP}/v1", "GRPCRoute", "grpcroutes")
TCP_ROUTE = PeerKind(f"{GROUP}/v1", "TCPRoute", "tcproutes")
TCP_ROUTE_ALPHA = PeerKind(f"{GROUP}/v1alpha2", "TCPRoute", "tcproutes")
ROUTES = (HTTP_ROUTE, GRPC_ROUTE, TCP_ROUTE, TCP_ROUTE_ALPHA)
"""Each kind in the versions in which it is known, the preferred one first."""
TLS_ROUTES = tuple(
    PeerKind(f"{GROUP}/{version}", "TLSRoute", "tlsroutes") for version in ("v1", "v1alpha3", "v1alpha2")
)
"""Never made: it chooses by server name, and what a Canary divides is meant by its address."""

MOST_BACKENDS = 16
"""backendRefs of one rule (maxItems in all three CRDs)."""
HEAVIEST = 1_000_000
"""A weight (BackendRef.weight)."""


def canary_plan(canary: CanaryIntent, served: frozenset[PeerKind], provider: str) -> Plan:
    """The routes for all ports of the root that can be divided, and what cannot."""
    if not canary.accepted or not canary.ports:
        return Plan()
    if canary.root_headless:
        message = (
            f"the root {canary.root} is headless, and only a Service with a cluster address can be a route's parent"
        )
        return Plan(unsupported=(Unsupported("spec.service", Feature.CANARY_HEADLESS, message),))
    objects: list[JSONObject] = []
    unsupported: list[Unsupported] = []
    for port, protocol in canary.ports:
        backends = _backends(canary, port)
        if not backends:
            continue
        kind = _kind(protocol, served)
        if kind is None:
            message = f"port {port} is divided connection by connection, which needs TCPRoute; the cluster has none"
            unsupported.append(Unsupported("spec.service", Feature.CANARY_TCP, message))
        elif len(backends) > MOST_BACKENDS:
            message = f"a route has at most {MOST_BACKENDS} backends, but {len(backends)} share port {port}"
            unsupported.append(Unsupported("spec.backends", Feature.CANARY, message))
        else:
            objects.append(_route(canary, port, kind, backends, provider))
            if protocol is Protocol.AUTO:
                message = (
                    f"port {port} declares no protocol and is divided as HTTP: a mesh that does not look at the first "
                    "bytes breaks anything else. Set appProtocol in the Service"
                )
                unsupported.append(Unsupported("spec.service", Feature.CANARY_TCP, message))
    return Plan(objects=tuple(objects), unsupported=tuple(unsupported))


def canary_conflicts(canary: CanaryIntent, around: Surroundings) -> Iterator[Conflict]:
    """Foreign routes with a parent that we use, from any namespace: those of another hold for its own clients.

    The peers give the requests to the most specific match, and then to the oldest route.
    """
    ports = {port for port, _ in canary.ports}
    for kind in (HTTP_ROUTE, GRPC_ROUTE, TCP_ROUTE, TLS_ROUTES[0]):
        for route in around.of(kind):
            if any(
                _hits(parent, ref_of(route).namespace, canary, ports) for parent in items(route, "spec", "parentRefs")
            ):
                yield Conflict.over(route, f"it routes what is sent to Service {canary.root} too")


def _hits(parent: JSONObject, namespace: str, canary: CanaryIntent, ports: set[int]) -> bool:
    """Is the parent our root? Without a port it means all of them."""
    port = parent.get("port")
    return (
        parent.get("kind") == "Service"
        and parent.get("group") == ""
        and parent.get("name") == canary.root.name
        and (parent.get("namespace") or namespace) == canary.root.namespace
        and (port is None or port in ports)
    )


def _backends(canary: CanaryIntent, port: int) -> list[tuple[str, int]]:
    """(Service, weight). A route with more backends than it may have does without those of weight zero."""
    taking = taking_part(canary, port)
    if len(taking) > MOST_BACKENDS:
        taking = tuple((service, weight) for service, weight in taking if weight > 0)
    if not taking:
        return []
    weights = whole_weights([weight for _, weight in taking], most=HEAVIEST)
    return [(service.name, weight) for (service, _), weight in zip(taking, weights, strict=True)]


def _kind(protocol: Protocol, served: frozenset[PeerKind]) -> PeerKind | None:
    """The route for what the port speaks. gRPC is HTTP where there is no route of its own."""
    wanted: tuple[PeerKind, ...] = (HTTP_ROUTE,)
    if protocol.is_opaque:
        wanted = (TCP_ROUTE, TCP_ROUTE_ALPHA)
    elif protocol is Protocol.GRPC:
        wanted = (GRPC_ROUTE, HTTP_ROUTE)
    return next((kind for kind in wanted if kind in served), None)


def _route(
    canary: CanaryIntent, port: int, kind: PeerKind, backends: list[tuple[str, int]], provider: str
) -> JSONObject:
    parent: JSON = {"group": "", "kind": "Service", "name": canary.root.name, "port": port}
    refs: JSON = [{"name": service, "port": port, "weight": weight} for service, weight in backends]
    return made(
        kind.group_version,
        kind.kind,
        name=made_name(canary.ref.name, port),
        namespace=canary.root.namespace,
        owner=canary.ref,
        provider=provider,
        spec={"parentRefs": [parent], "rules": [{"backendRefs": refs}]},
    )
