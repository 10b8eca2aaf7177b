"""The adapter `smi`: meshes that read TrafficSplit do the work, such as Traefik Mesh, Open Service Mesh, and Linkerd
with its SMI extension.

A TrafficSplit names Services and no ports, and has no status.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from smeagol.intent import CanaryIntent, MutualTLSIntent, SidecarIntent, Unit
from smeagol.plan import JSON, Feature, Plan, Unsupported
from smeagol.plan.making import made, made_name, whole_weights
from smeagol.plan.peer import (
    Answer,
    Conflict,
    JSONObject,
    Peer,
    PeerFacts,
    PeerKind,
    Surroundings,
    Traces,
    Verdict,
    at,
)
from smeagol.refs import ServiceRef

__all__ = ["TrafficSplits", "provider"]

GROUP = "split.smi-spec.io"
VERSIONS = tuple(
    PeerKind(f"{GROUP}/{version}", "TrafficSplit", "trafficsplits") for version in ("v1alpha4", "v1alpha3", "v1alpha2")
)
"""The preferred one first; what is written here is alike in all. Weights of v1alpha1 were quantities."""

NEWEST = Peer(name="SMI TrafficSplit", version="v1alpha4", served=frozenset(VERSIONS[:1]))
NO_TRACES = Traces()

HEAVIEST = 1_000_000
"""The CRD has no limit; meshes keep weights in 32 bits, or turn them into those of a proxy."""


@dataclass(frozen=True, slots=True)
class TrafficSplits:
    """A `PeerProvider`."""

    peer: Peer = NEWEST
    name: str = "smi"
    controller_name: str = "smeagol.dev/smi"
    features: frozenset[Feature] = frozenset({Feature.CANARY})
    known_kinds: tuple[PeerKind, ...] = VERSIONS
    watched: tuple[PeerKind, ...] = ()
    traces: Traces = NO_TRACES
    proxy_containers: frozenset[str] = frozenset()

    @property
    def kinds(self) -> tuple[PeerKind, ...]:
        return tuple(kind for kind in VERSIONS if kind in self.peer.served)[:1]

    def detect(self, facts: PeerFacts) -> Peer:
        found = next((kind for kind in VERSIONS if kind in facts.served), None)
        known = ", ".join(kind.group_version.rpartition("/")[2] for kind in VERSIONS)
        return Peer(
            name="SMI TrafficSplit",
            version=found.group_version.rpartition("/")[2] if found else "",
            served=facts.served & frozenset(VERSIONS),
            problem="" if found else f"the cluster does not serve TrafficSplit in any of {known}. Install its CRD",
        )

    def fitted(self, peer: Peer) -> TrafficSplits:
        return replace(self, peer=peer)

    def plan(self, unit: Unit) -> Plan:
        match unit:
            case CanaryIntent():
                return self._split(unit)
            case MutualTLSIntent():
                message = "a TrafficSplit does not encrypt, so nothing is created. Choose a class whose provider does"
                return Plan(unsupported=(Unsupported("spec", Feature.MUTUAL_TLS, message),), failed_closed=True)
            case SidecarIntent():
                message = "a TrafficSplit does not measure. Choose a class whose provider does"
                return Plan(unsupported=(Unsupported("spec", Feature.SIDECAR_METRICS, message),))
            case _:
                return Plan()

    def conflicts(self, unit: Unit, around: Surroundings) -> tuple[Conflict, ...]:
        if not isinstance(unit, CanaryIntent):
            return ()
        names = {*unit.root.names(unit.cluster_domain)}
        found = (
            Conflict.over(split, f"it divides what is sent to Service {unit.root} too", oldest_wins=False)
            for split in around.of(VERSIONS[0], unit.root.namespace)
            if str(at(split, "spec", "service")).rstrip(".") in names
        )
        return tuple(sorted(found, key=lambda c: (c.created, c.foreign)))

    def answer(self, made: JSONObject) -> Answer:
        return Answer(verdict=Verdict.UNTOLD)

    def _split(self, canary: CanaryIntent) -> Plan:
        if not canary.accepted or not canary.ports:
            return Plan()
        if canary.root_headless:
            message = f"the root {canary.root} is headless, and a TrafficSplit needs a Service with a cluster address"
            return Plan(unsupported=(Unsupported("spec.service", Feature.CANARY_HEADLESS, message),))
        backends = _on_all_ports(canary)
        unsupported = tuple(_unsupported_backends(canary))
        if not backends or not self.kinds:
            return Plan(unsupported=unsupported)
        weights = whole_weights([weight for _, weight in backends], most=HEAVIEST)
        listed: JSON = [
            {"service": service.name, "weight": weight} for (service, _), weight in zip(backends, weights, strict=True)
        ]
        split = made(
            self.kinds[0].group_version,
            "TrafficSplit",
            name=made_name(canary.ref.name),
            namespace=canary.root.namespace,
            owner=canary.ref,
            provider=self.name,
            spec={"service": canary.root.name, "backends": listed},
        )
        return Plan(objects=(split,), unsupported=(*unsupported, *_unsupported_ports(canary)))


def _on_all_ports(canary: CanaryIntent) -> tuple[tuple[ServiceRef, int], ...]:
    """The backends that take part on every port: another would be given its share of a port that it does not have."""
    without = {left.service for left in canary.left_out}
    found = tuple((service, weight) for service, weight in canary.wanted if service not in without)
    return found if any(weight > 0 for _, weight in found) else ()


def _unsupported_backends(canary: CanaryIntent) -> Iterator[Unsupported]:
    ports = {port for port, _ in canary.ports}
    for service in sorted({left.service for left in canary.left_out}):
        missing = {left.port for left in canary.left_out if left.service == service}
        if missing < ports:
            listed = ", ".join(map(str, sorted(missing)))
            message = (
                f"Service {service} cannot take part on port {listed}; a TrafficSplit names no ports, so it takes part "
                "on none"
            )
            yield Unsupported("spec.backends", Feature.CANARY, message)


def _unsupported_ports(canary: CanaryIntent) -> Iterator[Unsupported]:
    for port, protocol in canary.ports:
        if protocol.is_opaque:
            message = (
                f"whether port {port}, which is not HTTP, is divided depends on the mesh: a TrafficSplit names no ports"
            )
            yield Unsupported("spec.service", Feature.CANARY_TCP, message)


provider = TrafficSplits()
