"""How the units of an intent are named, and what their resolution depends on besides the objects."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from smeagol.intent.model import (
    CanaryIntent,
    MeshIntent,
    MutualTLSIntent,
    ServiceIntent,
    SidecarIntent,
    Unit,
    WorkloadIntent,
)
from smeagol.intent.selection import PROXY_CONTAINER
from smeagol.names import NamePolicy, NameRule
from smeagol.refs import DEFAULT_CLUSTER_DOMAIN

__all__ = ["Key", "Settings", "UnitKey", "UnitKind", "key_of"]

Key: TypeAlias = tuple[str, str]
"""(namespace, name); the namespace of a cluster-scoped object is empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the resolution depends on besides the objects.

    `controllers`: the `spec.controllerName` of the ProviderClasses that are served here. `serve_unclassed`: whether
    objects that pick no class are served while there is no ProviderClass at all (standalone mode). `proxy_containers`:
    the names of containers by which a Pod is known to have a proxy.
    """

    cluster_domain: str = DEFAULT_CLUSTER_DOMAIN
    trust_domain: str = DEFAULT_CLUSTER_DOMAIN
    controllers: frozenset[str] = frozenset()
    serve_unclassed: bool = False
    pod_cidrs: tuple[str, ...] = ()
    pods_have_ipv6: bool = False
    proxy_containers: frozenset[str] = frozenset({PROXY_CONTAINER})

    @property
    def mesh(self) -> MeshIntent:
        return MeshIntent(
            cluster_domain=self.cluster_domain,
            trust_domain=self.trust_domain,
            pod_cidrs=self.pod_cidrs,
            pods_have_ipv6=self.pods_have_ipv6,
        )

    def names(self, rules: tuple[tuple[NameRule, ...], ...] = ()) -> NamePolicy:
        """What holds about names, with the rules of each ProviderClass that is served."""
        return NamePolicy(cluster_domain=self.cluster_domain, trust_domain=self.trust_domain, rules=rules)


class UnitKind(enum.StrEnum):
    """What a unit is about."""

    CANARY = "Canary"
    MESH = "Mesh"
    MUTUAL_TLS = "MutualTLS"
    SERVICE = "Service"
    SIDECAR = "Sidecar"
    WORKLOAD = "Workload"


class UnitKey(NamedTuple):
    """Which unit: ordered, so that what is listed is listed alike everywhere."""

    kind: UnitKind
    namespace: str
    name: str


def key_of(unit: Unit) -> UnitKey:
    """The key under which the resolver lists `unit`."""
    match unit:
        case ServiceIntent():
            return UnitKey(UnitKind.SERVICE, unit.ref.namespace, unit.ref.name)
        case WorkloadIntent():
            return UnitKey(UnitKind.WORKLOAD, unit.pod.namespace, unit.pod.name)
        case CanaryIntent():
            return UnitKey(UnitKind.CANARY, unit.ref.namespace, unit.ref.name)
        case MutualTLSIntent():
            return UnitKey(UnitKind.MUTUAL_TLS, unit.ref.namespace, unit.ref.name)
        case SidecarIntent():
            return UnitKey(UnitKind.SIDECAR, unit.ref.namespace, unit.ref.name)
        case MeshIntent():
            return UnitKey(UnitKind.MESH, "", "")
