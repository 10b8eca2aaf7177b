"""Replicas that share one Secret, told to sign with one authority or another: whatever is rolled out, undone or lost,
each certificate in use leads to a root that every replica has its proxies trust.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from pki_kit.handing import DAY, HOUR, NOON, pair
from smeagol.errors import SmeagolError
from smeagol.pki import PrivateBytes, Purpose, StoreError, Supplied, open_authorities
from smeagol.pki.certificates import key_id, new_root
from smeagol.pki.pem import read_certificates

LOOK = timedelta(seconds=10)

OTHERS = ("a", "b")
SPECS = ("own", *OTHERS)
"""Whom a replica is told to sign with: the mesh's own authority, or one of two elsewhere."""

specs = st.sampled_from(SPECS)
others = st.sampled_from(OTHERS)


@dataclass
class Secret:
    """One object with several entries, of which each write makes another version. Some writes fail, and of some the
    answer is lost.
    """

    chance: Random
    version: int = 0
    entries: dict[str, bytes] | None = None


@dataclass
class Store:
    """As `SecretKeyStore`: saves only over what it has loaded."""

    secret: Secret
    entry: str
    seen: int | None = None

    @contextmanager
    def lock(self) -> Iterator[None]:
        yield

    def load(self) -> PrivateBytes | None:
        entries = self.secret.entries
        self.seen = self.secret.version if entries is not None else None
        return PrivateBytes(entries[self.entry]) if entries is not None and self.entry in entries else None

    def save(self, document: PrivateBytes) -> None:
        there = self.secret.version if self.secret.entries is not None else None
        if self.seen != there or self.secret.chance.random() < 0.08:
            raise StoreError("somebody else has written it meanwhile")
        self.secret.version += 1
        self.secret.entries = {**(self.secret.entries or {}), self.entry: document.reveal()}
        self.seen = self.secret.version
        if self.secret.chance.random() < 0.02:
            raise StoreError("the answer is lost")


@dataclass
class Elsewhere:
    """An authority that hands over its intermediates."""

    now: datetime

    def __post_init__(self) -> None:
        self.has_another_root(self.now)

    def has_another_root(self, now: datetime) -> None:
        self._root = new_root("example.com", now=now, lifetime=3650 * DAY)
        self.renews(now)

    def renews(self, now: datetime) -> None:
        self.pair = pair(self._root, now=now)

    def load(self, held: tuple[Supplied, ...]) -> Supplied:
        return self.pair


class Replica:
    """With one proxy, which takes over at once what it is given: a certificate, and the roots to trust."""

    def __init__(self, secret: Secret, supply: Elsewhere | None, now: datetime) -> None:
        """Raises SmeagolError, as where two make keys at once."""
        own, supplied = Store(secret, "authority"), Store(secret, "supplied")
        found = open_authorities(own, supplied, supply, trust_domain="cluster.local", now=now)
        self.own, self.mesh = found.own, found.mesh
        self.give(now)

    @property
    def roots(self) -> frozenset[str]:
        return frozenset(key_id(root) for root in read_certificates(self.mesh.trust_bundle_pem, "roots"))

    def give(self, now: datetime) -> None:
        self.trusted = self.roots
        self.leaf = self.mesh.issue(["web.shop"], Purpose.SERVER, now=now)

    def look(self, now: datetime, *, acknowledged: bool, old_until: datetime | None) -> None:
        """Who does not lead knows nothing of the others' proxies."""
        with suppress(SmeagolError):  # it is looked at again
            self.mesh.maintain(now=now, bundle_acknowledged=acknowledged, last_old_leaf_expiry=old_until)
        self.give(now)
        if not self.mesh.is_own:
            state = self.own.state
            with suppress(SmeagolError):
                self.own.maintain(now=now, bundle_acknowledged=False, last_old_leaf_expiry=state.since + DAY)


class Rollouts(RuleBasedStateMachine):
    """Replicas come and go by rollouts, which may be undone; time passes; authorities renew what they hand over."""

    @initialize(seed=st.integers(0, 2**32), spec=specs)
    def begin(self, seed: int, spec: str) -> None:
        self.now = NOON
        self.chance = Random(seed)
        self.secret = Secret(self.chance)
        self.elsewhere = {name: Elsewhere(self.now) for name in OTHERS}
        self.spec = spec
        self.replicas: list[Replica] = []
        self.until_one_runs()

    def start(self, spec: str) -> None:
        with suppress(SmeagolError):  # the kubelet starts it again
            self.replicas.append(Replica(self.secret, self.elsewhere.get(spec), self.now))
            self.each_leaf_leads_to_what_all_trust()

    def until_one_runs(self) -> None:
        while not self.replicas:
            self.start(self.spec)

    def look(self) -> None:
        """The first one leads, and knows what all proxies have."""
        for replica in self.chance.sample(self.replicas, len(self.replicas)):
            state = replica.mesh.state
            leads = replica is self.replicas[0]
            replaced = leads and all(each.leaf.root == state.signer for each in self.replicas)
            replica.look(
                self.now,
                acknowledged=leads and all(each.trusted == replica.roots for each in self.replicas),
                old_until=None if replaced else state.since + DAY,
            )
            self.each_leaf_leads_to_what_all_trust()

    @rule(spec=specs, pods=st.integers(1, 3), looks=st.integers(0, 3), is_undone=st.booleans())
    def rollout(self, spec: str, pods: int, looks: int, is_undone: bool) -> None:
        before = list(self.replicas)
        for _ in range(pods):
            self.start(spec)
            for _ in range(looks):
                self.now += LOOK
                self.look()
        new = [replica for replica in self.replicas if replica not in before]
        if new and not is_undone:
            self.spec = spec
        for replica in new if is_undone else before if new else ():
            self.replicas.remove(replica)
            self.now += LOOK
            self.look()

    @rule()
    def another_replica(self) -> None:
        self.start(self.spec)
        del self.replicas[:-3]

    @rule(hours=st.sampled_from((1, 30, 240)))
    def all_are_away(self, hours: int) -> None:
        self.replicas.clear()
        self.now += hours * HOUR
        self.until_one_runs()

    @rule()
    def the_secret_is_deleted(self) -> None:
        self.secret.entries = None
        self.look()
        self.look()

    @rule(name=others)
    def an_intermediate_is_renewed(self, name: str) -> None:
        self.elsewhere[name].renews(self.now)

    @rule(name=others)
    def another_root_elsewhere(self, name: str) -> None:
        self.elsewhere[name].has_another_root(self.now)

    @rule(hurried=st.booleans())
    def the_own_root_is_replaced(self, hurried: bool) -> None:
        if self.replicas[0].mesh.is_own:
            with suppress(SmeagolError):
                self.replicas[0].own.begin_rotation(now=self.now, hurried=hurried)

    @rule(hours=st.sampled_from((1, 3, 26, 60)))
    def time_passes(self, hours: int) -> None:
        for _ in range(2 * hours):
            self.now += HOUR / 2
            self.look()

    @invariant()
    def each_leaf_leads_to_what_all_trust(self) -> None:
        in_use = {replica.leaf.root for replica in self.replicas if replica.leaf.not_after > self.now}
        for replica in self.replicas:
            assert in_use <= replica.trusted


TestRollouts = Rollouts.TestCase
TestRollouts.settings = settings(max_examples=25, stateful_step_count=25)
