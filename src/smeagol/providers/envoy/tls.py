"""Mutual TLS: what a proxy shows, what it demands, and the secrets it gets by SDS.

Names of secrets: `client` and `server` are a proxy's own, `roots` is shared by all.
"""

from __future__ import annotations

from ipaddress import ip_address

from google.protobuf.message import Message

from smeagol.plan import ProxyResource
from smeagol.providers.envoy.protos import DownstreamTlsContext, RawBuffer, Secret, TransportSocket, UpstreamTlsContext
from smeagol.providers.envoy.resources import (
    ADS,
    ALPN_HTTP1,
    ALPN_HTTP2,
    ALPN_TCP,
    MUTUAL_TLS_MATCH,
    extension,
    resource,
)
from smeagol.refs import NodeId

__all__ = [
    "CLIENT",
    "ROOTS",
    "SERVER",
    "by_endpoint",
    "client_socket",
    "key_pair",
    "server_name_matcher",
    "server_socket",
    "trusted_roots",
]

CLIENT = "client"
SERVER = "server"
ROOTS = "roots"

_VERSIONS = {"tls_minimum_protocol_version": "TLSv1_2", "tls_maximum_protocol_version": "TLSv1_3"}


def _secret(name: str) -> dict[str, object]:
    return {"name": name, "sds_config": ADS}


def server_name_matcher(name: str) -> dict[str, object]:
    """Match a DNS name or IP address of the server's certificate in full (RFC 9110, 4.3.4)."""
    try:
        ip_address(name)
    except ValueError:
        return {"san_type": "DNS", "matcher": {"exact": name}}
    return {"san_type": "IP_ADDRESS", "matcher": {"exact": name}}


def client_socket(server_name: str, *, or_hostname: bool = False) -> Message:
    """Dial by mutual TLS a server whose certificate carries this DNS name.

    `or_hostname`: an endpoint's own `hostname` goes first, where it has one. So the clusters of a split need not
    change with its backends; a changed cluster loses its connections and counters. (The endpoints of an ORIGINAL_DST
    cluster have their address for a hostname.) No ALPN is set here: it follows the HTTP version of each connection,
    or is `smi-tcp` (`outbound`).
    """
    context = UpstreamTlsContext(
        sni=server_name,
        auto_host_sni=or_hostname,
        auto_sni_san_validation=True,
        common_tls_context=_client_side(),
    )
    return TransportSocket(**extension("tls", context))


def client_socket_to_address(ip: str) -> Message:
    """Dial by mutual TLS a server whose certificate carries this address."""
    return TransportSocket(
        **extension("tls", UpstreamTlsContext(common_tls_context=_client_side(server_name_matcher(ip))))
    )


def _client_side(*server: dict[str, object]) -> dict[str, object]:
    return {
        "tls_params": _VERSIONS,
        "tls_certificate_sds_secret_configs": [_secret(CLIENT)],
        "combined_validation_context": {
            "default_validation_context": {"match_typed_subject_alt_names": server},
            "validation_context_sds_secret_config": _secret(ROOTS),
        },
    }


def by_endpoint(server_name: str) -> list[dict[str, object]]:
    """`Cluster.transport_socket_matches`: meshed endpoints by mutual TLS, all others as they were."""
    return [
        {
            "name": "mutual-tls",
            "match": MUTUAL_TLS_MATCH,
            "transport_socket": client_socket(server_name, or_hostname=True),
        },
        {"name": "plain", "match": {}, "transport_socket": extension("raw", RawBuffer())},
    ]


def server_socket(*, prefer_http2: bool = False) -> Message:
    """End mutual TLS: a certificate that the roots vouch for is required, else the handshake fails.

    Envoy picks the first protocol of ours that the client offers. Ordinary clients offer both versions of HTTP, and
    the application is spoken to in the chosen one: so HTTP/2 comes first only where it is declared.
    """
    http = [ALPN_HTTP2, ALPN_HTTP1] if prefer_http2 else [ALPN_HTTP1, ALPN_HTTP2]
    context = DownstreamTlsContext(
        require_client_certificate={"value": True},
        common_tls_context={
            "tls_params": _VERSIONS,
            "alpn_protocols": [*http, ALPN_TCP],
            "tls_certificate_sds_secret_configs": [_secret(SERVER)],
            "validation_context_sds_secret_config": _secret(ROOTS),
        },
    )
    return TransportSocket(**extension("tls", context))


def key_pair(name: str, chain_pem: bytes, key_pem: bytes, node: NodeId) -> ProxyResource:
    secret = Secret(
        name=name,
        tls_certificate={
            "certificate_chain": {"inline_string": chain_pem.decode("ascii")},
            "private_key": {"inline_bytes": key_pem},
        },
    )
    return resource(name, secret, node=node)


def trusted_roots(bundle_pem: bytes) -> ProxyResource:
    secret = Secret(name=ROOTS, validation_context={"trusted_ca": {"inline_string": bundle_pem.decode("ascii")}})
    return resource(ROOTS, secret)
