"""The adapter `gateway-api`: any mesh that reads routes with Services as parents does the work."""

from __future__ import annotations

from dataclasses import dataclass, replace

from smeagol.intent import CanaryIntent, MutualTLSIntent, SidecarIntent, Unit
from smeagol.plan import Feature, Plan, Unsupported
from smeagol.plan.peer import Answer, Conflict, JSONObject, Peer, PeerFacts, PeerKind, Surroundings, Traces
from smeagol.providers.gateway_api.answers import route_answer
from smeagol.providers.gateway_api.routes import (
    GRPC_ROUTE,
    HTTP_ROUTE,
    ROUTES,
    TCP_ROUTE,
    TCP_ROUTE_ALPHA,
    TLS_ROUTES,
    canary_conflicts,
    canary_plan,
)

__all__ = ["GatewayAPI", "provider"]

NEWEST = Peer(name="Gateway API", version="v1.6", served=frozenset({HTTP_ROUTE, GRPC_ROUTE, TCP_ROUTE, TLS_ROUTES[0]}))
NO_TRACES = Traces()
VERSION = "gateway.networking.k8s.io/bundle-version"
CHANNEL = "gateway.networking.k8s.io/channel"


@dataclass(frozen=True, slots=True)
class GatewayAPI:
    """A `PeerProvider`. Which mesh it is that does the work, only the status of a route tells."""

    peer: Peer = NEWEST
    name: str = "gateway-api"
    controller_name: str = "smeagol.dev/gateway-api"
    known_kinds: tuple[PeerKind, ...] = (*ROUTES, *TLS_ROUTES)
    traces: Traces = NO_TRACES
    proxy_containers: frozenset[str] = frozenset()

    @property
    def features(self) -> frozenset[Feature]:
        tcp = {TCP_ROUTE, TCP_ROUTE_ALPHA} & self.peer.served
        return frozenset({Feature.CANARY, Feature.CANARY_TCP} if tcp else {Feature.CANARY})

    @property
    def kinds(self) -> tuple[PeerKind, ...]:
        """The preferred version of each kind that there is."""
        served = [kind for kind in ROUTES if kind in self.peer.served]
        return tuple({kind.kind: kind for kind in reversed(served)}.values())[::-1]

    @property
    def watched(self) -> tuple[PeerKind, ...]:
        return tuple(kind for kind in TLS_ROUTES if kind in self.peer.served)[:1]

    def detect(self, facts: PeerFacts) -> Peer:
        annotations = facts.annotations.get(HTTP_ROUTE.crd, {})
        version = annotations.get(VERSION, "")
        channel = annotations.get(CHANNEL, "")
        problem = ""
        if HTTP_ROUTE not in facts.served:
            problem = "the cluster does not serve HTTPRoute v1. Install the CRDs of the Gateway API 1.0 or newer"
        return Peer(
            name="Gateway API",
            version=f"{version} ({channel})" if channel else version,
            served=facts.served & frozenset(self.known_kinds),
            problem=problem,
        )

    def fitted(self, peer: Peer) -> GatewayAPI:
        return replace(self, peer=peer)

    def plan(self, unit: Unit) -> Plan:
        match unit:
            case CanaryIntent():
                return canary_plan(unit, frozenset(self.kinds), self.name)
            case MutualTLSIntent():
                message = (
                    "the Gateway API has no means to require mutual TLS between workloads, so nothing is created. "
                    "Choose a class whose provider has it"
                )
                return Plan(unsupported=(Unsupported("spec", Feature.MUTUAL_TLS, message),), failed_closed=True)
            case SidecarIntent():
                message = "the Gateway API has no metrics of workloads. Choose a class whose provider has them"
                return Plan(unsupported=(Unsupported("spec", Feature.SIDECAR_METRICS, message),))
            case _:
                return Plan()

    def conflicts(self, unit: Unit, around: Surroundings) -> tuple[Conflict, ...]:
        if not isinstance(unit, CanaryIntent):
            return ()
        return tuple(sorted(canary_conflicts(unit, around), key=lambda c: (c.created, c.foreign)))

    def answer(self, made: JSONObject) -> Answer:
        return route_answer(made)


provider = GatewayAPI()
