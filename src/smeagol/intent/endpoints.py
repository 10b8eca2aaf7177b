"""Services and where they are answered: the ports of a Service, and what its EndpointSlices say."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from smeagol import objects
from smeagol.intent.model import Endpoint, InboundPort, Protocol
from smeagol.intent.protocols import agree, declared
from smeagol.intent.root_proxies import SLICE_MANAGER, SLICE_MANAGER_LABEL
from smeagol.intent.selection import AddressFacts, canonical_address

__all__ = [
    "Port",
    "ReadyEndpoints",
    "ServiceFacts",
    "SliceFacts",
    "Targets",
    "known_addresses",
    "ready_endpoints",
    "ready_targets",
    "service_facts",
    "slice_facts",
]

Target = tuple[str, int]
"""Address and port where a Pod listens."""


@dataclass(frozen=True, slots=True, order=True)
class Port:
    """One TCP port of a Service. The mesh does not touch UDP and SCTP."""

    number: int
    name: str
    protocol: Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceFacts:
    """What counts of one Service. `ports` in order of their numbers."""

    cluster_ips: tuple[str, ...]
    headless: bool
    external: bool
    publish_not_ready: bool
    ports: tuple[Port, ...]
    selects: bool = False
    """it has a selector"""


def service_facts(service: objects.Service) -> ServiceFacts:
    spec = service.spec
    ports = (Port(p.port, p.name, declared(p.app_protocol, p.name)) for p in spec.ports if p.protocol in ("TCP", ""))
    external = spec.type == "ExternalName"
    return ServiceFacts(
        cluster_ips=() if external else service.cluster_ips,
        headless=service.headless and not external,
        external=external,
        publish_not_ready=spec.publish_not_ready_addresses,
        ports=tuple(sorted(ports, key=lambda p: (p.number, p.name))),
        selects=bool(spec.selector),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceFacts:
    """What counts of one EndpointSlice: its TCP ports by name, and its endpoints with what they are fit for."""

    service: tuple[str, str]
    ports: Mapping[str, int]
    ready: tuple[str, ...]
    terminating: tuple[str, ...]
    """still serving, though on their way out"""
    others: tuple[str, ...]


def slice_facts(endpoint_slice: objects.EndpointSlice) -> SliceFacts | None:
    """None for a slice that belongs to no Service or holds names instead of addresses, and for one of root proxies."""
    ours = endpoint_slice.metadata.labels.get(SLICE_MANAGER_LABEL) == SLICE_MANAGER
    if ours or not endpoint_slice.service_name or endpoint_slice.address_type == "FQDN":
        return None
    ready: list[str] = []
    terminating: list[str] = []
    others: list[str] = []
    for endpoint in endpoint_slice.endpoints:
        conditions = endpoint.conditions
        # Unknown is read as ready, and not terminating (discovery.k8s.io/v1 EndpointConditions).
        if not conditions.terminating:
            fit = ready if conditions.ready is not False else others
        else:
            fit = terminating if conditions.serving else others
        fit += [canonical_address(address) for address in endpoint.addresses]
    return SliceFacts(
        service=(endpoint_slice.metadata.namespace, endpoint_slice.service_name),
        # A port without a number is for consumers other than Services (discovery.k8s.io/v1 EndpointPort).
        ports={p.name: p.port for p in endpoint_slice.ports if p.port is not None and p.protocol in ("TCP", "")},
        ready=tuple(ready),
        terminating=tuple(terminating),
        others=tuple(others),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """Where one Service port is answered, and where it is still answered by those on their way out."""

    ready: tuple[Target, ...]
    terminating: tuple[Target, ...]


def ready_targets(service: ServiceFacts, slices: Iterable[SliceFacts]) -> tuple[Targets, ...]:
    """For each port of the Service, in its order, where it is answered.

    A Service that publishes addresses which are not ready gets all of them (core/v1 ServiceSpec).
    """
    slices = tuple(slices)
    found = []
    for port in service.ports:
        ready: set[Target] = set()
        terminating: set[Target] = set()
        for part in slices:
            number = part.ports.get(port.name)
            if number is None:
                continue
            fit = (*part.ready, *part.terminating, *part.others) if service.publish_not_ready else part.ready
            ready |= {(address, number) for address in fit}
            terminating |= {(address, number) for address in part.terminating}
        found.append(Targets(ready=tuple(sorted(ready)), terminating=tuple(sorted(terminating))))
    return tuple(found)


def known_addresses(service: ServiceFacts, slices: Iterable[SliceFacts]) -> dict[str, tuple[InboundPort, ...]]:
    """Each address that the Service's slices list, ready or not, with the Pod's ports behind the Service and what the
    Service declares of them.

    The server certificate names the Service before its Pod is ready: it may be asked for the moment it is. One that is
    but a name (ExternalName) has none, whoever makes slices for it.
    """
    if service.external:
        return {}
    found: dict[str, dict[int, list[Protocol]]] = {}
    for part in slices:
        for address in (*part.ready, *part.terminating, *part.others):
            ports = found.setdefault(address, {})
            for port in service.ports:
                number = part.ports.get(port.name)
                if number is not None:
                    ports.setdefault(number, []).append(port.protocol)
    return {
        address: tuple(InboundPort(number, agree(protocols)) for number, protocols in sorted(ports.items()))
        for address, ports in found.items()
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadyEndpoints:
    """The endpoints of a Service, port for port.

    `own` may hold endpoints on their way out, where no other is left: a Service goes on serving with them, as
    kube-proxy does. `ready` never does: a Canary's backend that is going away hands its share to the others.
    `meshed`: a Pod of the Service has a proxy, ready or not, so that clients know of it before its first request.
    """

    own: tuple[tuple[Endpoint, ...], ...]
    ready: tuple[tuple[Endpoint, ...], ...]
    meshed: bool


def ready_endpoints(
    targets: Iterable[Targets], known: Iterable[str], at: Callable[[str], AddressFacts | None]
) -> ReadyEndpoints:
    """Look up who answers at each address. `at` knows the Pods' addresses; what it does not know has no proxy.

    `known`: all addresses of the Service, ready or not. Root proxies are left out: they would ask themselves.
    """

    def fit(targets: Iterable[Target]) -> tuple[Endpoint, ...]:
        return tuple(
            Endpoint(address, number, mutual_tls=facts is not None and facts.ends_mutual_tls(number))
            for address, number in targets
            if (facts := at(address)) is None or not facts.root_proxy
        )

    own: list[tuple[Endpoint, ...]] = []
    ready: list[tuple[Endpoint, ...]] = []
    for port in targets:
        endpoints = fit(port.ready)
        own.append(endpoints or fit(port.terminating))
        ready.append(endpoints)
    return ReadyEndpoints(
        own=tuple(own),
        ready=tuple(ready),
        meshed=any((f := at(address)) is not None and f.has_proxy and not f.root_proxy for address in known),
    )
