"""The listeners of a proxy that outsiders may call: is it ready, what has it counted, and is its application well.

Each passes a few fixed paths on: to the admin interface, a Unix socket that nobody else sees, or to the application,
from the address that redirect rules let through. So probes work whatever the application's port demands of clients.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta

from google.protobuf.message import Message

from smeagol.plan import METRICS_PORT, READINESS_PATH, READINESS_PORT, AppProbe, ProbeKind
from smeagol.providers.envoy.protos import (
    Cluster,
    FilterChain,
    HealthCheck,
    LbEndpoint,
    Listener,
    RouteAction,
    TransportSocket,
    UpstreamTlsContext,
)
from smeagol.providers.envoy.resources import address, assignment, extension, no_limits, wildcard
from smeagol.providers.envoy.transparent import connection_manager, http_options

__all__ = ["ADMIN", "METRICS_PATH", "READINESS_PATH", "probe_clusters", "static_listeners"]

ADMIN = "admin"
METRICS_PATH = "/stats/prometheus"
"""Counters that have counted something, as Prometheus text."""

_HEALTH_SERVICE = "/grpc.health.v1.Health/Check"
_NEVER = timedelta()
_CONNECT_TIMEOUT = timedelta(seconds=5)
_RECOVERY_INTERVAL = timedelta(seconds=1)
"""How soon an application that takes connections again is seen to, whatever the probe's period."""


def static_listeners(known_addresses: Sequence[str], probes: Sequence[AppProbe] = ()) -> list[Message]:
    """On the Pod's own addresses, or on all where they are not known yet."""
    by_port: dict[int, list[AppProbe]] = {READINESS_PORT: []}
    for probe in probes:
        by_port.setdefault(probe.asked_at, []).append(probe)
    metrics = _route(METRICS_PATH, ADMIN, f"{METRICS_PATH}?usedonly")
    return [
        _window("readiness", known_addresses, READINESS_PORT, [_route(READINESS_PATH, ADMIN)], by_port[READINESS_PORT]),
        _window("metrics", known_addresses, METRICS_PORT, [metrics]),
        *(
            _window(f"probes-{port}", known_addresses, port, (), asked)
            for port, asked in sorted(by_port.items())
            if port != READINESS_PORT
        ),
    ]


def _window(
    name: str,
    known_addresses: Sequence[str],
    port: int,
    routes: Iterable[dict[str, object]],
    probes: Sequence[AppProbe] = (),
) -> Message:
    passed_on = [_probe_route(probe) for probe in probes if probe.kind is not ProbeKind.TCP]
    hosts = [{"name": name, "domains": ["*"], "routes": [*routes, *passed_on]}]
    filters = [_answer_for_tcp(probe) for probe in probes if probe.kind is ProbeKind.TCP]
    manager = connection_manager(name, route_config={"virtual_hosts": hosts}, http_filters=filters)
    addresses = known_addresses or [wildcard(())]
    return Listener(
        name=name,
        address=address(addresses[0], port),
        additional_addresses=[{"address": address(other, port)} for other in addresses[1:]],
        stat_prefix=name,
        filter_chains=[FilterChain(filters=[manager])],
    )


def _route(path: str, cluster: str, target: str = "", method: str = "GET") -> dict[str, object]:
    return {
        "match": {"path": path, "headers": [{"name": ":method", "string_match": {"exact": method}}]},
        # The kubelet knows how long it wants to wait.
        "route": RouteAction(cluster=cluster, prefix_rewrite=target, timeout=_NEVER),
    }


def _probe_route(probe: AppProbe) -> dict[str, object]:
    if probe.kind is ProbeKind.GRPC:
        return _route(_HEALTH_SERVICE, _cluster_name(probe), method="POST")
    # The kubelet would follow a redirect to another port of the Pod, where it would be refused. Without a location it
    # takes the redirect for what it is: an answer of a healthy application.
    return {**_route(probe.path, _cluster_name(probe), probe.target), "response_headers_to_remove": ["location"]}


def _answer_for_tcp(probe: AppProbe) -> dict[str, object]:
    check = HealthCheck(
        pass_through_mode={"value": False},
        headers=[{"name": ":path", "string_match": {"exact": probe.path}}],
        cluster_min_healthy_percentages={_cluster_name(probe): {"value": 100}},
    )
    return extension(_cluster_name(probe), check)


def probe_clusters(probes: Iterable[AppProbe], pod_address: str, bind: Message) -> list[Message]:
    """The application's probed ports, each with how it is spoken to. `bind`: what the proxy's connections come from."""
    periods: dict[tuple[ProbeKind, int], int] = {}
    for probe in probes:
        key = (probe.kind, probe.port)
        periods[key] = min(probe.period_seconds, periods.get(key, probe.period_seconds))
    return [
        _cluster(AppProbe(kind=kind, port=port, period_seconds=periods[kind, port]), pod_address, bind)
        for kind, port in sorted(periods, key=lambda key: (key[0].value, key[1]))
    ]


def _cluster_name(probe: AppProbe) -> str:
    return f"probe-{probe.kind.value}-{probe.port}"


def _cluster(probe: AppProbe, pod_address: str, bind: Message) -> Message:
    name = _cluster_name(probe)
    # As the kubelet, which checks no certificate, and asks on a new connection each time.
    tls = TransportSocket(**extension("tls", UpstreamTlsContext())) if probe.kind is ProbeKind.HTTPS else None
    return Cluster(
        name=name,
        type="STATIC",
        connect_timeout=_CONNECT_TIMEOUT,
        circuit_breakers=no_limits(),
        load_assignment=assignment(name, [LbEndpoint(endpoint={"address": address(pod_address, probe.port)})]),
        upstream_bind_config=bind,
        transport_socket=tls,
        typed_extension_protocol_options=http_options(reuse=False),
        health_checks=[_takes_connections(probe.period_seconds)] if probe.kind is ProbeKind.TCP else [],
    )


def _takes_connections(period_seconds: int) -> dict[str, object]:
    """Try to connect, and hang up, as the kubelet does; whether one failure counts is for the kubelet to say."""
    period = timedelta(seconds=period_seconds)
    return {
        "timeout": _CONNECT_TIMEOUT,
        "interval": period,
        "unhealthy_interval": _RECOVERY_INTERVAL,
        # Nothing but these checks ever goes to the cluster, which counts as no traffic.
        "no_traffic_interval": _RECOVERY_INTERVAL,
        "no_traffic_healthy_interval": period,
        "unhealthy_threshold": {"value": 1},
        "healthy_threshold": {"value": 1},
        "reuse_connection": {"value": False},
        "tcp_health_check": {},
    }
