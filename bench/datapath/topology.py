"""The Pods that are measured: a client and a server for each way of being connected, in one standalone mesh.

The plain hops are what a mesh has to be measured by: one Envoy beside the client wraps its TCP connections into mutual
TLS, one beside the server unwraps them. They parse no HTTP, count nothing, and their configuration never changes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import yaml

from smeagol.pki import LocalAuthority, MemoryKeyStore, Purpose
from smeagol.plan import JSON
from smeagol.providers.envoy.binary import envoy_command
from smeagol.refs import SubjectName

__all__ = ["PODS", "VARIANTS", "Variant", "write"]

HTTP_PORT, TCP_PORT = 8080, 8081
HOP_IN, HOP_OUT = 15000, 8443
HTTP_HOP_IN, HTTP_HOP_OUT = 15001, 8444
HOP_NAME = SubjectName("server-hops.default.svc.cluster.local")


@dataclass(frozen=True, slots=True)
class Variant:
    """One way from a client to a server: the Pod that calls, and the address it calls."""

    name: str
    client: str
    address: str


NO_PROXY = Variant("no proxy", "client-plain", "server-plain:80")
HOPS = Variant("two plain Envoy TCP-TLS hops", "client-hops", f"127.0.0.1:{HOP_IN}")
HTTP_HOPS = Variant("two plain Envoy HTTP-TLS hops", "client-hops", f"127.0.0.1:{HTTP_HOP_IN}")
MESH_HTTP = Variant("two sidecars, HTTP", "client-mesh", f"server-mesh:{HTTP_PORT}")
MESH_TCP = Variant("two sidecars, TCP", "client-mesh", f"server-mesh:{TCP_PORT}")
VARIANTS = (NO_PROXY, HOPS, MESH_TCP, HTTP_HOPS, MESH_HTTP)
PODS = ("client-plain", "client-hops", "client-mesh", "server-plain", "server-hops", "server-mesh")


def write(folder: Path, origin: Path) -> Path:
    """Write manifests, and what the hops need, below `folder`, which Pods must be able to read; returns the manifests'.

    `origin` is the server's program.
    """
    hops = folder / "hops"
    hops.mkdir(mode=0o700)
    _write_hops(hops)
    manifests = folder / "manifests"
    manifests.mkdir()
    with (manifests / "bench.yaml").open("w", encoding="utf-8") as output:
        yaml.safe_dump_all(_manifests(origin, hops), output)
    return manifests


def _manifests(origin: Path, hops: Path) -> list[JSON]:
    http = _container("http", origin, "-address", f"0.0.0.0:{HTTP_PORT}")
    tcp = _container("tcp", origin, "-address", f"0.0.0.0:{TCP_PORT}")
    idle = _container("idle", "sleep", "infinity")
    return [
        _pod("client-plain", idle, meshed=False),
        _pod("client-hops", idle, _hop(hops / "client.json"), meshed=False),
        _pod("client-mesh", idle, meshed=True),
        _pod("server-plain", http, meshed=False),
        _pod("server-hops", http, _hop(hops / "server.json"), meshed=False),
        _pod("server-mesh", http, tcp, meshed=True),
        _service("server-plain", {"http": (80, HTTP_PORT)}),
        # Headless: the hop dials the Pod itself, as a sidecar does.
        _service("server-hops", {"tcp": (HOP_OUT, HOP_OUT), "http": (HTTP_HOP_OUT, HTTP_HOP_OUT)}, headless=True),
        _service("server-mesh", {"http": (HTTP_PORT, HTTP_PORT), "tcp": (TCP_PORT, TCP_PORT)}),
        {
            "apiVersion": "smi-spec.io/v1beta1",
            "kind": "MutualTLS",
            "metadata": {"name": "mesh"},
            "spec": {"selector": {"matchLabels": {"mesh": "yes"}}},
        },
    ]


def _container(name: str, *command: str | Path) -> dict[str, JSON]:
    return {"name": name, "command": [str(part) for part in command]}


def _hop(config: Path) -> dict[str, JSON]:
    return _container("hop", *envoy_command(), "--config-path", config)


def _pod(name: str, *containers: Mapping[str, JSON], meshed: bool) -> JSON:
    labels = {"app": name, "mesh": "yes"} if meshed else {"app": name, "smi-spec.io/inject": "disabled"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels},
        "spec": {"containers": list(containers)},
    }


def _service(name: str, ports: Mapping[str, tuple[int, int]], *, headless: bool = False) -> JSON:
    """`ports`: protocol to (port, target port)."""
    spec: dict[str, JSON] = {
        "selector": {"app": name},
        "ports": [
            {"name": protocol, "port": port, "targetPort": target, "appProtocol": protocol}
            for protocol, (port, target) in ports.items()
        ],
    }
    if headless:
        spec["clusterIP"] = "None"
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}


# The hops -------------------------------------------------------------------------------------------------------------


def _write_hops(folder: Path) -> None:
    now = datetime.now(UTC)
    authority = LocalAuthority.open(MemoryKeyStore(), trust_domain="cluster.local", now=now)
    (folder / "ca.pem").write_bytes(authority.trust_bundle_pem)
    names = {"client": (SubjectName("client.example"), Purpose.CLIENT), "server": (HOP_NAME, Purpose.SERVER)}
    for side, (name, purpose) in names.items():
        issued = authority.issue([name], purpose, now=now, lifetime=timedelta(days=1))
        (folder / f"{side}.crt").write_bytes(issued.chain_pem)
        (folder / f"{side}.key").write_bytes(issued.key_pem.reveal())
    (folder / "client.json").write_text(json.dumps(_client_hop(folder)), encoding="utf-8")
    (folder / "server.json").write_text(json.dumps(_server_hop(folder)), encoding="utf-8")


def _client_hop(folder: Path) -> JSON:
    tls: JSON = {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "sni": HOP_NAME,
        "common_tls_context": _tls(folder, "client", [{"san_type": "DNS", "matcher": {"exact": HOP_NAME}}]),
    }
    return _envoy(
        [_listener("tcp", "127.0.0.1", HOP_IN, _TCP), _listener("http", "127.0.0.1", HTTP_HOP_IN, _HTTP)],
        [_cluster("tcp", HOP_NAME, HOP_OUT, tls), _cluster("http", HOP_NAME, HTTP_HOP_OUT, tls)],
    )


def _server_hop(folder: Path) -> JSON:
    tls: JSON = {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "require_client_certificate": True,
        "common_tls_context": _tls(folder, "server", []),
    }
    return _envoy(
        [_listener("tcp", "0.0.0.0", HOP_OUT, _TCP, tls), _listener("http", "0.0.0.0", HTTP_HOP_OUT, _HTTP, tls)],
        [_cluster("tcp", "127.0.0.1", HTTP_PORT), _cluster("http", "127.0.0.1", HTTP_PORT)],
    )


def _tls(folder: Path, side: str, names: Sequence[JSON]) -> JSON:
    return {
        "tls_certificates": [
            {
                "certificate_chain": {"filename": str(folder / f"{side}.crt")},
                "private_key": {"filename": str(folder / f"{side}.key")},
            }
        ],
        "validation_context": {
            "trusted_ca": {"filename": str(folder / "ca.pem")},
            "match_typed_subject_alt_names": list(names),
        },
    }


_TCP: JSON = {
    "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
    "stat_prefix": "tcp",
    "cluster": "tcp",
}
_HTTP: JSON = {
    "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
    "stat_prefix": "http",
    "route_config": {
        "virtual_hosts": [
            {"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "http"}}]}
        ]
    },
    "http_filters": [
        {
            "name": "router",
            "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
        }
    ],
}


def _envoy(listeners: Sequence[JSON], clusters: Sequence[JSON]) -> JSON:
    """A whole configuration, which never changes."""
    return {"static_resources": {"listeners": list(listeners), "clusters": list(clusters)}}


def _listener(name: str, host: str, port: int, end: JSON, tls: JSON = None) -> JSON:
    chain = {"filters": [{"name": name, "typed_config": end}], **_socket(tls)}
    return {"name": name, "address": _address(host, port), "filter_chains": [chain]}


def _cluster(name: str, host: str, port: int, tls: JSON = None) -> JSON:
    endpoint: JSON = {"endpoint": {"address": _address(host, port)}}
    return {
        "name": name,
        "type": "STRICT_DNS",
        "dns_lookup_family": "V4_ONLY",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
        **_socket(tls),
    }


def _address(host: str, port: int) -> JSON:
    return {"socket_address": {"address": host, "port_value": port}}


def _socket(tls: JSON) -> dict[str, JSON]:
    return {"transport_socket": {"name": "tls", "typed_config": tls}} if tls else {}
