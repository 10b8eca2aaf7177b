"""What a client's proxy does with the connections that its application opens.

They arrive at one catcher, which hands each to the listener of the dialled address (`use_original_dst`): a virtual
listener per ClusterIP and port. What no listener knows passes through untouched. So a Service port needs four
resources of one name, `<fqdn>:<port>`, shared by all proxies, and a change of one Service touches no other:

    listener    the dialled addresses; by declared protocol HTTP, bytes, or a look at the first bytes
    routes      HTTP only: which cluster gets a request
    cluster     how its endpoints are dialled: meshed ones by mutual TLS
    endpoints

A Service with addresses of both families has these four for each, so that who dials IPv6 is answered by IPv6 as without
a mesh: many an application listens to one family only. Those of the family that comes second are named
`ipv6/<fqdn>:<port>` (or `ipv4/…`).

The catcher itself must not look at bytes: that would delay every connection whose server speaks first.

A headless Service is dialled by the addresses of its endpoints, so it has a listener for each of them, named
`headless/<address>:<port>`. Any other address of a Pod is asked for on demand, as cluster `pod/<address>:<port>`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_network

from google.protobuf.message import Message

from smeagol.intent import Endpoint, MeshIntent, Protocol, ServiceIntent, ServicePort, Split
from smeagol.plan import ProxyResource
from smeagol.providers.envoy.metrics import outbound_stat
from smeagol.providers.envoy.protos import (
    Cluster,
    DirectResponse,
    Filter,
    FilterChain,
    HttpInspector,
    Listener,
    ListenerFilter,
    PreviousHosts,
    PreviousPriorities,
    RetryPolicy,
    RouteAction,
    RouteConfiguration,
    SetFilterState,
)
from smeagol.providers.envoy.resources import (
    ADS,
    ALPN_TCP,
    HTTP_APPLICATION_PROTOCOLS,
    OUTBOUND_PORT,
    PASSTHROUGH,
    UNREACHED,
    address,
    assignment,
    extension,
    host_port,
    lb_endpoint,
    no_limits,
    resource,
    wildcard,
)
from smeagol.providers.envoy.split import backend_assignment, connection_assignment, request_weights
from smeagol.providers.envoy.tls import by_endpoint, client_socket, client_socket_to_address
from smeagol.providers.envoy.transparent import connection_manager, http_options, routes, tcp_proxy

__all__ = ["catcher_resources", "pod_cluster", "service_resources", "to_service"]

_CONNECT_TIMEOUT = timedelta(seconds=5)
_DIAL_TIMEOUT = timedelta(seconds=130)
"""As long as the kernel would try (tcp_syn_retries = 6): the mesh does not shorten what it merely passes on."""
_DETECTION_TIMEOUT = timedelta(milliseconds=500)
"""How long an undeclared port waits for the client's first bytes before it takes the server to speak first."""
_ON_DEMAND_TIMEOUT = timedelta(seconds=5)
_CONNECTION_AGE = timedelta(minutes=1)
"""After this time requests use a new connection, so that a server sees the client's present names."""
_RETRIES = 3
_HOST_SELECTIONS = 32
"""Draws for a host that was not tried yet, after which any is taken. A dead one answers fast and so looks idle: of two
hosts it is drawn three times in four, and with as few draws as retries one request in some hundreds found no other."""


def service_resources(service: ServiceIntent) -> tuple[ProxyResource, ...]:
    """Everything that clients' proxies need for one Service."""
    return tuple(
        made
        for prefix, part in _by_family(service)
        for port in part.ports
        for made in _port_resources(part, port, prefix)
    )


def _by_family(service: ServiceIntent) -> Iterator[tuple[str, ServiceIntent]]:
    """The Service as those see it who dial it by one family of addresses, with a prefix for names; the primary family
    has none. It is answered by that family, if there is an endpoint of it, else by the other."""
    own = service.cluster_ips or sorted(e.address for port in service.ports for e in port.dialled)
    families = tuple(dict.fromkeys(map(_family, own)))
    answering = {_family(e.address) for port in service.ports for e in _all_endpoints(port)}
    if not families or answering | set(families) == {families[0]}:
        yield "", service  # as nearly all
        return
    for family in families:
        prefix = "" if family == families[0] else f"{family}/"
        yield prefix, _of_family(service, family)


def _family(ip: str) -> str:
    return "ipv6" if ":" in ip else "ipv4"


def _all_endpoints(port: ServicePort) -> Iterator[Endpoint]:
    yield from port.endpoints
    if port.split is not None:
        for backend in port.split.backends:
            yield from backend.endpoints


def _of_family(service: ServiceIntent, family: str) -> ServiceIntent:
    def answering(endpoints: tuple[Endpoint, ...]) -> tuple[Endpoint, ...]:
        return tuple(e for e in endpoints if _family(e.address) == family) or endpoints

    def divided(split: Split) -> Split:
        return replace(split, backends=tuple(replace(b, endpoints=answering(b.endpoints)) for b in split.backends))

    ports = tuple(
        replace(
            port,
            endpoints=answering(port.endpoints),
            dialled=tuple(e for e in port.dialled if _family(e.address) == family),
            split=port.split and divided(port.split),
        )
        for port in service.ports
    )
    ips = tuple(ip for ip in service.cluster_ips if _family(ip) == family)
    return replace(service, cluster_ips=ips, ports=ports)


def _port_resources(service: ServiceIntent, port: ServicePort, prefix: str) -> Iterator[ProxyResource]:
    name = f"{prefix}{service.fqdn}:{port.number}"
    stat = outbound_stat(service.ref.namespace, service.ref.name, port.number)
    if service.headless and port.split is None:
        yield resource(name, _dialled_cluster(name, stat, service.fqdn))
    else:
        yield resource(name, _cluster(name, stat, service.fqdn, port.protocol))
        yield resource(name, _endpoints(name, service, port))
    if port.split and not port.protocol.is_opaque:
        for backend in port.split.backends:
            version = _version(name, backend.service.name)
            own_stat = outbound_stat(service.ref.namespace, service.ref.name, port.number, backend.service.name)
            yield resource(version, _cluster(version, own_stat, service.fqdn, port.protocol))
            yield resource(version, backend_assignment(version, port.split, backend, service.cluster_domain))
    if not port.protocol.is_opaque:
        yield resource(name, _routes(name, port))

    if service.headless:
        for endpoint in _touched(port):
            own = f"headless/{host_port(endpoint.address, endpoint.port)}"
            yield resource(own, _listener(own, [(endpoint.address, endpoint.port)], name, stat, port.protocol))
    elif service.cluster_ips:
        dialled = [(ip, port.number) for ip in service.cluster_ips]
        yield resource(name, _listener(name, dialled, name, stat, port.protocol))


def _version(name: str, backend: str) -> str:
    """The name of a backend's part in a split: its cluster and its endpoints."""
    return f"{name}/{backend}"


def _touched(port: ServicePort) -> Sequence[Endpoint]:
    """The dialled addresses of a headless Service that need a listener: unmeshed ones pass through, unless split."""
    return [endpoint for endpoint in port.dialled if endpoint.mutual_tls or port.split]


def _endpoints(name: str, service: ServiceIntent, port: ServicePort) -> Message:
    """Those of the Service itself, or of its split's backends as connections are divided among them.

    Requests are divided by routes, each backend with a cluster of its own: new weights move no endpoints.
    """
    if port.split and not port.protocol.is_http:
        return connection_assignment(name, port.split, service.cluster_domain)
    return assignment(name, [lb_endpoint(endpoint) for endpoint in port.endpoints])


def _cluster(name: str, stat: str, server_name: str, protocol: Protocol) -> Message:
    """One cluster for all endpoints, whether meshed or not; it stays the same whatever a Canary does.

    Where connections are counted out by endpoint weights the policy must be the one that honours them exactly.
    An endpoint that leaves is forgotten at once (`ignore_health_on_host_removal`).
    """
    return Cluster(
        name=name,
        alt_stat_name=stat,
        type="EDS",
        eds_cluster_config={"eds_config": ADS},
        connect_timeout=_CONNECT_TIMEOUT,
        lb_policy="LEAST_REQUEST" if protocol.is_http else "ROUND_ROBIN",
        common_lb_config={"healthy_panic_threshold": {}},
        ignore_health_on_host_removal=True,
        circuit_breakers=no_limits(),
        transport_socket_matches=by_endpoint(server_name),
        typed_extension_protocol_options=None if protocol.is_opaque else http_options(connection_age=_CONNECTION_AGE),
    )


def _dialled_cluster(name: str, stat: str, server_name: str) -> Message:
    """A headless Service's meshed endpoints: the one that was dialled, by mutual TLS."""
    return Cluster(
        name=name,
        alt_stat_name=stat,
        type="ORIGINAL_DST",
        lb_policy="CLUSTER_PROVIDED",
        connect_timeout=_CONNECT_TIMEOUT,
        circuit_breakers=no_limits(),
        transport_socket=client_socket(server_name),
        typed_extension_protocol_options=http_options(connection_age=_CONNECTION_AGE),
    )


def _routes(name: str, port: ServicePort) -> Message:
    if port.split is None:
        action = RouteAction(cluster=name, timeout=timedelta())
    else:
        clusters = [
            {"name": _version(name, backend.service.name), "weight": {"value": weight}}
            for backend, weight in request_weights(port.split)
        ]
        action = RouteAction(weighted_clusters={"clusters": clusters}, timeout=timedelta())
    return RouteConfiguration(
        name=name,
        virtual_hosts=routes(action, retry_policy=_retries(split=port.split is not None)),
        validate_clusters={"value": False},
        response_headers_to_remove=[UNREACHED],
    )


def _retries(*, split: bool) -> Message:
    """Try another endpoint when no application has seen the request, and only then.

    In a split two attempts stay with the chosen backend; then the others may answer (`split.backend_assignment`).
    """
    return RetryPolicy(
        retry_on="connect-failure,refused-stream,reset-before-request,retriable-headers",
        retriable_headers=[{"name": UNREACHED, "present_match": True}],
        num_retries={"value": _RETRIES},
        retry_host_predicate=[extension("previous_hosts", PreviousHosts())],
        host_selection_retry_max_attempts=_HOST_SELECTIONS,
        retry_priority=extension("previous_priorities", PreviousPriorities(update_frequency=2)) if split else None,
    )


def _listener(name: str, dialled: Sequence[tuple[str, int]], port_name: str, stat: str, protocol: Protocol) -> Message:
    """What is dialled as one of these addresses and ports. It binds nothing: the catcher hands connections over."""
    first, *others = dialled
    return Listener(
        name=name,
        address=address(*first),
        additional_addresses=[{"address": address(*other)} for other in others],
        bind_to_port={"value": False},
        traffic_direction="OUTBOUND",
        stat_prefix="out",
        **to_service(port_name, stat, protocol),
    )


def to_service(
    port_name: str,
    stat: str,
    protocol: Protocol,
    *,
    http_filters: Sequence[dict[str, object]] = (),
    requests_at_most: int = 0,
) -> dict[str, object]:
    """The fields of a listener whose connections are for a Service port. `http_filters` look at requests first."""
    routed = {"route_config_name": port_name, "config_source": ADS}
    manager = connection_manager(stat, http_filters=http_filters, requests_at_most=requests_at_most, rds=routed)
    raw = FilterChain(name="tcp", filters=_tcp(port_name, stat))
    if not (protocol.is_http or protocol.is_opaque):
        detected = {"application_protocols": HTTP_APPLICATION_PROTOCOLS}
        return {
            "listener_filters": [ListenerFilter(**extension("http_inspector", HttpInspector()))],
            "listener_filters_timeout": _DETECTION_TIMEOUT,
            "continue_on_listener_filters_timeout": True,
            "filter_chains": [FilterChain(name="http", filter_chain_match=detected, filters=[manager])],
            "default_filter_chain": raw,
        }
    return {"filter_chains": [FilterChain(name="http", filters=[manager]) if protocol.is_http else raw]}


def _tcp(cluster: str, stat: str) -> list[Message]:
    return [
        _on_new_connection("envoy.network.application_protocols", ALPN_TCP),
        tcp_proxy(stat, cluster, max_connect_attempts={"value": 1 + _RETRIES}),
    ]


def _on_new_connection(key: str, value: str) -> Message:
    state = {"object_key": key, "format_string": {"text_format_source": {"inline_string": value}}}
    return Filter(**extension("set_filter_state", SetFilterState(on_new_connection=[state])))


def catcher_resources(mesh: MeshIntent) -> tuple[ProxyResource, ...]:
    """The catcher and the way past the mesh.

    A dialled Pod address picks its cluster by name, on demand: only the control plane knows which Pods are meshed.
    Who dials the catcher itself is cut off: it would forward to itself for ever.
    """
    loop = FilterChain(
        name="loop",
        filter_chain_match={"destination_port": {"value": OUTBOUND_PORT}},
        filters=[Filter(**extension("direct_response", DirectResponse()))],
    )
    chains = [loop]
    if mesh.pod_cidrs:
        cidrs = [ip_network(cidr, strict=False) for cidr in mesh.pod_cidrs]
        pods = FilterChain(
            name="pods",
            filter_chain_match={
                "prefix_ranges": [
                    {"address_prefix": str(cidr.network_address), "prefix_len": {"value": cidr.prefixlen}}
                    for cidr in cidrs
                ]
            },
            filters=[
                _on_new_connection("envoy.tcp_proxy.cluster", "pod/%DOWNSTREAM_LOCAL_ADDRESS%"),
                _on_new_connection("envoy.network.application_protocols", ALPN_TCP),
                tcp_proxy("pod", PASSTHROUGH, on_demand={"odcds_config": ADS, "timeout": _ON_DEMAND_TIMEOUT}),
            ],
        )
        chains.append(pods)
    catcher = Listener(
        name="outbound",
        address=address(wildcard(mesh.families_of), OUTBOUND_PORT),
        use_original_dst={"value": True},
        traffic_direction="OUTBOUND",
        stat_prefix="outbound",
        filter_chains=chains,
        default_filter_chain=FilterChain(name="passthrough", filters=[tcp_proxy(PASSTHROUGH, PASSTHROUGH)]),
    )
    passthrough = Cluster(
        name=PASSTHROUGH,
        type="ORIGINAL_DST",
        lb_policy="CLUSTER_PROVIDED",
        connect_timeout=_DIAL_TIMEOUT,
        circuit_breakers=no_limits(),
    )
    return resource("outbound", catcher), resource(PASSTHROUGH, passthrough)


def pod_cluster(ip: str, port: int, *, mutual_tls: bool, on_demand: bool = True) -> ProxyResource:
    """One Pod port dialled by its own address; the server proves that address (spec: MutualTLS, Server certificate)."""
    name = f"pod/{host_port(ip, port)}"
    cluster = Cluster(
        name=name,
        alt_stat_name="pod",
        type="STATIC",
        connect_timeout=_CONNECT_TIMEOUT if mutual_tls else _DIAL_TIMEOUT,
        circuit_breakers=no_limits(),
        transport_socket=client_socket_to_address(ip) if mutual_tls else None,
        load_assignment=assignment(name, [lb_endpoint(Endpoint(ip, port))]),
    )
    return resource(name, cluster, on_demand=on_demand)
