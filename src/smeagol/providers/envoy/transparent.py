"""Traffic as it passes through a proxy: nothing added, limited, normalised or timed out that was not so before.

What a user must not notice: header spelling, `server`, `x-forwarded-for`, `x-request-id`, paths, long polls, trailers,
`100-continue`, HTTP/1.0, upgrades (WebSocket, SPDY), large headers. What Envoy still does: it adds
`x-forwarded-proto` and `date` where they are missing, drops hop-by-hop headers (RFC 9110, 7.6.1), and refuses methods
that no registry lists. `CONNECT` is passed on like any request.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from google.protobuf.message import Message

from smeagol.providers.envoy.protos import (
    Filter,
    HttpConnectionManager,
    HttpProtocolOptions,
    PreserveCase,
    Router,
    TcpProxy,
)
from smeagol.providers.envoy.resources import extension, pack

__all__ = ["connection_manager", "http_options", "routes", "tcp_proxy", "upstream_http"]

_NEVER = timedelta()
_MAX_HEADERS = 2000
_MAX_HEADERS_KIB = 512
_UPGRADES = ("websocket", "spdy/3.1", "tcp", "CONNECT")

_HTTP1 = {
    "accept_http_10": True,
    "default_host_for_http_10": "localhost",
    "enable_trailers": True,
    "header_key_format": {"stateful_formatter": extension("preserve_case", PreserveCase())},
    # A client may offer TLS by Upgrade (RFC 2817) on any request; refusing the request would break it.
    "ignore_http_11_upgrade": [{"prefix": "TLS/", "ignore_case": True}],
}


def http_options(*, connection_age: timedelta | None = None, reuse: bool = True) -> dict[str, Message]:
    """The upstream speaks the HTTP version that the downstream speaks, with its spelling of header names.

    `connection_age`: after that time new requests use a new connection, so that a changed certificate is seen.
    `reuse`: a connection may serve several requests.
    """
    options = HttpProtocolOptions(
        common_http_protocol_options={
            "idle_timeout": _NEVER,
            "max_connection_duration": connection_age,
            "max_requests_per_connection": None if reuse else {"value": 1},
            "max_headers_count": {"value": _MAX_HEADERS},
            "max_response_headers_kb": {"value": _MAX_HEADERS_KIB},
        },
        use_downstream_protocol_config={
            "http_protocol_options": _HTTP1,
            "http2_protocol_options": {"allow_connect": True},
        },
    )
    return upstream_http(options)


def upstream_http(options: Message) -> dict[str, Message]:
    """`Cluster.typed_extension_protocol_options` for HTTP."""
    return {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": pack(options)}


def connection_manager(
    stat_prefix: str,
    *,
    http_filters: Sequence[dict[str, object]] = (),
    requests_at_most: int = 0,
    **fields: object,
) -> Message:
    """The filter that ends a chain in HTTP. `http_filters` run before the router. `requests_at_most` on a connection,
    which ends with the last; 0: any number.

    `fields` are further ones of HttpConnectionManager that differ by place.
    """
    config = HttpConnectionManager(
        stat_prefix=stat_prefix,
        codec_type="AUTO",
        http_filters=[*http_filters, extension("router", Router(suppress_envoy_headers=True))],
        common_http_protocol_options={
            "idle_timeout": _NEVER,
            "max_headers_count": {"value": _MAX_HEADERS},
            "max_requests_per_connection": {"value": requests_at_most} if requests_at_most else None,
        },
        http_protocol_options=_HTTP1,
        http2_protocol_options={"allow_connect": True},
        max_request_headers_kb={"value": _MAX_HEADERS_KIB},
        stream_idle_timeout=_NEVER,
        request_timeout=_NEVER,
        use_remote_address={"value": False},
        skip_xff_append=True,
        generate_request_id={"value": False},
        preserve_external_request_id=True,
        server_header_transformation="PASS_THROUGH",
        normalize_path={"value": False},
        merge_slashes=False,
        path_with_escaped_slashes_action="KEEP_UNCHANGED",
        proxy_100_continue=True,
        upgrade_configs=[{"upgrade_type": upgrade} for upgrade in _UPGRADES],
        **fields,
    )
    return Filter(**extension("http", config))


def routes(action: Message, **fields: object) -> Sequence[dict[str, object]]:
    """One virtual host that sends every request the same way, whatever its Host header says; CONNECT included.

    `fields` are further ones of VirtualHost.
    """
    matches: tuple[dict[str, object], ...] = ({"connect_matcher": {}}, {"prefix": "/"})
    ways = [{"match": match, "route": action} for match in matches]
    return [{"name": "all", "domains": ["*"], "routes": ways, **fields}]


def tcp_proxy(stat_prefix: str, cluster: str, **fields: object) -> Message:
    """The filter that ends a chain in bytes. `fields` are those of TcpProxy that differ by place."""
    config = TcpProxy(stat_prefix=stat_prefix, cluster=cluster, idle_timeout=_NEVER, **fields)
    return Filter(**extension("tcp", config))
