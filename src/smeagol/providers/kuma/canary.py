"""From a Canary to MeshTCPRoute, and for HTTP to HTTPRoute or, where the cluster has none, MeshHTTPRoute.

To Kuma a port is HTTP only if its `appProtocol` says so, and not by its name. So an HTTP port gets both kinds: Kuma
takes the route for HTTP where the port is HTTP to it, and divides by connections where it is not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from smeagol.intent import CanaryIntent, Protocol
from smeagol.plan import JSON, Feature, Plan, Unsupported
from smeagol.plan.making import taking_part, whole_weights
from smeagol.plan.peer import Conflict, JSONObject, PeerKind, Surroundings, at, items
from smeagol.providers.gateway_api.routes import HTTP_ROUTE, canary_conflicts, canary_plan
from smeagol.providers.kuma.policies import MESH_HTTP_ROUTE, MESH_TCP_ROUTE, NAMESPACE_LABEL, policy
from smeagol.refs import ServiceRef

__all__ = ["HEAVIEST", "kuma_canary_conflicts", "kuma_canary_plan"]

HEAVIEST = 2**32 - 1
"""The sum of the weights, which become Envoy's."""
NAME_LABEL = "kuma.io/display-name"


def kuma_canary_plan(canary: CanaryIntent, served: frozenset[PeerKind], provider: str) -> Plan:
    """Routes of all ports of the root that can be divided: HTTPRoutes one by one, Kuma's own in one object a kind."""
    names = dict(zip((port for port, _ in canary.ports), canary.port_names, strict=False))
    divided = [(port, protocol) for port, protocol in canary.ports if taking_part(canary, port)]
    if not canary.accepted or not divided:
        return Plan()
    if canary.root_headless:
        message = f"the root {canary.root} is headless: Kuma divides what is sent to a Service's own address only"
        return Plan(unsupported=(Unsupported("spec.service", Feature.CANARY_HEADLESS, message),))
    unsupported = tuple(
        Unsupported(
            "spec.service",
            Feature.CANARY,
            f"port {port} declares no protocol, so Kuma divides it connection by connection. Set appProtocol",
        )
        for port, protocol in divided
        if protocol is Protocol.AUTO
    )
    http = [port for port, protocol in divided if protocol.is_http]
    objects: list[JSONObject] = []
    if http and HTTP_ROUTE in served:
        routes = canary_plan(_only_http(canary), frozenset({HTTP_ROUTE}), provider)
        objects += routes.objects
        unsupported += routes.unsupported
    elif http:
        match: JSON = [{"path": {"type": "PathPrefix", "value": "/"}}]
        to: list[JSON] = [_to(canary, port, names, {"matches": match}) for port in http]
        objects.append(policy(MESH_HTTP_ROUTE, canary.ref, provider, {"targetRef": {"kind": "Mesh"}, "to": to}))
    to = [_to(canary, port, names, {}) for port, _ in divided]
    objects.append(policy(MESH_TCP_ROUTE, canary.ref, provider, {"targetRef": {"kind": "Mesh"}, "to": to}))
    return Plan(objects=tuple(objects), unsupported=unsupported)


def _only_http(canary: CanaryIntent) -> CanaryIntent:
    return replace(canary, ports=tuple((port, protocol) for port, protocol in canary.ports if protocol.is_http))


def _to(canary: CanaryIntent, port: int, names: dict[int, str], rule: dict[str, JSON]) -> JSON:
    """A target's section is the port's name, else its number (Kuma: MeshService); a backend's port is its number."""
    backends = taking_part(canary, port)
    weights = whole_weights([weight for _, weight in backends], most=HEAVIEST // len(backends))
    refs: list[JSON] = [
        {"kind": "MeshService", "labels": _labels(service), "port": port, "weight": weight}
        for (service, _), weight in zip(backends, weights, strict=True)
    ]
    section = names.get(port) or str(port)
    return {
        "targetRef": {"kind": "MeshService", "labels": _labels(canary.root), "sectionName": section},
        "rules": [{**rule, "default": {"backendRefs": refs}}],
    }


def _labels(service: ServiceRef) -> JSON:
    return {NAME_LABEL: service.name, NAMESPACE_LABEL: service.namespace}


def kuma_canary_conflicts(canary: CanaryIntent, around: Surroundings) -> Iterator[Conflict]:
    """Foreign routes of the root: Kuma merges them with ours, rule by rule."""
    for kind in (MESH_HTTP_ROUTE, MESH_TCP_ROUTE):
        for route in around.of(kind):
            namespace = str(at(route, "metadata", "namespace") or "")
            # What Kuma has made of an HTTPRoute is in its system's namespace, and follows from ours.
            if at(route, "metadata", "labels", "gateways.kuma.io/owner") is None and any(
                _is_root(entry, namespace, canary.root) for entry in items(route, "spec", "to")
            ):
                yield Conflict.over(route, f"it routes what is sent to Service {canary.root} too", oldest_wins=False)
    yield from canary_conflicts(canary, around)


def _is_root(entry: JSONObject, namespace: str, root: ServiceRef) -> bool:
    """By labels, as Kuma 3 has it, or by name, as Kuma 2 has it too."""
    ref = at(entry, "targetRef")
    if at(ref, "kind") != "MeshService":
        return False
    name = at(ref, "labels", NAME_LABEL) or at(ref, "name")
    return (
        name == root.name
        and (at(ref, "labels", NAMESPACE_LABEL) or at(ref, "namespace") or namespace) == root.namespace
    )
