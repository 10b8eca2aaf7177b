"""Standalone mode: a folder of manifests in, a running mesh on this machine out. No cluster, no root needed.

Runs inside the host's sandbox. One loop makes the world agree with the folder: files and Pod reports come in as whole
states, the objects that follow are made, the intent is resolved, and the proxies, the processes and the rules are
brought in line. Every task has one parent; when it ends, the sandbox and all that is in it end too.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path

import msgspec
import structlog
import watchfiles

from smeagol import __version__, control
from smeagol.api import ProviderClass, ProviderClassStatus, SmiObject, Status
from smeagol.errors import SmeagolError
from smeagol.infra.host import Host, HostSettings, NodeNetwork, has_ipv6, program_folders
from smeagol.infra.host.desired import PodSpecOnHost, ServiceOnHost
from smeagol.infra.host.redirect import PROXY_MARK
from smeagol.intent import AddedContainer, CanaryIntent, ServiceIntent, Unit, UnitKey, UnitKind, WorkloadIntent
from smeagol.intent import Settings as ResolverSettings
from smeagol.objects import EndpointSlice, Pod, Service
from smeagol.pki import FileKeyStore, FileSupply, LocalAuthority, MemoryKeyStore, Overlap, Purpose, open_authorities
from smeagol.plan import Feature, ProxyConnection, ProxyProvider
from smeagol.refs import DEFAULT_CLUSTER_DOMAIN, NodeId, ObjectRef, PodRef, ServiceRef
from smeagol.runtime.control_plane import ControlPlane, now
from smeagol.runtime.looking import targets
from smeagol.runtime.offline import load_folder
from smeagol.runtime.on_host import PROXY_FILES, pod_on_host, pod_status, proxy_container, service_on_host
from smeagol.runtime.own_view import roots_told
from smeagol.runtime.progress import Together
from smeagol.runtime.reporting import Reporter
from smeagol.runtime.restarting import wanting
from smeagol.runtime.root_proxies_here import RootProxiesHere, root_proxies
from smeagol.runtime.traffic import Collector
from smeagol.runtime.views import (
    event_view,
    fault_view,
    ignored_view,
    object_view,
    pod_view,
    problem_view,
    service_view,
    why_waiting,
)
from smeagol.sources.cluster import Changes, Cluster, Key
from smeagol.sources.files import Folder, FolderReader
from smeagol.sources.workloads import has_proxy, pod_terminating
from smeagol.status import EventType
from smeagol.xds import TlsConfig

__all__ = ["Settings", "Standalone"]

log = structlog.get_logger(__name__)

XDS_PORT = 18000
XDS_NAME = "xds.smeagol.internal"
"""The name in the discovery server's certificate; nothing resolves it, proxies only check it."""

DRAIN_SECONDS = 10.0
"""How long a Pod that goes away waits at most for every proxy to know, before its processes are told to end."""

WORKER_SECONDS = 1.0
"""How long it waits when every proxy knows: Envoy acknowledges before its workers act on it, which choose endpoints."""

FOLDER_SECONDS = 1
"""How often it is asked whether the folder is still the one that is watched."""

SETTLE_ROUNDS = 16
"""How often objects may follow from objects in one step; a Deployment's Pods and their endpoints need two."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What `smeagol up` was told. `state` is a private folder for keys, logs and the control socket."""

    folder: Path
    state: Path
    name: str = "default"
    cluster_domain: str = DEFAULT_CLUSTER_DOMAIN
    trust_domain: str = DEFAULT_CLUSTER_DOMAIN
    inject_by_default: bool = True
    pod_networks: tuple[str, ...] = ("10.244.0.0/16", "fd00:10:244::/112")
    service_networks: tuple[str, ...] = ("10.96.0.0/16", "fd00:10:96::/112")
    metrics_url: str = ""
    ca_dir: Path | None = None
    proxy: tuple[str, ...]
    """the proxy's command, to which its configuration's path is added"""


class Standalone:
    """One running mesh. `run` returns when it is cancelled."""

    def __init__(self, settings: Settings, provider: ProxyProvider) -> None:
        self.settings = settings
        self.started_at = now()
        both = has_ipv6()
        pods = settings.pod_networks if both else settings.pod_networks[:1]
        services = settings.service_networks if both else settings.service_networks[:1]
        self.node = NodeNetwork(
            ips=tuple(ip_network(n)[1] for n in pods),
            extra_ips=tuple(ip_network(n)[10] for n in services),
            service_cidrs=tuple(ip_network(n) for n in services),
        )
        self.provider = provider
        self.cluster = Cluster(
            pod_networks=pods,
            service_networks=services,
            wants_proxy=None if settings.inject_by_default else self._is_selected,
            containers_for=self._containers_for,
            now=now,
        )
        self._resolver_settings = ResolverSettings(
            cluster_domain=settings.cluster_domain,
            trust_domain=settings.trust_domain,
            pod_cidrs=pods,
            controllers=frozenset({provider.controller_name}),
            serve_unclassed=True,
        )
        # The discovery server's own identity is apart from the mesh's: proxies keep its root in a file for life.
        self._discovery = LocalAuthority.open(MemoryKeyStore(), trust_domain="smeagol.internal", now=now())
        self._tls = self._make_tls()
        self._down = False
        self.collector = Collector(lambda: targets(self.plane))
        self.reporter = Reporter(
            controller=provider.controller_name,
            metrics_server=settings.metrics_url,
            clock=now,
            restarting=lambda _sidecar: "Their Deployments are restarted; replace Pods without one yourself",
            renewing=lambda _pods: "For new ones: smeagol restart deployment/NAME; replace Pods without one yourself",
            root_proxy=lambda canary: self._root_proxies.waiting.get(canary.ref, ""),
        )
        self.folder = Folder()
        self._reader = FolderReader(settings.folder, without=settings.state)
        self._tokens: dict[str, NodeId] = {}
        self._specs: dict[Key, PodSpecOnHost] = {}
        self._routes: dict[ServiceRef, ServiceOnHost] = {}
        self._reported: set[Key] = set()
        self._leaving: dict[Key, float] = {}
        self._released: set[Key] = set()
        self._ready: set[Key] = set()
        self._waiting: dict[Key, str] = {}
        self._faults: dict[ObjectRef, Exception] = {}
        self._smi: dict[ObjectRef, SmiObject] = {}
        self._root_proxies = RootProxiesHere()
        self._wake = asyncio.Event()
        self._restarting = asyncio.Lock()
        self._tend_now = asyncio.Event()
        self._files_changed = True
        self.plane = self._new_plane()

    async def run(self) -> None:
        """Serve until cancelled."""
        settings = HostSettings(
            node=self.node,
            logs=self.settings.state / "logs",
            exec_socket=self.settings.state / "exec.sock",
            cluster_domain=self.settings.cluster_domain,
            working_dir=self.settings.folder,
            seen=(*program_folders(), Path(self.settings.proxy[0]).parent),
            # The mesh's keys, and its sockets.
            hidden=(self.settings.state, *((self.settings.ca_dir,) if self.settings.ca_dir else ())),
        )
        async with Host(settings) as host:
            self.host = host
            await self.plane.start(self._discovery_address)
            log.info(
                "mesh is up",
                name=self.settings.name,
                folder=str(self.settings.folder),
                metrics=self.settings.metrics_url,
            )
            try:
                async with self.collector, asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._watch_files())
                    tasks.create_task(self._watch_host())
                    tasks.create_task(self._tend())
                    tasks.create_task(self._reconcile())
            finally:
                log.info("mesh goes down", name=self.settings.name)
                await self.plane.stop()

    async def restart_control_plane(self, down_seconds: float) -> None:
        """Throw the control plane away, and build another from objects and keys after a while.

        What the proxies see of a crash and a restart: no discovery server, then one that knows nothing of them.
        """
        async with self._restarting:
            log.info("control plane goes down", seconds=down_seconds)
            self._down = True
            try:
                await self.plane.stop()
                await asyncio.sleep(down_seconds)
                self.plane = self._new_plane()
                load_folder(self.plane.resolver, self.folder)
                self.plane.resolver.pods.replace(self.cluster.pods)
                self.plane.resolver.services.replace(self.cluster.services)
                self.plane.resolver.endpoint_slices.replace(self.cluster.endpoint_slices)
                self.plane.settle()
                await self.plane.start(self._discovery_address)
            finally:
                self._down = False
                self._wake.set()

    # What others ask.

    def status(self) -> control.Status:
        """The whole mesh at this moment."""
        units, acks, settings = self.plane.resolver.units, self.plane.mesh.cache.acks, self.settings
        services = {key: units.get(UnitKey(UnitKind.SERVICE, *key)) for key in self.cluster.services}
        return control.Status(
            mesh=control.MeshInfo(
                name=settings.name,
                directory=str(settings.folder),
                cluster_domain=settings.cluster_domain,
                trust_domain=settings.trust_domain,
                started_at=self.started_at.isoformat(timespec="seconds"),
                metrics_url=settings.metrics_url,
                version=__version__,
                logs_directory=str(settings.state / "logs"),
            ),
            roots=roots_told(self.plane.mesh, Together([self.plane.look()])),
            problems=(
                *(problem_view(p) for p in self.folder.problems),
                *(ignored_view(ref) for ref in self.folder.ignored),
                *(fault_view(ref, error) for ref, error in sorted(self._faults.items())),
                *(fault_view(ObjectRef("", *key), error) for key, error in sorted(self.cluster.problems.items())),
                *(
                    control.Problem(where=f"Service {clash.opaque}", message=clash.message)
                    for clash in self.plane.resolver.contradictions
                ),
            ),
            objects=tuple(
                object_view(obj, self._unit_of(ref), self._status_of(ref, obj))
                for ref, obj in sorted(self._smi.items())
            ),
            events=tuple(event_view(happening) for happening in self.reporter.happenings),
            pods=tuple(pod_view(pod, self._workload(key), acks) for key, pod in sorted(self.cluster.pods.items())),
            services=tuple(
                service_view(
                    service, self.cluster.slices_of(key), i if isinstance(i := services[key], ServiceIntent) else None
                )
                for key, service in sorted(self.cluster.services.items())
            ),
        )

    def _status_of(self, ref: ObjectRef, obj: SmiObject) -> Status | ProviderClassStatus:
        if isinstance(obj, ProviderClass):
            if obj.spec.controller_name != self.provider.controller_name:
                return ProviderClassStatus()  # another's to write
            return self.reporter.class_status(obj, self.provider.features)
        return self.reporter.statuses.get(ref, Status())

    def _unit_of(self, ref: ObjectRef) -> Unit | None:
        kind = next((kind for kind in UnitKind if kind.value == ref.kind), None)
        return self.plane.resolver.units.get(UnitKey(kind, ref.namespace, ref.name)) if kind is not None else None

    def restart(self, namespace: str, name: str) -> bool:
        """Roll the Pods of a Deployment; False if there is none of that name."""
        found = self.cluster.restart((namespace, name))
        self._wake.set()
        return found

    def rotate_root(self) -> None:
        """Begin to replace the mesh's root; the old one stays trusted until nothing depends on it."""
        self.plane.mesh.rotate_root()
        self._tend_now.set()

    # What the loop sees: files, the host, time.

    async def _watch_files(self) -> None:
        """Notice every change. A folder that cannot be watched is looked at every second instead: one that has gone or
        been replaced, one with more subfolders than the system watches, one with a name that is not text.
        """
        folder = self.settings.folder
        logs_aside = watchfiles.DefaultFilter(ignore_paths=(f"{self.settings.state}/",))
        while True:
            watched, replaced = _identity(folder), asyncio.Event()
            try:
                async for changes in watchfiles.awatch(
                    folder,
                    watch_filter=logs_aside,
                    debounce=200,
                    step=50,
                    stop_event=replaced,
                    rust_timeout=FOLDER_SECONDS * 1000,
                    yield_on_timeout=True,
                    ignore_permission_denied=True,
                ):
                    if changes:
                        self._look_at_files()
                    elif _identity(folder) != watched:
                        replaced.set()
            except* (OSError, RuntimeError) as errors:  # the latter is what watchfiles raises of its own
                log.debug("folder not watched", error=str(errors.exceptions[0]))
            await asyncio.sleep(FOLDER_SECONDS)
            self._look_at_files()

    def _look_at_files(self) -> None:
        self._files_changed = True
        self._wake.set()

    async def _watch_host(self) -> None:
        async for refs in self.host.changes():
            self._reported |= {(ref.namespace, ref.name) for ref in refs}
            self._wake.set()

    async def _tend(self) -> None:
        """Renew certificates and step a root rotation when it is time, or when the proxies have moved on."""
        while True:
            mesh = self.plane.mesh
            if not self._down:
                with self._fault_of(ObjectRef("KeyStore", "", str(self.settings.state / "keys"))):
                    await mesh.tend()
            due = mesh.next_tending()
            wait = timedelta(seconds=1) if mesh.rotating or self.settings.ca_dir else timedelta(seconds=30)
            if due is not None:
                wait = min(wait, max(due - now(), timedelta(seconds=1)))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait.total_seconds()):
                    await self._tend_now.wait()
            self._tend_now.clear()

    # The loop.

    async def _reconcile(self) -> None:
        self._wake.set()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.25 if self._leaving or self.reporter.patient else None):
                    await self._wake.wait()
            self._wake.clear()
            self.plane.take_answers()  # all is looked at below; from here on a new one wakes us again
            if self._files_changed:
                self._files_changed = False
                self._load(self._reader.scan())
            self._observe()
            if self._down:
                continue
            changes = self._settle_objects()
            self._feed(changes)
            self.plane.settle()
            self._make_root_proxies()
            self._restart_where_asked()
            self._route(changes.routed)
            await self._run_on_host()
            self._report()

    def _make_root_proxies(self) -> None:
        """What Canaries ask for joins the objects of the folder in the next round."""
        units = self.plane.resolver.units.values()
        asking = [u for u in units if isinstance(u, CanaryIntent) and u.root_proxies and u.accepted]
        if Feature.CANARY_ROOT_PROXY not in self.provider.features or not (asking or self._root_proxies.waiting):
            return
        manifests = self.folder.manifests()
        made = root_proxies(
            asking,
            manifests=manifests,
            services=self.cluster.services,
            pods=self.cluster.pods.values(),
            uid=lambda ref: self._smi[ref].metadata.uid if ref in self._smi else "",
        )
        if made != self._root_proxies:
            self._root_proxies = made
            self.cluster.load(made.beside(manifests))
            self._wake.set()

    def _restart_where_asked(self) -> None:
        """A Sidecar may ask that the owners of Pods that lack what it asks for are rolled (spec: Sidecar, restart)."""
        for sidecar, pods in wanting(self.plane.resolver.units.values()):
            for pod in pods:
                if self.cluster.restart_owner((pod.namespace, pod.name)):
                    log.info("Deployment is restarted for what its Pods lack", sidecar=str(sidecar.ref), pod=str(pod))
                    self._wake.set()

    def _report(self) -> None:
        """Bring statuses up to date, and tell who watches the terminal what has happened."""
        mesh = self.plane.mesh
        units = self.plane.resolver.units
        replicas = Together([self.plane.look()])
        for happening in self.reporter.update(units, mesh.planner, replicas):
            event = happening.event
            tell = log.warning if event.type is EventType.WARNING else log.info
            tell(event.reason, object=str(happening.object), message=event.message)
        ready = {key for key, pod in self.cluster.pods.items() if pod.ready}
        for key in sorted(ready - self._ready):
            log.info("Pod is ready", pod="/".join(key))
        for key in sorted(self._ready - ready):
            log.info("Pod is not ready" if key in self.cluster.pods else "Pod is gone", pod="/".join(key))
        waiting = {key: why for key, pod in self.cluster.pods.items() if not pod.ready and (why := why_waiting(pod))}
        for key, why in sorted(waiting.items() - self._waiting.items()):
            log.warning("Pod waits", pod="/".join(key), message=why)
        self._ready, self._waiting = ready, waiting

    def _load(self, folder: Folder) -> None:
        if folder == Folder():
            log.warning("folder has no manifests", folder=str(self.settings.folder), files="*.yaml, *.yml, *.json")
        for problem in folder.problems:
            if problem not in self.folder.problems:
                log.warning("manifest refused", problem=str(problem))
        self._smi = {ref: _stamped(wanted, self._smi.get(ref)) for ref, wanted in folder.smi.items()}
        self.folder = replace(folder, smi=self._smi)
        self.cluster.load(self._root_proxies.beside(folder.manifests()))
        load_folder(self.plane.resolver, self.folder)
        self.plane.settle()  # whether a new Pod gets a proxy may depend on it

    def _is_selected(self, pod: Pod) -> bool:
        return self.plane.resolver.wants_proxy(pod)

    def _containers_for(self, pod: Pod) -> tuple[AddedContainer, ...]:
        return self.plane.resolver.containers_for(pod)

    def _observe(self) -> None:
        """Take over what the host says of Pods; one that it has nothing left of is gone."""
        reported, self._reported = self._reported, set()
        for key in reported | self._released:
            status = self.host.status_of(PodRef(*key))
            if status is not None:
                self.cluster.observe(key, pod_status(status))
            elif key in self._released:
                self._released.discard(key)
                self.cluster.gone(key)
                self._wake.set()  # its name may be wanted again

    def _settle_objects(self) -> Changes:
        """Let objects follow from objects until nothing does, and return all that changed on the way."""
        pods: dict[Key, Pod | None] = {}
        services: dict[Key, Service | None] = {}
        slices: dict[Key, EndpointSlice | None] = {}
        routed: frozenset[Key] = frozenset()
        for _ in range(SETTLE_ROUNDS):
            step = self.cluster.settle()
            if not step:
                break
            pods.update(step.pods)
            services.update(step.services)
            slices.update(step.endpoint_slices)
            routed |= step.routed
        return Changes(pods=pods, services=services, endpoint_slices=slices, routed=routed)

    def _feed(self, changes: Changes) -> None:
        self.plane.resolver.pods.update(changes.pods)
        self.plane.resolver.services.update(changes.services)
        self.plane.resolver.endpoint_slices.update(changes.endpoint_slices)

    def _route(self, changed: frozenset[Key]) -> None:
        """Bring up to date where these Services lead for Pods without a proxy."""
        for key in changed:
            self._routes.pop(ServiceRef(*key), None)
            if (service := self.cluster.services.get(key)) is not None:
                with self._fault_of(ObjectRef("Service", *key)):
                    self._routes[ServiceRef(*key)] = service_on_host(service, self.cluster.slices_of(key))

    async def _run_on_host(self) -> None:
        """Tell the host what to run: every Pod that is not on its way out, with its proxy once that has an identity."""
        loop = asyncio.get_running_loop()
        for key, pod in self.cluster.pods.items():
            if pod_terminating(pod):
                if key not in self._released:
                    self._leaving.setdefault(key, loop.time() + DRAIN_SECONDS)
            elif key not in self._specs:
                with self._fault_of(ObjectRef("Pod", *key)):
                    if (spec := self._spec(key, pod)) is not None:
                        self._specs[key] = spec
        told = self.plane.mesh.settled
        for key in list(self._leaving):
            if told:
                self._leaving[key] = min(self._leaving[key], loop.time() + WORKER_SECONDS)
            if loop.time() >= self._leaving[key]:
                # Every proxy knows that it is gone (or had its time): now its processes may end.
                del self._leaving[key]
                self._released.add(key)
                self._specs.pop(key, None)
                self._tokens = {t: node for t, node in self._tokens.items() if node != PodRef(*key).node}
        there = {"Pod": self.cluster.pods, "Service": self.cluster.services}
        for ref in list(self._faults):
            if ref.kind in there and (ref.namespace, ref.name) not in there[ref.kind]:
                del self._faults[ref]
        with self._fault_of(ObjectRef("Node", "", "this machine")):
            await self.host.apply({spec.ref: spec for spec in self._specs.values()}, self._routes)

    @contextlib.contextmanager
    def _fault_of(self, ref: ObjectRef) -> Iterator[None]:
        """Keep what is wrong with one object to that object: it is reported, and all others go on."""
        try:
            yield
        except (SmeagolError, ValueError) as error:
            if str(error) != str(self._faults.get(ref)):
                log.error("object not carried out", object=str(ref), error=str(error))
            self._faults[ref] = error
        else:
            self._faults.pop(ref, None)

    def _workload(self, key: Key) -> WorkloadIntent | None:
        """Who a Pod is to the mesh; None for one without a proxy, or not resolved yet."""
        unit = self.plane.resolver.units.get(UnitKey(UnitKind.WORKLOAD, *key))
        return unit if isinstance(unit, WorkloadIntent) else None

    def _spec(self, key: Key, pod: Pod) -> PodSpecOnHost | None:
        """The processes of a new Pod; None while its proxy has no identity yet."""
        if not has_proxy(pod):
            return pod_on_host(pod, None)
        workload = self._workload(key)
        if workload is None:
            return None
        token = secrets.token_urlsafe(32)
        connection = ProxyConnection(
            address=self._discovery_address,
            token_file=f"{PROXY_FILES}/token",
            ca_file=f"{PROXY_FILES}/ca.pem",
            server_name=XDS_NAME,
            socket_mark=PROXY_MARK,
        )
        files = {
            "bootstrap.json": self.provider.bootstrap(workload, self.plane.mesh.intent, connection),
            "token": token.encode(),
            "ca.pem": self._discovery.trust_bundle_pem,
        }
        command = (*self.settings.proxy, "--config-path", f"{PROXY_FILES}/bootstrap.json")
        spec = pod_on_host(pod, proxy_container(command, files))
        self._tokens[token] = workload.node
        return spec

    # The discovery server.

    @property
    def _discovery_address(self) -> str:
        return f"{self.node.ips[0]}:{XDS_PORT}"

    def _new_plane(self) -> ControlPlane:
        ca_dir = self.settings.ca_dir
        return ControlPlane(
            name=self.settings.name,
            settings=self._resolver_settings,
            provider=self.provider,
            authority=open_authorities(
                FileKeyStore(self.settings.state / "keys"),
                FileKeyStore(self.settings.state / "supplied-keys"),
                FileSupply(ca_dir) if ca_dir else None,
                trust_domain=self._resolver_settings.trust_domain,
                now=now(),
                overlap=Overlap(minimum=timedelta(0)),  # nobody but the proxies depends on the old root
            ).mesh,
            owner_of=self._owner_of,
            tls=self._tls,
            changed=self._wake.set,
        )

    def _make_tls(self) -> TlsConfig:
        issued = self._discovery.issue([XDS_NAME], Purpose.SERVER, now=now(), lifetime=timedelta(days=365))
        return TlsConfig(certificate_chain=issued.chain_pem, private_key=issued.key_pem.reveal())

    async def _owner_of(self, token: str) -> NodeId | None:
        return self._tokens.get(token)


def _identity(folder: Path) -> tuple[int, int] | None:
    """Which folder is behind the name now, None if there is none."""
    try:
        found = folder.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _stamped(wanted: SmiObject, known: SmiObject | None) -> SmiObject:
    """Give an object what the API server would: uid, creation time, and a generation that counts changed specs."""
    if known is None:
        stamp = {"uid": str(uuid.uuid4()), "generation": 1, "creation_timestamp": now()}
    else:
        old = known.metadata
        changed = int(wanted.spec != known.spec)
        stamp = {"uid": old.uid, "generation": old.generation + changed, "creation_timestamp": old.creation_timestamp}
    return msgspec.structs.replace(wanted, metadata=msgspec.structs.replace(wanted.metadata, **stamp))
