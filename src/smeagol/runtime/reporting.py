"""What is said of the users' objects: gathers what the proxies acknowledged, keeps each status, and records Events."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from smeagol import api
from smeagol.intent import CanaryIntent, MutualTLSIntent, SidecarIntent, Unit, UnitKey, UnitKind
from smeagol.plan import Feature, Plan
from smeagol.refs import NodeId, ObjectRef, PodRef
from smeagol.runtime.planner import Planner, ResourceKey
from smeagol.status import Event, Observation, Rejection, Report, concerns, events, status_of
from smeagol.xds import Acks

__all__ = ["Happening", "Reporter", "observe"]

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


def observe(
    concerned: Iterable[UnitKey], resources: Callable[[UnitKey], Iterable[ResourceKey]], acks: Acks
) -> Observation:
    """What the proxies say of the units behind an object.

    A workload's proxy must be connected and have answered for everything; what all proxies share must be acknowledged
    by each connected one that asked for it.
    """
    proxies: set[NodeId] = set()
    lagging: set[NodeId] = set()
    rejections: set[Rejection] = set()
    for key in concerned:
        if key.kind is UnitKind.WORKLOAD:
            node = PodRef(key.namespace, key.name).node
            progress = acks.of_node(node)
            proxies.add(node)
            if progress is None or not progress.settled:
                lagging.add(node)
            else:
                rejections |= {Rejection(nack.node, nack.message) for nack in progress.refused}
            continue
        for resource in resources(key):
            shared = acks.of(resource.type_url, resource.name)
            refused = {nack.node for nack in shared.refused}
            proxies |= {*shared.current, *shared.lagging, *refused}
            lagging |= set(shared.lagging)
            rejections |= {Rejection(nack.node, nack.message) for nack in shared.refused}
    return Observation(proxies=len(proxies), lagging=tuple(sorted(lagging)), rejections=tuple(sorted(rejections)))


class Reporter:
    """Keeps the status of every object in memory, for a source that has nowhere to write it."""

    def __init__(self, *, controller: str, metrics_server: str, clock: Callable[[], datetime]) -> None:
        self._controller = controller
        self._metrics_server = metrics_server
        self._clock = clock
        self.statuses: dict[ObjectRef, api.Status] = {}
        self.happenings: deque[Happening] = deque(maxlen=EVENTS_KEPT)

    def update(self, units: Mapping[UnitKey, Unit], planner: Planner[UnitKey], acks: Acks) -> tuple[Happening, ...]:
        """Bring all statuses up to date, record what has changed, and return it."""
        happened: list[Happening] = []
        present: set[ObjectRef] = set()
        for key, unit in units.items():
            if isinstance(unit, CanaryIntent | MutualTLSIntent | SidecarIntent):
                present.add(unit.ref)
                happened += self._update(key, unit, planner, acks)
        for gone in self.statuses.keys() - present:
            del self.statuses[gone]
        self.happenings.extend(happened)
        return tuple(happened)

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
        unit: CanaryIntent | MutualTLSIntent | SidecarIntent,
        planner: Planner[UnitKey],
        acks: Acks,
    ) -> list[Happening]:
        behind = (key, *concerns(unit))
        failure = next((planner.failures[k] for k in behind if k in planner.failures), None)
        report = Report(
            observation=observe(behind[1:], planner.resources_of, acks),
            unsupported=planner.plans.get(key, Plan()).unsupported,
            unplanned=str(failure) if failure is not None else "",
            metrics_server=self._metrics_server,
        )
        before = self.statuses.get(unit.ref, _EMPTY[key.kind])
        now = self._clock()
        after = status_of(unit, before, report, controller=self._controller, now=now)
        self.statuses[unit.ref] = after
        return [Happening(now, unit.ref, event) for event in events(before, after)] if after != before else []
