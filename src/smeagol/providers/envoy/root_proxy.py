"""What a root proxy does with clients that have no proxy: it divides what they send as a client's proxy would.

Routes, clusters and endpoints are those of every client's proxy; its own are only the listeners, which bind a port for
each of the root's. Whoever comes may write any header, so the identity header is removed, from trailers too: servers
are shown the root proxy's own identity, by its certificate.
"""

from __future__ import annotations

from collections.abc import Iterator

from google.protobuf.message import Message

from smeagol.intent import ROOT_READINESS_PORT, Fronted, FrontedPort, WorkloadIntent
from smeagol.plan import READINESS_PATH, ProxyResource
from smeagol.providers.envoy.inbound import IDENTITY
from smeagol.providers.envoy.metrics import outbound_stat
from smeagol.providers.envoy.outbound import to_service
from smeagol.providers.envoy.protos import FilterChain, HeaderMutation, Listener
from smeagol.providers.envoy.resources import address, extension, resource, wildcard
from smeagol.providers.envoy.transparent import connection_manager

__all__ = ["root_proxy_resources"]

_READINESS = "root-ready"


def root_proxy_resources(workload: WorkloadIntent, fronted: Fronted) -> Iterator[ProxyResource]:
    """Its listeners, in the place of those for an application, which it has not."""
    everywhere = wildcard(workload.addresses)
    for port in fronted.ports:
        yield resource(f"root-{port.number}", _listener(fronted, port, everywhere), node=workload.node)
    yield resource(_READINESS, _readiness(everywhere), node=workload.node)


def _listener(fronted: Fronted, port: FrontedPort, everywhere: str) -> Message:
    """A changed listener ends its connections one by one, as their clients let it (Envoy: Draining). So one that is on
    its way out has new ones serve one request each, while others are still led to it.
    """
    name = f"{fronted.fqdn}:{port.number}"
    stat = outbound_stat(fronted.root.namespace, fronted.root.name, port.number)
    return Listener(
        name=f"root-{port.number}",
        address=address(everywhere, port.listens),
        traffic_direction="OUTBOUND",
        stat_prefix="root",
        **to_service(
            name, stat, port.protocol, http_filters=[_without_identity()], requests_at_most=1 if fronted.ending else 0
        ),
    )


def _without_identity() -> dict[str, object]:
    removal = [{"remove": IDENTITY}]
    return extension(
        "without_identity",
        HeaderMutation(mutations={"request_mutations": removal, "request_trailers_mutations": removal}),
    )


def _readiness(everywhere: str) -> Message:
    """Says that the listeners above have been delivered: they come in one message with this one."""
    ready = {"match": {"path": READINESS_PATH}, "direct_response": {"status": 200}}
    hosts = [{"name": _READINESS, "domains": ["*"], "routes": [ready]}]
    manager = connection_manager(_READINESS, route_config={"virtual_hosts": hosts})
    return Listener(
        name=_READINESS,
        address=address(everywhere, ROOT_READINESS_PORT),
        stat_prefix=_READINESS,
        filter_chains=[FilterChain(filters=[manager])],
    )
