"""An intermediate that is renewed elsewhere is followed; no leaf in use ever leads to a root that is not trusted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime

import pytest

from pki_kit.handing import DAY, HOUR, NOON, Hand, leaf, pair
from smeagol.pki import (
    AuthorityError,
    MemoryKeyStore,
    Overlap,
    Phase,
    PrivateBytes,
    Step,
    StoreError,
    Supplied,
    SuppliedAuthority,
    judge,
    last_expiry,
)
from smeagol.pki.certificates import Issuer, new_root
from smeagol.pki.pem import to_pem

OVERLAP = Overlap(minimum=HOUR, patience=DAY)

OpenSSLVerify = Callable[..., str]


def root() -> Issuer:
    return new_root("cluster.local", now=NOON, lifetime=3650 * DAY)


@dataclass
class World:
    """An authority, what it is given, and where it keeps it; `again` is the same after a restart."""

    root: Issuer = field(default_factory=root)
    hand: Hand = field(default_factory=Hand)
    store: MemoryKeyStore = field(default_factory=MemoryKeyStore)

    def __post_init__(self) -> None:
        self.hand.pair = pair(self.root)
        self.authority = self.again()

    def again(self, now: datetime = NOON) -> SuppliedAuthority:
        return SuppliedAuthority.open(self.store, self.hand, now=now, overlap=OVERLAP)

    def maintain(self, now: datetime, *, acknowledged: bool = True, old: datetime | None = None) -> Step:
        return self.authority.maintain(now=now, bundle_acknowledged=acknowledged, last_old_leaf_expiry=old)


@pytest.fixture
def world() -> World:
    return World()


class TestRenewal:
    """Of the intermediate, under a root that is trusted already."""

    def test_the_new_one_signs_at_once_and_the_bundle_stays(self, world: World, openssl_verify: OpenSSLVerify) -> None:
        """Nobody has to learn of it: what the old and the new one signed verifies against the same root."""
        before, bundle = leaf(world.authority), world.authority.trust_bundle_pem
        world.hand.pair = pair(world.root, now=NOON + HOUR)
        assert world.maintain(NOON + HOUR) is Step.WAIT
        after = leaf(world.authority, NOON + HOUR)
        assert world.authority.trust_bundle_pem == bundle
        assert world.authority.state.phase is Phase.STEADY
        assert world.hand.pair.certificate_pem in after.chain_pem
        for issued in (before, after):
            assert openssl_verify(issued, bundle, at=NOON + 2 * HOUR) == ""

    def test_further_roots_are_trusted_as_soon_as_they_are_handed_over(self, world: World) -> None:
        """As trust-manager or an administrator does it before the root changes."""
        world.hand.pair = pair(world.root, also=[root()])
        world.maintain(NOON)
        assert world.authority.trust_bundle_pem.count(b"BEGIN CERTIFICATE") == 2

    @pytest.mark.parametrize("restarted", [False, True])
    def test_one_that_cannot_be_used_is_told_and_the_last_good_one_signs(self, world: World, restarted: bool) -> None:
        """A key that is another's, a certificate that is no CA: whatever comes, also over a restart."""
        good = world.hand.pair
        other = pair(root())
        assert good is not None
        world.hand.pair = Supplied(
            certificate_pem=good.certificate_pem, key_pem=other.key_pem, bundle_pem=good.bundle_pem
        )
        with pytest.raises(AuthorityError, match=r"tls\.key"):
            world.maintain(NOON)
        authority = world.again() if restarted else world.authority
        assert good.certificate_pem in leaf(authority).chain_pem

    def test_one_that_ends_is_told_by_where_it_is(self, world: World) -> None:
        """Whoever was to renew it has not: from then on nothing can be issued."""
        assert world.hand.pair is not None
        world.hand.pair = replace(world.hand.pair, place="Secret system/mesh-ca")
        later = world.authority.not_after
        assert judge(world.store, world.hand, now=NOON) == (None, later)
        with pytest.raises(
            AuthorityError, match=r"^Secret system/mesh-ca, tls\.crt, .*: has expired at .*\[SMI-K001\]$"
        ):
            world.maintain(later)
        fault, until = judge(world.store, world.hand, now=later)
        assert "has expired" in str(fault)
        assert until is None

    def test_looking_changes_nothing(self, world: World) -> None:
        """What is handed over may be wrong or gone; what is kept is told all the same."""
        kept, until = world.store.load(), world.authority.not_after
        world.hand.pair = pair(root(), now=NOON - 200 * DAY)
        fault, signs_until = judge(world.store, world.hand, now=NOON)
        assert (isinstance(fault, AuthorityError), signs_until) == (True, until)
        world.hand.pair = None
        fault, signs_until = judge(world.store, world.hand, now=NOON)
        assert (isinstance(fault, StoreError), signs_until) == (True, until)
        assert world.store.load() == kept
        assert judge(MemoryKeyStore(), world.hand, now=NOON)[1] is None

    def test_one_that_is_taken_away_is_told_too(self, world: World) -> None:
        """And what is kept signs until it expires."""
        world.hand.pair = None
        with pytest.raises(StoreError):
            world.maintain(NOON)
        leaf(world.again())

    def test_what_was_kept_and_is_gone_is_kept_again(self, world: World) -> None:
        """Else a restart would begin anew with whatever is handed over by then."""
        world.store._document = None
        world.maintain(NOON)
        assert world.store.load() is not None


class TestAnotherRoot:
    """As in `roots`: introduced, then signing, then alone."""

    def test_step_by_step_no_leaf_leads_to_an_untrusted_root(self, world: World, openssl_verify: OpenSSLVerify) -> None:
        """With a restart after each step: what is kept is enough to go on."""
        held = [leaf(world.authority)]
        new = root()
        world.hand.pair = pair(new)
        bundles = [world.authority.trust_bundle_pem]
        steps: list[Step] = []
        now = NOON
        while len(steps) < 3 and now < NOON + 4 * DAY:
            now += HOUR
            world.authority = world.again(now)
            in_use = [issued for issued in held if issued.not_after > now]
            step = world.maintain(now, old=last_expiry(in_use, world.authority.state))
            if step is not Step.WAIT:
                steps.append(step)
                bundles.append(world.authority.trust_bundle_pem)
            held.append(leaf(world.authority, now))
            for issued in (in_use[0], held[-1]):
                assert openssl_verify(issued, world.authority.trust_bundle_pem, at=now) == ""
        assert steps == [Step.BEGIN, Step.SWITCH, Step.DROP]
        assert bundles[2] == bundles[1]
        assert bundles[3] == to_pem([new.certificate])

    def test_it_does_not_sign_before_all_trust_it(self, world: World) -> None:
        """What proxies have acknowledged decides, or patience."""
        old = world.authority.state.signer
        world.hand.pair = pair(root())
        assert world.maintain(NOON) is Step.BEGIN
        assert world.maintain(NOON + 23 * HOUR, acknowledged=False) is Step.WAIT
        assert leaf(world.authority).root == old
        assert world.maintain(NOON + 24 * HOUR, acknowledged=False) is Step.SWITCH
        assert leaf(world.authority).root != old

    def test_replicas_go_together(self, world: World) -> None:
        """A step that one has taken is adopted by the other, which takes none."""
        other = world.again()
        world.hand.pair = pair(root())
        assert world.maintain(NOON) is Step.BEGIN
        assert other.maintain(now=NOON, bundle_acknowledged=True, last_old_leaf_expiry=None) is Step.WAIT
        assert other.state == world.authority.state
        assert other.trust_bundle_pem == world.authority.trust_bundle_pem

    def test_asked_to_rotate_it_does_nothing(self, world: World) -> None:
        """The next root is for others to make."""
        step = world.authority.maintain(now=NOON, bundle_acknowledged=True, last_old_leaf_expiry=None, rotate_root=True)
        assert step is Step.WAIT


class TestBeginning:
    def test_without_any_it_does_not_begin(self) -> None:
        """Nor makes keys of its own instead."""
        with pytest.raises(StoreError):
            SuppliedAuthority.open(MemoryKeyStore(), Hand(), now=NOON)

    def test_after_all_has_expired_it_begins_anew(self, world: World) -> None:
        """What was kept is of no use any more, and nobody holds a leaf of it."""
        later = NOON + 200 * DAY
        world.hand.pair = pair(root(), now=later)
        assert world.again(later).state.phase is Phase.STEADY

    def test_what_is_kept_and_damaged_is_told_without_a_key(self, world: World) -> None:
        """Not even in the traceback's context."""
        world.store.save(PrivateBytes(b'{"format": 1, "generations": [{"key": "SECRET"}]}'))
        with pytest.raises(AuthorityError, match="damaged") as caught:
            world.again()
        assert caught.value.__context__ is None
        assert "SECRET" not in str(caught.value)
