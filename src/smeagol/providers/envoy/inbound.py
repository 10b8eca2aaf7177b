"""What a server's proxy does with the connections that reach its Pod.

All are redirected to one listener, which decides by the dialled port and by whether TLS is spoken:

    mode         TLS                                       plaintext
    Strict       ended; client certificate required        refused
    Permissive   ended; client certificate required        served, without identity
    None         the application's own business            served, without identity

What a port speaks is decided here, by declaration, and never by what the client claims or by its silence: else a peer
could choose to be taken for raw bytes on an HTTP port and so bring its own identity header. An undeclared port is
looked at after decryption, by an internal listener that waits for the first bytes as long as they take. Hence a server
that speaks first needs a declared port, or one of those well known for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta

from google.protobuf.message import Message

from smeagol.intent import Protocol, TLSMode, WorkloadIntent
from smeagol.plan import ProxyResource
from smeagol.providers.envoy.metrics import INBOUND_STAT
from smeagol.providers.envoy.protos import (
    AccessLogFilter,
    Cluster,
    DirectResponse,
    Filter,
    FilterChain,
    FilterChainMatch,
    HeaderMutation,
    HttpInspector,
    InternalUpstream,
    Listener,
    ListenerFilter,
    LocalReplyConfig,
    MutualTLSPrincipal,
    OriginalDst,
    Principal,
    RawBuffer,
    RoleBasedAccess,
    RouteAction,
    SetFilterState,
    TlsInspector,
)
from smeagol.providers.envoy.resources import (
    ALPN_HTTP1,
    ALPN_HTTP2,
    ALPN_TCP,
    APP,
    DETECT,
    HTTP_APPLICATION_PROTOCOLS,
    INBOUND_PORT,
    OUTBOUND_PORT,
    UNREACHED,
    address,
    extension,
    no_limits,
    resource,
    wildcard,
)
from smeagol.providers.envoy.tls import server_socket
from smeagol.providers.envoy.transparent import connection_manager, routes, tcp_proxy

__all__ = ["IDENTITY", "detection_resources", "workload_resources"]

IDENTITY = "x-sme-identity"
"""Carries the verified names of the client to the application: DNS names, then URIs (spec: MutualTLS)."""

SERVER_SPEAKS_FIRST = frozenset({21, 22, 25, 110, 143, 587, 3306, 4444, 5432})
"""FTP, SSH, SMTP, POP3, IMAP, submission, MySQL, Galera, PostgreSQL: bytes, where a Service declares nothing else."""

_NEVER = timedelta()
_HANDSHAKE_TIMEOUT = timedelta(seconds=15)
_PLAINTEXT_TIMEOUT = timedelta(seconds=1)
"""How long a permissive port waits for a client's first byte before it takes the connection for plaintext."""
_EARLY_DATA_BYTES = 65536

_MESH_CLIENT_STATE = "smeagol.mesh_client"
_DNS_STATE = "smeagol.peer_dns"
_URI_STATE = "smeagol.peer_uri"


def workload_resources(workload: WorkloadIntent) -> tuple[ProxyResource, ...]:
    """The one listener that differs from Pod to Pod; it changes with the Pod's ports and mode only."""
    return (resource("inbound", _inbound(workload), node=workload.node),)


def _inbound(workload: WorkloadIntent) -> Message:
    chains = [_loop(OUTBOUND_PORT), _loop(INBOUND_PORT)]
    common: dict[str, object] = {
        "name": "inbound",
        "address": address(wildcard(workload.addresses), INBOUND_PORT),
        "traffic_direction": "INBOUND",
        "stat_prefix": "inbound",
    }
    original_dst = ListenerFilter(**extension("original_dst", OriginalDst()))
    ports = [(port.number, _spoken(port.number, port.protocol)) for port in workload.inbound_ports]
    if workload.mode is None:
        return Listener(listener_filters=[original_dst], filter_chains=[*chains, *_plain_chains(ports)], **common)
    permissive = workload.mode is TLSMode.PERMISSIVE
    chains += _tls_chains(ports, permissive=permissive)
    return Listener(
        # The order matters: a timeout skips the filters that have not run.
        listener_filters=[original_dst, ListenerFilter(**extension("tls_inspector", TlsInspector()))],
        listener_filters_timeout=_PLAINTEXT_TIMEOUT if permissive else _HANDSHAKE_TIMEOUT,
        continue_on_listener_filters_timeout=permissive,
        filter_chains=chains,
        **common,
    )


def _spoken(number: int, protocol: Protocol) -> Protocol:
    return Protocol.TCP if protocol is Protocol.AUTO and number in SERVER_SPEAKS_FIRST else protocol


def _loop(port: int) -> Message:
    """Who dials the proxy's own port is cut off: the proxy would forward to itself for ever."""
    return _chain(f"loop-{port}", [Filter(**extension("direct_response", DirectResponse()))], port=port)


def _plain_chains(ports: Iterable[tuple[int, Protocol]]) -> Iterator[Message]:
    """Mode None: HTTP where declared or seen; all else, encrypted or not, goes to the application as it is."""
    for number, protocol in ports:
        if protocol is not Protocol.AUTO:
            filters = [_plain_http(report=True)] if protocol.is_http else [_to_app()]
            yield _chain(f"{protocol.value}-{number}", filters, port=number)
    yield _chain("any", [_mark_mesh_client(), _remember_destination(), _to_detect()])


def _tls_chains(ports: Iterable[tuple[int, Protocol]], *, permissive: bool) -> Iterator[Message]:
    """Once a port has a chain of its own, Envoy does not fall back to the chains for any port."""
    for number, protocol in ports:
        if protocol is Protocol.AUTO:
            continue
        name = f"{protocol.value}-{number}"
        if protocol.is_http:
            http2 = protocol is not Protocol.HTTP
            yield _tls_chain(name, [_refuse_commas(), _http()], port=number, prefer_http2=http2)
        elif permissive and protocol is Protocol.TLS:
            # Only a mesh client says smi-tcp; whoever else speaks TLS here means the application.
            yield _tls_chain(name, [_to_app(after_handshake=True)], port=number, alpn=(ALPN_TCP,))
            yield _chain(f"own-{name}", [_to_app()], port=number, transport="tls")
        else:
            yield _tls_chain(name, [_to_app(after_handshake=True)], port=number)
        if permissive:
            plain = [_plain_http(report=False)] if protocol.is_http else [_to_app()]
            yield _chain(f"plain-{name}", plain, port=number, transport="raw_buffer")
    yield _tls_chain("http", [_refuse_commas(), _http()], alpn=(ALPN_HTTP1, ALPN_HTTP2))
    detect = [_refuse_commas(), _remember_peer(), _remember_destination(), _to_detect(after_handshake=True)]
    yield _tls_chain("any", detect)
    if permissive:
        yield _chain("plain-any", [_remember_destination(), _to_detect()], transport="raw_buffer")


def _chain(
    name: str,
    filters: Sequence[Message],
    *,
    port: int | None = None,
    transport: str = "",
    alpn: Sequence[str] = (),
    **fields: object,
) -> Message:
    """A filter chain and when it is taken. `fields` are further ones of FilterChain."""
    match = FilterChainMatch(
        destination_port=None if port is None else {"value": port},
        transport_protocol=transport,
        application_protocols=alpn,
    )
    return FilterChain(name=name, filter_chain_match=match, filters=filters, **fields)


def _tls_chain(
    name: str,
    filters: Sequence[Message],
    *,
    port: int | None = None,
    alpn: Sequence[str] = (),
    prefer_http2: bool = False,
) -> Message:
    return _chain(
        f"tls-{name}",
        filters,
        port=port,
        transport="tls",
        alpn=alpn,
        transport_socket=server_socket(prefer_http2=prefer_http2),
        transport_socket_connect_timeout=_HANDSHAKE_TIMEOUT,
    )


def _to_app(*, after_handshake: bool = False) -> Message:
    """Bytes to the application. Behind TLS it hears of a client only once that client is verified."""
    return tcp_proxy(INBOUND_STAT, APP, **(_AFTER_HANDSHAKE if after_handshake else {}))


def _to_detect(*, after_handshake: bool = False) -> Message:
    return tcp_proxy(DETECT, DETECT, **(_AFTER_HANDSHAKE if after_handshake else {}))


_AFTER_HANDSHAKE: dict[str, object] = {
    "upstream_connect_mode": "ON_DOWNSTREAM_TLS_HANDSHAKE",
    "max_early_data_bytes": {"value": _EARLY_DATA_BYTES},
}


def _refuse_commas() -> Message:
    """Refuse a certificate with a name that would read as two in a comma-separated header.

    Ours never have one; an external authority's may. Once per connection, before a byte of it is passed on.
    """
    names = {"safe_regex": {"regex": ".*[, ].*"}}
    principals = [
        Principal(authenticated={"principal_name": names}),
        Principal(
            custom=extension(
                "envoy.rbac.principals.mtls_authenticated",
                MutualTLSPrincipal(san_matcher={"san_type": "DNS", "matcher": names}),
            )
        ),
    ]
    rules = {"action": "DENY", "policies": {"comma": {"permissions": [{"any": True}], "principals": principals}}}
    return Filter(**extension("rbac", RoleBasedAccess(stat_prefix=INBOUND_STAT, rules=rules)))


def _remember_peer() -> Message:
    """Hand the verified names to the internal listener; they are known only once the handshake is done."""
    states = [
        _state(_MESH_CLIENT_STATE, "true"),
        _state(_DNS_STATE, "%DOWNSTREAM_PEER_DNS_SAN%"),
        _state(_URI_STATE, "%DOWNSTREAM_PEER_URI_SAN%"),
    ]
    return Filter(**extension("remember_peer", SetFilterState(on_downstream_tls_handshake=states)))


def _mark_mesh_client() -> Message:
    """Tell the internal listener that a mesh client may be at the other end, though in plaintext."""
    return Filter(**extension("mesh_client", SetFilterState(on_new_connection=[_state(_MESH_CLIENT_STATE, "true")])))


def _state(key: str, value: str) -> dict[str, object]:
    """A string that the internal listener can read; none if the value is empty."""
    return {
        "object_key": key,
        "factory_key": "envoy.string",
        "shared_with_upstream": "ONCE",
        "skip_if_empty": True,
        "format_string": {"omit_empty_values": True, "text_format_source": {"inline_string": value}},
    }


def _remember_destination() -> Message:
    state = {
        "object_key": "envoy.filters.listener.original_dst.local_ip",
        "shared_with_upstream": "ONCE",
        "format_string": {"text_format_source": {"inline_string": "%DOWNSTREAM_LOCAL_ADDRESS%"}},
    }
    return Filter(**extension("remember_destination", SetFilterState(on_new_connection=[state])))


def _http() -> Message:
    """HTTP behind mutual TLS, on this very connection."""
    names = ("%DOWNSTREAM_PEER_DNS_SAN%", "%DOWNSTREAM_PEER_URI_SAN%")
    return _to_app_by_http(identity=names, report="true")


def _plain_http(*, report: bool) -> Message:
    """HTTP in plaintext: no identity. `report`: a mesh client may be at the other end."""
    return _to_app_by_http(identity=(), report="true" if report else "")


def _to_app_by_http(*, identity: Sequence[str], report: str) -> Message:
    """HTTP to the application.

    `identity`: formats of what its identity header is made of; a header that the client sent is removed first.
    `report`: value of the header that tells a mesh client that the application never saw the request; empty: none.
    """
    actions = ("OVERWRITE_IF_EXISTS_OR_ADD", "APPEND_IF_EXISTS_OR_ADD")
    config = {
        "name": "inbound",
        "virtual_hosts": routes(RouteAction(cluster=APP, timeout=_NEVER)),
        "request_headers_to_remove": [IDENTITY],
        "request_headers_to_add": [
            {"header": {"key": IDENTITY, "value": value}, "append_action": action}
            for value, action in zip(identity, actions, strict=False)
        ],
        "response_headers_to_remove": [UNREACHED],
    }
    return connection_manager(
        INBOUND_STAT,
        http_filters=[_clean_trailers()],
        route_config=config,
        local_reply_config=_report_unreached(report) if report else None,
    )


def _clean_trailers() -> dict[str, object]:
    """Remove the identity header from the trailers too: some applications merge them into the headers."""
    removal = {"request_trailers_mutations": [{"remove": IDENTITY}]}
    return extension("clean_trailers", HeaderMutation(mutations=removal))


def _report_unreached(value: str) -> Message:
    """The reply to a request for which no connection to the application could be made (response flag UF)."""
    failed = AccessLogFilter(response_flag_filter={"flags": ["UF"]})
    header = {"header": {"key": UNREACHED, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
    return LocalReplyConfig(mappers=[{"filter": failed, "headers_to_add": [header]}])


def detection_resources() -> tuple[ProxyResource, ...]:
    """The internal listener behind undeclared ports, the same in every proxy, and the cluster that leads to it.

    It has no timeout, so that silence cannot turn HTTP into bytes.
    """
    names = (f"%FILTER_STATE({_DNS_STATE}:PLAIN)%", f"%FILTER_STATE({_URI_STATE}:PLAIN)%")
    http = _to_app_by_http(
        identity=names,
        report=f"%FILTER_STATE({_MESH_CLIENT_STATE}:PLAIN)%",
    )
    listener = Listener(
        name=DETECT,
        internal_listener={},
        stat_prefix=DETECT,
        listener_filters=[
            ListenerFilter(**extension("original_dst", OriginalDst())),
            ListenerFilter(**extension("http_inspector", HttpInspector())),
        ],
        listener_filters_timeout=_NEVER,
        filter_chains=[_chain("http", [http], alpn=HTTP_APPLICATION_PROTOCOLS)],
        default_filter_chain=FilterChain(name="tcp", filters=[_to_app()]),
    )
    endpoint = {"endpoint": {"address": {"envoy_internal_address": {"server_listener_name": DETECT}}}}
    cluster = Cluster(
        name=DETECT,
        type="STATIC",
        circuit_breakers=no_limits(),
        load_assignment={"cluster_name": DETECT, "endpoints": [{"lb_endpoints": [endpoint]}]},
        transport_socket=extension(
            "internal_upstream", InternalUpstream(transport_socket=extension("raw", RawBuffer()))
        ),
    )
    return resource(DETECT, listener), resource(DETECT, cluster)
