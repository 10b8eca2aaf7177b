"""What is written into the status of the users' objects, and the Events that tell of a change.

Pure: the resolved object, what its provider cannot do and what the proxies have acknowledged come in, a status comes
out. It is written only where it differs from the one that is there (`to_write`), and a condition's time changes only
with its status, so a status that is computed again and again causes no write.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeAlias, TypeVar

from msgspec.structs import replace

from smeagol import api
from smeagol.errors import sentence
from smeagol.intent import (
    CanaryIntent,
    Condition,
    ConditionType,
    MutualTLSIntent,
    Selection,
    SidecarIntent,
    UnitKey,
    UnitKind,
)
from smeagol.plan import Feature, Unsupported
from smeagol.plan.peer import Answer, Peer, Verdict
from smeagol.refs import NodeId, ObjectRef

__all__ = [
    "Event",
    "EventType",
    "Made",
    "ObjectUnit",
    "Observation",
    "PeerReport",
    "Rejection",
    "Report",
    "concerns",
    "events",
    "shares",
    "status_of",
    "to_write",
    "withdrawn",
]

ObjectUnit: TypeAlias = CanaryIntent | MutualTLSIntent | SidecarIntent
"""A unit that is one object of a user, and so has a status."""

S = TypeVar("S", bound=api.Status)

_OURS = tuple(t.value for t in ConditionType)
_STATUSES = {True: api.ConditionStatus.TRUE, False: api.ConditionStatus.FALSE, None: api.ConditionStatus.UNKNOWN}
_NAMED_AT_MOST = 5
_BY_HAND = (
    "Restart what owns them, for example with `kubectl rollout restart`; delete those that nobody owns, and make them "
    "again"
)
"""How Pods come to have what they lack (spec: SMI-POD-05)."""
SILENCE_SECONDS = 30
"""So long a mesh may take to say anything about what was made for it, before nobody seems to be there."""
_LONGEST = 32768
"""Characters of a condition's message that the API server takes (meta/v1 Condition)."""


@dataclass(frozen=True, slots=True, order=True)
class Rejection:
    """A proxy that refused what it was sent, with its reason."""

    node: NodeId
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What the connected proxies say of one object.

    `proxies`: how many must have it; `lagging`: those of them that have not acknowledged its newest state, sorted.
    `more_lagging`: how many lag besides. `rejections`: those that refused it. `unknown`: replicas of the control plane
    that do not answer for their proxies, where that matters.
    """

    proxies: int = 0
    lagging: tuple[NodeId, ...] = ()
    more_lagging: int = 0
    unknown: tuple[str, ...] = ()
    rejections: tuple[Rejection, ...] = ()

    @property
    def programmed(self) -> int:
        """How many have it."""
        return max(0, self.proxies - self.more_lagging - len(set(self.lagging) | {r.node for r in self.rejections}))

    @property
    def complete(self) -> bool:
        """Whether all that must have it are known to."""
        return not (self.lagging or self.more_lagging or self.rejections or self.unknown)


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """An object that an adapter has planned, and what became of it.

    `refused`: the API server's words, if it did not take it. `answer`: what the peer says of it, None until it is
    there in the wanted state. `created`: when it was made.
    """

    ref: ObjectRef
    refused: str = ""
    answer: Answer | None = None
    created: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerReport:
    """What there is of an object in another mesh.

    `conflict`: a foreign object that holds what this one is about, in a sentence; then nothing is made. `contested`:
    one that does not, since it is younger.
    """

    peer: Peer
    made: tuple[Made, ...] = ()
    failed_closed: bool = False
    conflict: str = ""
    contested: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All that is known of an object beyond its resolution.

    `unplanned`: why the provider could not plan it, empty if it could. `awaited`: what its plan waits for.
    `metrics_server`: where Prometheus scrapes the Pods of a Sidecar. `restarting`: what is done for Pods that lack what
    a Sidecar asks for, where they are restarted for it; `renewing`: else what gives new ones. `root_proxy`: what the
    root proxies of a Canary wait for. `peer`: of an adapter, in whose place there is no observation.
    """

    observation: Observation = Observation()
    unsupported: tuple[Unsupported, ...] = ()
    unplanned: str = ""
    awaited: str = ""
    metrics_server: str = ""
    restarting: str = ""
    renewing: str = ""
    root_proxy: str = ""
    peer: PeerReport | None = None


def concerns(unit: ObjectUnit) -> tuple[UnitKey, ...]:
    """The units whose resources the proxies must have acknowledged before the object is Programmed.

    Of a Canary that is its root; of the others, the workload of each selected Pod that has a proxy.
    """
    match unit:
        case CanaryIntent():
            return (UnitKey(UnitKind.SERVICE, unit.root.namespace, unit.root.name),) if unit.ports else ()
        case MutualTLSIntent() | SidecarIntent():
            without = frozenset(unit.selection.uninjected)
            pods = (pod for pod in unit.selection.pods if pod not in without)
            return tuple(UnitKey(UnitKind.WORKLOAD, pod.namespace, pod.name) for pod in pods)


def status_of(unit: ObjectUnit, previous: S, report: Report, *, controller: str, now: datetime) -> S:
    """The status of the object. `previous` is the one it has; what other controllers wrote there stays.

    `controller` is the name under which the provider reports. Equal to `previous` if nothing has changed, whatever
    `now` is. An object that is not in force says nothing about proxies.
    """
    conditions = list(unit.conditions)
    conflict = report.peer.conflict if report.peer is not None else ""
    if conflict and _in_force(unit):
        conditions = [c if c.type is not ConditionType.ACCEPTED else _conflicted(conflict) for c in conditions]
    elif _in_force(unit):
        conditions += [_programmed(unit, report, now), _fully_supported(report.unsupported)]
    made = _dated(conditions, previous.conditions, unit.generation, now)
    own = api.ProviderStatus(
        controller_name=controller,
        class_name=unit.provider_class,
        conditions=_dated(conditions, _entry(previous, controller).conditions, unit.generation, now),
        unsupported=tuple(
            api.Unsupported(field=u.field, feature=u.feature.value, message=u.message)
            for u in sorted(report.unsupported, key=lambda u: (u.field, u.feature.value, u.message))
        ),
        counts=_counts(unit, report.observation),
    )
    others = (entry for entry in previous.providers if entry.controller_name != controller)
    status = replace(
        previous,
        observed_generation=unit.generation,
        ready=_ready(unit, report.observation) if _in_force(unit) and report.peer is None else "",
        conditions=(*made, *(c for c in previous.conditions if c.type not in _OURS)),
        providers=tuple(sorted((own, *others), key=lambda entry: entry.controller_name)),
    )
    if isinstance(status, api.SidecarStatus):
        return replace(status, metrics_server=report.metrics_server if _in_force(unit) else "")
    if isinstance(status, api.CanaryStatus) and isinstance(unit, CanaryIntent):
        return replace(status, shares=shares(unit) if _in_force(unit) else "")
    return status


def shares(unit: CanaryIntent) -> str:
    """What each backend gets, in percent of three digits, in the order in which the user wrote them."""
    total = sum(weight for _, weight in unit.wanted) or 1
    return ", ".join(f"{service.name} {100 * weight / total:.3g}%" for service, weight in unit.wanted)


def _ready(unit: ObjectUnit, seen: Observation) -> str:
    """A Pod without a proxy is not ready; a Canary is for the proxies that know its root. What the proxies of another
    mesh have is not seen, so nothing is said of them."""
    wanted = seen.proxies if isinstance(unit, CanaryIntent) else len(unit.selection.pods)
    return f"{seen.programmed}/{wanted}"


def withdrawn(previous: S, *, controller: str) -> S:
    """The status of an object that another controller serves now: what we wrote is taken back."""
    own = _entry(previous, controller)
    return replace(
        previous,
        ready="",
        conditions=tuple(c for c in previous.conditions if c not in own.conditions),
        providers=tuple(entry for entry in previous.providers if entry.controller_name != controller),
    )


def to_write(previous: S, status: S) -> S | None:
    """`status`, if it says anything else than what is there already."""
    return status if status != previous else None


# Events ---------------------------------------------------------------------------------------------------------------


class EventType(enum.Enum):
    """How Kubernetes sorts Events (core/v1 Event)."""

    NORMAL = "Normal"
    WARNING = "Warning"


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to an object, for `kubectl describe`."""

    type: EventType
    reason: str
    message: str


def events(previous: api.Status, status: api.Status) -> tuple[Event, ...]:
    """What the change from one status to the next means to people: a condition that holds no longer, or again.

    Waiting for proxies is no event, and neither is what holds from the beginning, but for being accepted and
    programmed. Where a condition goes on being false for another cause, that is one too.
    """
    before = {c.type: c for c in previous.conditions}
    found = (_event(before.get(c.type), c) for c in status.conditions if c.type in _OURS)
    return tuple(event for event in found if event is not None)


def _event(before: api.Condition | None, after: api.Condition) -> Event | None:
    same = before is not None and (before.status, before.reason) == (after.status, after.reason)
    holds = after.status is api.ConditionStatus.TRUE
    is_programmed = after.type == ConditionType.PROGRAMMED.value
    if holds and after.reason in (after.type, "FullySupported"):
        told = before is not None or is_programmed or after.type == ConditionType.ACCEPTED.value
        return Event(EventType.NORMAL, after.reason, after.message) if told and not same else None
    if after.reason in ("Pending", "Unacknowledged"):
        return None
    # How many proxies refuse changes all the time; which backend is missing does not.
    told = not same or (not is_programmed and before is not None and before.message != after.message)
    return Event(EventType.WARNING, after.reason, after.message) if told else None


# Conditions -----------------------------------------------------------------------------------------------------------


def _in_force(unit: ObjectUnit) -> bool:
    return unit.enforced if isinstance(unit, MutualTLSIntent) else unit.accepted


def _programmed(unit: ObjectUnit, report: Report, now: datetime) -> Condition:
    seen = report.observation

    if report.unplanned:
        return _not_programmed(
            "Rejected", f"the provider could not translate it: {report.unplanned}", "What was in force stays so"
        )
    if report.awaited:
        return _not_programmed("Pending", report.awaited, "What was in force stays so")
    if seen.rejections:
        first = min(seen.rejections)
        nodes = sorted({r.node for r in seen.rejections})
        return _not_programmed(
            "Rejected",
            f"{_of(len(nodes), seen.proxies, 'proxy', 'proxies')} refused it ({_some(nodes)}); {first.node} says: "
            f"{first.message}",
            "They keep what they had before",
        )
    if report.peer is not None:
        return _programmed_by_peer(unit, report.peer, report.unsupported, now)
    if (waits := _waits(unit, report) or _lacks_containers(unit, report)) is not None:
        return waits
    if seen.unknown:
        return _not_programmed(
            "Pending",
            f"{len(seen.unknown)} {'replica' if len(seen.unknown) == 1 else 'replicas'} of the control plane "
            f"({_some(seen.unknown)}) cannot be asked what {'its' if len(seen.unknown) == 1 else 'their'} proxies have",
            "See whether it runs and is reached by the others; until then only what is known is claimed",
        )
    if seen.lagging or seen.more_lagging:
        number = len(seen.lagging) + seen.more_lagging
        return _not_programmed(
            "Pending",
            f"{_of(number, seen.proxies, 'proxy', 'proxies')} {'has' if number == 1 else 'have'} "
            f"not acknowledged it yet: {_some(seen.lagging, number)}",
        )
    if not seen.proxies:
        return _not_programmed("Pending", "no proxy that it concerns is connected")
    return _is_programmed(f"Acknowledged by {seen.proxies} {'proxy' if seen.proxies == 1 else 'proxies'}.")


def _waits(unit: ObjectUnit, report: Report = Report()) -> Condition | None:
    """Programmed, where it is not the proxies that are waited for."""
    match unit:
        case CanaryIntent():
            if not unit.ports:
                return _not_programmed("Pending", "there is no port of the root to split")
            if report.root_proxy:
                fix = "What clients with a proxy send is divided all the same"
                return _not_programmed("Pending", report.root_proxy, fix)
        case MutualTLSIntent() | SidecarIntent():
            missing = unit.selection.uninjected
            if missing:
                return _not_programmed(
                    "PodsNotInjected",
                    f"{_of(len(missing), len(unit.selection.pods), 'Pod', 'Pods')} {_runs(missing)} without a proxy: "
                    f"{_some(str(pod) for pod in missing)}",
                    report.restarting or report.renewing or _BY_HAND,
                )
    return None


def _lacks_containers(unit: ObjectUnit, report: Report) -> Condition | None:
    """Programmed, where Pods do not have a Sidecar's containers although the provider could add them."""
    if not isinstance(unit, SidecarIntent) or any(u.feature is Feature.SIDECAR_CONTAINERS for u in report.unsupported):
        return None
    if outdated := unit.outdated:
        return _not_programmed(
            "PodsNotInjected",
            f"{_of(len(outdated), len(unit.selection.pods), 'Pod', 'Pods')} {_runs(outdated)} with other containers of "
            f"this Sidecar's than it has now: {_some(str(pod) for pod in outdated)}",
            report.restarting or report.renewing or _BY_HAND,
        )
    if unit.yielded:
        taken = ", ".join(f"'{name}' ({sidecar})" for name, sidecar in unit.yielded)
        return _not_programmed(
            "PodsNotInjected",
            f"spec.containers: some Pods get the container that an older Sidecar has under the same name: {taken}",
            "Give the container another name, or let one of the two Sidecars select other Pods",
        )
    return None


def _programmed_by_peer(
    unit: ObjectUnit, report: PeerReport, unsupported: tuple[Unsupported, ...], now: datetime
) -> Condition:
    """Programmed, as the other mesh has it; the gravest first (spec: SMI-STATUS-11)."""
    peer, made = report.peer, report.made
    if report.failed_closed or any(u.field == "spec" for u in unsupported):
        return _not_programmed("Unsupported", "the provider cannot make it true, and nothing is created for it")
    if peer.problem:
        return _not_programmed("NoController", f"{peer.name} is not to be had here: {peer.problem}")
    for one in made:
        if one.refused:
            return _not_programmed("Rejected", f"the API server does not take {one.ref}: {one.refused}")
    if (waits := _waits(unit)) is not None:
        return waits
    if not made:
        if isinstance(unit, CanaryIntent):
            if unsupported:
                return _not_programmed("Unsupported", "the provider cannot divide any port of the root")
            return _not_programmed("Pending", "no backend can take part, so the root's own endpoints serve")
        return _is_programmed(f"{peer.name} does it without an object of its own.")
    waiting = [one for one in made if one.answer is None]
    if waiting:
        return _not_programmed("Pending", f"not applied yet: {_some(str(one.ref) for one in waiting)}")
    return _answered(peer, made, report.contested, now)


def _answered(peer: Peer, made: tuple[Made, ...], contested: str, now: datetime) -> Condition:
    answers = [(one, one.answer) for one in made if one.answer is not None]

    def with_verdict(verdict: Verdict) -> list[tuple[Made, Answer]]:
        return [(one, answer) for one, answer in answers if answer.verdict is verdict]

    for one, answer in with_verdict(Verdict.REJECTED):
        return _not_programmed(
            "Rejected", f"{', '.join(answer.by) or peer.name} does not take {one.ref}: {answer.message}"
        )
    silent = with_verdict(Verdict.SILENT)
    if silent:
        names = _some(str(one.ref) for one, _ in silent)
        since = [one.created for one, _ in silent if one.created is not None]
        if since and (now - max(since)).total_seconds() >= SILENCE_SECONDS:
            return _not_programmed(
                "NoController",
                f"nobody has said anything about {names} in {SILENCE_SECONDS} s",
                "Install a mesh that takes such objects, or see why its control plane does not",
            )
        return _not_programmed("Pending", f"nobody has said anything about {names} yet")
    for one, answer in with_verdict(Verdict.PENDING):
        return _not_programmed("Pending", f"{', '.join(answer.by) or peer.name} is looking at {one.ref}")
    if peer.ready is False:
        return _not_programmed("PeerNotReady", f"the control plane of {peer.name} does not run")
    untold = with_verdict(Verdict.UNTOLD)
    if untold:
        return Condition(
            type=ConditionType.PROGRAMMED,
            status=None,
            reason="Unacknowledged",
            message=sentence(
                f"{_some(str(one.ref) for one, _ in untold)} applied; {peer.name} does not say whether it holds such "
                "an object",
                contested,
            ),
        )
    by = sorted({name for _, answer in answers for name in answer.by})
    return _is_programmed(sentence(f"In force, says {', '.join(by) or peer.name}", contested))


def _is_programmed(message: str) -> Condition:
    return Condition(type=ConditionType.PROGRAMMED, status=True, reason="Programmed", message=message)


def _not_programmed(reason: str, what: str, fix: str = "") -> Condition:
    return Condition(type=ConditionType.PROGRAMMED, status=False, reason=reason, message=sentence(what, fix))


def _conflicted(message: str) -> Condition:
    return Condition(type=ConditionType.ACCEPTED, status=False, reason="Conflicted", message=message)


def _fully_supported(unsupported: tuple[Unsupported, ...]) -> Condition:
    if not unsupported:
        return Condition(
            type=ConditionType.FULLY_SUPPORTED,
            status=True,
            reason="FullySupported",
            message="The provider can do all that the object asks for.",
        )
    parts = sorted(f"{u.field}: {u.message} ({u.feature.value})" for u in unsupported)
    return Condition(
        type=ConditionType.FULLY_SUPPORTED, status=False, reason="Unsupported", message=sentence("; ".join(parts))
    )


def _dated(
    conditions: Iterable[Condition], previous: Iterable[api.Condition], generation: int, now: datetime
) -> tuple[api.Condition, ...]:
    """Give each condition its time: that of the previous one of its type, unless its status has changed."""
    before = {c.type: c for c in previous}
    # Kubernetes keeps whole seconds; finer ones would come back different (meta/v1 Time).
    moment = now.astimezone(UTC).replace(microsecond=0)

    def dated(condition: Condition) -> api.Condition:
        status = _STATUSES[condition.status]
        known = before.get(condition.type.value)
        return api.Condition(
            type=condition.type.value,
            status=status,
            reason=condition.reason,
            message=condition.message
            if len(condition.message) <= _LONGEST
            else f"{condition.message[: _LONGEST - 1]}…",
            observed_generation=generation,
            last_transition_time=known.last_transition_time if known and known.status is status else moment,
        )

    return tuple(dated(condition) for condition in conditions)


def _counts(unit: ObjectUnit, seen: Observation) -> api.Counts:
    selection = Selection() if isinstance(unit, CanaryIntent) else unit.selection
    return api.Counts(
        pods=len(selection.pods),
        injected=len(selection.pods) - len(selection.uninjected),
        proxies=seen.proxies,
        programmed=seen.programmed,
    )


def _entry(status: api.Status, controller: str) -> api.ProviderStatus:
    found = (entry for entry in status.providers if entry.controller_name == controller)
    return next(found, api.ProviderStatus(controller_name=controller))


def _of(part: int, whole: int, one: str, many: str) -> str:
    return f"{part} of {whole} {one if whole == 1 else many}"


def _runs(pods: tuple[object, ...]) -> str:
    return "runs" if len(pods) == 1 else "run"


def _some(names: Iterable[str], number: int = 0) -> str:
    """The first few of the names; a message is no list of thousands. `number`: how many there are, if not all are
    named."""
    known = list(names)
    more = max(number, len(known)) - min(_NAMED_AT_MOST, len(known))
    return ", ".join(known[:_NAMED_AT_MOST]) + (f" and {more} more" if more > 0 else "")
