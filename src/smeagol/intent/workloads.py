"""One Pod with a proxy: who it is, what it accepts and under which names, put together from all that applies to it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain

from smeagol import api
from smeagol.errors import sentence
from smeagol.intent.added import AddedContainer, added_containers
from smeagol.intent.metric_labels import merged
from smeagol.intent.model import Fronted, InboundPort, Protocol, TLSMode, WorkloadIntent
from smeagol.intent.protocols import agree, contradict
from smeagol.intent.selection import PodFacts
from smeagol.names import SpiffeId
from smeagol.refs import PodRef, ServiceRef, SubjectName

__all__ = [
    "Contradiction",
    "Membership",
    "SidecarTerms",
    "TLSTerms",
    "containers_of",
    "contradictions",
    "known_ports",
    "united",
    "workload_intent",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class TLSTerms:
    """What a MutualTLS asks of each Pod that it selects."""

    mode: TLSMode
    client_names: tuple[SubjectName, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SidecarTerms:
    """What a Sidecar asks of each Pod that it selects. `metric_labels` None: the Pod's own."""

    rank: tuple[str, str, str]
    metric_labels: Mapping[str, str] | None
    containers: tuple[api.Container, ...] = ()


def containers_of(sidecars: Iterable[SidecarTerms]) -> tuple[AddedContainer, ...]:
    """What these Sidecars put into a Pod that all of them select."""
    oldest_first = sorted(sidecars, key=lambda s: s.rank)
    return added_containers((s.rank[-1], s.containers) for s in oldest_first)


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """A Service that lists an address of the Pod, and what it declares of the Pod's ports."""

    service: ServiceRef
    ports: tuple[InboundPort, ...]


def workload_intent(
    pod: PodRef,
    facts: PodFacts,
    addresses: tuple[str, ...],
    *,
    memberships: Iterable[Membership],
    mutual_tls: Iterable[TLSTerms],
    sidecars: Iterable[SidecarTerms],
    fronted: Fronted | None = None,
    trust_domain: str,
    cluster_domain: str,
) -> WorkloadIntent:
    """Put one workload together. `addresses` are those of `facts` that are the Pod's alone.

    Several MutualTLS add up: the union of their names, and Strict beats Permissive. The SPIFFE id comes last. Without
    any the Pod serves plain traffic only, so it needs no server names.
    """
    memberships = tuple(memberships)
    terms = tuple(mutual_tls)
    oldest_first = sorted(sidecars, key=lambda s: s.rank)
    spiffe = SubjectName(str(SpiffeId.workload(trust_domain, pod.namespace, facts.service_account)))
    names = {name for term in terms for name in term.client_names} - {spiffe}
    mode = min((t.mode for t in terms), key=[TLSMode.STRICT, TLSMode.PERMISSIVE].index, default=None)
    return WorkloadIntent(
        pod=pod,
        uid=facts.uid,
        node=pod.node,
        addresses=addresses,
        service_account=facts.service_account,
        mode=mode,
        client_names=(*sorted(names), spiffe),
        server_names=_server_names(addresses, memberships, cluster_domain) if mode else (),
        inbound_ports=_inbound_ports(pod, memberships, facts.passed_ports),
        passed_ports=tuple(sorted(facts.passed_ports)),
        monitored=bool(oldest_first),
        metric_labels=merged(facts.labels if s.metric_labels is None else s.metric_labels for s in oldest_first),
        fronted=fronted,
    )


def _server_names(
    addresses: tuple[str, ...], memberships: Iterable[Membership], cluster_domain: str
) -> tuple[SubjectName, ...]:
    """The Pod's addresses and every form of the names of its Services (spec: MutualTLS, Server certificate)."""
    names = {name for m in memberships for name in m.service.names(cluster_domain)}
    return tuple(SubjectName(name) for name in sorted(names | set(addresses)))


def _declarations(pod: PodRef, memberships: Iterable[Membership]) -> dict[int, dict[ServiceRef, Protocol]]:
    """What the Services of the Pod's own namespace say of its ports.

    A Service elsewhere with hand-made endpoints has no say: declared as raw TCP, a port would let a forged
    `x-sme-identity` pass.
    """
    found: dict[int, dict[ServiceRef, Protocol]] = {}
    for membership in memberships:
        if membership.service.namespace == pod.namespace:
            for port in membership.ports:
                found.setdefault(port.number, {})[membership.service] = port.protocol
    return found


def _inbound_ports(
    pod: PodRef, memberships: Iterable[Membership], passed: frozenset[int] = frozenset()
) -> tuple[InboundPort, ...]:
    declared = _declarations(pod, memberships)
    return tuple(InboundPort(number, agree(declared[number].values())) for number in sorted(declared.keys() - passed))


def known_ports(pod: PodRef, facts: PodFacts, memberships: Iterable[Membership]) -> tuple[InboundPort, ...]:
    """Every port of a Pod that a container or a Service declares."""
    return united((_inbound_ports(pod, memberships), (InboundPort(n, Protocol.AUTO) for n in facts.ports)))


def united(ports: Iterable[Iterable[InboundPort]]) -> tuple[InboundPort, ...]:
    """All of the ports, each once, with what is declared of it wherever it is declared."""
    found: dict[int, set[Protocol]] = {}
    for port in chain.from_iterable(ports):
        found.setdefault(port.number, set()).add(port.protocol)
    return tuple(InboundPort(number, agree(found[number])) for number in sorted(found))


@dataclass(frozen=True, slots=True, order=True)
class Contradiction:
    """Two Services say that one port of their common Pods speaks HTTP, and that it does not. HTTP wins."""

    port: int
    http: ServiceRef
    opaque: ServiceRef

    @property
    def message(self) -> str:
        return sentence(
            f"port {self.port} of the Pods is declared as HTTP by Service {self.http} and as opaque by Service "
            f"{self.opaque}; it is served as HTTP",
            "Give both ports the same appProtocol",
        )


def contradictions(pod: PodRef, memberships: Iterable[Membership]) -> tuple[Contradiction, ...]:
    """Each pair of Services that contradict each other about a port of the Pod."""
    return tuple(
        sorted(
            Contradiction(number, one, other)
            for number, protocols in _declarations(pod, memberships).items()
            for one, a in protocols.items()
            for other, b in protocols.items()
            if a.is_http and contradict(a, b)
        )
    )
