"""Which owners of Pods a Sidecar wants to be restarted, for the proxy or the containers that their Pods lack.

What is written into an owner's template follows from the Sidecar and from the Pods that are there, and new Pods bear
it: written again, after a crash or by another leader, it changes nothing. A restart that did not help, since nothing
was injected just then, is repeated after a while. What a restart cannot mend is not restarted for ever.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import httpx2
import structlog

from smeagol.api.names import SUBDOMAIN
from smeagol.infra.kubernetes.restarter import RESTARTABLE, Restarted, restart
from smeagol.install.access import RESTARTER, granting
from smeagol.intent import Resolver, SidecarIntent, Unit
from smeagol.objects import Metadata, Pod
from smeagol.refs import ObjectRef, PodRef
from smeagol.runtime.control_plane import now
from smeagol.status import Event, EventType

__all__ = [
    "REPEATED_AFTER_SECONDS",
    "RESTARTED_FOR",
    "Restart",
    "Restarter",
    "Restarts",
    "asked_restarts",
    "owner_of",
    "wanting",
]

log = structlog.get_logger(__name__)

RESTARTED_FOR = "smeagol.dev/restarted-for"
"""Annotation of the template, and so of the Pods: uid and generation of the Sidecar, and which restart for it it is.
The same value again makes no new Pods."""

REPEATED_AFTER_SECONDS = (60, 300)
"""So old is a Pod that lacks something although it was made by the first restart, or the second, before the next. There
is none after the last."""

RETRY_SECONDS = 30.0

RESTART_SECONDS = 3.0
"""One owner of Pods is restarted in this time at most: a selector may reach hundreds."""

_NAME = re.compile(SUBDOMAIN)
_COUNT = re.compile("[0-9]{1,3}")
"""Both are read from Pods, whose users may write anything there."""

_FAILURES_TOLD = 3
"""Restarts that failed, told in one status; they mostly fail alike."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart:
    """`cause` is the Sidecar; `need` tells one restart of an owner from the next."""

    owner: ObjectRef
    cause: ObjectRef
    need: str


def wanting(units: Iterable[Unit]) -> Iterator[tuple[SidecarIntent, tuple[PodRef, ...]]]:
    """The Sidecars that ask for restarts, by name, with the Pods that are to be replaced (spec: SMI-POD-05)."""
    asking = (u for u in units if isinstance(u, SidecarIntent) and u.restart and u.accepted)
    for unit in sorted(asking, key=lambda sidecar: sidecar.ref):
        if pods := (*unit.selection.uninjected, *unit.outdated):
            yield unit, pods


def owner_of(pod: Metadata) -> ObjectRef | None:
    """The Deployment, StatefulSet or DaemonSet that makes such Pods; None for any other, which nobody restarts so.

    Of a Deployment's Pod only the ReplicaSet is named, which is called as the Deployment and the hash of its template.
    The API server does not look at the name of an owner: `../../pay/deployments/web` would be another namespace's.
    """
    owner = next((o for o in pod.owner_references if o.controller and o.api_version == "apps/v1"), None)
    if owner is None:
        return None
    kind, name = owner.kind, owner.name
    if kind == "ReplicaSet":
        suffix = f"-{pod.labels.get('pod-template-hash', '')}"
        if len(suffix) == 1 or not name.endswith(suffix):
            return None
        kind, name = "Deployment", name.removesuffix(suffix)
    known = kind in RESTARTABLE and _NAME.fullmatch(name)
    return ObjectRef(kind, pod.namespace, name) if known else None


def asked_restarts(
    units: Iterable[Unit],
    *,
    pod: Callable[[tuple[str, str]], Pod | None],
    uid: Callable[[ObjectRef], str],
    known: Callable[[SidecarIntent], bool],
    now: datetime,
) -> Iterator[Restart]:
    """In a cluster: one for each owner. Where several Sidecars ask, the first by name does, whoever leads.

    `uid` is that of a Sidecar: one that is made again asks anew. `known`: whether all that inject have seen it as it is
    now; before that, a restart would make Pods that lack the same.
    """
    found: set[ObjectRef] = set()
    for sidecar, pods in wanting(units):
        asked = f"{uid(sidecar.ref)}.{sidecar.generation}"
        try:
            made = _made(sidecar, asked, frozenset(pods), pod)
        except Exception:  # whatever somebody has written into a Pod is no business of other Sidecars
            log.exception("restarts not known", sidecar=str(sidecar.ref))
            continue
        for owner, by_times in made.items():
            if owner in found or not any(by_times.values()):
                continue
            found.add(owner)
            last = max(by_times)  # an older Pod is on its way out
            if known(sidecar) and by_times[last] and _is_due(last, max(by_times[last]), now):
                yield Restart(owner=owner, cause=sidecar.ref, need=f"{asked}.{last + 1}")


def _made(
    sidecar: SidecarIntent, asked: str, lacking: frozenset[PodRef], pod: Callable[[tuple[str, str]], Pod | None]
) -> Mapping[ObjectRef, Mapping[int, Sequence[str]]]:
    """By owner and restart: when those of the Pods were made that lack something."""
    made: dict[ObjectRef, dict[int, list[str]]] = {}
    for ref in sidecar.selection.pods:
        one = pod((ref.namespace, ref.name))
        if one is None or one.metadata.deletion_timestamp or (owner := owner_of(one.metadata)) is None:
            continue
        lacks = made.setdefault(owner, {}).setdefault(_times(one.metadata, asked), [])
        if ref in lacking:
            lacks.append(one.metadata.creation_timestamp)
    return made


def _times(pod: Metadata, asked: str) -> int:
    """By which restart for what is asked the Pod was made; 0 if it was there before."""
    before, _, times = pod.annotations.get(RESTARTED_FOR, "").rpartition(".")
    return int(times) if before == asked and _COUNT.fullmatch(times) else 0


def _is_due(times: int, youngest: str, now: datetime) -> bool:
    """Whether what so many restarts have not mended is worth one more. `youngest`: when the youngest Pod was made."""
    if not times:
        return True
    if times > len(REPEATED_AFTER_SECONDS) or not youngest:
        return False
    return (now - datetime.fromisoformat(youngest)).total_seconds() >= REPEATED_AFTER_SECONDS[times - 1]


class Restarts:
    """Keeps what has been done, and what is to be tried again and why; forgets what nobody asks for any more."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._not_before: dict[Restart, float] = {}
        self._failed: dict[Restart, str] = {}

    def next(self, asked: Iterable[Restart]) -> Restart | None:
        """One that is to be carried out now: first what has not been tried, then what has waited longest."""
        wanted = dict.fromkeys(asked)
        self._not_before = {known: when for known, when in self._not_before.items() if known in wanted}
        self._failed = {known: why for known, why in self._failed.items() if known in wanted}
        now = self._clock()
        due = (each for each in wanted if self._not_before.get(each, now) <= now)
        return min(due, key=lambda each: self._not_before.get(each, 0.0), default=None)

    def note(self, restart: Restart, *, failure: str = "") -> None:
        """What came of it. One that has failed is tried again after a while, behind the others."""
        self._failed.pop(restart, None)
        if failure:
            self._failed[restart] = failure
        self._not_before[restart] = self._clock() + RETRY_SECONDS if failure else float("inf")

    def failures(self, cause: ObjectRef) -> tuple[str, ...]:
        """What keeps those from being restarted that a Sidecar asks for."""
        return tuple(dict.fromkeys(why for restart, why in self._failed.items() if restart.cause == cause))


class Restarter:
    """Carries restarts out, one after the other, while `run` runs: on the replica that leads.

    `system`: the namespace of the control plane. `tell` records an Event of a Sidecar.
    """

    def __init__(
        self,
        client: httpx2.AsyncClient,
        resolver: Resolver,
        *,
        system: str,
        uid: Callable[[ObjectRef], str],
        known: Callable[[SidecarIntent], bool],
        tell: Callable[[ObjectRef, Event], Awaitable[None]],
    ) -> None:
        self._client = client
        self._resolver = resolver
        self._system = system
        self._uid = uid
        self._known = known
        self._tell = tell
        self._restarts = Restarts()

    async def run(self) -> None:
        """Until cancelled."""
        self._restarts = Restarts()
        while True:
            await asyncio.sleep(RESTART_SECONDS)
            due = self._restarts.next(
                asked_restarts(
                    self._resolver.units.values(),
                    pod=self._resolver.pods.get,
                    uid=self._uid,
                    known=self._known,
                    now=now(),
                )
            )
            if due is None:
                continue
            try:
                outcome, words = await restart(self._client, due.owner, annotation=RESTARTED_FOR, value=due.need)
            except Exception as error:
                log.exception("not restarted", owner=str(due.owner))
                outcome, words = Restarted.FAILED, type(error).__name__
            failure = self._failure(due.owner, outcome, words)
            self._restarts.note(due, failure=failure)
            if failure:
                await self._tell(due.cause, Event(EventType.WARNING, "NotRestarted", failure))
            elif outcome is Restarted.DONE:
                done = f"{due.owner} is restarted: its Pods are not as asked"
                await self._tell(due.cause, Event(EventType.NORMAL, "Restarted", done))

    def told(self, sidecar: SidecarIntent) -> str:
        """What is done for Pods that lack what a Sidecar asks for."""
        if failures := self._restarts.failures(sidecar.ref):
            return "; ".join(failures[:_FAILURES_TOLD])
        return "Their Deployments, StatefulSets and DaemonSets are restarted; restart what else owns Pods yourself"

    def _failure(self, owner: ObjectRef, outcome: Restarted, words: str) -> str:
        """Why it was not restarted, and what helps; empty if it was, or there is nothing to restart any more."""
        match outcome:
            case Restarted.DONE | Restarted.GONE:
                return ""
            case Restarted.FORBIDDEN:
                command = granting(RESTARTER, owner.namespace, system=self._system)
                return f"Smeagol may not restart {owner}; restart it yourself, or let Smeagol do it with `{command}`"
            case Restarted.FAILED:
                return f"{owner} could not be restarted, and is tried again: {words}"
