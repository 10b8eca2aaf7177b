"""The adapter `istio`."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from smeagol.intent import CanaryIntent, MutualTLSIntent, SidecarIntent, Unit
from smeagol.plan import Feature, Plan
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
    items,
)
from smeagol.providers.gateway_api.answers import route_answer
from smeagol.providers.gateway_api.routes import GRPC_ROUTE, HTTP_ROUTE
from smeagol.providers.istio.canary import istio_canary_conflicts, istio_canary_plan
from smeagol.providers.istio.kinds import (
    ENVOY_FILTER,
    ISTIO_KINDS,
    PEER_AUTHENTICATIONS,
    TELEMETRIES,
    VIRTUAL_SERVICES,
    newest,
)
from smeagol.providers.istio.mutual_tls import mutual_tls_conflicts, mutual_tls_plan
from smeagol.providers.istio.sidecar import sidecar_conflicts, sidecar_plan
from smeagol.providers.pod_monitor import POD_MONITOR

__all__ = ["Istio", "IstioPeer", "provider"]

ALWAYS = frozenset(
    {
        Feature.MUTUAL_TLS,
        Feature.MUTUAL_TLS_IDENTITY_HEADER,
        Feature.MUTUAL_TLS_PERMISSIVE,
        Feature.CANARY,
        Feature.CANARY_TCP,
        Feature.SIDECAR_METRICS,
    }
)
NEEDED = (PEER_AUTHENTICATIONS, VIRTUAL_SERVICES, TELEMETRIES, (ENVOY_FILTER,))


@dataclass(frozen=True, slots=True, kw_only=True)
class IstioPeer(Peer):
    """`root_namespace`: where policies hold for the whole mesh; it is where istiod runs."""

    root_namespace: str = "istio-system"


NEWEST = IstioPeer(
    name="Istio",
    version="1.31",
    served=frozenset({PEER_AUTHENTICATIONS[0], VIRTUAL_SERVICES[0], TELEMETRIES[0], ENVOY_FILTER, HTTP_ROUTE}),
)
TRACES = Traces(deployments=("app=istiod",))


@dataclass(frozen=True, slots=True)
class Istio:
    """A `PeerProvider`."""

    peer: Peer = NEWEST
    name: str = "istio"
    controller_name: str = "smeagol.dev/istio"
    known_kinds: tuple[PeerKind, ...] = (*ISTIO_KINDS, HTTP_ROUTE, GRPC_ROUTE, POD_MONITOR)
    traces: Traces = TRACES
    proxy_containers: frozenset[str] = frozenset({"istio-proxy"})

    @property
    def features(self) -> frozenset[Feature]:
        """Metric labels are whole only with PodMonitors: without, the Pods' own labels are missing."""
        return ALWAYS | ({Feature.SIDECAR_METRIC_LABELS} if POD_MONITOR in self.peer.served else set())

    @property
    def kinds(self) -> tuple[PeerKind, ...]:
        served = [newest(versions, self.peer.served) for versions in (*NEEDED, (HTTP_ROUTE,), (POD_MONITOR,))]
        return tuple(kind for kind in served if kind is not None)

    @property
    def watched(self) -> tuple[PeerKind, ...]:
        return (GRPC_ROUTE,) if GRPC_ROUTE in self.peer.served else ()

    def detect(self, facts: PeerFacts) -> Peer:
        missing = [versions[0].kind for versions in NEEDED if newest(versions, facts.served) is None]
        problem = f"the cluster does not serve {', '.join(missing)}. Install Istio 1.18 or newer" if missing else ""
        found = next(iter(facts.deployments), None)
        tags = [
            match[1] for image in (found.images if found else ()) if (match := re.search(r":v?(\d+\.\d+[^:@]*)", image))
        ]
        return IstioPeer(
            name="Istio",
            version=tags[0] if tags else "",
            served=facts.served & frozenset(self.known_kinds),
            ready=any(deployment.ready for deployment in facts.deployments) if facts.deployments else None,
            problem=problem,
            root_namespace=found.namespace if found else NEWEST.root_namespace,
        )

    def fitted(self, peer: Peer) -> Istio:
        return replace(self, peer=peer)

    def plan(self, unit: Unit) -> Plan:
        served = self.peer.served
        match unit:
            case CanaryIntent():
                kind = newest(VIRTUAL_SERVICES, served) or VIRTUAL_SERVICES[0]
                return istio_canary_plan(unit, served, kind, self.name)
            case MutualTLSIntent() if unit.enforced:
                kind = newest(PEER_AUTHENTICATIONS, served) or PEER_AUTHENTICATIONS[0]
                return mutual_tls_plan(unit, kind, self._root_namespace, self.name)
            case SidecarIntent() if unit.accepted:
                kind = newest(TELEMETRIES, served) or TELEMETRIES[0]
                return sidecar_plan(unit, kind, self.name, monitors=POD_MONITOR in served)
            case _:
                return Plan()

    @property
    def _root_namespace(self) -> str:
        return self.peer.root_namespace if isinstance(self.peer, IstioPeer) else NEWEST.root_namespace

    def conflicts(self, unit: Unit, around: Surroundings) -> tuple[Conflict, ...]:
        match unit:
            case CanaryIntent():
                found = istio_canary_conflicts(unit, around)
            case MutualTLSIntent():
                found = mutual_tls_conflicts(unit, around)
            case SidecarIntent():
                found = sidecar_conflicts(unit, around)
            case _:
                return ()
        return tuple(sorted(found, key=lambda c: (c.created, c.foreign)))

    def answer(self, made: JSONObject) -> Answer:
        """Routes have a status; of its own kinds Istio says something only where its analysis finds a fault."""
        if HTTP_ROUTE.is_kind_of(made):
            return route_answer(made)
        faults = [m for m in items(made, "status", "validationMessages") if m.get("level") in (1, "ERROR")]
        if faults:
            said = " ".join(f"{at(fault, 'type', 'name')} ({at(fault, 'type', 'code')})" for fault in faults)
            return Answer(verdict=Verdict.REJECTED, by=("istiod",), message=said)
        return Answer(verdict=Verdict.UNTOLD)


provider = Istio()
