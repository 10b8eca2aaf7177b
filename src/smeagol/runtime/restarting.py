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
from dataclasses import dataclass, field
from datetime import datetime

import httpx2
import structlog

from smeagol.api.names import SUBDOMAIN
from smeagol.infra.kubernetes.restarter import RESTARTABLE, Restarted, restart
from smeagol.install.access import RESTARTER, granting
from smeagol.install.owners import owners_of, renewals
from smeagol.intent import MutualTLSIntent, Resolver, SidecarIntent, Unit
from smeagol.objects import Metadata, Pod
from smeagol.refs import ObjectRef, PodRef
from smeagol.runtime.control_plane import now
from smeagol.status import Event, EventType

__all__ = [
    "REPEATED_AFTER_SECONDS",
    "RESTARTED_FOR",
    "Asked",
    "Restart",
    "Restarter",
    "Restarts",
    "asked_restarts",
    "lacking",
    "owner_of",
    "renewing",
    "wanting",
]

log = structlog.get_logger(__name__)

RESTARTED_FOR = "smeagol.dev/restarted-for"
"""Annotation of the template, and so of the Pods: uid and generation of a Sidecar, and which restart for it it was; of
several Sidecars the last one first, with commas. The same value again makes no new Pods."""

REPEATED_AFTER_SECONDS = (60, 300)
"""So old is a Pod that lacks something although it was made by the first restart, or the second, before the next. There
is none after the last."""

RETRY_SECONDS = 30.0

RESTART_SECONDS = 3.0
"""One owner of Pods is restarted in this time at most: a selector may reach hundreds."""

_NAME = re.compile(SUBDOMAIN)
_MARK = re.compile(r"(?P<asked>(?P<uid>[0-9A-Za-z-]{1,63})\.[0-9]{1,18})\.(?P<times>[0-9]{1,3})")
"""Both are read from Pods, whose users may write anything there."""

_MARKS = 50
"""Sidecars whose restarts of one owner are counted at a time."""

_TOLD = 3
"""Restarts that failed, or owners, told in one status; they mostly fail alike."""

_LOOKED_AT = 100
"""Pods whose owners are looked for, for one status."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart:
    """`cause` is the Sidecar; `need` tells one restart of an owner from the next; `value` is to be written."""

    owner: ObjectRef
    cause: ObjectRef
    need: str
    value: str = field(compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What Sidecars ask for, as Pods are.

    `spent`: owners, by Sidecar, that no restart has mended, and that are not restarted for it again. `early`: Sidecars
    that not all that inject have seen yet.
    """

    due: tuple[Restart, ...] = ()
    spent: Mapping[ObjectRef, tuple[ObjectRef, ...]] = field(default_factory=dict)
    early: frozenset[ObjectRef] = frozenset()


def wanting(units: Iterable[Unit]) -> Iterator[tuple[SidecarIntent, tuple[PodRef, ...]]]:
    """The Sidecars that ask for restarts, by name, with the Pods that are to be replaced (spec: SMI-POD-05)."""
    asking = (u for u in units if isinstance(u, SidecarIntent) and u.restart and u.accepted)
    for unit in sorted(asking, key=lambda sidecar: sidecar.ref):
        if pods := lacking(unit):
            yield unit, pods


def lacking(unit: Unit) -> tuple[PodRef, ...]:
    """The Pods that are to be replaced for a unit: for a proxy, or for a Sidecar's containers."""
    match unit:
        case MutualTLSIntent():
            return unit.selection.uninjected
        case SidecarIntent():
            return (*unit.selection.uninjected, *unit.outdated)
        case _:
            return ()


def renewing(pods: Sequence[PodRef], pod: Callable[[tuple[str, str]], Pod | None]) -> str:
    """How users give what such Pods belong to new ones; empty if none is there any more."""
    found = (pod((ref.namespace, ref.name)) for ref in pods[:_LOOKED_AT])
    lines = list(renewals(dict.fromkeys(owners_of(each for each in found if each is not None), 1)))
    more = ["and so on"] if len(lines) > _TOLD or len(pods) > _LOOKED_AT else []
    return f"For new ones: {'; '.join((*lines[:_TOLD], *more))}" if lines else ""


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
) -> Asked:
    """In a cluster: at most one for each owner. Where several Sidecars ask, the first by name does whose restarts of
    that owner are not spent, whoever leads.

    `uid` is that of a Sidecar: one that is made again asks anew. `known`: whether all that inject have seen it as it is
    now; before that, a restart would make Pods that lack the same.
    """
    due: list[Restart] = []
    spent: dict[ObjectRef, list[ObjectRef]] = {}
    early: set[ObjectRef] = set()
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
            last = max(by_times)  # an older Pod is on its way out
            lacking = by_times[last]
            if lacking and last > len(REPEATED_AFTER_SECONDS):
                spent.setdefault(sidecar.ref, []).append(owner)
                continue
            found.add(owner)
            if not known(sidecar):
                early.add(sidecar.ref)
            elif lacking:
                youngest = max(lacking, key=lambda one: one.creation_timestamp)
                if _is_due(last, youngest.creation_timestamp, now):
                    need = f"{asked}.{last + 1}"
                    due.append(Restart(owner=owner, cause=sidecar.ref, need=need, value=_beside(youngest, need)))
    return Asked(
        due=tuple(due),
        spent={cause: tuple(owners) for cause, owners in spent.items()},
        early=frozenset(early),
    )


def _made(
    sidecar: SidecarIntent, asked: str, lacking: frozenset[PodRef], pod: Callable[[tuple[str, str]], Pod | None]
) -> Mapping[ObjectRef, Mapping[int, Sequence[Metadata]]]:
    """By owner and restart: those of the Pods that lack something."""
    made: dict[ObjectRef, dict[int, list[Metadata]]] = {}
    for ref in sidecar.selection.pods:
        one = pod((ref.namespace, ref.name))
        if one is None or one.metadata.deletion_timestamp or (owner := owner_of(one.metadata)) is None:
            continue
        lacks = made.setdefault(owner, {}).setdefault(_times(one.metadata, asked), [])
        if ref in lacking:
            lacks.append(one.metadata)
    return made


def _marks(pod: Metadata) -> Iterator[tuple[str, str, int]]:
    """For which Sidecars the Pod was made anew: the uid, what was asked (uid and generation), and how often by now."""
    for mark in pod.annotations.get(RESTARTED_FOR, "").split(",", _MARKS)[:_MARKS]:
        if match := _MARK.fullmatch(mark):
            yield match["uid"], match["asked"], int(match["times"])


def _times(pod: Metadata, asked: str) -> int:
    """By which restart for what is asked the Pod was made; 0 if it was there before."""
    return next((times for _, before, times in _marks(pod) if before == asked), 0)


def _beside(pod: Metadata, need: str) -> str:
    """`need`, beside what other Sidecars have had done: they go on counting. The newest is first."""
    uid = need.split(".", 1)[0]
    others = [f"{asked}.{times}" for other, asked, times in _marks(pod) if other != uid]
    return ",".join([need, *others[: _MARKS - 1]])


def _is_due(times: int, youngest: str, now: datetime) -> bool:
    """Whether what so many restarts have not mended is worth one more. `youngest`: when the youngest Pod was made."""
    if not times or not youngest:
        return not times
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

    `system`: the namespace of the control plane. `tell` records an Event of a Sidecar; `changed` is called when there
    is something else to be told of one.
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
        changed: Callable[[], None],
    ) -> None:
        self._client = client
        self._resolver = resolver
        self._system = system
        self._uid = uid
        self._known = known
        self._tell = tell
        self._changed = changed
        self._restarts = Restarts()
        self._asked = Asked()

    async def run(self) -> None:
        """Until cancelled."""
        self._restarts, self._asked = Restarts(), Asked()
        while True:
            await asyncio.sleep(RESTART_SECONDS)
            asked = asked_restarts(
                self._resolver.units.values(),
                pod=self._resolver.pods.get,
                uid=self._uid,
                known=self._known,
                now=now(),
            )
            if (asked.spent, asked.early) != (self._asked.spent, self._asked.early):
                self._changed()
            self._asked = asked
            if due := self._restarts.next(asked.due):
                await self._carry_out(due)

    async def _carry_out(self, due: Restart) -> None:
        try:
            outcome, words = await restart(self._client, due.owner, annotation=RESTARTED_FOR, value=due.value)
        except Exception as error:
            log.exception("not restarted", owner=str(due.owner))
            outcome, words = Restarted.FAILED, type(error).__name__
        failure = self._failure(due.owner, outcome, words)
        before = self._restarts.failures(due.cause)
        self._restarts.note(due, failure=failure)
        if self._restarts.failures(due.cause) != before:
            self._changed()
        if failure:
            await self._tell(due.cause, Event(EventType.WARNING, "NotRestarted", failure))
        elif outcome is Restarted.DONE:
            done = f"{due.owner} is restarted: its Pods are not as asked"
            await self._tell(due.cause, Event(EventType.NORMAL, "Restarted", done))

    def told(self, sidecar: SidecarIntent) -> str:
        """What is done for Pods that lack what a Sidecar asks for."""
        if failures := self._restarts.failures(sidecar.ref):
            return "; ".join(failures[:_TOLD])
        if spent := self._asked.spent.get(sidecar.ref, ()):
            times = len(REPEATED_AFTER_SECONDS) + 1
            return (
                f"{times} restarts did not help {', '.join(map(str, spent[:_TOLD]))}, and there are no more: see what "
                "`smeagol check` finds, mend it, and restart what owns the Pods yourself"
            )
        if sidecar.ref in self._asked.early:
            return "What owns them is restarted as soon as all replicas of the control plane have seen this Sidecar"
        return (
            "Their Deployments, StatefulSets and DaemonSets are restarted; restart what else owns Pods yourself; "
            "delete those that nobody owns, and make them again"
        )

    def _failure(self, owner: ObjectRef, outcome: Restarted, words: str) -> str:
        """Why it was not restarted, and what helps; empty if it was, or there is nothing to restart any more."""
        match outcome:
            case Restarted.DONE | Restarted.GONE:
                return ""
            case Restarted.HELD:
                return f"{owner} has the restart in its template, and {words}"
            case Restarted.FORBIDDEN:
                command = granting(RESTARTER, owner.namespace, system=self._system)
                return f"Smeagol may not restart {owner}; restart it yourself, or let Smeagol do it with `{command}`"
            case Restarted.FAILED:
                return f"{owner} could not be restarted, and is tried again: {words}"
