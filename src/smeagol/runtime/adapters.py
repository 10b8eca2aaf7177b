"""The control plane of adapters in a cluster: users' objects in, objects of other meshes out, and their answers back.

Every replica watches; the one that leads applies and writes. It acts only on a whole state: what is made is compared
with what is wanted, and a state that is half known would look like a wish to delete.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias, TypeVar

import httpx2
import structlog

from smeagol import api, objects
from smeagol.errors import SmeagolError
from smeagol.infra.kubernetes.lease import Elector
from smeagol.infra.kubernetes.objects import Applied, ObjectWriter, Refused, Unreached
from smeagol.infra.kubernetes.writer import OUTCOMES, StatusWriter, own_part
from smeagol.install.adapter_access import adapters_lease
from smeagol.intent import CanaryIntent, MutualTLSIntent, Settings, SidecarIntent, UnitKey, UnitKind
from smeagol.plan import ProxyProvider
from smeagol.plan.peer import Peer, PeerKind, PeerProvider
from smeagol.refs import ObjectRef, PodRef
from smeagol.runtime.applying import Adapter, Apply, present_in
from smeagol.runtime.control_plane import now
from smeagol.runtime.controller import ControllerSettings, Watching
from smeagol.runtime.controller_metrics import AdapterCollector
from smeagol.runtime.health import Readiness, health_app
from smeagol.runtime.offline import provider_named
from smeagol.runtime.own_metrics import metrics_text
from smeagol.runtime.remote import RemoteProvider
from smeagol.runtime.reporting import AnyStatus, KnownStatuses
from smeagol.runtime.web import listening, served
from smeagol.sources.kubernetes import Backoff, Decoded, Kind, ObjectKey, Reflector, kinds
from smeagol.sources.kubernetes.peers import PeerObject, find_peer, kind_of
from smeagol.status import Event, events, status_of

__all__ = ["AdapterController", "NotTogetherError", "adapters_named", "chosen_providers"]

log = structlog.get_logger(__name__)

T = TypeVar("T", bound=Decoded)

SETTLE_SECONDS = 0.25
"""A pause in which changes that belong together meet; so often at most is anything applied or written."""
LOOK_SECONDS = 15
"""How often the peers are looked for: CRDs and control planes come and go seldom."""
WAIT_SECONDS = 5
"""How often statuses are computed anew while nothing happens: that nobody has answered is news too."""

Reported: TypeAlias = api.Canary | api.MutualTLS | api.Sidecar | api.ProviderClass


class NotTogetherError(SmeagolError):
    code = "SMI-A001"


def chosen_providers(names: Sequence[str]) -> ProxyProvider | tuple[PeerProvider, ...]:
    """The providers of these names that one process can serve: one with proxies of ours, or any number of adapters.

    Raises NotTogetherError for others, NoSuchProviderError for names that nobody has.
    """
    found = [provider_named(name) for name in dict.fromkeys(names)]
    if len(found) == 1 and isinstance(found[0], ProxyProvider):
        return found[0]
    return adapters_named(names)


def adapters_named(names: Sequence[str], *, option: str = "--provider") -> tuple[PeerProvider, ...]:
    """The adapters of these names, which `option` gave. Raises NotTogetherError if one is another sort of provider."""
    found = [provider_named(name) for name in dict.fromkeys(names)]
    adapters = tuple(provider for provider in found if isinstance(provider, PeerProvider))
    if len(adapters) < len(found):
        raise NotTogetherError(
            f"{', '.join(provider.name for provider in found)}: not all of these are adapters to other meshes",
            where=option,
            fix="give one provider that has proxies, such as envoy, or only adapters",
        )
    return adapters


class AdapterController:
    """One replica, for one or more adapters. `run` returns when it is cancelled."""

    def __init__(
        self, settings: ControllerSettings, *, client: httpx2.AsyncClient, providers: Sequence[PeerProvider]
    ) -> None:
        self.settings = settings
        self._client = client
        self._wake = asyncio.Event()
        self._objects: dict[ObjectRef, Reported] = {}
        self._there = KnownStatuses()
        self._pods: dict[PodRef, tuple[Mapping[str, str], Mapping[str, str]]] = {}
        self.adapters = [Adapter(provider, self._resolver_settings(provider)) for provider in providers]
        self._objects_writers = {
            adapter.field_manager: ObjectWriter(client, field_manager=adapter.field_manager)
            for adapter in self.adapters
        }
        self._status_writers = {
            adapter.field_manager: StatusWriter(client, component=adapter.field_manager, instance=settings.identity)
            for adapter in self.adapters
        }
        self.readiness = Readiness()
        self._elector = Elector(
            client,
            namespace=settings.namespace,
            name=adapters_lease(providers),
            identity=settings.identity,
        )
        self._peer_reflectors: dict[PeerKind, tuple[Reflector[PeerObject], asyncio.Task[None]]] = {}
        self._reflectors = (
            self._reflect(kinds.NAMESPACES, lambda adapter: adapter.resolver.namespaces.update),
            self._reflect(kinds.PODS, lambda adapter: adapter.resolver.pods.update),
            self._reflect(kinds.SERVICES, lambda adapter: adapter.resolver.services.update),
            self._reflect(kinds.ENDPOINT_SLICES, lambda adapter: adapter.resolver.endpoint_slices.update),
            self._reflect(kinds.PROVIDER_CLASSES, lambda adapter: adapter.resolver.provider_classes.update),
            self._reflect(kinds.MUTUAL_TLS, lambda adapter: adapter.resolver.mutual_tls.update),
            self._reflect(kinds.SIDECARS, lambda adapter: adapter.resolver.sidecars.update),
            self._reflect(kinds.CANARIES, lambda adapter: adapter.resolver.canaries.update),
        )

    async def run(self) -> None:
        """Serve until cancelled. It is ready when all is known that it must know of."""
        self.readiness.add(self._not_whole)
        with listening(self.settings.health_address) as health:
            app = health_app(self.readiness, lambda: metrics_text(AdapterCollector(self)))
            async with served(app, [health]):
                await self._run()

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for reflector in self._reflectors:
                tasks.create_task(reflector.run())
            await asyncio.gather(*(reflector.synced.wait() for reflector in self._reflectors))
            log.info("synced", objects={r.plural: len(r) for r in self._reflectors})
            tasks.create_task(self._look(tasks))
            for adapter in self.adapters:
                if isinstance(adapter.provider, RemoteProvider):
                    tasks.create_task(adapter.provider.calls.keep(self._news_of(adapter)))
            standing = tasks.create_task(self._elector.run(self._lead))
            try:
                await asyncio.Event().wait()
            finally:
                self.readiness.ending = True
                standing.cancel()
                await asyncio.wait([standing])  # to be cancelled again by the group would keep the Lease from the next

    def _not_whole(self) -> str:
        unseen = [reflector.plural for reflector in self.watches if not reflector.synced.is_set()]
        if unseen:
            return f"not yet seen: {', '.join(unseen)}"
        unknown = [adapter.provider.name for adapter in self.adapters if not adapter.known]
        return f"not yet looked for: the mesh of {', '.join(unknown)}" if unknown else ""

    # What it tells about itself.

    @property
    def leading(self) -> bool:
        return self._elector.leading

    @property
    def ready(self) -> bool:
        return not self.readiness.missing

    @property
    def watches(self) -> tuple[Watching, ...]:
        return (*self._reflectors, *(reflector for reflector, _ in self._peer_reflectors.values()))

    @property
    def status_writes(self) -> Mapping[str, int]:
        writers = self._status_writers.values()
        return {outcome: sum(writer.writes[outcome] for writer in writers) for outcome in OUTCOMES}

    @property
    def peers_ready(self) -> Mapping[str, bool]:
        """By adapter: whether its mesh is there, and fits."""
        return {a.provider.name: a.known and not a.provider.peer.problem for a in self.adapters}

    # What is there.

    def _news_of(self, adapter: Adapter) -> Callable[[tuple[UnitKey, ...]], None]:
        def on_news(keys: tuple[UnitKey, ...]) -> None:
            adapter.replan(keys)
            self._wake.set()

        return on_news

    def _resolver_settings(self, provider: PeerProvider) -> Settings:
        return Settings(
            cluster_domain=self.settings.cluster_domain,
            trust_domain=self.settings.trust_domain,
            pod_cidrs=self.settings.pod_cidrs,
            controllers=frozenset({provider.controller_name}),
            serve_unclassed=self.settings.serve_unclassed,
            proxy_containers=provider.proxy_containers,
        )

    def _reflect(
        self, kind: Kind[T], update_of: Callable[[Adapter], Callable[[Mapping[ObjectKey, T | None]], None]]
    ) -> Reflector[T]:
        def feed(changed: Mapping[ObjectKey, T | None]) -> None:
            for adapter in self.adapters:
                update_of(adapter)(changed)
            for key, value in changed.items():
                self._note(kind, key, value)
            self._wake.set()

        return Reflector(self._client, kind, feed)

    def _note(self, kind: Kind[T], key: ObjectKey, value: T | None) -> None:
        """Keep the users' objects, and the labels of Pods."""
        if kind.plural == kinds.PODS.plural:
            if isinstance(value, objects.Pod):
                self._pods[PodRef(*key)] = (value.metadata.labels, value.metadata.annotations)
            else:
                self._pods.pop(PodRef(*key), None)
            return
        name = next((known.name for known in api.KINDS if known.plural == kind.plural), None)
        if name is None:
            return
        ref = ObjectRef(name, *key)
        if isinstance(value, Reported):
            self._objects[ref] = value
            self._there.see(ref, value.metadata.resource_version, value.status)
        else:
            self._objects.pop(ref, None)
            self._there.forget(ref)

    async def _look(self, tasks: asyncio.TaskGroup) -> None:
        """Look for the peers again and again, and watch the kinds that there are."""
        while True:
            for adapter in self.adapters:
                try:
                    await self._look_for(adapter)
                except (httpx2.HTTPError, ValueError) as error:
                    log.warning("peer not looked for", provider=adapter.provider.name, error=repr(error))
                except Exception:
                    # A fault of one adapter never stops the others.
                    log.exception("peer not understood", provider=adapter.provider.name)
            self._watch({kind for adapter in self.adapters for kind in _kinds(adapter)}, tasks)
            await asyncio.sleep(LOOK_SECONDS)

    async def _look_for(self, adapter: Adapter) -> None:
        peer = adapter.provider.detect(await find_peer(self._client, adapter.provider))
        if not adapter.known or peer != adapter.provider.peer:
            log.info("peer", provider=adapter.provider.name, version=peer.version, problem=peer.problem)
            adapter.fit(peer)
            self._wake.set()

    def _watch(self, wanted: set[PeerKind], tasks: asyncio.TaskGroup) -> None:
        for gone in self._peer_reflectors.keys() - wanted:
            self._peer_reflectors.pop(gone)[1].cancel()
        for kind in wanted - self._peer_reflectors.keys():
            reflector = Reflector(self._client, kind_of(kind), lambda _changed: self._wake.set())
            self._peer_reflectors[kind] = (reflector, tasks.create_task(reflector.run()))

    def _whole(self, adapter: Adapter) -> bool:
        """Is all known that the adapter must know of?"""
        found = [self._peer_reflectors.get(kind) for kind in _kinds(adapter)]
        return adapter.known and all(known is not None and known[0].synced.is_set() for known in found)

    def _unread(self) -> frozenset[ObjectRef]:
        """The users' objects that are there but cannot be read."""
        names = {known.plural: known.name for known in api.KINDS}
        return frozenset(
            ObjectRef(names[r.plural], *key)
            for r in self._reflectors
            if r.plural in names
            for key in r.store.undecodable
        )

    # What the leader does.

    async def _lead(self) -> None:
        backoff = Backoff()
        while True:
            self._wake.clear()
            complete = True
            for adapter in self.adapters:
                if self._whole(adapter):
                    complete = await self._serve(adapter) and complete
            await asyncio.sleep(SETTLE_SECONDS)
            wait = WAIT_SECONDS if complete else backoff.wait()
            if complete:
                backoff.reset()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._wake.wait()

    async def _serve(self, adapter: Adapter) -> bool:
        """One pass: make what is wanted, then say how it stands. False if something must be tried again."""
        reflectors = {kind: self._peer_reflectors[kind][0] for kind in _kinds(adapter)}
        stores = [reflector.store.objects for reflector in reflectors.values()]
        as_of = {kind: reflector.version for kind, reflector in reflectors.items()}
        adapter.settle(self._objects, present_in(stores), self._pods, self._unread(), as_of)
        if isinstance(adapter.provider, RemoteProvider):
            uids = {found.metadata.uid for store in stores for found in store.values()}
            adapter.provider.calls.forget(adapter.units.keys(), uids)
        complete = True
        writer = self._objects_writers[adapter.field_manager]
        for step in adapter.steps(now()):
            if not isinstance(step, Apply):
                complete = await writer.delete(step.kind, step.id.namespace, step.id.name, uid=step.uid) and complete
                continue
            if not step.uid and await writer.is_taken(step.kind, step.id.namespace, step.id.name):
                complete = False  # made by the leader before us, or somebody: its watch will show it
                continue
            match await writer.apply(step.kind, step.body, uid=step.uid):
                case Applied() as applied:
                    log.info("object applied", object=str(step.id.ref), generation=applied.generation)
                    adapter.applied(step, applied)
                case Refused(message):
                    adapter.refused(step, message, now())
                case Unreached():
                    complete = False
        return await self._report(adapter) and complete

    async def _report(self, adapter: Adapter) -> bool:
        complete = True
        controller = adapter.provider.controller_name
        writer = self._status_writers[adapter.field_manager]
        for ref, (wanted, happened) in self._wanted(adapter).items():
            there = self._there.get(ref)
            if there is None or own_part(there, controller=controller) == own_part(wanted, controller=controller):
                continue
            version = await writer.write(ref, own_part(wanted, controller=controller))
            if version is None:
                complete = False
                continue
            self._there.wrote(ref, version, wanted)
            for event in happened if ref in self._objects else ():
                await writer.tell(ref, self._objects[ref].metadata.uid, event, now())
        return complete

    def _wanted(self, adapter: Adapter) -> Mapping[ObjectRef, tuple[AnyStatus, tuple[Event, ...]]]:
        """The statuses as they should be, with what is news in them."""
        controller = adapter.provider.controller_name
        wanted: dict[ObjectRef, tuple[AnyStatus, tuple[Event, ...]]] = {}
        for ref, obj in self._objects.items():
            there = self._there.get(ref)
            if isinstance(obj, api.ProviderClass) or not isinstance(there, api.Status):
                if isinstance(obj, api.ProviderClass) and obj.spec.controller_name == controller:
                    wanted[ref] = (class_status(obj, adapter.provider), ())
                continue
            key = UnitKey(UnitKind(ref.kind), ref.namespace, ref.name)
            unit = adapter.units.get(key)
            if isinstance(unit, CanaryIntent | MutualTLSIntent | SidecarIntent):
                status = status_of(unit, there, adapter.report(key), controller=controller, now=now())
                wanted[ref] = (status, events(there, status))
            elif any(entry.controller_name == controller for entry in there.providers):
                wanted[ref] = (api.Status(), ())  # another provider's now (spec: SMI-CLASS-04)
        return wanted


def class_status(provider_class: api.ProviderClass, provider: PeerProvider) -> api.ProviderClassStatus:
    """What an adapter says of its own class: whether its peer is there, in which version, and what it can do."""
    peer: Peer = provider.peer
    holds = api.ConditionStatus.FALSE if peer.problem else api.ConditionStatus.TRUE
    before = next((c for c in provider_class.status.conditions if c.type == "Accepted"), None)
    condition = api.Condition(
        type="Accepted",
        status=holds,
        reason="UnsupportedPeer" if peer.problem else "Accepted",
        message=f"{peer.problem}." if peer.problem else f"{peer.name} {peer.version}".rstrip() + " is there.",
        observed_generation=provider_class.metadata.generation,
        last_transition_time=before.last_transition_time
        if before is not None and before.status is holds
        else now().replace(microsecond=0),
    )
    return api.ProviderClassStatus(
        observed_generation=provider_class.metadata.generation,
        conditions=(condition,),
        supported_features=tuple(sorted(feature.value for feature in provider.features)),
    )


def _kinds(adapter: Adapter) -> tuple[PeerKind, ...]:
    """The kinds that the adapter makes or watches, as far as they are served."""
    if not adapter.known:
        return ()
    provider = adapter.provider
    return tuple(dict.fromkeys(k for k in (*provider.kinds, *provider.watched) if k in provider.peer.served))
