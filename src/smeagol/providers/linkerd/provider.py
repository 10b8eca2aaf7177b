"""The adapter `linkerd`."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from smeagol.intent import CanaryIntent, MutualTLSIntent, SidecarIntent, Unit
from smeagol.plan import Feature, Plan, Unsupported
from smeagol.plan.peer import Answer, Conflict, JSONObject, Peer, PeerFacts, PeerKind, Surroundings, Traces, Verdict
from smeagol.providers.gateway_api.answers import route_answer
from smeagol.providers.gateway_api.routes import GRPC_ROUTE, HTTP_ROUTE, TCP_ROUTE_ALPHA, TLS_ROUTES
from smeagol.providers.linkerd.canary import SERVICE_PROFILE, linkerd_canary_conflicts, linkerd_canary_plan
from smeagol.providers.linkerd.mutual_tls import (
    AUTHENTICATION,
    AUTHORIZATION,
    POLICY_HTTP_ROUTE,
    SERVER_AUTHORIZATION,
    SERVERS,
    mutual_tls_conflicts,
    mutual_tls_plan,
)
from smeagol.providers.pod_monitor import POD_MONITOR, pod_monitor

__all__ = ["Linkerd", "provider"]

POLICIES = (*SERVERS, AUTHENTICATION, AUTHORIZATION)
NEWEST = Peer(
    name="Linkerd",
    version="2.20",
    served=frozenset({*POLICIES, SERVER_AUTHORIZATION, POLICY_HTTP_ROUTE, SERVICE_PROFILE, HTTP_ROUTE, GRPC_ROUTE}),
)
TRACES = Traces(deployments=("linkerd.io/control-plane-component=destination",))
VERSION = "linkerd.io/created-by"
METRICS = "linkerd-admin"
"""The port of a proxy's container where Prometheus reads (4191)."""


@dataclass(frozen=True, slots=True)
class Linkerd:
    """A `PeerProvider`."""

    peer: Peer = NEWEST
    name: str = "linkerd"
    controller_name: str = "smeagol.dev/linkerd"
    known_kinds: tuple[PeerKind, ...] = (
        *POLICIES,
        SERVER_AUTHORIZATION,
        POLICY_HTTP_ROUTE,
        SERVICE_PROFILE,
        HTTP_ROUTE,
        GRPC_ROUTE,
        TCP_ROUTE_ALPHA,
        *TLS_ROUTES,
        POD_MONITOR,
    )
    traces: Traces = TRACES
    proxy_containers: frozenset[str] = frozenset({"linkerd-proxy"})

    @property
    def features(self) -> frozenset[Feature]:
        found = {Feature.MUTUAL_TLS, Feature.MUTUAL_TLS_PERMISSIVE, Feature.CANARY, Feature.SIDECAR_METRICS}
        if TCP_ROUTE_ALPHA in self.peer.served:
            found.add(Feature.CANARY_TCP)
        if POD_MONITOR in self.peer.served:
            found.add(Feature.SIDECAR_METRIC_LABELS)
        return frozenset(found)

    @property
    def kinds(self) -> tuple[PeerKind, ...]:
        route = HTTP_ROUTE if HTTP_ROUTE in self.peer.served else POLICY_HTTP_ROUTE
        return tuple(k for k in (*POLICIES, route, TCP_ROUTE_ALPHA, POD_MONITOR) if k in self.peer.served)

    @property
    def watched(self) -> tuple[PeerKind, ...]:
        tls = [kind for kind in TLS_ROUTES if kind in self.peer.served][:1]
        others = (SERVER_AUTHORIZATION, SERVICE_PROFILE, POLICY_HTTP_ROUTE, GRPC_ROUTE, *tls)
        return tuple(k for k in others if k in self.peer.served and k not in self.kinds)

    def detect(self, facts: PeerFacts) -> Peer:
        missing = [kind.kind for kind in POLICIES if kind not in facts.served]
        if HTTP_ROUTE not in facts.served and POLICY_HTTP_ROUTE not in facts.served:
            missing.append(HTTP_ROUTE.kind)
        problem = f"the cluster does not serve {', '.join(missing)}. Install Linkerd 2.16 or newer" if missing else ""
        said = [deployment.annotations.get(VERSION, "") for deployment in facts.deployments]
        versions = [
            match[0] for text in said if (match := re.search(r"(edge|stable|enterprise)-[\w.-]+|\d+\.\d+\S*", text))
        ]
        return Peer(
            name="Linkerd",
            version=versions[0] if versions else "",
            served=facts.served & frozenset(self.known_kinds),
            ready=any(deployment.ready for deployment in facts.deployments) if facts.deployments else None,
            problem=problem,
        )

    def fitted(self, peer: Peer) -> Linkerd:
        return replace(self, peer=peer)

    def plan(self, unit: Unit) -> Plan:
        match unit:
            case CanaryIntent():
                return linkerd_canary_plan(unit, self.peer.served, self.name)
            case MutualTLSIntent() if unit.enforced:
                return mutual_tls_plan(unit, self.name)
            case SidecarIntent() if unit.accepted:
                return self._sidecar(unit)
            case _:
                return Plan()

    def _sidecar(self, sidecar: SidecarIntent) -> Plan:
        """Linkerd's proxies count without being asked, and have no labels of one's own: Prometheus puts them there."""
        unsupported: list[Unsupported] = []
        objects: tuple[JSONObject, ...] = ()
        if POD_MONITOR in self.peer.served:
            objects = (pod_monitor(sidecar, self.name, "/metrics", port=METRICS),)
        else:
            message = (
                "Linkerd has no labels of one's own, and the cluster has no PodMonitor that could put them on the "
                "series. Install the Prometheus operator"
            )
            unsupported.append(Unsupported("spec.metricLabels", Feature.SIDECAR_METRIC_LABELS, message))
        if sidecar.containers:
            message = "the containers are not added to the Pods. Put them into the Pods' template"
            unsupported.append(Unsupported("spec.containers", Feature.SIDECAR_CONTAINERS, message))
        return Plan(objects=objects, unsupported=tuple(unsupported))

    def conflicts(self, unit: Unit, around: Surroundings) -> tuple[Conflict, ...]:
        match unit:
            case CanaryIntent():
                found = linkerd_canary_conflicts(unit, around)
            case MutualTLSIntent():
                found = mutual_tls_conflicts(unit, around)
            case _:
                return ()
        return tuple(sorted(found, key=lambda c: (c.created, c.foreign)))

    def answer(self, made: JSONObject) -> Answer:
        """Routes have a status; of its policies Linkerd says nothing, but in the log."""
        if str(made.get("kind")).endswith("Route"):
            return route_answer(made)
        return Answer(verdict=Verdict.UNTOLD)


provider = Linkerd()
