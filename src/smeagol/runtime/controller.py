"""The control plane in a cluster: the API server is the source, statuses go back to it, proxies come with their tokens.

Every replica serves discovery; the one that leads writes. Nothing is served before the first whole state has been
seen: a proxy that reconnects to a fresh replica must not be told that everything is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeAlias, TypeVar

import httpx2
import msgspec
import structlog
from starlette.applications import Starlette

from smeagol import __version__, api, control
from smeagol.derive import Source
from smeagol.durations import Durations
from smeagol.errors import SmeagolError
from smeagol.infra.kubernetes.keeper import Keeper
from smeagol.infra.kubernetes.lease import Elector
from smeagol.infra.kubernetes.tokens import TokenReviewer
from smeagol.infra.kubernetes.writer import StatusWriter, own_part
from smeagol.install.access import CONTROLLER
from smeagol.intent import Settings as ResolverSettings
from smeagol.intent import UnitKey, UnitKind
from smeagol.objects import EndpointSlice, Namespace, Pod
from smeagol.pki import (
    LEAF_LIFETIME,
    AuthorityError,
    KeyStore,
    MemoryKeyStore,
    Overlap,
    Purpose,
    RootState,
    StoreError,
    Supply,
    open_authorities,
)
from smeagol.plan import JSON, ProxyProvider
from smeagol.providers.envoy.metrics import exposition
from smeagol.refs import DEFAULT_CLUSTER_DOMAIN, ObjectRef, ServiceRef
from smeagol.runtime.admission import CLUSTER_ROLES, Admission, AdmissionSettings, owned_by
from smeagol.runtime.control_plane import ControlPlane, now
from smeagol.runtime.controller_metrics import ControllerCollector
from smeagol.runtime.health import Readiness, health_app
from smeagol.runtime.looking import looking_routes, targets
from smeagol.runtime.own_metrics import own_metrics
from smeagol.runtime.own_view import acknowledged, roots_told
from smeagol.runtime.peers import Credentials, Peers, PeerServer, own_name
from smeagol.runtime.progress import Together, View
from smeagol.runtime.reporting import AnyStatus, KnownStatuses, Reporter
from smeagol.runtime.restarting import Restarter, renewing
from smeagol.runtime.root_proxies import RootProxies
from smeagol.runtime.traffic import Collector
from smeagol.runtime.views import cluster_status
from smeagol.runtime.web import listening, serve, served
from smeagol.sources.kubernetes import Backoff, Decoded, Kind, ObjectKey, Reflector, kinds
from smeagol.status import Event
from smeagol.webhook import Reviews
from smeagol.xds import TlsConfig

__all__ = ["Controller", "ControllerSettings", "Watching"]

log = structlog.get_logger(__name__)

T = TypeVar("T", bound=Decoded)

SETTLE_SECONDS = 0.02
"""A pause in which changes that belong together (a Service and its EndpointSlices) meet."""


TEND_SECONDS = 10
"""So often it is looked whether certificates are due, and whether the keys were changed by somebody else."""

LOOK_SECONDS = 1.0
"""So long at most who asks for a status waits until the keys have been looked at."""

REPORT_SECONDS = 0.25
"""Statuses are written so often at most; what changes within that time is one write."""

PATIENT_SECONDS = 1.0
"""So often it is looked whether proxies that a claim waits for have answered, or the waiting is over."""

LASTING_SECONDS = 3.0
"""So long the webhooks go on to answer once a replica ends: until no node sends the API server here any more."""

Reported: TypeAlias = api.Canary | api.MutualTLS | api.Sidecar | api.ProviderClass
"""An object whose status is the provider's to write."""


class Watching(Protocol):
    """A reflector, whatever it reflects."""

    synced: asyncio.Event
    lists: int
    watches: int
    faults: int
    connected: bool

    @property
    def silent_seconds(self) -> float: ...
    @property
    def plural(self) -> str: ...
    def __len__(self) -> int: ...
    async def run(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ControllerSettings:
    """`identity` names this replica in the Lease; `namespace` is the one that Smeagol runs in.

    `admission`: None where Pods get no proxy from here, and users no warnings.
    """

    identity: str
    namespace: str = "smeagol-system"
    cluster_domain: str = DEFAULT_CLUSTER_DOMAIN
    trust_domain: str = DEFAULT_CLUSTER_DOMAIN
    pod_cidrs: tuple[str, ...] = ()
    pods_have_ipv6: bool = False
    """whatever `pod_cidrs` say"""
    discovery_address: str = "[::]:18000"
    discovery_service: str = "smeagol-discovery"
    peers_address: str = "[::]:18001"
    health_address: str = "[::]:18002"
    metrics_server: str = ""
    """the URL of `/metrics/traffic` at any replica, which statuses of Sidecars tell"""
    serve_unclassed: bool = False
    overlap: Overlap = field(default_factory=Overlap)
    admission: AdmissionSettings | None = None
    control_port: int = 0
    """of loopback, where `smeagol status` and its kin are answered; 0: nowhere"""


class Controller:
    """One replica. `run` returns when it is cancelled."""

    def __init__(
        self,
        settings: ControllerSettings,
        *,
        client: httpx2.AsyncClient,
        provider: ProxyProvider,
        keys: KeyStore,
        supplied_keys: KeyStore | None = None,
        supply: Supply | None = None,
    ) -> None:
        self.settings = settings
        self.provider = provider
        self._wake = asyncio.Event()
        self._news = asyncio.Event()
        self._tend_now = asyncio.Event()
        self._tended = asyncio.Event()
        self.started_at = now()
        self.elector = Elector(
            client,
            namespace=settings.namespace,
            name="smeagol",
            identity=settings.identity,
            owners=self._owners,
        )
        self._authorities = open_authorities(
            keys,
            supplied_keys or MemoryKeyStore(),
            supply,
            trust_domain=settings.trust_domain,
            now=now(),
            overlap=settings.overlap,
        )
        self._shown = self._identity()
        self.plane = ControlPlane(
            name=settings.identity,
            settings=ResolverSettings(
                cluster_domain=settings.cluster_domain,
                trust_domain=settings.trust_domain,
                pod_cidrs=settings.pod_cidrs,
                pods_have_ipv6=settings.pods_have_ipv6,
                controllers=frozenset({provider.controller_name}),
                serve_unclassed=settings.serve_unclassed,
            ),
            provider=provider,
            authority=self._authorities.mesh,
            owner_of=TokenReviewer(client).owner_of,
            tls=self._shown,
            changed=self._wake.set,
            alone=False,
        )
        self.readiness = Readiness()
        self.reconciled = Durations()
        self._serving = False
        self._looked = asyncio.Event()
        credentials = Credentials(
            server=self._trusting,
            client=self._as_client,
            name=own_name(settings.trust_domain),
            server_name=ServiceRef(settings.namespace, settings.discovery_service).fqdn(settings.cluster_domain),
        )
        self.peers = Peers(credentials, identity=settings.identity, changed=self._looked.set)
        self._peer_server = PeerServer(credentials, changed=self._news.set)
        self._own = View(settings.identity, "")
        self.admission = (
            Admission(self.plane, settings.admission, provider=provider, own=self._authorities.own)
            if settings.admission
            else None
        )
        self.root_proxies = self._root_proxies(self.admission) if self.admission is not None else None
        self.restarter = Restarter(
            client,
            self.plane.resolver,
            system=settings.namespace,
            uid=self._uid,
            known=lambda sidecar: self._replicas.seen(sidecar.ref, sidecar.generation),
            tell=self._tell,
            changed=self._looked.set,
        )
        self.reporter = Reporter(
            controller=provider.controller_name,
            metrics_server=settings.metrics_server,
            clock=now,
            restarting=self.restarter.told if settings.admission else lambda _sidecar: "",
            renewing=lambda pods: renewing(pods, self.plane.resolver.pods.get),
            root_proxy=self.root_proxies.told if self.root_proxies is not None else lambda _canary: "",
        )
        self._client = client
        self._writer = StatusWriter(client, instance=settings.identity)
        self._objects: dict[ObjectRef, Reported] = {}
        self._there = KnownStatuses()
        resolver = self.plane.resolver
        self.reflectors: tuple[Watching, ...] = (
            self._reflect(kinds.NAMESPACES, resolver.namespaces),
            self._reflect(kinds.PODS, resolver.pods),
            self._reflect(kinds.SERVICES, resolver.services),
            self._reflect(kinds.ENDPOINT_SLICES, resolver.endpoint_slices),
            self._reflect(kinds.PROVIDER_CLASSES, resolver.provider_classes),
            self._reflect(kinds.MUTUAL_TLS, resolver.mutual_tls),
            self._reflect(kinds.SIDECARS, resolver.sidecars),
            self._reflect(kinds.CANARIES, resolver.canaries),
        )

    @classmethod
    async def open(
        cls,
        settings: ControllerSettings,
        *,
        client: httpx2.AsyncClient,
        provider: ProxyProvider,
        keys: KeyStore,
        supplied_keys: KeyStore | None = None,
        supply: Supply | None = None,
        backoff: Backoff | None = None,
    ) -> Controller:
        """Wait until there are keys, or until an intermediate that can be used is handed over. Where several replicas
        start without any, each makes some and one saves them; the others are told to look again, and so find those.
        """
        backoff = backoff or Backoff(most=TEND_SECONDS)
        while True:
            try:
                return cls(
                    settings, client=client, provider=provider, keys=keys, supplied_keys=supplied_keys, supply=supply
                )
            except (StoreError, AuthorityError) as error:
                if isinstance(error, AuthorityError) and supply is None:
                    raise
                wait = backoff.wait()
                log.warning("no keys yet", error=str(error), wait_seconds=round(wait, 1))
                await asyncio.sleep(wait)

    async def run(self) -> None:
        """Serve until cancelled."""
        self.readiness.add(self._not_serving)
        with listening(self.settings.health_address) as health:
            async with Collector(lambda: targets(self.plane, everywhere=True)) as collector:
                await self._run_beside(health, collector)

    async def _run_beside(self, health: socket.socket, collector: Collector) -> None:
        async def traffic() -> str:
            return exposition(await collector.samples())

        app = health_app(self.readiness, lambda: own_metrics(self.plane, ControllerCollector(self)), traffic)
        async with served(app, [health]):
            await self._run()

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for reflector in self.reflectors:
                tasks.create_task(reflector.run())
            await asyncio.gather(*(reflector.synced.wait() for reflector in self.reflectors))
            log.info("synced", objects={r.plural: len(r) for r in self.reflectors})
            self._carry_out()
            await self._peer_server.start(self.settings.peers_address)
            if self.admission is not None:
                answering = asyncio.Event()
                tasks.create_task(self.admission.serve(answering))
                await answering.wait()
            await self.plane.start(self.settings.discovery_address)
            self._serving = True
            log.info("serving", address=self.settings.discovery_address)
            tasks.create_task(self._settle())
            tasks.create_task(self._tend())
            if self.settings.control_port:
                tasks.create_task(self._answer())
            tasks.create_task(self._look())
            standing = tasks.create_task(self.elector.run(self._lead))
            try:
                await asyncio.Event().wait()
            finally:
                self.readiness.ending = True
                standing.cancel()  # at once, for the proxies take their time to go elsewhere
                lasting = LASTING_SECONDS if self.admission is not None else 0
                await asyncio.gather(self.plane.stop(grace=5), asyncio.sleep(lasting))
                await self._peer_server.stop()
                await asyncio.wait([standing])  # to be cancelled again by the group would keep the Lease from the next

    def _not_serving(self) -> str:
        unseen = [reflector.plural for reflector in self.reflectors if not reflector.synced.is_set()]
        if unseen:
            return f"not yet seen: {', '.join(unseen)}"
        return "" if self._serving else "proxies are not served yet"

    # What it tells about itself.

    @property
    def leading(self) -> bool:
        return self.elector.leading

    @property
    def ready(self) -> bool:
        return not self.readiness.missing

    @property
    def watches(self) -> tuple[Watching, ...]:
        return self.reflectors

    @property
    def status_writes(self) -> Mapping[str, int]:
        return self._writer.writes

    @property
    def reviews(self) -> Reviews | None:
        return self.admission.reviews if self.admission is not None else None

    @property
    def replicas_silent(self) -> int:
        return len(self.peers.silent)

    # What it shows to proxies and other replicas.

    def _identity(self) -> TlsConfig:
        """The discovery server's certificate, for the names of its Service; of the control plane's own authority.

        With the bridge to its root: Envoy reads the roots once for each channel, so a proxy that began before they were
        replaced knows none but the first (`tests/runtime/test_reconnecting.py`).
        """
        service = ServiceRef(self.settings.namespace, self.settings.discovery_service)
        names = service.names(self.settings.cluster_domain)
        states = self._root_states  # before: if another root comes to sign meanwhile, that is seen to later
        own = self._authorities.own
        issued = own.issue(names, Purpose.SERVER, now=now())
        self._identity_due = issued.renew_at
        self._shown_of = states
        return TlsConfig(certificate_chain=issued.chain_pem + own.bridge_pem, private_key=issued.key_pem.reveal())

    @property
    def _root_states(self) -> tuple[RootState, RootState]:
        return self._authorities.own.state, self._authorities.mesh.state

    def _trusting(self) -> TlsConfig:
        """What other replicas are shown, and must show: a certificate of the control plane's own authority."""
        return replace(self._shown, client_ca=self._authorities.own.trust_bundle_pem)

    def _as_client(self) -> TlsConfig:
        """What we show to other replicas: the control plane's own name."""
        own = self._authorities.own
        issued = own.issue([own_name(self.settings.trust_domain)], Purpose.CLIENT, now=now())
        return TlsConfig(
            certificate_chain=issued.chain_pem,
            private_key=issued.key_pem.reveal(),
            client_ca=own.trust_bundle_pem,
        )

    def _root_proxies(self, admission: Admission) -> RootProxies:
        return RootProxies(
            self.plane.resolver,
            admission.injection,
            admission.bootstrap,
            system=self.settings.namespace,
            uid=self._uid,
            tell=self._tell,
            changed=self._looked.set,
        )

    def _reflect(self, kind: Kind[T], source: Source[ObjectKey, T]) -> Watching:
        def feed(changed: Mapping[ObjectKey, T | None]) -> None:
            source.update(changed)
            for key, value in changed.items():
                self._note(kind, key, value)
            if kind is kinds.ENDPOINT_SLICES:
                slices = {k: v if isinstance(v, EndpointSlice) else None for k, v in changed.items()}
                self.peers.note(self.settings.namespace, self.settings.discovery_service, slices)
            self._wake.set()

        return Reflector(self._client, kind, feed)

    def _note(self, kind: Kind[T], key: ObjectKey, value: T | None) -> None:
        """Keep the users' objects, whose statuses are ours to write, and which namespaces ask for proxies."""
        if self.admission is not None and kind.plural == kinds.NAMESPACES.plural:
            self.admission.note_namespace(key[1], value if isinstance(value, Namespace) else None)
        if self.root_proxies is not None and kind.plural == kinds.PODS.plural:
            self.root_proxies.note_pod(key, value if isinstance(value, Pod) else None)
        if self.root_proxies is not None and kind.plural == kinds.ENDPOINT_SLICES.plural:
            self.root_proxies.note_slice(key, value if isinstance(value, EndpointSlice) else None)
        name = next((known.name for known in api.KINDS if known.plural == kind.plural), None)
        if name is None:
            return
        ref = ObjectRef(name, *key)
        known = self._objects.get(ref)
        if known and not (isinstance(value, Reported) and value.metadata.uid == known.metadata.uid):
            self.reporter.statuses.pop(ref, None)  # a name is not an object: one made again begins anew
        if isinstance(value, Reported):
            self._objects[ref] = value
            self._there.see(ref, value.metadata.resource_version, value.status)
        else:
            self._objects.pop(ref, None)
            self._there.forget(ref)

    async def _settle(self) -> None:
        while True:
            await self._wake.wait()
            await asyncio.sleep(SETTLE_SECONDS)
            self._wake.clear()
            self.plane.take_answers()
            began = time.perf_counter()
            self._carry_out()
            self.reconciled.add(time.perf_counter() - began)
            self._news.set()

    def _carry_out(self) -> None:
        changed = self.plane.settle()
        if self.admission is not None:
            self.admission.settled(changed)
        if self.root_proxies is not None:
            self.root_proxies.settled(changed)

    async def _tend(self) -> None:
        """Renew certificates, and take the next step of a root rotation or learn of it: every replica for itself."""
        while True:
            done, self._tended = self._tended, asyncio.Event()
            self._tend_now.clear()
            with self._logged("keys"):
                await self.plane.mesh.tend()
            if not self._authorities.mesh.is_own:
                with self._logged("keys of the control plane"):
                    await asyncio.to_thread(self._tend_own)
            self._follow_roots()
            done.set()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1 if self.plane.mesh.rotating else TEND_SECONDS):
                    await self._tend_now.wait()

    async def _look_at_keys(self) -> None:
        """Before somebody is told how the roots stand, who may have had them replaced just now. While keys cannot be
        read, what was known last is told.
        """
        tended = self._tended  # by the round that is yet to begin
        self._tend_now.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_SECONDS):
                await tended.wait()

    def _tend_own(self) -> None:
        """Where another authority signs for the mesh, nobody tells who knows the own root's successor; and replicas
        that have not been told of that authority yet may sign with this one.
        """
        own = self._authorities.own
        own.maintain(now=now(), bundle_acknowledged=False, last_old_leaf_expiry=own.state.since + LEAF_LIFETIME)

    def _follow_roots(self) -> None:
        """Show certificates of the root that signs now, and others in time; every replica has its own, and connections
        that stand are not touched by new ones. Nothing is awaited between the step and this: the leader, which forgets
        the old root once no replica uses it, cannot learn of the one before the other is done.
        """
        if self._shown_of == self._root_states and now() < self._identity_due:
            return
        with self._logged("certificates of the control plane"):
            if self.admission is not None:
                self.admission.follow_roots()
            self._shown = self._identity()  # last: until that is done, all is tried again
            self.plane.use_tls(self._shown)

    async def _answer(self) -> None:
        """Tell who asks from within the Pod, which a port-forward does; nothing can be changed that way."""
        with socket.create_server(("127.0.0.1", self.settings.control_port)) as listener:
            async with Collector(lambda: targets(self.plane)) as collector:
                routes = looking_routes(lambda: self.plane, self.status, collector, look=self._look_at_keys)
                await serve(Starlette(routes=routes), [listener])

    def status(self) -> control.Status:
        """All that this replica knows: the objects as every replica, the proxies that are connected to this one."""
        acks = self.plane.mesh.cache.acks
        mesh = control.MeshInfo(
            name=self.settings.namespace,
            cluster_domain=self.settings.cluster_domain,
            trust_domain=self.settings.trust_domain,
            version=__version__,
        )
        replica = control.Replica(
            name=self.settings.identity,
            version=__version__,
            leads=self.elector.leading,
            proxies=len(acks.connected),
            started_at=self.started_at.isoformat(timespec="seconds"),
        )
        found = cluster_status(self.plane.resolver, self._objects, acks, mesh)
        seen = self._replicas if self.elector.leading else Together([self._own])
        return msgspec.structs.replace(found, replicas=(replica,), roots=roots_told(self.plane.mesh, seen))

    async def _look(self) -> None:
        """Keep what our own proxies have, while somebody wants to know: we ourselves or another replica that leads."""
        while True:
            await self._news.wait()
            self._news.clear()
            if self.elector.leading or self._peer_server.listened_to:
                self._own = self.plane.look()
                self._peer_server.show(self._own)
                self._looked.set()
            await asyncio.sleep(REPORT_SECONDS)

    # What the leader does.

    async def _lead(self) -> None:
        self.plane.mesh.elsewhere = lambda: acknowledged(self.plane.mesh, self._replicas)
        self._news.set()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self.peers.run())
                tasks.create_task(self._report())
                if self.admission is not None:
                    tasks.create_task(self.admission.keep(Keeper(self._client)))
                    tasks.create_task(self.restarter.run())
                if self.root_proxies is not None:
                    tasks.create_task(self.root_proxies.keep(Keeper(self._client)))
        finally:
            self.plane.mesh.elsewhere = None

    @property
    def _replicas(self) -> Together:
        """What is known of all proxies; of ours as of the last look, of the others as of their last word."""
        return Together([self._own, *self.peers.views], self.peers.silent)

    async def _report(self) -> None:
        """Bring the statuses in line, as often as something has changed, and retry what could not be written."""
        self.reporter.statuses |= {
            ref: obj.status for ref, obj in self._objects.items() if isinstance(obj.status, api.Status)
        }  # what the last leader wrote: what holds since then is no news
        self._own = self.plane.look()
        backoff = Backoff()
        while True:
            self._looked.clear()
            happenings = self.reporter.update(self.plane.resolver.units, self.plane.mesh.planner, self._replicas)
            complete = await self._write_all()
            for happening in happenings:
                uid = self._uid(happening.object)
                await self._writer.tell(happening.object, uid, happening.event, happening.time)
            await asyncio.sleep(REPORT_SECONDS)
            if complete:
                backoff.reset()
            wait = None if complete else backoff.wait()
            if self.reporter.patient:
                wait = min(wait or PATIENT_SECONDS, PATIENT_SECONDS)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._looked.wait()

    async def _owners(self) -> tuple[dict[str, JSON], ...]:
        """Whose the Lease is: the installation's, however that is removed."""
        uid = await Keeper(self._client).uid(CLUSTER_ROLES, CONTROLLER)
        return (owned_by(uid),) if uid else ()

    def _uid(self, ref: ObjectRef) -> str:
        return obj.metadata.uid if (obj := self._objects.get(ref)) is not None else ""

    async def _tell(self, ref: ObjectRef, event: Event) -> None:
        """Of something that has been done for an object; its status may say so too."""
        self._looked.set()
        await self._writer.tell(ref, self._uid(ref), event, now())

    async def _write_all(self) -> bool:
        """Write the statuses that differ from what is there; False if some could not be."""
        complete = True
        controller = self.provider.controller_name
        for ref, wanted in self._wanted().items():
            there = self._there.get(ref)
            if there is None or own_part(there, controller=controller) == own_part(wanted, controller=controller):
                continue
            version = await self._writer.write(ref, own_part(wanted, controller=controller))
            if version is None:
                complete = False
            else:
                self._there.wrote(ref, version, wanted)
        return complete

    def _wanted(self) -> Mapping[ObjectRef, AnyStatus]:
        """The statuses as they should be, of the objects that are ours, and of those that no longer are."""
        controller = self.provider.controller_name
        wanted: dict[ObjectRef, AnyStatus] = {}
        for ref, obj in self._objects.items():
            if isinstance(obj, api.ProviderClass):
                if obj.spec.controller_name == controller:
                    wanted[ref] = self.reporter.class_status(obj, self.provider.features)
            elif UnitKey(UnitKind(ref.kind), ref.namespace, ref.name) in self.plane.resolver.units:
                wanted[ref] = self.reporter.statuses[ref]
            elif any(entry.controller_name == controller for entry in obj.status.providers):
                wanted[ref] = api.Status()  # another provider's now: we take back what we wrote (spec: SMI-CLASS-04)
        return wanted

    @contextlib.contextmanager
    def _logged(self, what: str) -> Iterator[None]:
        try:
            yield
        except SmeagolError as error:
            log.error("not done", what=what, error=str(error))
