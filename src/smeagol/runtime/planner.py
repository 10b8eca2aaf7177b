"""Keeps every unit's Plan and says what a change of units changes for the proxies: bookkeeping without I/O.

A unit is planned anew only when it changed, and only resources whose bytes differ leave this module. Two units may
claim one resource (two headless Services with one endpoint both want its address): the smallest unit key holds it,
and when that goes away the next one takes over, so the outcome never depends on the order of events.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Generic, NamedTuple, TypeVar

import structlog

from smeagol.errors import SmeagolError
from smeagol.intent import CanaryIntent, Unit
from smeagol.plan import CertificateRequest, Feature, Plan, Provider, ProxyResource, Unsupported
from smeagol.refs import NodeId

__all__ = ["Delta", "Planner", "ResourceKey", "fault_of"]

log = structlog.get_logger(__name__)

K = TypeVar("K")


class ResourceKey(NamedTuple):
    """Where a resource lives: `node` is None for one that all proxies share."""

    node: NodeId | None
    type_url: str
    name: str


def _key(resource: ProxyResource) -> ResourceKey:
    return ResourceKey(resource.node, resource.type_url, resource.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """What must change in the world. `unplanned` units raised: they keep their last good plan."""

    upserts: tuple[ProxyResource, ...] = ()
    removals: tuple[ResourceKey, ...] = ()
    wanted: tuple[CertificateRequest, ...] = ()
    unwanted: tuple[CertificateRequest, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.upserts or self.removals or self.wanted or self.unwanted)


@dataclass(slots=True)
class Planner(Generic[K]):
    """`K` is the resolver's unit key; it must be orderable among its own kind (its `repr` decides ties)."""

    provider: Provider
    plans: dict[K, Plan] = field(default_factory=dict)
    failures: dict[K, SmeagolError] = field(default_factory=dict)
    _claims: dict[ResourceKey, dict[K, ProxyResource]] = field(default_factory=dict)
    _held: dict[ResourceKey, ProxyResource] = field(default_factory=dict)
    _digests: dict[K, str] = field(default_factory=dict)

    def update(self, changed: Iterable[K], units: Mapping[K, Unit]) -> Delta:
        """Plan the changed units again and return the difference; a unit no longer in `units` is forgotten."""
        touched: set[ResourceKey] = set()
        wanted: dict[CertificateRequest, None] = {}
        unwanted: dict[CertificateRequest, None] = {}
        for key in changed:
            before = self.plans.get(key, Plan())
            after = self._plan(key, units.get(key), before)
            touched |= self._reclaim(key, before, after)
            unwanted |= dict.fromkeys(c for c in before.certificates if c not in after.certificates)
            wanted |= dict.fromkeys(c for c in after.certificates if c not in before.certificates)
        upserts, removals = self._settle(touched)
        return Delta(upserts=upserts, removals=removals, wanted=tuple(wanted), unwanted=tuple(unwanted))

    @property
    def resources(self) -> Iterable[ProxyResource]:
        """Everything the proxies should hold, secrets aside."""
        return self._held.values()

    def holds(self, key: ResourceKey) -> bool:
        """Whether the proxies should hold a resource of this name."""
        return key in self._held

    def resources_of(self, key: K) -> tuple[ResourceKey, ...]:
        """What stands for one unit in the proxies: the names whose acknowledgement makes it Programmed."""
        return tuple(_key(resource) for resource in self.plans.get(key, Plan()).resources)

    def digest_of(self, keys: Iterable[K]) -> str:
        """Of all that the proxies are to have for some units: equal wherever the same was planned. Certificates count
        by their names, since each control plane issues its own.
        """
        digest = blake2b(digest_size=12)
        for key in keys:
            if key not in self._digests:
                self._digests[key] = _digest(self.plans.get(key, Plan()))
            digest.update(self._digests[key].encode())
        return digest.hexdigest()

    def _plan(self, key: K, unit: Unit | None, before: Plan) -> Plan:
        self.failures.pop(key, None)
        self._digests.pop(key, None)
        if unit is None:
            self.plans.pop(key, None)
            return Plan()
        try:
            plan = self.provider.plan(unit)
        except SmeagolError as error:
            self.failures[key] = error
            return before
        except Exception as error:
            # A fault of the provider's: what is in force stays so, and all other units go on.
            log.exception("unit not planned", unit=str(key), provider=self.provider.name)
            self.failures[key] = fault_of(self.provider, error)
            return before
        self.plans[key] = plan = _with_undone(plan, unit, self.provider)
        return plan

    def _reclaim(self, key: K, before: Plan, after: Plan) -> set[ResourceKey]:
        new = {_key(resource): resource for resource in after.resources}
        touched = set()
        for name in (_key(resource) for resource in before.resources):
            if name not in new:
                self._claims[name].pop(key, None)
                touched.add(name)
        for name, resource in new.items():
            claims = self._claims.setdefault(name, {})
            if claims.get(key) != resource:
                claims[key] = resource
                touched.add(name)
        return touched

    def _settle(self, touched: set[ResourceKey]) -> tuple[tuple[ProxyResource, ...], tuple[ResourceKey, ...]]:
        upserts: list[ProxyResource] = []
        removals: list[ResourceKey] = []
        for name in touched:
            claims = self._claims[name]
            if not claims:
                del self._claims[name]
                if self._held.pop(name, None) is not None:
                    removals.append(name)
                continue
            holder = claims[min(claims, key=repr)]
            if self._held.get(name) != holder:
                self._held[name] = holder
                upserts.append(holder)
        return tuple(upserts), tuple(removals)


def _with_undone(plan: Plan, unit: Unit, provider: Provider) -> Plan:
    """What no plan of a provider's can tell, since it takes more than plans: the runtime runs root proxies."""
    asked = isinstance(unit, CanaryIntent) and unit.root_proxies
    if not asked or Feature.CANARY_ROOT_PROXY in provider.features:
        return plan
    message = "clients without a proxy keep the plain behaviour of the root"
    undone = Unsupported("spec.rootProxy", Feature.CANARY_ROOT_PROXY, message)
    return replace(plan, unsupported=(*plan.unsupported, undone))


def fault_of(provider: Provider, error: Exception) -> SmeagolError:
    """What users are told of an error that a provider should not have raised; the log has its trace."""
    return SmeagolError(
        f"the provider '{provider.name}' has a fault: {type(error).__name__}",
        fix="see the log of the control plane; what was in force stays so",
    )


def _digest(plan: Plan) -> str:
    digest = blake2b(digest_size=12)
    for resource in plan.resources:
        digest.update(f"{resource.node or ''}\0{resource.type_url}\0{resource.name}\0".encode())
        digest.update(blake2b(resource.body, digest_size=16).digest())
    for request in plan.certificates:
        digest.update(repr(request).encode())
    return digest.hexdigest()
