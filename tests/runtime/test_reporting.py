"""Programmed is true only when the data plane has acknowledged, and a claim does not come and go with each push."""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from smeagol import api
from smeagol.intent import CanaryIntent, Condition, ConditionType, Protocol, UnitKey, UnitKind
from smeagol.providers.recorder import provider
from smeagol.refs import NodeId, ObjectRef, ServiceRef
from smeagol.runtime.planner import Planner
from smeagol.runtime.progress import Said, Together, View
from smeagol.runtime.reporting import PATIENCE, KnownStatuses, Reporter

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
ROLL = ObjectRef("Canary", "shop", "roll")
KEY = UnitKey(UnitKind.CANARY, "shop", "roll")
CART = NodeId("shop/cart")


class Told:
    """What is said of one Canary as time goes on."""

    def __init__(self) -> None:
        self.now = NOON
        self.reporter = Reporter(controller="ours", metrics_server="", clock=lambda: self.now)
        self.planner: Planner[UnitKey] = Planner(provider)

    def after(self, seconds: float, *, generation: int = 1, **said: object) -> str:
        """Status and reason of Programmed, once its one proxy has said so much; the number of Events before it."""
        self.now += timedelta(seconds=seconds)
        unit = CanaryIntent(
            ref=ROLL,
            generation=generation,
            root=ServiceRef("shop", "web"),
            wanted=((ServiceRef("shop", "web-v1"), 1000),),
            ports=((80, Protocol.HTTP),),
            left_out=(),
            conditions=(Condition(type=ConditionType.ACCEPTED, status=True, reason="Accepted", message=""),),
            provider_class="ours",
        )
        about = Said(digest="", proxies=1, **said)  # type: ignore[arg-type]
        own = View("a", "", {CART: 0.0}, {ROLL: about})
        self.reporter.update({KEY: unit}, self.planner, Together([own]))
        (found,) = (c for c in self.reporter.statuses[ROLL].conditions if c.type == "Programmed")
        return "Programmed" if found.status is api.ConditionStatus.TRUE else found.reason


def test_a_push_takes_no_claim_back() -> None:
    """An unchanged object whose endpoints move stays programmed while its proxies take that over."""
    told = Told()
    assert told.after(0) == "Programmed"
    assert told.after(1, lagging=(CART,)) == "Programmed"
    assert told.reporter.patient
    assert told.after(1) == "Programmed"
    assert not told.reporter.patient


def test_patience_ends() -> None:
    """SMI-STATUS-05: a proxy that does not acknowledge is told of."""
    told = Told()
    told.after(0)
    told.after(1, lagging=(CART,))
    assert told.after(PATIENCE.total_seconds(), lagging=(CART,)) == "Pending"
    assert not told.reporter.patient


def test_a_changed_object_is_pending_at_once() -> None:
    """What the user has just written is not claimed before it is so."""
    told = Told()
    told.after(0)
    assert told.after(0.1, generation=2, lagging=(CART,)) == "Pending"


def test_a_refusal_is_told_at_once() -> None:
    """SMI-STATUS-06."""
    told = Told()
    told.after(0)
    assert told.after(0.1, refused=((CART, "no such filter"),)) == "Rejected"


def test_who_never_had_it_is_waited_for() -> None:
    assert Told().after(0, lagging=(CART,)) == "Pending"


@given(st.lists(st.sampled_from(["we", "another", "anew", "answer", "watch", "list"]), max_size=20))
def test_what_is_known_of_a_status_is_in_the_end_what_is_there(happenings: list[str]) -> None:
    """Whatever comes first, the answer to our own request or what the watch shows, and whoever writes meanwhile."""
    known = KnownStatuses()
    shown: deque[tuple[str, api.Status] | None] = deque()
    answers: deque[tuple[str, api.Status]] = deque()
    now = "1", api.Status()
    known.see(ROLL, *now)

    def watch() -> None:
        if not shown:
            return
        if (event := shown.popleft()) is None:
            known.forget(ROLL)
        else:
            known.see(ROLL, *event)

    def answer() -> None:
        if answers:
            known.wrote(ROLL, *answers.popleft())

    for version, happening in enumerate(happenings, 2):
        match happening:
            case "we" | "another":
                now = str(version), api.Status(ready=f"{happening} {version}")
                shown.append(now)
                if happening == "we":
                    answer()  # one request after the other
                    answers.append(now)
            case "anew":
                now = str(version), api.Status()
                shown += [None, now]
            case "answer":
                answer()
            case "watch":
                watch()
            case "list":  # what was in between is never shown
                shown.clear()
                shown.append(now)
    while shown:
        watch()
    answer()
    assert known.get(ROLL) == now[1]


def test_what_is_known_of_a_status_follows_a_restored_backup() -> None:
    """Versions begin anew then, below those that were seen before."""
    known = KnownStatuses()
    known.see(ROLL, "1000", api.Status(ready="now"))
    known.wrote(ROLL, "1001", api.Status(ready="ours"))
    known.see(ROLL, "1001", api.Status(ready="ours"))
    known.see(ROLL, "500", api.Status(ready="then"))
    assert known.get(ROLL) == api.Status(ready="then")
