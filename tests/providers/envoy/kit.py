"""Intents in few words."""

from __future__ import annotations

from smeagol.intent import (
    Backend,
    Endpoint,
    Fronted,
    InboundPort,
    MeshIntent,
    Protocol,
    ServiceIntent,
    ServicePort,
    Split,
    TLSMode,
    WorkloadIntent,
)
from smeagol.plan import ProxyConnection
from smeagol.refs import NodeId, ObjectRef, PodRef, ServiceRef, SubjectName

__all__ = ["LOCAL", "MESH", "backend", "service", "service_port", "split", "workload"]

MESH = MeshIntent(cluster_domain="cluster.local", trust_domain="cluster.local", pod_cidrs=("10.0.0.0/16", "fd00::/64"))
LOCAL = ProxyConnection(address="127.0.0.1:18000")


def backend(name: str, weight_milli: int, *endpoints: Endpoint) -> Backend:
    return Backend(service=ServiceRef("shop", name), weight_milli=weight_milli, endpoints=endpoints)


def split(*backends: Backend) -> Split:
    return Split(canary=ObjectRef("Canary", "shop", "web"), backends=backends)


def service_port(
    *endpoints: Endpoint, number: int = 80, protocol: Protocol = Protocol.HTTP, divided: Split | None = None
) -> ServicePort:
    """Of use in headless Services too: all endpoints are dialled by their addresses."""
    return ServicePort(
        number=number, name=protocol.value, protocol=protocol, endpoints=endpoints, split=divided, dialled=endpoints
    )


def service(*ports: ServicePort, name: str = "web", cluster_ips: tuple[str, ...] = ("10.96.0.1",)) -> ServiceIntent:
    """No cluster IPs: a headless Service."""
    return ServiceIntent(
        ref=ServiceRef("shop", name),
        fqdn=f"{name}.shop.svc.cluster.local",
        cluster_ips=cluster_ips,
        headless=not cluster_ips,
        ports=ports,
        cluster_domain="cluster.local",
    )


def workload(
    *ports: InboundPort,
    mode: TLSMode | None = TLSMode.STRICT,
    addresses: tuple[str, ...] = ("10.0.0.1", "fd00::1"),
    name: str = "web-1",
    server_names: tuple[str, ...] = ("web.shop.svc.cluster.local",),
    fronted: Fronted | None = None,
) -> WorkloadIntent:
    """`server_names`: further ones than the addresses."""
    return WorkloadIntent(
        pod=PodRef("shop", name),
        uid="4f0c",
        node=NodeId(f"shop/{name}"),
        addresses=addresses,
        service_account="web",
        mode=mode,
        client_names=(SubjectName("spiffe://cluster.local/ns/shop/sa/web"),),
        server_names=tuple(SubjectName(known) for known in (*addresses, *server_names)),
        inbound_ports=ports,
        fronted=fronted,
    )
