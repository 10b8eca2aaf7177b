"""A mesh's own authority gives way to one elsewhere, and comes back: every leaf in use leads to a trusted root."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest

from pki_kit.handing import DAY, HOUR, NOON, Hand, leaf, pair
from smeagol.pki import (
    Authorities,
    AuthorityError,
    KeptAuthority,
    MemoryKeyStore,
    Overlap,
    Phase,
    Step,
    StoreError,
    last_expiry,
    open_authorities,
)
from smeagol.pki.certificates import Issuer, new_root
from smeagol.pki.pem import to_pem
from smeagol.pki.supplied import kept_state

OpenSSLVerify = Callable[..., str]


def elsewhere() -> Issuer:
    return new_root("example.com", now=NOON, lifetime=3650 * DAY)


@dataclass
class World:
    """One mesh's keys. `supply`: what it is told to sign with, if not with its own."""

    own: MemoryKeyStore = field(default_factory=MemoryKeyStore)
    supplied: MemoryKeyStore = field(default_factory=MemoryKeyStore)
    supply: Hand | None = None

    def both(self, now: datetime = NOON) -> Authorities:
        return open_authorities(
            self.own, self.supplied, self.supply, trust_domain="cluster.local", now=now, overlap=Overlap()
        )

    def replica(self, now: datetime = NOON) -> KeptAuthority:
        return self.both(now).mesh


def maintain(authority: KeptAuthority, now: datetime, *, old: datetime | None = None) -> Step:
    return authority.maintain(now=now, bundle_acknowledged=True, last_old_leaf_expiry=old)


@dataclass
class Walk:
    """Hour by hour with what is in use, until nothing is to be done any more."""

    world: World
    verify: OpenSSLVerify
    restarts: bool
    now: datetime = NOON

    def until_steady(self) -> list[Step]:
        authority = self.world.replica(self.now)
        held, steps = [leaf(authority, self.now)], list[Step]()
        while len(steps) < 3 and self.now < NOON + 20 * DAY:
            self.now += HOUR
            if self.restarts:
                authority = self.world.replica(self.now)
            held = [issued for issued in held if issued.not_after > self.now]
            step = maintain(authority, self.now, old=last_expiry(held, authority.state))
            if step is not Step.WAIT:
                steps.append(step)
            held.append(leaf(authority, self.now))
            for issued in (held[0], held[-1]):
                assert self.verify(issued, authority.trust_bundle_pem, at=self.now) == ""
        assert authority.is_own == (self.world.supply is None)  # so its root can be replaced from then on
        return steps


@pytest.mark.parametrize("restarts", [False, True], ids=["running", "restarted"])
def test_there_and_back_no_leaf_leads_to_an_untrusted_root(openssl_verify: OpenSSLVerify, restarts: bool) -> None:
    """Whoever signed before goes on to until all trust the other. In the end one root is trusted, and the first is the
    mesh's own again.
    """
    world = World()
    first = world.replica().trust_bundle_pem
    walk = Walk(world, openssl_verify, restarts)
    other = elsewhere()
    for supply, alone in ((Hand(pair(other)), to_pem([other.certificate])), (None, first)) * 2:
        world.supply = supply
        assert walk.until_steady() == [Step.BEGIN, Step.SWITCH, Step.DROP]
        assert world.replica(walk.now).trust_bundle_pem == alone
    assert kept_state(world.supplied) is None


def test_while_nothing_is_handed_over_the_own_authority_signs(openssl_verify: OpenSSLVerify) -> None:
    """And goes on as ever, its intermediate renewed in time; what is missing is told."""
    world = World()
    world.replica()
    world.supply = Hand()
    authority = world.replica()
    now = NOON
    while now < NOON + 100 * DAY:
        now += 10 * DAY
        with pytest.raises(StoreError, match="nothing there"):
            maintain(authority, now)
        assert openssl_verify(leaf(authority, now), authority.trust_bundle_pem, at=now) == ""
    assert authority.is_own


def test_a_mesh_that_begins_with_one_elsewhere_waits_for_it() -> None:
    """Nor is anything signed with its own keys meanwhile: there would be nobody who trusts them. Those that the control
    plane is known by come after, so that a second replica does not take them for what has signed so far.
    """
    world = World(supply=Hand())
    with pytest.raises(StoreError):
        world.replica()
    assert world.own.load() is None
    other = elsewhere()
    world.supply = Hand(pair(other))
    for replica in (world.replica(), world.replica()):
        assert replica.state.phase is Phase.STEADY
        assert replica.trust_bundle_pem == to_pem([other.certificate])


def test_the_control_plane_is_known_by_the_same_root_whoever_signs_for_the_mesh() -> None:
    """So that proxies, which have read it once, come back to it."""
    world = World()
    own = world.both().own.trust_bundle_pem
    for supply in (Hand(pair(elsewhere())), Hand(pair(elsewhere())), None):
        world.supply = supply
        authorities = world.both()
        for hour in range(4):
            assert authorities.own.trust_bundle_pem == own
            maintain(authorities.mesh, NOON + hour * HOUR)


def test_replicas_go_together() -> None:
    """As they do in a rolling upgrade: who has been told follows the first of them, who has not goes on as before."""
    world = World()
    old = world.replica()
    world.supply = Hand(pair(elsewhere()))
    one, other = world.replica(), world.replica()
    assert maintain(one, NOON) is Step.BEGIN
    maintain(other, NOON)
    assert other.state == one.state
    assert maintain(old, NOON) is Step.WAIT
    assert leaf(old).root == leaf(one).root
    assert maintain(one, NOON + HOUR) is Step.SWITCH
    maintain(other, NOON + HOUR)
    assert leaf(other).root == leaf(one).root != leaf(old).root


def test_who_thinks_better_of_it_in_time_stays_with_the_own_authority() -> None:
    """Before another root signs, nothing depends on it."""
    world = World()
    own = world.replica().trust_bundle_pem
    world.supply = Hand(pair(elsewhere()))
    assert maintain(world.replica(), NOON) is Step.BEGIN
    world.supply = None
    one, other = world.replica(), world.replica()
    for replica in (one, other):
        maintain(replica, NOON)
        assert replica.trust_bundle_pem == own
        assert replica.is_own


def test_the_own_intermediate_may_have_ended_meanwhile() -> None:
    """A mesh that comes back after years signs with a new one, and not with what has expired."""
    world = World()
    world.replica()
    later = NOON + 200 * DAY
    assert leaf(world.replica(later), later).not_after > later


def test_who_lags_behind_does_not_bring_back_what_is_forgotten() -> None:
    """Else the other would be trusted for another day, by some replicas and not by others."""
    world = World(supply=Hand(pair(elsewhere())))
    world.replica()
    world.supply = None
    one, other = world.replica(), world.replica()
    for step, hour in ((Step.BEGIN, 0), (Step.SWITCH, 1)):
        assert maintain(one, NOON + hour * HOUR) is step
        maintain(other, NOON + hour * HOUR)
    assert maintain(one, NOON + 2 * HOUR) is Step.DROP
    maintain(other, NOON + 2 * HOUR, old=NOON + DAY)
    assert kept_state(world.supplied) is None
    assert other.trust_bundle_pem == one.trust_bundle_pem


class TestUndone:
    """A replica that has been told of another authority and is about to end keeps what is handed over once more, after
    the others have taken all back: as in a rollout that is undone.
    """

    @pytest.fixture
    def world(self) -> World:
        world = World()
        world.replica()
        return world

    def undo(self, world: World) -> KeptAuthority:
        """Returns a replica that goes on."""
        other = elsewhere()
        world.supply = hand = Hand(pair(other))
        ending = world.replica()
        assert maintain(ending, NOON) is Step.BEGIN
        world.supply = None
        lasting = world.replica()
        maintain(ending, NOON)
        assert kept_state(world.supplied) is None
        hand.pair = pair(other)
        maintain(ending, NOON)
        assert kept_state(world.supplied) is not None
        return lasting

    def test_who_goes_on_forgets_it_again(self, world: World) -> None:
        lasting = self.undo(world)
        maintain(lasting, NOON + HOUR)
        assert kept_state(world.supplied) is None
        assert lasting.is_own

    @pytest.mark.parametrize("later", [2 * DAY, 80 * DAY, 200 * DAY], ids=str)
    def test_what_is_left_of_it_never_signs(self, world: World, later: timedelta) -> None:
        """However long ago its patience has ended: nobody has been told to trust it since."""
        self.undo(world)
        replica = world.replica(NOON + later)
        assert maintain(replica, NOON + later) is Step.WAIT
        assert replica.is_own
        assert kept_state(world.supplied) is None

    @pytest.mark.parametrize("later", [2 * DAY, 80 * DAY, 200 * DAY], ids=str)
    def test_tried_again_it_begins_anew(self, world: World, later: timedelta) -> None:
        own, now = world.replica().state.signer, NOON + later
        self.undo(world)
        world.supply = Hand(pair(elsewhere(), now=now))
        replica = world.replica(now)
        assert maintain(replica, now) is Step.BEGIN
        assert leaf(replica, now).root == own
        assert maintain(replica, now + HOUR) is Step.SWITCH


class TestTheOtherEndsTooSoon:
    """What is handed over has expired before it came to sign."""

    @pytest.fixture
    def world(self) -> World:
        world = World()
        world.replica()
        world.supply = Hand(pair(elsewhere(), lifetime=HOUR))
        assert maintain(world.replica(), NOON) is Step.BEGIN
        return world

    def test_the_own_authority_goes_on(self, world: World) -> None:
        """After a restart too."""
        now = NOON + 2 * HOUR
        for authority in (world.replica(), world.replica(now)):
            with pytest.raises(AuthorityError, match="has expired"):
                maintain(authority, now)
            assert leaf(authority, now).root == world.both(now).own.state.signer

    def test_renewed_it_takes_the_place(self, world: World) -> None:
        now = NOON + 2 * HOUR
        world.supply = Hand(pair(elsewhere(), now=now))
        authority = world.replica(now)
        assert maintain(authority, now) is Step.BEGIN
        assert maintain(authority, now + HOUR) is Step.SWITCH
        assert leaf(authority, now + HOUR).root == authority.state.signer
