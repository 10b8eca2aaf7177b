"""From a Canary to routes of the Gateway API, or to Linkerd's own HTTPRoute where the cluster has none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from smeagol.intent import CanaryIntent
from smeagol.plan import JSON, Plan
from smeagol.plan.peer import Conflict, PeerKind, Surroundings
from smeagol.providers.gateway_api.routes import (
    HTTP_ROUTE,
    TCP_ROUTE_ALPHA,
    canary_conflicts,
    canary_plan,
)
from smeagol.providers.linkerd.mutual_tls import POLICY_HTTP_ROUTE

__all__ = ["SERVICE_PROFILE", "linkerd_canary_conflicts", "linkerd_canary_plan"]

SERVICE_PROFILE = PeerKind("linkerd.io/v1alpha2", "ServiceProfile", "serviceprofiles")


def linkerd_canary_plan(canary: CanaryIntent, served: frozenset[PeerKind], provider: str) -> Plan:
    """gRPC is divided by HTTPRoute too: both on one port would contradict each other. TCPRoute is read as v1alpha2."""
    if HTTP_ROUTE in served:
        return canary_plan(canary, served & {HTTP_ROUTE, TCP_ROUTE_ALPHA}, provider)
    # Linkerd's own has the same fields, but for the group.
    plan = canary_plan(canary, frozenset({HTTP_ROUTE}), provider)
    return Plan(objects=tuple(_of_linkerd(route) for route in plan.objects), unsupported=plan.unsupported)


def _of_linkerd(route: Mapping[str, JSON]) -> Mapping[str, JSON]:
    return {**route, "apiVersion": POLICY_HTTP_ROUTE.group_version}


def linkerd_canary_conflicts(canary: CanaryIntent, around: Surroundings) -> Iterator[Conflict]:
    """A ServiceProfile of the root, in whichever namespace, makes Linkerd ignore routes (reference: HTTPRoute)."""
    for profile in around.of(SERVICE_PROFILE):
        conflict = Conflict.over(profile, f"Linkerd ignores routes of {canary.root} beside it", oldest_wins=False)
        if conflict.foreign.name == canary.root.fqdn(canary.cluster_domain):
            yield conflict
    for route in around.of(POLICY_HTTP_ROUTE):
        yield from canary_conflicts(canary, Surroundings([{**route, "apiVersion": HTTP_ROUTE.group_version}]))
    yield from canary_conflicts(canary, around)
