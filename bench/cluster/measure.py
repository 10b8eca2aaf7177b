"""One run: a cluster with a mesh in it, a control plane, a fleet of proxies, and what all that takes."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx2

from bench.cluster.installation import NAMESPACE, Controller, Place, controller, install, ready_place
from bench.cluster.objects import ADMITTED, Body, change, mutual_tls, new_pod, writes
from bench.cluster.server import ApiServer, Statuses, each
from bench.processes import Program
from bench.xds.measure import TIMEOUT_SECONDS, WARM_UP_CHANGES
from bench.xds.prepare import Job, prepare
from bench.xds.world import NAMESPACE as MESH
from bench.xds.world import POD_NETWORK, ChangeKind, Scale
from e2e.cluster.cluster import Cluster, running
from e2e.cluster.commands import wait_for
from smeagol.api.meta import GROUP, VERSION
from smeagol.infra.kubernetes.connection import connect
from smeagol.intent import INJECT_LABEL, PROXY_CONTAINER
from smeagol.providers.envoy.tls import CLIENT, ROOTS, SERVER
from smeagol.webhook.inject import TRUST_CONFIG_MAP
from smeagol.xds.type_urls import LISTENER, SECRET

__all__ = ["CONNECTIONS", "Admitted", "Changed", "Extent", "Measured", "Return", "Tools", "measure"]

CONNECTIONS = 50
"""That create Pods."""

IDLE_SECONDS = 10.0
_PAUSE_SECONDS = 0.5
"""Between changes, so that what follows the ACKs of one is not counted against the next."""

_UNMESHED = "unmeshed"
_SMI = f"/apis/{GROUP}/{VERSION}/namespaces"
_TIMEOUT = int(TIMEOUT_SECONDS * 1e9)


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """How large the mesh is, and how many changes of each kind are made; each of its Pods has a proxy."""

    scale: Scale
    changes: int
    new_pods: int
    judged: bool = True
    """whether it is large enough to be held to the goals"""


@dataclass(slots=True)
class Changed:
    """Changes of one kind; seconds from the write to the API."""

    first: list[float] = field(default_factory=list)
    """until the first proxy sent its ACK"""
    last: list[float] = field(default_factory=list)
    told: list[float] = field(default_factory=list)
    """until a watch saw the status that says so; of Canaries"""
    cpu_seconds: float = 0.0
    """of the control plane for one change: the mean of all"""


@dataclass(slots=True, kw_only=True)
class Admitted:
    """Pods that were created at once. Latencies in seconds, sorted."""

    latencies: list[float]
    seconds: float
    with_proxy: int
    failed: int


@dataclass(slots=True, kw_only=True)
class Return:
    """A control plane that was killed and started again; seconds since it was killed."""

    ready: float
    last: float
    """when the last proxy had what the new process made for it"""
    cpu_seconds: float
    peak_mib: float


@dataclass(slots=True, kw_only=True)
class Measured:
    """Memory in MiB, times in seconds."""

    ready: float
    """from the start of the control plane, with all objects there, until it served"""
    idle_mib: float
    connect: float
    """until all proxies had their whole state"""
    connect_cpu: float
    programmed: float
    """from the first connection until the status of the MutualTLS counted all of them"""
    connected_mib: float
    peak_mib: float
    idle_cpu: float
    """share of one core while nothing happens"""
    changes: dict[ChangeKind, Changed]
    admitted: Admitted
    without_webhook: Admitted
    returned: Return


@dataclass(frozen=True, slots=True)
class Tools:
    """The program that plays the proxies, and the file with what each says of itself."""

    proxies: Path
    node: Path


async def measure(extent: Extent, tools: Tools, say: Callable[[str], None]) -> Measured:
    with tempfile.TemporaryDirectory(prefix="smeagol-bench-") as name, running(_cluster_name()) as cluster:
        folder = Path(name)
        async with connect(cluster.kubeconfig) as client:
            bench = _Bench(extent, tools, say, cluster, ApiServer(client), folder)
            await bench.prepare()
            return await bench.run(client)


def _cluster_name() -> str:
    return f"bench-{secrets.token_hex(3)}"


class _Bench:
    def __init__(
        self,
        extent: Extent,
        tools: Tools,
        say: Callable[[str], None],
        cluster: Cluster,
        server: ApiServer,
        folder: Path,
    ) -> None:
        self._extent = extent
        self._tools = tools
        self._say = say
        self._cluster = cluster
        self._server = server
        self._folder = folder
        self._steps = WARM_UP_CHANGES + extent.changes
        self._job: Job = prepare(extent.scale, self._steps + 1, folder)  # one more after the restart

    async def prepare(self) -> None:
        """All objects, before there is a control plane."""
        cluster, server, extent = self._cluster, self._server, self._extent
        for namespace in (MESH, ADMITTED, _UNMESHED):
            cluster.kubectl("create", "namespace", namespace)
            wait_for("its service account", partial(self._has_account, namespace), within_seconds=60)
        cluster.kubectl("label", "namespace", _UNMESHED, f"{INJECT_LABEL}=disabled")
        cluster.stop("kube-controller-manager")  # it would only use up what is measured
        install(cluster, POD_NETWORK)
        self._say(f"making {extent.scale.services:,} Services and {extent.scale.pods:,} Pods")
        await each(writes(extent.scale), server.make)

    def _has_account(self, namespace: str) -> bool:
        return "default" in self._cluster.kubectl("-n", namespace, "get", "serviceaccounts", "-o", "name")

    async def run(self, client: httpx2.AsyncClient) -> Measured:
        extent = self._extent
        own = await self._server.token(NAMESPACE, "smeagol-controller", [])
        place = ready_place(self._cluster, own, self._folder)
        self._say("tokens for all proxies")
        names = [f"pod-{number:05}" for number in range(extent.scale.pods)]
        tokens = await each(names, lambda pod: self._server.proxy_token(MESH, pod))

        began = time.monotonic()
        with contextlib.ExitStack() as stack:
            control = stack.enter_context(controller(place))
            ready = time.monotonic() - began
            idle_mib = _mib(control.usage.resident_bytes)
            fleet = stack.enter_context(self._fleet(place, tokens))
            async with _statuses(client, "mutualtls") as all_of_it, _statuses(client, "canaries") as canaries:
                self._say(f"connecting {extent.scale.pods:,} proxies")
                cpu = control.usage.cpu_seconds
                connected = await _ask(fleet, op="connect", **self._wanted(), timeout=_TIMEOUT)
                programmed = await all_of_it.programmed("all", 1, TIMEOUT_SECONDS)
                connect_cpu = control.usage.cpu_seconds - cpu
                connected_mib = _mib(control.usage.resident_bytes)
                idle_cpu = await _idle(control)
                self._say("changes")
                changes = {kind: await self._changes(kind, control, fleet, canaries) for kind in ChangeKind}
                self._say("new Pods")
                without = await self._admit(_UNMESHED)
                await self._select_new_pods()
                admitted = await self._admit(ADMITTED)
                peak_mib = _mib(control.usage.peak_bytes)
                self._say("the control plane is killed, and starts again")
                returned = await self._restart(stack, control, place, fleet, canaries)
        return Measured(
            ready=ready,
            idle_mib=idle_mib,
            connect=(connected["times"][-1] - connected["began"]) / 1e9,
            connect_cpu=connect_cpu,
            programmed=(programmed - connected["began"]) / 1e9,
            connected_mib=connected_mib,
            peak_mib=peak_mib,
            idle_cpu=idle_cpu,
            changes=changes,
            admitted=admitted,
            without_webhook=without,
            returned=returned,
        )

    @contextlib.contextmanager
    def _fleet(self, place: Place, tokens: list[str]) -> Iterator[Program]:
        file, roots = self._folder / "tokens", self._folder / "roots.pem"
        file.touch(mode=0o600)
        file.write_text("\n".join(tokens), encoding="utf-8")
        # As the Pods of the namespace get them.
        found = ("-n", MESH, "get", "configmap", TRUST_CONFIG_MAP, "--ignore-not-found", "-o", "jsonpath={.data.*}")
        roots.write_text(
            wait_for("the mesh's roots", lambda: self._cluster.kubectl(*found), within_seconds=60), encoding="utf-8"
        )
        address = f"127.0.0.1:{place.discovery_port}"
        name = f"smeagol-discovery.{NAMESPACE}.svc"
        security = ("-authority", roots, "-server-name", name, "-tokens", file)
        with Program(self._tools.proxies, "-address", address, "-node", self._tools.node, *security) as fleet:
            yield fleet

    def _wanted(self) -> dict[str, Any]:
        """What makes a proxy complete: what all share, and its own listener and secrets."""
        return {
            "proxies": self._extent.scale.pods,
            "want": {**self._job.wanted, LISTENER: 1, SECRET: 3},
            "secrets": [CLIENT, SERVER, ROOTS],
        }

    async def _changes(self, kind: ChangeKind, control: Controller, fleet: Program, canaries: Statuses) -> Changed:
        seen = Changed()
        cpu = 0.0
        for step in range(self._steps):
            if step == WARM_UP_CHANGES:
                cpu = control.usage.cpu_seconds
            first, last, told = await self._change(kind, step, fleet, canaries)
            await asyncio.sleep(_PAUSE_SECONDS)
            if step >= WARM_UP_CHANGES:
                seen.first.append(first)
                seen.last.append(last)
                seen.told += told
        seen.cpu_seconds = (control.usage.cpu_seconds - cpu) / self._extent.changes
        return seen

    async def _change(
        self, kind: ChangeKind, step: int, fleet: Program, canaries: Statuses
    ) -> tuple[float, float, list[float]]:
        """Seconds from the write until the first ACK, the last, and (of a Canary) the status."""
        wanted = change(self._extent.scale, kind, step)
        await _ask(fleet, op="arm")
        began = time.monotonic_ns()
        written = await self._server.merge(wanted)
        acked = await _ask(fleet, op="await", keys=self._job.keys(kind, step), timeout=_TIMEOUT)
        told = []
        if kind is ChangeKind.WEIGHT:
            generation = written["metadata"]["generation"]
            told.append(await canaries.programmed(wanted.name, generation, TIMEOUT_SECONDS))
        first, last = acked["times"][0], acked["times"][-1]
        return (first - began) / 1e9, (last - began) / 1e9, [(at - began) / 1e9 for at in told]

    async def _select_new_pods(self) -> None:
        """A MutualTLS for their namespace; return when the control plane and the API server know of it."""
        path = f"{_SMI}/{ADMITTED}/mutualtls"
        await self._server.make(mutual_tls(path))
        async with asyncio.timeout(60):
            while not (await self._server.get(f"{path}/all")).get("status"):
                await asyncio.sleep(0.1)

    async def _admit(self, namespace: str) -> Admitted:
        latencies = []
        made = []
        failed = 0

        async def create(number: int) -> None:
            nonlocal failed
            began = time.monotonic()
            try:
                made.append(await self._server.make(new_pod(namespace, number)))
            except RuntimeError:
                failed += 1
            latencies.append(time.monotonic() - began)

        began = time.monotonic()
        await each(range(self._extent.new_pods), create, CONNECTIONS)
        return Admitted(
            latencies=sorted(latencies),
            seconds=time.monotonic() - began,
            with_proxy=sum(_has_proxy(pod) for pod in made),
            failed=failed,
        )

    async def _restart(
        self, stack: contextlib.ExitStack, control: Controller, place: Place, fleet: Program, canaries: Statuses
    ) -> Return:
        # Its keys are lost with it: the new one makes new ones, and so each proxy is sent two new certificates.
        await _ask(fleet, op="survive", want={SECRET: 2})
        began = time.monotonic()
        control.kill()
        again = stack.enter_context(controller(place))
        ready = time.monotonic() - began
        returned = await _ask(fleet, op="returned", timeout=_TIMEOUT)
        cpu = again.usage.cpu_seconds
        # That all of them listen is shown by a change that all acknowledge.
        await self._change(ChangeKind.WEIGHT, self._steps, fleet, canaries)
        return Return(
            ready=ready,
            last=returned["times"][-1] / 1e9 - began,
            cpu_seconds=cpu,
            peak_mib=_mib(again.usage.peak_bytes),
        )


@contextlib.asynccontextmanager
async def _statuses(client: httpx2.AsyncClient, plural: str) -> AsyncIterator[Statuses]:
    async with Statuses(client, f"{_SMI}/{MESH}/{plural}") as statuses:
        yield statuses


async def _ask(program: Program, **command: Any) -> dict[str, Any]:
    return await asyncio.to_thread(lambda: program.ask(**command))


async def _idle(control: Controller) -> float:
    await asyncio.sleep(2)  # what the last acknowledgements had it do
    cpu = control.usage.cpu_seconds
    await asyncio.sleep(IDLE_SECONDS)
    return (control.usage.cpu_seconds - cpu) / IDLE_SECONDS


def _has_proxy(pod: Body) -> bool:
    return any(container["name"] == PROXY_CONTAINER for container in pod["spec"].get("initContainers", ()))


def _mib(size: int) -> float:
    return size / (1 << 20)
