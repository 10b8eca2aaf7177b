"""What is said of the users' objects: gathers what the proxies acknowledged, keeps each status, and records Events."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeAlias

from smeagol import api
from smeagol.intent import CanaryIntent, SidecarIntent, Unit, UnitKey, UnitKind
from smeagol.plan import Feature, Plan
from smeagol.refs import ObjectRef, PodRef
from smeagol.runtime.planner import Planner
from smeagol.runtime.progress import Together, owners
from smeagol.runtime.restarting import lacking
from smeagol.sources.kubernetes.collection import reaches
from smeagol.status import Event, ObjectUnit, Observation, Report, concerns, events, status_of

__all__ = ["AnyStatus", "Happening", "KnownStatuses", "Reporter"]

AnyStatus: TypeAlias = api.Status | api.ProviderClassStatus

EVENTS_KEPT = 500
"""As many as one may want to look back at; Kubernetes keeps an hour of them."""


_EMPTY: Mapping[UnitKind, api.Status] = {
    UnitKind.CANARY: api.CanaryStatus(),
    UnitKind.MUTUAL_TLS: api.Status(),
    UnitKind.SIDECAR: api.SidecarStatus(),
}


@dataclass(frozen=True, slots=True)
class Happening:
    """An Event with its object and time."""

    time: datetime
    object: ObjectRef
    event: Event


PATIENCE = timedelta(seconds=5)
"""For so long a claim stands while proxies take over what changed around an object that itself did not change: a
proxy answers within milliseconds, and a claim that goes and comes with each Pod tells nobody anything."""


@dataclass(frozen=True, slots=True)
class _Known:
    version: str
    status: AnyStatus
    written: bool = False
    """by us, and not shown yet"""


class KnownStatuses:
    """The statuses that objects have: of what their watch has shown and what we have written ourselves, the newer.

    Either may come first. What somebody else writes after us can be seen before the answer to our own request, and what
    was there before us long after it. A watch by itself is in order: what it shows later counts, also where versions
    begin anew, as after a restored backup.
    """

    def __init__(self) -> None:
        self._known: dict[ObjectRef, _Known] = {}

    def get(self, ref: ObjectRef) -> AnyStatus | None:
        """None if there is no such object."""
        known = self._known.get(ref)
        return known.status if known is not None else None

    def see(self, ref: ObjectRef, version: str, status: AnyStatus) -> None:
        """The watch shows an object, as of a resource version."""
        known = self._known.get(ref)
        if known is None or not known.written or known.version == version or not reaches(known.version, version):
            self._known[ref] = _Known(version, status)

    def wrote(self, ref: ObjectRef, version: str, status: AnyStatus) -> None:
        """The API server has taken a status for an object, which has this resource version since."""
        known = self._known.get(ref)
        if known is not None and not reaches(known.version, version):
            self._known[ref] = _Known(version, status, written=True)

    def forget(self, ref: ObjectRef) -> None:
        """The object is gone."""
        self._known.pop(ref, None)


class Reporter:
    """Keeps the status of every object in memory, for a source that has nowhere to write it."""

    def __init__(
        self,
        *,
        controller: str,
        metrics_server: str,
        clock: Callable[[], datetime],
        restarting: Callable[[SidecarIntent], str] = lambda _sidecar: "",
        renewing: Callable[[Sequence[PodRef]], str] = lambda _pods: "",
        root_proxy: Callable[[CanaryIntent], str] = lambda _canary: "",
    ) -> None:
        """`restarting`: what is done for the Pods of a Sidecar that asks for restarts, `renewing`: how users give what
        Pods belong to new ones, and `root_proxy`: what a Canary's root proxies wait for, all for users to read.
        """
        self._restarting = restarting
        self._renewing = renewing
        self._root_proxy = root_proxy
        self._controller = controller
        self._metrics_server = metrics_server
        self._clock = clock
        self.statuses: dict[ObjectRef, api.Status] = {}
        self._since: dict[ObjectRef, datetime] = {}
        self.happenings: deque[Happening] = deque(maxlen=EVENTS_KEPT)

    def update(
        self, units: Mapping[UnitKey, Unit], planner: Planner[UnitKey], replicas: Together
    ) -> tuple[Happening, ...]:
        """Bring all statuses up to date, record what has changed, and return it."""
        happened: list[Happening] = []
        present: set[ObjectRef] = set()
        for key, unit in units.items():
            if isinstance(unit, ObjectUnit):
                present.add(unit.ref)
                happened += self._update(key, unit, planner, replicas.of(unit.ref, owners(unit)))
        for gone in self.statuses.keys() - present:
            del self.statuses[gone]
        for gone in self._since.keys() - present:
            del self._since[gone]
        self.happenings.extend(happened)
        return tuple(happened)

    @property
    def patient(self) -> bool:
        """Whether a claim stands for now that must be looked at again, even if nothing happens."""
        return bool(self._since)

    def class_status(self, provider_class: api.ProviderClass, features: Iterable[Feature]) -> api.ProviderClassStatus:
        """What the provider says of its own class (spec: SMI-CLASS-08)."""
        accepted = api.Condition(
            type="Accepted",
            status=api.ConditionStatus.TRUE,
            reason="Accepted",
            message="The provider serves this class.",
            observed_generation=provider_class.metadata.generation,
            last_transition_time=provider_class.metadata.creation_timestamp or self._clock(),
        )
        return api.ProviderClassStatus(
            observed_generation=provider_class.metadata.generation,
            conditions=(accepted,),
            supported_features=tuple(sorted(feature.value for feature in features)),
        )

    def _update(
        self,
        key: UnitKey,
        unit: ObjectUnit,
        planner: Planner[UnitKey],
        seen: Observation,
    ) -> list[Happening]:
        failure = next((planner.failures[k] for k in (key, *concerns(unit)) if k in planner.failures), None)
        report = Report(
            observation=seen,
            unsupported=planner.plans.get(key, Plan()).unsupported,
            unplanned=str(failure) if failure is not None else "",
            metrics_server=self._metrics_server,
            root_proxy=self._root_proxy(unit) if isinstance(unit, CanaryIntent) else "",
            restarting=self._restarting(unit) if isinstance(unit, SidecarIntent) and unit.restart else "",
            renewing=self._renewing(pods) if (pods := lacking(unit)) else "",
        )
        before = self.statuses.get(unit.ref, _EMPTY[key.kind])
        now = self._clock()
        after = status_of(unit, before, report, controller=self._controller, now=now)
        if _only_waits(before, after) and now - self._since.setdefault(unit.ref, now) < PATIENCE:
            return []
        self._since.pop(unit.ref, None)
        self.statuses[unit.ref] = after
        return [Happening(now, unit.ref, event) for event in events(before, after)] if after != before else []


def _only_waits(before: api.Status, after: api.Status) -> bool:
    """Whether all that changes is that a claim about the same generation is taken back to wait for proxies."""
    was, now = _conditions(before), _conditions(after)
    last, programmed = was.pop("Programmed", None), now.pop("Programmed", None)
    return (
        last is not None
        and programmed is not None
        and last.status is api.ConditionStatus.TRUE
        and programmed.reason == "Pending"
        and last.observed_generation == programmed.observed_generation
        and was == now
    )


def _conditions(status: api.Status) -> dict[str, api.Condition]:
    return {condition.type: condition for condition in status.conditions}
