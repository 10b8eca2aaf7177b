"""Roots rotate with overlap, and no request is lost by it (spec: MutualTLS, CA)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from smeagol.pki import Generation, Overlap, Phase, RootState, Step, last_expiry, next_step
from smeagol.pki.roots import begin, drop, switch

NOON = datetime(2030, 6, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
OVERLAP = Overlap(minimum=HOUR, patience=24 * HOUR)
OLD = Generation("old", NOON, NOON + 300 * HOUR)
NEW = Generation("new", NOON + 200 * HOUR, NOON + 500 * HOUR)

STEADY = RootState(trusted=(OLD,), signer="old", since=NOON)
INTRODUCING = begin(STEADY, NEW, now=NEW.created)
RETIRING = switch(INTRODUCING, now=NEW.created + 2 * HOUR)


def step(
    state: RootState, now: datetime, *, acknowledged: bool = False, old_leaf_until: datetime | None = None
) -> tuple[Step, datetime | None]:
    return next_step(
        state, now=now, bundle_acknowledged=acknowledged, last_old_leaf_expiry=old_leaf_until, overlap=OVERLAP
    )


class TestSteps:
    def test_a_hurried_one_waits_for_the_proxies_alone(self) -> None:
        """For a key that was stolen: no time for clients outside the mesh, and no request of the mesh lost."""
        begun = NEW.created
        hurried = begin(STEADY, NEW, now=begun, hurried=True)
        assert step(hurried, begun, acknowledged=True)[0] is Step.SWITCH
        assert step(hurried, begun + HOUR)[0] is Step.WAIT
        assert step(INTRODUCING, begun, acknowledged=True)[0] is Step.WAIT
        assert not drop(switch(hurried, now=begun), now=begun).hurried, "the next one takes its time again"

    def test_a_root_is_replaced_at_two_thirds_of_its_life(self) -> None:
        time = NOON + 200 * HOUR
        assert step(STEADY, time - timedelta.resolution) == (Step.WAIT, time)
        assert step(STEADY, time) == (Step.BEGIN, None)

    def test_the_new_one_is_trusted_before_it_signs(self) -> None:
        assert INTRODUCING.phase is Phase.INTRODUCING
        assert INTRODUCING.trusted == (OLD, NEW)
        assert INTRODUCING.signer == "old"

    def test_it_signs_when_every_proxy_has_acknowledged_and_the_minimum_is_over(self) -> None:
        """The minimum is for clients outside the mesh, which take the bundle from a file."""
        early = INTRODUCING.since + HOUR - timedelta.resolution
        assert step(INTRODUCING, early, acknowledged=True) == (Step.WAIT, INTRODUCING.since + HOUR)
        assert step(INTRODUCING, INTRODUCING.since + HOUR, acknowledged=True) == (Step.SWITCH, None)

    def test_one_deaf_proxy_does_not_hold_it_up_for_ever(self) -> None:
        patience = INTRODUCING.since + 24 * HOUR
        assert step(INTRODUCING, patience - timedelta.resolution) == (Step.WAIT, patience)
        assert step(INTRODUCING, patience) == (Step.SWITCH, None)

    def test_a_root_that_has_expired_is_not_waited_for(self) -> None:
        late = begin(STEADY, NEW, now=OLD.expires - HOUR / 2)
        assert step(late, OLD.expires - timedelta.resolution) == (Step.WAIT, OLD.expires)
        assert step(late, OLD.expires) == (Step.SWITCH, None)

    def test_the_old_one_stays_trusted_while_a_leaf_of_it_is_in_use(self) -> None:
        assert RETIRING.phase is Phase.RETIRING
        assert RETIRING.signer == "new"
        until = RETIRING.since + 20 * HOUR
        assert step(RETIRING, until - timedelta.resolution, old_leaf_until=until) == (Step.WAIT, until)
        assert step(RETIRING, until, old_leaf_until=until) == (Step.DROP, None)

    def test_it_is_dropped_at_once_when_no_leaf_of_it_is_in_use(self) -> None:
        assert step(RETIRING, RETIRING.since) == (Step.DROP, None)
        assert drop(RETIRING, now=RETIRING.since) == RootState(trusted=(NEW,), signer="new", since=RETIRING.since)

    def test_steps_out_of_turn_are_refused(self) -> None:
        for state in (INTRODUCING, RETIRING):
            with pytest.raises(ValueError, match="was asked for while"):
                begin(state, NEW, now=NOON)
        for state in (STEADY, RETIRING):
            with pytest.raises(ValueError, match="was asked for while"):
                switch(state, now=NOON)
        for state in (STEADY, INTRODUCING):
            with pytest.raises(ValueError, match="was asked for while"):
                drop(state, now=NOON)

    @pytest.mark.parametrize(
        ("trusted", "signer"), [((), "old"), ((OLD,), "new"), ((OLD, OLD), "old"), ((OLD, NEW, OLD), "old")]
    )
    def test_impossible_states_can_not_be_made(self, trusted: tuple[Generation, ...], signer: str) -> None:
        with pytest.raises(ValueError, match="one of them signs"):
            RootState(trusted=trusted, signer=signer, since=NOON)


class Leaf:
    def __init__(self, root: str, not_after: datetime) -> None:
        self.root = root
        self.not_after = not_after


class Proxy:
    """What one proxy holds: it serves and calls with `leaf`, and believes who leads to one of `trusts`."""

    def __init__(self, leaf: Leaf, trusts: frozenset[str]) -> None:
        self.leaf = leaf
        self.trusts = trusts


class Fleet(RuleBasedStateMachine):
    """Proxies that come, hear from the control plane or don't, and renew their leaves, while roots rotate.

    Whatever happens in whatever order: of two proxies with valid leaves, each trusts the other.
    """

    leaf_life = 24 * HOUR

    def __init__(self) -> None:
        super().__init__()
        self.now = NOON
        self.made = 1
        self.state = RootState(trusted=(self.generation(),), signer="root-1", since=self.now)
        self.proxies: list[Proxy] = []

    def generation(self) -> Generation:
        return Generation(f"root-{self.made}", self.now, self.now + 300 * HOUR)

    def trusted(self) -> frozenset[str]:
        return frozenset(g.id for g in self.state.trusted)

    def alive(self) -> list[Proxy]:
        return [p for p in self.proxies if p.leaf.not_after > self.now]

    def new_leaf(self) -> Leaf:
        signer = next(g for g in self.state.trusted if g.id == self.state.signer)
        return Leaf(signer.id, min(self.now + self.leaf_life, signer.expires))

    @rule()
    def proxy_starts(self) -> None:
        self.proxies.append(Proxy(self.new_leaf(), self.trusted()))

    @precondition(lambda self: self.proxies)
    @rule(data=st.data(), renew=st.booleans())
    def proxy_hears(self, data: st.DataObject, renew: bool) -> None:
        """The bundle comes with every answer, a new leaf with some."""
        proxy = data.draw(st.sampled_from(self.proxies))
        proxy.trusts = self.trusted()
        if renew or proxy.leaf.not_after <= self.now:
            proxy.leaf = self.new_leaf()

    @rule(hours=st.sampled_from([0.5, 1, 7, 24, 150]))
    def time_passes(self, hours: float) -> None:
        self.now += hours * HOUR

    @rule()
    def authority_is_maintained(self) -> None:
        following, when = next_step(
            self.state,
            now=self.now,
            bundle_acknowledged=all(p.trusts == self.trusted() for p in self.alive()),
            last_old_leaf_expiry=last_expiry((p.leaf for p in self.alive()), self.state),
            overlap=OVERLAP,
        )
        assert when is None or (following is Step.WAIT and when > self.now)
        match following:
            case Step.BEGIN:
                self.made += 1
                self.state = begin(self.state, self.generation(), now=self.now)
            case Step.SWITCH:
                self.state = switch(self.state, now=self.now)
            case Step.DROP:
                self.state = drop(self.state, now=self.now)

    @invariant()
    def all_trust_each_other(self) -> None:
        for one in self.alive():
            for other in self.alive():
                assert one.leaf.root in other.trusts


TestFleet = Fleet.TestCase
TestFleet.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
