"""The mesh's own authority: made once, kept, and renewed in time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from cryptography import x509

from smeagol.names import InvalidNameError
from smeagol.pki import AuthorityError, CALifetimes, LocalAuthority, MemoryKeyStore, Overlap, Phase, Purpose, Step

OpenSSLVerify = Callable[..., str]

DAY = timedelta(days=1)


def open_at(store: MemoryKeyStore, now: datetime) -> LocalAuthority:
    return LocalAuthority.open(
        store,
        trust_domain="cluster.local",
        now=now,
        lifetimes=CALifetimes(root=300 * DAY, intermediate=30 * DAY),
        overlap=Overlap(minimum=timedelta(0)),
        chance=lambda: 0.5,
    )


def rest(authority: LocalAuthority, now: datetime) -> Step:
    """Maintenance while all proxies keep up."""
    return authority.maintain(now=now, bundle_acknowledged=True, last_old_leaf_expiry=None)


def intermediate_of(authority: LocalAuthority, now: datetime) -> x509.Certificate:
    return x509.load_pem_x509_certificates(authority.issue(["web"], Purpose.SERVER, now=now).chain_pem)[1]


class TestKeeping:
    def test_what_was_issued_before_a_restart_verifies_after_it(
        self, noon: datetime, openssl_verify: OpenSSLVerify
    ) -> None:
        store = MemoryKeyStore()
        before, after = open_at(store, noon), open_at(store, noon + DAY / 2)
        assert before.state == after.state
        assert before.trust_bundle_pem == after.trust_bundle_pem
        issued = before.issue(["web"], Purpose.SERVER, now=noon)
        assert openssl_verify(issued, after.trust_bundle_pem, "-verify_hostname", "web") == ""

    def test_a_rotation_goes_on_after_a_restart(self, noon: datetime) -> None:
        store = MemoryKeyStore()
        late = noon + 200 * DAY
        steps = [rest(open_at(store, noon), late) for _ in range(4)]
        assert steps == [Step.BEGIN, Step.SWITCH, Step.DROP, Step.WAIT]

    def test_keys_of_another_trust_domain_are_not_used(self, noon: datetime) -> None:
        store = MemoryKeyStore()
        open_at(store, noon)
        with pytest.raises(AuthorityError, match=r"'cluster\.local', not 'other'"):
            LocalAuthority.open(store, trust_domain="other", now=noon)

    def test_a_trust_domain_is_a_legal_one(self, noon: datetime) -> None:
        with pytest.raises(InvalidNameError):
            LocalAuthority.open(MemoryKeyStore(), trust_domain="a/b", now=noon)


class TestIntermediate:
    def test_it_is_renewed_at_two_thirds_of_its_life_and_old_leaves_stay_good(
        self, noon: datetime, openssl_verify: OpenSSLVerify
    ) -> None:
        authority = open_at(MemoryKeyStore(), noon)
        time = noon + 20 * DAY
        assert authority.next_maintenance(bundle_acknowledged=True, last_old_leaf_expiry=None) == time
        early = time - timedelta(seconds=1)
        rest(authority, early)
        old_leaf, old = authority.issue(["web"], Purpose.SERVER, now=early), intermediate_of(authority, early)
        rest(authority, time)
        assert intermediate_of(authority, time) != old
        assert openssl_verify(old_leaf, authority.trust_bundle_pem, at=time) == ""
        new_leaf = authority.issue(["web"], Purpose.SERVER, now=time)
        assert openssl_verify(new_leaf, authority.trust_bundle_pem, at=time) == ""

    def test_it_does_not_outlive_its_root(self, noon: datetime) -> None:
        authority = LocalAuthority.open(
            MemoryKeyStore(), trust_domain="td", now=noon, lifetimes=CALifetimes(root=DAY, intermediate=30 * DAY)
        )
        assert intermediate_of(authority, noon).not_valid_after_utc == noon + DAY


class TestRootRotation:
    def test_one_step_at_a_time_as_each_needs_its_own_acknowledgement(self, noon: datetime) -> None:
        authority = open_at(MemoryKeyStore(), noon)
        late = noon + 200 * DAY
        seen = [
            (rest(authority, late), authority.state.phase, authority.trust_bundle_pem.count(b"BEGIN")) for _ in range(4)
        ]
        assert seen == [
            (Step.BEGIN, Phase.INTRODUCING, 2),
            (Step.SWITCH, Phase.RETIRING, 2),
            (Step.DROP, Phase.STEADY, 1),
            (Step.WAIT, Phase.STEADY, 1),
        ]

    def test_it_waits_for_acknowledgement_and_for_old_leaves(self, noon: datetime) -> None:
        authority = open_at(MemoryKeyStore(), noon)
        old = authority.issue(["web"], Purpose.SERVER, now=noon)

        def maintain(*, acknowledged: bool) -> Step:
            until = None if old.root == authority.state.signer else old.not_after
            return authority.maintain(
                now=noon, bundle_acknowledged=acknowledged, last_old_leaf_expiry=until, rotate_root=True
            )

        assert maintain(acknowledged=True) is Step.BEGIN
        assert maintain(acknowledged=False) is Step.WAIT
        assert maintain(acknowledged=True) is Step.SWITCH
        assert maintain(acknowledged=True) is Step.WAIT
        wakeup = authority.next_maintenance(bundle_acknowledged=True, last_old_leaf_expiry=old.not_after)
        assert wakeup == old.not_after

    def test_it_can_be_asked_for_and_asking_twice_is_asking_once(self, noon: datetime) -> None:
        authority = open_at(MemoryKeyStore(), noon)
        for expected in (Step.BEGIN, Step.WAIT):
            step = authority.maintain(now=noon, bundle_acknowledged=False, last_old_leaf_expiry=None, rotate_root=True)
            assert step is expected

    def test_it_can_be_begun_by_who_maintains_nothing(self, noon: datetime) -> None:
        """A command writes the first step, and whoever maintains the store goes on from there."""
        store = MemoryKeyStore()
        maintainer, command = open_at(store, noon), open_at(store, noon)
        assert command.begin_rotation(now=noon)
        assert not command.begin_rotation(now=noon)
        assert command.begin_rotation(now=noon, hurried=True)
        assert not command.begin_rotation(now=noon, hurried=True)
        said = [maintainer.maintain(now=noon, bundle_acknowledged=True, last_old_leaf_expiry=None) for _ in range(4)]
        assert said == [Step.WAIT, Step.SWITCH, Step.DROP, Step.WAIT]

    def test_leaves_lead_to_the_signer(self, noon: datetime) -> None:
        authority = open_at(MemoryKeyStore(), noon)
        for _ in range(4):
            assert authority.issue(["web"], Purpose.SERVER, now=noon).root == authority.state.signer
            authority.maintain(now=noon, bundle_acknowledged=True, last_old_leaf_expiry=None, rotate_root=True)

    def test_another_process_step_is_adopted_and_not_repeated(self, noon: datetime) -> None:
        """Else its acknowledgements, which are about the bundle it had, would count for the new one."""
        store = MemoryKeyStore()
        one, other = open_at(store, noon), open_at(store, noon)
        late = noon + 200 * DAY
        assert rest(one, late) is Step.BEGIN
        assert rest(other, late) is Step.WAIT
        assert other.state == one.state
        assert other.trust_bundle_pem == one.trust_bundle_pem

    def test_after_a_very_long_absence_it_finds_its_way_back(
        self, noon: datetime, openssl_verify: OpenSSLVerify
    ) -> None:
        store = MemoryKeyStore()
        open_at(store, noon)
        late = noon + 1000 * DAY
        authority = open_at(store, late)
        with pytest.raises(AuthorityError, match="has expired"):
            authority.issue(["web"], Purpose.SERVER, now=late)
        assert [rest(authority, late) for _ in range(4)] == [Step.BEGIN, Step.SWITCH, Step.DROP, Step.WAIT]
        issued = authority.issue(["web"], Purpose.SERVER, now=late)
        assert openssl_verify(issued, authority.trust_bundle_pem, at=late) == ""

    def test_maintenance_at_the_times_it_names_never_lets_the_issuer_run_out(self, noon: datetime) -> None:
        """Over three years: at every wake-up leaves of full length can be had."""
        authority = open_at(MemoryKeyStore(), noon)
        now, wakeups = noon, 0
        while now < noon + 1000 * DAY:
            assert authority.issue(["web"], Purpose.SERVER, now=now).not_after == now + DAY
            when = authority.next_maintenance(bundle_acknowledged=True, last_old_leaf_expiry=None)
            assert when is not None
            now, wakeups = max(now, when), wakeups + 1
            rest(authority, now)
        assert wakeups < 100


class TestBridge:
    """For peers that read the roots once, such as the client by which Envoy reaches its control plane."""

    def test_it_leads_to_the_signer_from_every_root_there_ever_was(
        self, noon: datetime, openssl_verify: OpenSSLVerify
    ) -> None:
        """At each step of three rotations, and after a restart too; without it, old trust ends with the old root."""
        store = MemoryKeyStore()
        authority = open_at(store, noon)
        first, seen = authority.trust_bundle_pem, {authority.trust_bundle_pem}
        for _ in range(9):
            authority.maintain(now=noon, bundle_acknowledged=True, last_old_leaf_expiry=None, rotate_root=True)
            seen.add(authority.trust_bundle_pem)
            authority = open_at(store, noon)
            leaf = authority.issue(["web"], Purpose.SERVER, now=noon)
            bridged = replace(leaf, chain_pem=leaf.chain_pem + authority.bridge_pem)
            assert {openssl_verify(bridged, bundle) for bundle in seen} == {""}
        leaf = authority.issue(["web"], Purpose.SERVER, now=noon)
        assert openssl_verify(leaf, first) != ""
        assert openssl_verify(leaf, authority.trust_bundle_pem) == ""

    def test_it_does_not_lead_on_from_a_root_that_has_expired(
        self, noon: datetime, openssl_verify: OpenSSLVerify
    ) -> None:
        store = MemoryKeyStore()
        authority = open_at(store, noon)
        assert authority.bridge_pem == b""
        first = authority.trust_bundle_pem
        now = noon
        for _ in range(6):
            now += 120 * DAY
            while authority.maintain(now=now, bundle_acknowledged=True, last_old_leaf_expiry=None) is not Step.WAIT:
                pass
        assert len(x509.load_pem_x509_certificates(authority.bridge_pem)) <= 2
        leaf = authority.issue(["web"], Purpose.SERVER, now=now)
        bridged = replace(leaf, chain_pem=leaf.chain_pem + authority.bridge_pem)
        assert openssl_verify(bridged, first, at=now) != ""
        assert openssl_verify(bridged, authority.trust_bundle_pem, at=now) == ""
