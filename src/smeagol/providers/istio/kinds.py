"""Istio's kinds that the adapter makes, each in the versions in which Istio has served it, the newest first."""

from __future__ import annotations

from collections.abc import Iterable

from smeagol.plan.peer import PeerKind

__all__ = ["ENVOY_FILTER", "ISTIO_KINDS", "PEER_AUTHENTICATIONS", "TELEMETRIES", "VIRTUAL_SERVICES", "newest"]

PEER_AUTHENTICATIONS = tuple(
    PeerKind(f"security.istio.io/{version}", "PeerAuthentication", "peerauthentications")
    for version in ("v1", "v1beta1")
)
VIRTUAL_SERVICES = tuple(
    PeerKind(f"networking.istio.io/{version}", "VirtualService", "virtualservices") for version in ("v1", "v1beta1")
)
TELEMETRIES = tuple(
    PeerKind(f"telemetry.istio.io/{version}", "Telemetry", "telemetries") for version in ("v1", "v1alpha1")
)
ENVOY_FILTER = PeerKind("networking.istio.io/v1alpha3", "EnvoyFilter", "envoyfilters")
ISTIO_KINDS = (*PEER_AUTHENTICATIONS, *VIRTUAL_SERVICES, *TELEMETRIES, ENVOY_FILTER)


def newest(versions: Iterable[PeerKind], served: frozenset[PeerKind]) -> PeerKind | None:
    """The newest version that there is."""
    return next((kind for kind in versions if kind in served), None)
