"""One adapter: what it wants to be there, what must be done about it, and what is said of the users' objects. No I/O.

Level-based: what to do follows from what is wanted and what is there, whatever happened before. An object is ours if it
carries the provider's label and was applied under the provider's field manager; a copy that a user makes of it has only
the label. Whoever takes the label off has taken the object over.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple

import structlog

from smeagol import api
from smeagol.api.meta import GROUP, VERSION
from smeagol.errors import SmeagolError, sentence
from smeagol.infra.kubernetes.objects import Applied
from smeagol.intent import CanaryIntent, MutualTLSIntent, Resolver, Settings, SidecarIntent, Unit, UnitKey
from smeagol.plan import JSON, NotPlannedYetError, Plan
from smeagol.plan.making import MADE_FOR_ANNOTATION
from smeagol.plan.peer import Answer, Conflict, JSONObject, Peer, PeerKind, PeerProvider, Surroundings, made_by, ref_of
from smeagol.refs import ObjectRef, PodRef
from smeagol.runtime.planner import Planner, fault_of
from smeagol.sources.kubernetes.collection import reaches
from smeagol.sources.kubernetes.peers import PeerObject
from smeagol.status import Made, PeerReport, Report

__all__ = ["Adapter", "Apply", "Delete", "ObjectId", "Step", "present_in"]

log = structlog.get_logger(__name__)

REFUSED_SECONDS = 60
"""Until what the API server has refused is tried again: its admission webhooks may think otherwise by then."""


class ObjectId(NamedTuple):
    """Which object, in whichever version it is read."""

    group: str
    kind: str
    namespace: str
    name: str

    @classmethod
    def of(cls, obj: JSONObject) -> ObjectId:
        ref = ref_of(obj)
        return cls(str(obj["apiVersion"]).rpartition("/")[0], ref.kind, ref.namespace, ref.name)

    @property
    def ref(self) -> ObjectRef:
        return ObjectRef(self.kind, self.namespace, self.name)


@dataclass(frozen=True, slots=True)
class Apply:
    """Bring an object into this state. `uid` is empty if there is none of that name."""

    id: ObjectId
    kind: PeerKind
    body: JSONObject = field(repr=False)
    uid: str = ""


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete an object that is no longer wanted."""

    id: ObjectId
    kind: PeerKind
    uid: str


Step = Apply | Delete


@dataclass(slots=True)
class _Done:
    """What has been applied, and as what the API server keeps it. `seen`: a watch has shown it since."""

    body: JSONObject
    kept: Applied
    seen: bool = False


@dataclass(frozen=True, slots=True)
class _Refusal:
    body: JSONObject
    message: str
    time: datetime


class Adapter:
    """Feed `resolver`, call `fit` once the peer is known, then `settle`; carry out `steps`, and say what became."""

    def __init__(self, provider: PeerProvider, settings: Settings) -> None:
        self.resolver = Resolver(settings)
        self.provider = provider
        self.known = False
        """whether the peer has been looked for"""
        self._planner: Planner[UnitKey] = Planner(provider=provider)
        self._wanted: dict[ObjectId, tuple[PeerKind, JSONObject]] = {}
        self._ids: dict[UnitKey, tuple[ObjectId, ...]] = {}
        self._conflicts: dict[UnitKey, tuple[Conflict, ...]] = {}
        self._yields: dict[UnitKey, Conflict] = {}
        self._present: Mapping[ObjectId, PeerObject] = {}
        self._as_of: Mapping[PeerKind, str] = {}
        self._done: dict[ObjectId, _Done] = {}
        self._refused: dict[ObjectId, _Refusal] = {}
        self._unread: frozenset[ObjectRef] = frozenset()
        self._faults: dict[UnitKey, SmeagolError] = {}
        self._told: set[tuple[UnitKey, str]] = set()

    @property
    def field_manager(self) -> str:
        return f"smeagol-{self.provider.name}"

    @property
    def units(self) -> Mapping[UnitKey, Unit]:
        return self.resolver.units

    def fit(self, peer: Peer) -> None:
        """Plan for this peer from now on."""
        if self.known and peer == self.provider.peer:
            return
        self.known = True
        self.provider = self._planner.provider = self.provider.fitted(peer)
        self._planner.update(self.units, self.units)

    def replan(self, keys: Iterable[UnitKey]) -> None:
        """Plan these units again: the provider has more to say than when it was asked."""
        self._planner.update(keys, self.units)

    def settle(
        self,
        objects: Mapping[ObjectRef, api.SmiObject],
        present: Mapping[ObjectId, PeerObject],
        pods: Mapping[PodRef, tuple[Mapping[str, str], Mapping[str, str]]],
        unread: frozenset[ObjectRef] = frozenset(),
        as_of: Mapping[PeerKind, str] = {},
    ) -> None:
        """Take over what there is: the users' objects, those of the peer, and Pods' labels and annotations.

        `as_of`: the resource version of what is present of each kind.
        `unread`: users' objects that are there but cannot be read. What was made for them stays.
        """
        self._unread = unread
        changes = self.resolver.settle()
        self._planner.update(changes.changed, self.units)
        self._present, self._as_of = present, as_of
        around = Surroundings(
            (found.body for found in present.values() if not self._ours(found)),
            {pod: labels for pod, (labels, _) in pods.items()},
            {pod: annotations for pod, (_, annotations) in pods.items()},
        )
        self._wanted, self._ids, self._conflicts, self._yields = {}, {}, {}, {}
        self._faults = {}
        for key in sorted(self._planner.plans):
            unit, plan = self.units.get(key), self._planner.plans[key]
            if not isinstance(unit, CanaryIntent | MutualTLSIntent | SidecarIntent):
                continue
            owner = objects.get(unit.ref)
            try:
                conflicts = (*self.provider.conflicts(unit, around), *self._taken_names(plan)) if plan.objects else ()
                self._conflicts[key] = conflicts
                if (winner := next((c for c in conflicts if _yields(c, owner)), None)) is not None:
                    self._yields[key] = winner
                    continue
                self._ids[key] = tuple(self._want(plan, owner))
            except Exception as error:
                # What is in force stays so, and all other objects go on.
                self._faults[key] = self._fault("conflicts not known", key, error)
        for gone in self._done.keys() - self._wanted.keys():
            del self._done[gone]
        for gone in self._refused.keys() - self._wanted.keys():
            del self._refused[gone]

    def steps(self, now: datetime) -> tuple[Step, ...]:
        """What must be done, as of the last `settle`: in the order of the provider's kinds, deletions last and in
        reverse. Nothing while there is no peer to speak of.
        """
        if not self.known or self.provider.peer.problem:
            return ()
        order = {(kind.group, kind.kind): i for i, kind in enumerate(self.provider.kinds)}
        applies = [step for id_, (kind, body) in self._wanted.items() if (step := self._apply(id_, kind, body, now))]
        deletes = [gone for id_, found in self._present.items() if (gone := self._delete(id_, found))]
        return (
            *sorted(applies, key=lambda s: (order[s.kind.group, s.kind.kind], s.id)),
            *sorted(deletes, key=lambda s: (-order.get((s.kind.group, s.kind.kind), 0), s.id)),
        )

    def applied(self, step: Apply, kept: Applied) -> None:
        """A step was carried out, and that is what its object is now."""
        self._refused.pop(step.id, None)
        self._done[step.id] = _Done(step.body, kept)

    def refused(self, step: Apply, message: str, now: datetime) -> None:
        """The API server did not take an object."""
        self._refused[step.id] = _Refusal(step.body, message, now)

    def report(self, key: UnitKey) -> Report:
        """All that is known of one user's object."""
        plan = self._planner.plans.get(key, Plan())
        winner = self._yields.get(key)
        younger = [c for c in self._conflicts.get(key, ()) if c is not winner]
        failure = self._planner.failures.get(key) or self._faults.get(key)
        made: tuple[Made, ...] = ()
        try:
            made = tuple(self._made(id_) for id_ in self._ids.get(key, ()))
        except Exception as error:
            failure = failure or self._fault("answer not read", key, error)
        return Report(
            unsupported=plan.unsupported,
            unplanned=str(failure) if failure is not None and not isinstance(failure, NotPlannedYetError) else "",
            awaited=failure.what if isinstance(failure, NotPlannedYetError) else "",
            peer=PeerReport(
                peer=self.provider.peer,
                made=made,
                failed_closed=plan.failed_closed,
                conflict=_conflict_text(winner) if winner is not None else "",
                contested=f"{younger[0].foreign} is younger: {younger[0].message}" if younger and not winner else "",
            ),
        )

    def _fault(self, event: str, key: UnitKey, error: Exception) -> SmeagolError:
        """A fault of the adapter's, which would be logged with each look: its trace is, once."""
        if (key, event) not in self._told:
            self._told.add((key, event))
            log.error(event, unit=str(key), provider=self.provider.name, exc_info=error)
        return fault_of(self.provider, error)

    # What is wanted.

    def _want(self, plan: Plan, owner: api.SmiObject | None) -> Iterator[ObjectId]:
        kinds = {(kind.group_version, kind.kind): kind for kind in self.provider.kinds}
        for obj in plan.objects:
            id_ = ObjectId.of(obj)
            kind = kinds.get((str(obj["apiVersion"]), str(obj["kind"])))
            if kind is not None:
                self._wanted.setdefault(id_, (kind, _owned(obj, owner)))
            yield id_

    def _taken_names(self, plan: Plan) -> Iterator[Conflict]:
        for obj in plan.objects:
            found = self._present.get(ObjectId.of(obj))
            if found is not None and not self._ours(found):
                yield Conflict.over(found.body, "it has the name of an object that would be made", oldest_wins=False)

    def _ours(self, found: PeerObject) -> bool:
        return made_by(found.body) == self.provider.name and self.field_manager in found.appliers

    # What is to be done.

    def _apply(self, id_: ObjectId, kind: PeerKind, body: JSONObject, now: datetime) -> Apply | None:
        refusal = self._refused.get(id_)
        if refusal and refusal.body == body and (now - refusal.time).total_seconds() < REFUSED_SECONDS:
            return None
        found, done = self._present.get(id_), self._done.get(id_)
        step = Apply(id_, kind, body, found.metadata.uid if found else "")
        if done is None or done.body != body:
            return step
        kept = done.kept
        if found is None or found.metadata.uid != kept.uid:
            # It was deleted behind our back, perhaps before anybody looked, or is yet to come.
            return step if done.seen or reaches(self._as_of.get(kind, ""), kept.version) else None
        done.seen = True
        ours = found.appliers.get(self.field_manager)
        taken = ours != kept.fields and reaches(found.metadata.resource_version, kept.version)
        return step if taken or found.metadata.generation > kept.generation else None

    def _delete(self, id_: ObjectId, found: PeerObject) -> Delete | None:
        if id_ in self._wanted or not self._ours(found) or found.metadata.deletion_timestamp:
            return None
        if any(ref.kind == "ProviderClass" for ref in self._unread):
            return None  # whose class it is decides what is ours to delete
        unknown = {str(ref) for ref in self._unread}
        unknown |= {f"{key.kind} {key.namespace}/{key.name}" for key in (*self._planner.failures, *self._faults)}
        if found.metadata.annotations.get(MADE_FOR_ANNOTATION) in unknown:
            return None  # what was in force stays so
        kind = next((k for k in self.provider.kinds if (k.group, k.kind) == (id_.group, id_.kind)), None)
        return Delete(id_, kind, found.metadata.uid) if kind is not None else None

    # What is said.

    def _made(self, id_: ObjectId) -> Made:
        if id_ not in self._wanted:
            return Made(ref=id_.ref, refused="the cluster does not serve its kind")
        refusal, done, found = self._refused.get(id_), self._done.get(id_), self._present.get(id_)
        answer: Answer | None = None
        if refusal is None and done is not None and found is not None and found.metadata.uid == done.kept.uid:
            current = found.metadata.generation >= done.kept.generation and done.body == self._wanted[id_][1]
            answer = self.provider.answer(found.body) if current else None
        return Made(
            ref=id_.ref,
            refused=refusal.message if refusal is not None else "",
            answer=answer,
            created=_time(found.metadata.creation_timestamp) if found is not None else None,
        )


def _owned(obj: JSONObject, owner: api.SmiObject | None) -> JSONObject:
    """With an owner reference, where it can reach: within a namespace. Then the object goes with its owner, even while
    nobody watches.
    """
    metadata = obj["metadata"]
    if owner is None or not owner.metadata.uid or not isinstance(metadata, Mapping):
        return obj
    if metadata.get("namespace") != owner.metadata.namespace:
        return obj
    reference: JSON = {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": owner.ref.kind,
        "name": owner.ref.name,
        "uid": owner.metadata.uid,
        "controller": True,
    }
    given: dict[str, JSON] = {**metadata, "ownerReferences": [reference]}
    return {**obj, "metadata": given}


def _yields(conflict: Conflict, owner: api.SmiObject | None) -> bool:
    """Is the foreign object's claim the better one (spec: SMI-COMMON-04)?"""
    created = owner.metadata.creation_timestamp if owner is not None else None
    if not conflict.oldest_wins or created is None or owner is None:
        return True
    foreign = conflict.foreign
    theirs = (_time(conflict.created) or created, foreign.namespace, foreign.name)
    return theirs <= (created, owner.metadata.namespace, owner.metadata.name)


def _conflict_text(conflict: Conflict) -> str:
    return sentence(
        f"{conflict.foreign}, which was not made for this object, stands in its way: {conflict.message}",
        "Nothing is created until one of the two is gone",
    )


def _time(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError:
        return None


def present_in(stores: Iterable[Mapping[tuple[str, str], PeerObject]]) -> dict[ObjectId, PeerObject]:
    """All objects of these stores, by what they are."""
    return {ObjectId.of(found.body): found for store in stores for found in store.values()}
