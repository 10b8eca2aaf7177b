"""The two listeners of a proxy that outsiders may call: is it ready, and what has it counted.

Both pass one fixed path on to the admin interface, which itself listens on loopback only.
"""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.message import Message

from smeagol.providers.envoy.protos import FilterChain, Listener, RouteAction
from smeagol.providers.envoy.resources import METRICS_PORT, READINESS_PORT, address, wildcard
from smeagol.providers.envoy.transparent import connection_manager

__all__ = ["ADMIN", "METRICS_PATH", "READINESS_PATH", "static_listeners"]

ADMIN = "admin"
READINESS_PATH = "/ready"
"""200 once the proxy has its first configuration (Envoy admin, `/ready`)."""
METRICS_PATH = "/stats/prometheus"
"""Counters that have counted something, as Prometheus text."""


def static_listeners(known_addresses: Sequence[str]) -> list[Message]:
    """On the Pod's own addresses, or on all where they are not known yet."""
    return [
        _window("readiness", known_addresses, READINESS_PORT, READINESS_PATH),
        _window("metrics", known_addresses, METRICS_PORT, METRICS_PATH, query="usedonly"),
    ]


def _window(name: str, known_addresses: Sequence[str], port: int, path: str, query: str = "") -> Message:
    route = {
        "match": {"path": path, "headers": [{"name": ":method", "string_match": {"exact": "GET"}}]},
        "route": RouteAction(cluster=ADMIN, prefix_rewrite=f"{path}?{query}" if query else ""),
    }
    hosts = [{"name": name, "domains": ["*"], "routes": [route]}]
    addresses = known_addresses or [wildcard(())]
    return Listener(
        name=name,
        address=address(addresses[0], port),
        additional_addresses=[{"address": address(other, port)} for other in addresses[1:]],
        stat_prefix=name,
        filter_chains=[FilterChain(filters=[connection_manager(name, route_config={"virtual_hosts": hosts})])],
    )
