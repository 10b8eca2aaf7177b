"""The small pieces every Envoy resource is made of, and the names and numbers that several modules must agree on."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from ipaddress import ip_address, ip_network

from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct, Value

from smeagol.intent import Endpoint
from smeagol.plan import ProxyResource
from smeagol.providers.envoy.protos import (
    Address,
    AnyMessage,
    Cluster,
    ClusterLoadAssignment,
    ConfigSource,
    LbEndpoint,
    Listener,
    RouteConfiguration,
    Secret,
)
from smeagol.refs import NodeId

__all__ = [
    "ADS",
    "ALPN_HTTP1",
    "ALPN_HTTP2",
    "ALPN_TCP",
    "APP",
    "DETECT",
    "INBOUND_PORT",
    "OUTBOUND_PORT",
    "PASSTHROUGH",
    "address",
    "assignment",
    "extension",
    "host_port",
    "lb_endpoint",
    "no_limits",
    "pack",
    "resource",
    "type_url",
    "wildcard",
]

INBOUND_PORT = 15006
OUTBOUND_PORT = 15001

PASSTHROUGH = "passthrough"
"""The cluster for traffic the mesh leaves alone: it goes where the application dialled."""
APP = "app"
"""The cluster that is the application beside this proxy. Static, because it carries the platform's socket mark."""
DETECT = "detect"
"""Internal listener and cluster that find out, after decryption, whether an undeclared port is spoken to in HTTP."""

ALPN_HTTP1 = "http/1.1"
ALPN_HTTP2 = "h2"
ALPN_TCP = "smi-tcp"
"""What a client proxy offers for a connection that it did not recognise as HTTP."""

HTTP_APPLICATION_PROTOCOLS = ("http/1.0", "http/1.1", "h2c")
"""What the HTTP inspector reports."""

UNREACHED = "x-smeagol-unreached"
"""Response header by which a server's proxy tells a client's proxy that the application never saw the request.

It never leaves the mesh: the server's proxy removes it from what the application answers, the client's always.
"""

MUTUAL_TLS_MATCH = Struct(fields={"smeagol": Value(string_value="mutual-tls")})
"""Endpoint metadata (`envoy.transport_socket_match`) of endpoints that are dialled by mutual TLS."""

ADS = ConfigSource(ads={}, resource_api_version="V3")
ADS_WITHOUT_TIMEOUT = ConfigSource(ads={}, resource_api_version="V3", initial_fetch_timeout=timedelta())

_NO_LIMIT = {"value": 2**32 - 1}
_SINGLE_FAMILY = 4


def type_url(message: Message | type[Message]) -> str:
    return f"type.googleapis.com/{message.DESCRIPTOR.full_name}"


CLUSTER_TYPE = type_url(Cluster)
ENDPOINTS_TYPE = type_url(ClusterLoadAssignment)
LISTENER_TYPE = type_url(Listener)
ROUTES_TYPE = type_url(RouteConfiguration)
SECRET_TYPE = type_url(Secret)


def resource(name: str, message: Message, *, node: NodeId | None = None, on_demand: bool = False) -> ProxyResource:
    """Equal messages give equal bytes: the body is what decides whether proxies hear of a change."""
    body = message.SerializeToString(deterministic=True)
    return ProxyResource(type_url=type_url(message), name=name, body=body, node=node, on_demand=on_demand)


def pack(message: Message) -> Message:
    return AnyMessage(type_url=type_url(message), value=message.SerializeToString(deterministic=True))


def extension(name: str, config: Message) -> dict[str, object]:
    """The fields of any of Envoy's `TypedExtensionConfig`-like messages: filters, sockets, predicates."""
    return {"name": name, "typed_config": pack(config)}


def address(ip: str, port: int) -> Message:
    """A wildcard of IPv6 takes IPv4 connections too."""
    return Address(socket_address={"address": ip, "port_value": port, "ipv4_compat": ip == "::"})


def wildcard(known: Iterable[str]) -> str:
    """Where to listen for all of a Pod, given the addresses or CIDRs that may occur: `::` means both families.

    A kernel without IPv6 refuses to bind `::`, so it is avoided where only IPv4 can occur. None known: both.
    """
    versions = {ip_network(item, strict=False).version for item in known}
    return "0.0.0.0" if versions == {_SINGLE_FAMILY} else "::"  # noqa: S104 - scrapers and peers come from outside


def host_port(ip: str, port: int) -> str:
    """As Envoy writes addresses (`%DOWNSTREAM_LOCAL_ADDRESS%`): IPv6 in brackets."""
    return f"[{ip}]:{port}" if ip_address(ip).version == 6 else f"{ip}:{port}"


def lb_endpoint(endpoint: Endpoint, *, server_name: str = "", weight: int | None = None) -> Message:
    """`server_name`: the name that this endpoint's certificate must carry, if not that of the cluster (`tls`)."""
    mutual = {"filter_metadata": {"envoy.transport_socket_match": MUTUAL_TLS_MATCH}} if endpoint.mutual_tls else None
    return LbEndpoint(
        endpoint={
            "address": address(endpoint.address, endpoint.port),
            "hostname": server_name if endpoint.mutual_tls else "",
        },
        metadata=mutual,
        load_balancing_weight=None if weight is None else {"value": weight},
    )


def assignment(name: str, *priorities: Iterable[Message]) -> Message:
    """The endpoints of a cluster, most preferred priority first. Envoy refuses a gap: empty ones keep their place."""
    return ClusterLoadAssignment(
        cluster_name=name,
        endpoints=[{"priority": level, "lb_endpoints": list(members)} for level, members in enumerate(priorities)],
    )


def no_limits() -> dict[str, object]:
    """Circuit breakers off: the mesh adds no limit of its own (Envoy's default is 1,024 requests)."""
    names = ("max_connections", "max_pending_requests", "max_requests", "max_retries")
    return {"thresholds": [dict.fromkeys(names, _NO_LIMIT)]}
