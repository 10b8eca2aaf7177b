"""The host as the runtime sees it: apply what is desired, hear what changed.

Level-based: every call of `apply` gives the whole desired state, and what is done is proportional to its difference
from the one before.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from smeagol.infra.host.desired import PodSpecOnHost, ServiceOnHost
from smeagol.infra.host.dns import DnsServer, Zone
from smeagol.infra.host.netlink import Message
from smeagol.infra.host.pod import Pod
from smeagol.infra.host.remote import Agent
from smeagol.infra.host.sandbox import require_inside
from smeagol.infra.host.services import service_changes
from smeagol.infra.host.settings import HostSettings
from smeagol.infra.host.status import PodStatus
from smeagol.infra.host.wire import ApplyRules, SetUp
from smeagol.refs import PodRef, ServiceRef

__all__ = ["Host"]

_BATCH_BYTES = 64 << 10  # of rules in one transaction: an ordinary user's socket takes about 200 KiB
_LATE_SECONDS = 5


class Host:
    """Pods and Services on this machine. Use as `async with`, inside a sandbox; leaving it ends all Pods in order."""

    def __init__(self, settings: HostSettings) -> None:
        self._settings = settings
        self._agent = Agent()
        self._dns = DnsServer(settings.node.extra_ips, Zone(cluster_domain=settings.cluster_domain))
        self._tasks = asyncio.TaskGroup()
        self._nsswitch = _nsswitch()
        self._desired: Mapping[PodRef, PodSpecOnHost] = {}
        self._services: Mapping[ServiceRef, ServiceOnHost] = {}
        self._pods: dict[PodRef, Pod] = {}
        self._lives: set[asyncio.Task[None]] = set()
        self._changed: set[PodRef] = set()
        self._news = asyncio.Event()

    async def __aenter__(self) -> Self:
        require_inside()
        await self._tasks.__aenter__()
        try:
            self._tasks.create_task(self._agent.serve(await self._agent.start()))
            settings = self._settings
            await self._agent.ask(
                SetUp(
                    node_ips=tuple(map(str, settings.node.ips)),
                    extra_ips=tuple(map(str, settings.node.extra_ips)),
                    service_cidrs=tuple(map(str, settings.node.service_cidrs)),
                    kept=settings.kept,
                    hidden=tuple(str(folder.resolve()) for folder in settings.hidden),
                    log_bytes=settings.log_bytes,
                    exec_socket=str(settings.exec_socket or ""),
                )
            )
            await self._dns.__aenter__()
        except BaseException as error:
            await self._agent.close()
            await self._leave(type(error), error, error.__traceback__)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            for pod in self._pods.values():
                pod.stop(self._settings.stop_seconds)
            self._desired = {}
            if self._lives:
                # What does not end in time ends with the sandbox.
                await asyncio.wait(self._lives, timeout=self._settings.stop_seconds + _LATE_SECONDS)
        finally:
            await self._dns.__aexit__(None, None, None)
            await self._agent.close()
            for life in self._lives:
                life.cancel()
            await self._leave(kind, error, traceback)

    async def _leave(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End the tasks; what went wrong is raised as it is, not as a group of one."""
        try:
            await self._tasks.__aexit__(kind, error, traceback)
        except BaseExceptionGroup as group:
            if len(group.exceptions) > 1:
                raise
            if group.exceptions[0] is not error:  # the error of the body goes on by itself
                raise group.exceptions[0] from None

    @property
    def statuses(self) -> Mapping[PodRef, PodStatus]:
        """How every Pod is, also those on their way out; addresses are free again once their Pod has left it."""
        return {ref: pod.status for ref, pod in self._pods.items()}

    def status_of(self, ref: PodRef) -> PodStatus | None:
        """How a Pod is; None if nothing is left of it."""
        pod = self._pods.get(ref)
        return pod.status if pod is not None else None

    async def changes(self) -> AsyncIterator[frozenset[PodRef]]:
        """Which Pods' statuses have changed since the last time; one reader only."""
        while True:
            await self._news.wait()
            self._news.clear()
            changed, self._changed = frozenset(self._changed), set()
            yield changed

    async def apply(
        self, desired: Mapping[PodRef, PodSpecOnHost], services: Mapping[ServiceRef, ServiceOnHost]
    ) -> None:
        """Make this the desired state. Services work as given on return; Pods come and go in the background.

        Of a running Pod only `redirect` is brought up to date; a Pod with another `uid` takes the place of the old one
        when that is gone.
        """
        self._desired = dict(desired)
        for ref, pod in list(self._pods.items()):  # one may have gone while another's rules are set
            wanted = desired.get(ref)
            if wanted is None or wanted.uid != pod.spec.uid:
                pod.stop()
            else:
                await pod.set_redirect(wanted.redirect)
        for ref in desired.keys() - self._pods.keys():
            self._begin(desired[ref])
        if services != self._services:
            new = dict(services)
            self._dns.zone = Zone(services=new, cluster_domain=self._settings.cluster_domain)
            for messages in _batches(service_changes(self._services, new)):
                await self._agent.ask(ApplyRules(pod="", messages=messages))
            self._services = new

    def _begin(self, spec: PodSpecOnHost) -> None:
        pod = Pod(
            spec,
            agent=self._agent,
            settings=self._settings,
            nsswitch=self._nsswitch,
            changed=lambda: self._report(spec.ref),
        )
        self._pods[spec.ref] = pod
        life = self._tasks.create_task(self._live(pod))
        self._lives.add(life)
        life.add_done_callback(self._lives.discard)
        self._report(spec.ref)

    async def _live(self, pod: Pod) -> None:
        await pod.run()
        ref = pod.spec.ref
        del self._pods[ref]
        self._report(ref)
        if (successor := self._desired.get(ref)) is not None:
            self._begin(successor)

    def _report(self, ref: PodRef) -> None:
        self._changed.add(ref)
        self._news.set()


def _nsswitch() -> str:
    """Where this machine looks for names; empty where the C library does without the file."""
    path = Path("/etc/nsswitch.conf")
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""


def _batches(groups: Iterator[tuple[Message, ...]]) -> Iterator[tuple[Message, ...]]:
    """Join groups of messages to transactions of a good size; each group stays whole."""
    batch: list[Message] = []
    size = 0
    for group in groups:
        group_bytes = sum(len(message.body) for message in group)
        if batch and size + group_bytes > _BATCH_BYTES:
            yield tuple(batch)
            batch, size = [], 0
        batch += group
        size += group_bytes
    if batch:
        yield tuple(batch)
