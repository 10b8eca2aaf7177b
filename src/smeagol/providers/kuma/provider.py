"""The adapter `kuma`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from smeagol.intent import CanaryIntent, MutualTLSIntent, SidecarIntent, Unit
from smeagol.plan import JSON, Feature, Plan, Unsupported
from smeagol.plan.peer import Answer, Conflict, JSONObject, Peer, PeerFacts, PeerKind, Surroundings, Traces, Verdict
from smeagol.providers.gateway_api.answers import route_answer
from smeagol.providers.gateway_api.routes import GRPC_ROUTE, HTTP_ROUTE
from smeagol.providers.kuma.canary import kuma_canary_conflicts, kuma_canary_plan
from smeagol.providers.kuma.mutual_tls import mutual_tls_conflicts, mutual_tls_plan
from smeagol.providers.kuma.policies import (
    MESH_HTTP_ROUTE,
    MESH_IDENTITY,
    MESH_KIND,
    MESH_METRIC,
    MESH_TCP_ROUTE,
    MESH_TLS,
    policies,
    same_target,
)
from smeagol.providers.pod_monitor import POD_MONITOR, pod_monitor

__all__ = ["Kuma", "provider"]

POLICIES = (MESH_TLS, MESH_HTTP_ROUTE, MESH_TCP_ROUTE, MESH_METRIC)
READ = (MESH_IDENTITY, MESH_KIND)
NEWEST = Peer(name="Kuma", version="3.0", served=frozenset({*POLICIES, *READ, HTTP_ROUTE}))
TRACES = Traces(deployments=("app=kuma-control-plane",))
OLDEST = (2, 13)
"""The first in which a strict proxy refuses ports that it does not know."""
METRICS_PORT = 5670


@dataclass(frozen=True, slots=True)
class Kuma:
    """A `PeerProvider`."""

    peer: Peer = NEWEST
    name: str = "kuma"
    controller_name: str = "smeagol.dev/kuma"
    known_kinds: tuple[PeerKind, ...] = (*POLICIES, *READ, HTTP_ROUTE, GRPC_ROUTE, POD_MONITOR)
    traces: Traces = TRACES
    proxy_containers: frozenset[str] = frozenset({"kuma-sidecar"})

    @property
    def features(self) -> frozenset[Feature]:
        found = {
            Feature.MUTUAL_TLS,
            Feature.MUTUAL_TLS_PERMISSIVE,
            Feature.CANARY,
            Feature.CANARY_TCP,
            Feature.SIDECAR_METRICS,
        }
        return frozenset(found | ({Feature.SIDECAR_METRIC_LABELS} if POD_MONITOR in self.peer.served else set()))

    @property
    def kinds(self) -> tuple[PeerKind, ...]:
        return tuple(kind for kind in (*POLICIES, HTTP_ROUTE, POD_MONITOR) if kind in self.peer.served)

    @property
    def watched(self) -> tuple[PeerKind, ...]:
        return tuple(kind for kind in (*READ, GRPC_ROUTE) if kind in self.peer.served)

    def detect(self, facts: PeerFacts) -> Peer:
        missing = [kind.kind for kind in POLICIES if kind not in facts.served]
        images = [image for deployment in facts.deployments for image in deployment.images]
        found = next((m for image in images if (m := re.search(r":v?(\d+)\.(\d+)[^:@]*", image))), None)
        problem = ""
        if missing:
            problem = f"the cluster does not serve {', '.join(missing)}. Install Kuma 2.13 or newer"
        elif found and (int(found[1]), int(found[2])) < OLDEST:
            problem = (
                f"Kuma {found[0].lstrip(':')} leaves ports open that no Service declares. Install Kuma 2.13 or newer"
            )
        return Peer(
            name="Kuma",
            version=found[0].lstrip(":v") if found else "",
            served=facts.served & frozenset(self.known_kinds),
            ready=any(deployment.ready for deployment in facts.deployments) if facts.deployments else None,
            problem=problem,
        )

    def fitted(self, peer: Peer) -> Kuma:
        return replace(self, peer=peer)

    def plan(self, unit: Unit) -> Plan:
        match unit:
            case CanaryIntent():
                return kuma_canary_plan(unit, self.peer.served, self.name)
            case MutualTLSIntent() if unit.enforced:
                return mutual_tls_plan(unit, self.name)
            case SidecarIntent() if unit.accepted:
                return self._sidecar(unit)
            case _:
                return Plan()

    def _sidecar(self, sidecar: SidecarIntent) -> Plan:
        """Kuma's proxies have no labels of one's own: Prometheus puts them on the series."""
        unsupported: list[Unsupported] = []
        backends: JSON = [{"type": "Prometheus", "prometheus": {"port": METRICS_PORT, "path": "/metrics"}}]
        spec: JSONObject = {"default": {"backends": backends}}
        objects = [*policies(MESH_METRIC, sidecar.ref, self.name, sidecar.selection, spec)]
        if not objects:
            message = (
                "Kuma's targets have labels only, and would select other Pods. Select by matchLabels, or by In with "
                "few values"
            )
            return Plan(unsupported=(Unsupported("spec.selector.matchExpressions", Feature.SIDECAR_METRICS, message),))
        if POD_MONITOR in self.peer.served:
            objects.append(pod_monitor(sidecar, self.name, "/metrics", portNumber=METRICS_PORT))
        else:
            message = (
                "Kuma has no labels of one's own, and the cluster has no PodMonitor that could put them on the series. "
                "Install the Prometheus operator"
            )
            unsupported.append(Unsupported("spec.metricLabels", Feature.SIDECAR_METRIC_LABELS, message))
        if sidecar.containers:
            message = "the containers are not added to the Pods. Put them into the Pods' template"
            unsupported.append(Unsupported("spec.containers", Feature.SIDECAR_CONTAINERS, message))
        return Plan(objects=tuple(objects), unsupported=tuple(unsupported))

    def conflicts(self, unit: Unit, around: Surroundings) -> tuple[Conflict, ...]:
        match unit:
            case CanaryIntent():
                found = kuma_canary_conflicts(unit, around)
            case MutualTLSIntent():
                found = mutual_tls_conflicts(unit, around, mesh_mtls=self.peer.version.startswith("2."))
            case SidecarIntent():
                found = _sidecar_conflicts(unit, around)
            case _:
                return ()
        return tuple(sorted(found, key=lambda c: (c.created, c.foreign)))

    def answer(self, made: JSONObject) -> Answer:
        """HTTPRoutes have a status; of its own policies Kuma says nothing."""
        return route_answer(made) if HTTP_ROUTE.is_kind_of(made) else Answer(verdict=Verdict.UNTOLD)


def _sidecar_conflicts(sidecar: SidecarIntent, around: Surroundings) -> Iterator[Conflict]:
    for foreign in around.of(MESH_METRIC, sidecar.ref.namespace):
        if same_target(foreign, sidecar.selection, around):
            yield Conflict.over(foreign, "it says where some of the Pods are measured", oldest_wins=False)


provider = Kuma()
