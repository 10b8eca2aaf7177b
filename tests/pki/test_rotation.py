"""When certificates are renewed: at about two thirds of life, with jitter (spec: MutualTLS, CA)."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from smeagol.pki import LocalAuthority, MemoryKeyStore, Purpose, due, next_wakeup
from smeagol.pki.rotation import renewal_time

NOON = datetime(2030, 6, 1, 12, tzinfo=UTC)
DAY = timedelta(hours=24)

moments = st.integers(0, 48).map(lambda h: NOON + timedelta(hours=h))
chances = st.floats(0, 1, exclude_max=True)


@dataclass(frozen=True)
class Leaf:
    renew_at: datetime
    not_after: datetime


leaves = st.lists(st.builds(Leaf, moments, moments), max_size=10)


class TestRenewalTime:
    @given(chances, st.timedeltas(timedelta(seconds=1), timedelta(days=400)))
    def test_it_is_two_thirds_of_life_give_or_take_a_tenth(self, chance: float, life: timedelta) -> None:
        part = (renewal_time(NOON, NOON + life, chance=chance) - NOON) / life
        assert 2 / 3 - 0.1001 <= part <= 2 / 3 + 0.1001

    def test_ten_thousand_workloads_that_start_together_are_renewed_apart(self) -> None:
        """Over 4.8 hours, so in no minute more than about a 288th part of them; 80 is far beyond chance."""
        draw = random.Random(1)
        times = [renewal_time(NOON, NOON + DAY, chance=draw.random()) for _ in range(10_000)]
        per_minute = Counter((t - NOON) // timedelta(minutes=1) for t in times)
        assert max(per_minute.values()) < 80
        assert len(per_minute) >= 280

    def test_jitter_comes_from_the_source_that_is_given(self) -> None:
        authority = LocalAuthority.open(MemoryKeyStore(), trust_domain="td", now=NOON, chance=lambda: 0.5)
        assert authority.issue(["web"], Purpose.SERVER, now=NOON).renew_at == NOON + timedelta(hours=16)


class TestPlanning:
    @given(leaves, moments)
    def test_exactly_those_whose_time_has_come_are_due(self, issued: list[Leaf], now: datetime) -> None:
        assert Counter(due(issued, now)) == Counter(leaf for leaf in issued if leaf.renew_at <= now)

    @given(leaves, moments)
    def test_the_first_to_expire_come_first(self, issued: list[Leaf], now: datetime) -> None:
        ends = [leaf.not_after for leaf in due(issued, now)]
        assert ends == sorted(ends)

    @given(leaves)
    def test_one_wakes_up_when_the_first_is_due_and_not_before(self, issued: list[Leaf]) -> None:
        when = next_wakeup(issued)
        if when is None:
            assert not issued
        else:
            assert due(issued, when)
            assert not due(issued, when - timedelta.resolution)
