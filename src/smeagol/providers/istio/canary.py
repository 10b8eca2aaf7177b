"""From a Canary to one VirtualService, or to HTTPRoutes where all that is divided is HTTP and the cluster has them.

Never both: Istio turns an HTTPRoute into a VirtualService, and two of one host are undefined (IST0109).
"""

from __future__ import annotations

from collections.abc import Iterator

from smeagol.intent import CanaryIntent, Protocol
from smeagol.plan import JSON, Feature, Plan, Unsupported
from smeagol.plan.making import made, made_name, taking_part, whole_weights
from smeagol.plan.peer import Conflict, JSONObject, PeerKind, Surroundings, at
from smeagol.providers.gateway_api.routes import HTTP_ROUTE, canary_conflicts, canary_plan
from smeagol.providers.istio.kinds import VIRTUAL_SERVICES

__all__ = ["MOST", "istio_canary_conflicts", "istio_canary_plan"]

MOST = 2**31 - 1
"""Istio adds weights up as int32 (pilot: validation.go)."""


def istio_canary_plan(canary: CanaryIntent, served: frozenset[PeerKind], kind: PeerKind, provider: str) -> Plan:
    """A port on which no backend is left is not in it: Istio serves it as if there were no VirtualService."""
    divided = [(port, protocol) for port, protocol in canary.ports if taking_part(canary, port)]
    if not canary.accepted or not divided:
        return Plan()
    if canary.root_headless:
        message = f"the root {canary.root} is headless: what is sent to the addresses of its endpoints is not divided"
        return Plan(unsupported=(Unsupported("spec.service", Feature.CANARY_HEADLESS, message),))
    if HTTP_ROUTE in served and all(protocol.is_http for _, protocol in divided):
        # Istio reads GRPCRoute too, but gRPC is HTTP to it, and one kind less can conflict.
        return canary_plan(canary, frozenset({HTTP_ROUTE}), provider)
    http = [_entry(canary, port) for port, protocol in divided if not protocol.is_opaque]
    tcp = [_entry(canary, port) for port, protocol in divided if protocol in (Protocol.TCP, Protocol.AUTO)]
    unsupported = tuple(
        Unsupported(
            "spec.service",
            Feature.CANARY_TCP,
            f"port {port} speaks TLS by itself, which Istio routes by server names only: it is not divided. Declare it "
            "as tcp",
        )
        for port, protocol in divided
        if protocol is Protocol.TLS
    )
    if not http and not tcp:
        return Plan(unsupported=unsupported)
    spec: dict[str, JSON] = {"hosts": [_host(canary)], "gateways": ["mesh"]}
    virtual_service = made(
        kind.group_version,
        kind.kind,
        name=made_name(canary.ref.name),
        namespace=canary.root.namespace,
        owner=canary.ref,
        provider=provider,
        spec=spec | ({"http": http} if http else {}) | ({"tcp": tcp} if tcp else {}),
    )
    return Plan(objects=(virtual_service,), unsupported=unsupported)


def _host(canary: CanaryIntent) -> str:
    return canary.root.fqdn(canary.cluster_domain)


def _entry(canary: CanaryIntent, port: int) -> JSON:
    backends = taking_part(canary, port)
    weights = whole_weights([weight for _, weight in backends], most=MOST // len(backends))
    return {
        "match": [{"port": port}],
        "route": [
            {"destination": {"host": service.fqdn(canary.cluster_domain), "port": {"number": port}}, "weight": weight}
            for (service, _), weight in zip(backends, weights, strict=True)
        ],
    }


def istio_canary_conflicts(canary: CanaryIntent, around: Surroundings) -> Iterator[Conflict]:
    """Foreign VirtualServices of the root's host, from any namespace, and foreign routes of the root."""
    for foreign in around.of(VIRTUAL_SERVICES[0]):
        if _is_of_mesh(foreign) and _host(canary) in _hosts(foreign, canary.cluster_domain):
            yield Conflict.over(foreign, f"it routes what is sent to {_host(canary)} too", oldest_wins=False)
    yield from canary_conflicts(canary, around)


def _is_of_mesh(virtual_service: JSONObject) -> bool:
    """Does it hold for sidecars, and not for gateways alone?"""
    gateways = at(virtual_service, "spec", "gateways")
    return not isinstance(gateways, list | tuple) or not gateways or "mesh" in gateways


def _hosts(virtual_service: JSONObject, cluster_domain: str) -> set[str]:
    """Istio completes a host without a dot by the namespace of the VirtualService."""
    hosts = at(virtual_service, "spec", "hosts")
    namespace = at(virtual_service, "metadata", "namespace")
    given = [str(host).lower() for host in hosts] if isinstance(hosts, list | tuple) else []
    return {host if "." in host else f"{host}.{namespace}.svc.{cluster_domain}" for host in given}
