"""Keeps the root proxies that Canaries ask for (spec: SMI-CAN-22): what runs them, and what leads clients there.

All follows from the Canaries and the Pods: what somebody changes comes back, and what is no longer asked for goes. What
goes with its Canary is Kubernetes' to collect. Objects of the same names that are somebody else's are left alone.

A leader knows of what others before it have made by the EndpointSlices, which all replicas watch. So they are there
before what runs Pods, and longer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress

import structlog

from smeagol.infra.kubernetes.keeper import Keeper, Kept
from smeagol.infra.kubernetes.objects import Applied, Refused, Unreached, lacks_right
from smeagol.install.access import ROOT_PROXIES, granting
from smeagol.intent import (
    SLICE_MANAGER,
    SLICE_MANAGER_LABEL,
    CanaryIntent,
    Resolver,
    UnitKey,
    UnitKind,
)
from smeagol.objects import EndpointSlice, Pod
from smeagol.plan import JSON
from smeagol.plan.peer import PeerKind, ref_of
from smeagol.refs import ObjectRef
from smeagol.sources.kubernetes import Backoff, ObjectKey
from smeagol.status import Event, EventType
from smeagol.webhook import Bootstrap, InjectionSettings
from smeagol.webhook.root_proxy import (
    account,
    budget,
    deployment,
    emptied,
    endpoint_slices,
    none_ready,
    object_name,
    root_proxy_of,
    unfit,
)

__all__ = ["RootProxies"]

log = structlog.get_logger(__name__)

RESYNC_SECONDS = 30.0
"""How long what somebody has changed of the kept objects stays changed."""

ACCOUNTS = PeerKind("v1", "ServiceAccount", "serviceaccounts")
DEPLOYMENTS = PeerKind("apps/v1", "Deployment", "deployments")
BUDGETS = PeerKind("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets")
SLICES = PeerKind("discovery.k8s.io/v1", "EndpointSlice", "endpointslices")

_BEING_MADE = "its root proxies are being made"


class RootProxies:
    """`keep` runs on the replica that leads; the others only take notes.

    `system`: the namespace of the control plane. `uid`: of a Canary that there is, else empty. `tell` records an Event;
    `changed` is called when there is something else to be told of a Canary.
    """

    def __init__(
        self,
        resolver: Resolver,
        settings: InjectionSettings,
        bootstrap: Bootstrap,
        *,
        system: str,
        uid: Callable[[ObjectRef], str],
        tell: Callable[[ObjectRef, Event], Awaitable[None]],
        changed: Callable[[], None],
    ) -> None:
        self._resolver = resolver
        self._settings = settings
        self._bootstrap = bootstrap
        self._system = system
        self._uid = uid
        self._tell = tell
        self._changed = changed
        self._asking: dict[ObjectRef, CanaryIntent] = {}
        self._pods: dict[ObjectKey, tuple[ObjectRef, Pod]] = {}
        """Root proxies that there are, with whose they are"""
        self._made: dict[ObjectKey, tuple[ObjectRef, EndpointSlice]] = {}
        """EndpointSlices of ours that there are, with whose they are"""
        self._applied: dict[ObjectRef, tuple[Mapping[str, JSON], str]] = {}
        """What was applied last, and which version of the object that made"""
        self._fresh: set[ObjectRef] = set()
        """Objects that need not be looked at before the next resync"""
        self._leaving: set[ObjectRef] = set()
        """Canaries of which something may be left that is to be taken back"""
        self._problems: dict[ObjectRef, str] = {}
        self._news = asyncio.Event()

    # What there is.

    def settled(self, changed: Iterable[UnitKey]) -> None:
        """To be called after each settle with the units that changed."""
        for key in changed:
            if key.kind is not UnitKind.CANARY:
                continue
            ref, unit = ObjectRef(key.kind.value, key.namespace, key.name), self._resolver.units.get(key)
            before = self._asking.pop(ref, None)
            if isinstance(unit, CanaryIntent) and unit.root_proxies and unit.accepted:
                self._asking[ref] = unit
            if before is not None or ref in self._asking:
                self._news.set()

    def note_pod(self, key: ObjectKey, pod: Pod | None) -> None:
        """To be called for each Pod that comes, changes, or goes (then None)."""
        before = self._pods.pop(key, None)
        if pod is not None and (canary := root_proxy_of(pod)) is not None:
            self._pods[key] = canary, pod
        if before is not None or key in self._pods:
            self._news.set()

    def note_slice(self, key: ObjectKey, found: EndpointSlice | None) -> None:
        """To be called for each EndpointSlice that comes, changes, or goes (then None)."""
        before = self._made.pop(key, None)
        if found is not None and found.metadata.labels.get(SLICE_MANAGER_LABEL) == SLICE_MANAGER:
            owners = (o.name for o in found.metadata.owner_references if o.kind == "Canary")
            self._made[key] = ObjectRef("Canary", key[0], next(owners, "")), found
        if before != self._made.get(key):
            self._news.set()

    def told(self, canary: CanaryIntent) -> str:
        """What the root proxies that a Canary asks for wait for; empty if for nothing."""
        return self._problems.get(canary.ref, _BEING_MADE) if canary.root_proxies else ""

    # What is made of it.

    async def keep(self, keeper: Keeper) -> None:
        """Until cancelled."""
        backoff = Backoff(first=1.0, most=RESYNC_SECONDS)
        clock = asyncio.get_running_loop().time
        looked = clock()
        self._fresh.clear()  # another may have led since
        while True:
            self._news.clear()
            found = {ref: unfit(canary) for ref, canary in sorted(self._asking.items())}
            fit = [canary for ref, canary in self._asking.items() if not found[ref]]
            done = True
            for canary in fit:
                try:
                    found[canary.ref], applied = await self._make(keeper, canary)
                except Exception as error:  # it is the business of this Canary alone
                    log.exception("root proxies not made", canary=str(canary.ref))
                    found[canary.ref], applied = f"its root proxies cannot be made: {type(error).__name__}", False
                done = done and applied
            self._leaving |= {canary for canary, _ in (*self._made.values(), *self._pods.values())}
            self._leaving -= {canary.ref for canary in fit}
            for ref in sorted(self._leaving):
                try:
                    gone = await self._withdraw(keeper, ref)
                except Exception:
                    log.exception("root proxies not withdrawn", canary=str(ref))
                    gone = False
                if gone:
                    self._leaving.discard(ref)
                done = done and gone
            self._note_problems(found)
            if done:
                backoff.reset()
            again = min(looked + RESYNC_SECONDS, clock() + (RESYNC_SECONDS if done else backoff.wait()))
            with suppress(TimeoutError):
                async with asyncio.timeout_at(again):
                    await self._news.wait()
            if clock() >= again:  # also where there is news all the time
                looked = clock()
                self._applied = {ref: self._applied[ref] for ref in self._fresh}
                self._fresh = set()

    async def _make(self, keeper: Keeper, canary: CanaryIntent) -> tuple[str, bool]:
        """What it waits for, empty if for nothing; and whether everything is there as it should be."""
        uid = self._uid(canary.ref)
        if not uid:
            return _BEING_MADE, True  # it has just gone, and all of it goes too
        pods = [pod for whose, pod in self._pods.values() if whose == canary.ref]
        root = self._resolver.services.get((canary.root.namespace, canary.root.name))
        slices = endpoint_slices(canary, uid, root.cluster_ips if root is not None else (), pods)
        objects = (
            (ACCOUNTS, account(canary, uid)),
            *((SLICES, made) for made in slices),
            (BUDGETS, budget(canary, uid)),
            (DEPLOYMENTS, deployment(canary, uid, self._settings, self._bootstrap)),
        )
        for kind, made in objects:
            why = await self._apply(keeper, kind, made, uid)
            if why:
                if why not in (self._problems.get(canary.ref), _BEING_MADE):
                    await self._tell(canary.ref, Event(EventType.WARNING, "RootProxyNotMade", why))
                return why, False
        named = {ref_of(made).name for made in slices}
        old = {found.metadata.name for found in self._slices_of(canary.ref)} - named
        for name in sorted(old):
            if not await self._take_back(keeper, SLICES, canary.ref.namespace, name, uid):
                return _BEING_MADE, False
        ready = any(pod.ready for pod in pods)
        return "" if ready else none_ready(canary), True

    async def _apply(self, keeper: Keeper, kind: PeerKind, made: Mapping[str, JSON], uid: str) -> str:
        """Why an object is not as it should be; empty if it is. What stands as we last applied it is not touched."""
        ref = ref_of(made)
        before, version = self._applied.get(ref, (None, ""))
        if before == made and ref in self._fresh:
            return ""
        there = await keeper.find(kind, ref.namespace, ref.name)
        if before == made and isinstance(there, Kept) and there.metadata.resource_version == version:
            self._fresh.add(ref)
            return ""
        if isinstance(there, Kept) and uid not in {owner.uid for owner in there.metadata.owner_references}:
            return f"{ref} is there already and is not Smeagol's, so its root proxies cannot be made"
        if isinstance(there, Kept) or there is None:
            applied = await keeper.apply(kind, made, uid=there.metadata.uid if there is not None else "")
        else:
            applied = there
        match applied:
            case Applied():
                self._applied[ref] = made, applied.version
                self._fresh.add(ref)
                return ""
            case Unreached():
                return _BEING_MADE
            case Refused(message=words) if lacks_right(words):
                command = granting(ROOT_PROXIES, ref.namespace, system=self._system)
                return f"Smeagol may not make its root proxies; let it with `{command}`"
            case Refused(message=words):
                return f"the API server does not take {ref}: {words}"

    async def _withdraw(self, keeper: Keeper, canary: ObjectRef) -> bool:
        """Take back what was made for a Canary that no longer asks for it; False if it must be tried again.

        First of all, nobody is led there; last goes that by which a next leader knows of the rest.
        """
        if not (uid := self._uid(canary)):
            return True  # it has gone, and all of it goes too
        name, slices = object_name(canary), self._slices_of(canary)
        for found in slices:
            if found.endpoints and uid in {owner.uid for owner in found.metadata.owner_references}:
                self._fresh.discard(ObjectRef(SLICES.kind, canary.namespace, found.metadata.name))
                applied = await keeper.apply(SLICES, emptied(found, canary, uid), uid=found.metadata.uid)
                if isinstance(applied, Unreached):
                    return False
        known = [(SLICES, found.metadata.name) for found in slices]
        for kind, named in ((ACCOUNTS, name), (BUDGETS, name), (DEPLOYMENTS, name), *known):
            if not await self._take_back(keeper, kind, canary.namespace, named, uid):
                return False
        return True

    def _slices_of(self, canary: ObjectRef) -> list[EndpointSlice]:
        return [found for whose, found in self._made.values() if whose == canary]

    async def _take_back(self, keeper: Keeper, kind: PeerKind, namespace: str, name: str, uid: str) -> bool:
        """Delete an object, if there is one and it is the Canary's; False if it must be tried again."""
        self._fresh.discard(ObjectRef(kind.kind, namespace, name))
        there = await keeper.find(kind, namespace, name)
        if isinstance(there, Kept) and uid in {owner.uid for owner in there.metadata.owner_references}:
            return await keeper.delete(kind, namespace, name, uid=there.metadata.uid)
        return not isinstance(there, Unreached)

    def _note_problems(self, found: dict[ObjectRef, str]) -> None:
        if found != self._problems:
            self._problems = found
            self._changed()
