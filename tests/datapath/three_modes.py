"""One mesh with a server in each mode, for tests that only look: MutualTLS Strict, Permissive, and none.

strict/web, permissive/web, plain/web    one Pod each, with all the servers below
strict/client                            meshed, has MutualTLS and the name client.example
plain/web                                as a client: meshed, no MutualTLS, so only the default identity
outside/stranger                         not meshed
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from datapath.harness import Mesh, running
from datapath.manifests import Manifest, mutual_tls, pod, service

__all__ = ["CLIENT", "MODES", "PLAIN", "three_modes"]

MODES = ("strict", "permissive", "plain")
CLIENT = "client.example,spiffe://cluster.local/ns/strict/sa/default"
PLAIN = "spiffe://cluster.local/ns/plain/sa/default"

SERVERS = (
    "http:8080", "http:8081", "http:8082", "tcp:9000", "tcp:9002", "first:9001", "first:3306", "tls:9443", "grpc:5000",
    "grpc:5001",
)  # fmt: skip

PORTS = (
    ("http", 80, 8080),
    ("main", 81, 8081),  # undeclared
    ("tcp-echo", 9000, 9000),
    ("echo", 9002, 9002),  # undeclared
    ("tcp-greeting", 9001, 9001),
    ("db", 3306, 3306),  # undeclared, but known to speak first
    ("https", 443, 9443),
    ("grpc", 5000, 5000),
    ("calls", 5001, 5001),  # undeclared
)


def _server(namespace: str) -> tuple[Manifest, ...]:
    return (
        pod("web", *SERVERS, namespace=namespace, version=namespace),
        service("web", ports=PORTS, namespace=namespace),
        service("direct", {"app": "web"}, namespace=namespace, headless=True, ports=[("http", 8080, 8080)]),
    )


@contextmanager
def three_modes() -> Iterator[Mesh]:
    with running(
        *(manifest for namespace in MODES for manifest in _server(namespace)),
        mutual_tls(namespace="strict"),
        mutual_tls(namespace="permissive", mode="Permissive"),
        pod("client", namespace="strict"),
        mutual_tls("client", {"app": "client"}, names=["client.example"], namespace="strict"),
        pod("stranger", "http:8080", namespace="strict", meshed=False),
        service("stranger", namespace="strict"),
    ) as mesh:
        yield mesh
