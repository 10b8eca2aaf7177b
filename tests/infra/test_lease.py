"""When a replica may write its name into the Lease: by its own clock only, and never too early."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from smeagol.infra.kubernetes.lease import Observed, may_take

LEASE = 15.0
moments = st.floats(min_value=0, max_value=1e6)


def seen(holder: str, since: float = 100.0) -> Observed:
    return Observed(holder=holder, version="7", since=since)


def test_a_free_lease_is_anybodys() -> None:
    """Who stops leading gives it back, so that nobody need wait."""
    assert may_take(seen(""), me="a", now=100.0, lease_seconds=LEASE)


def test_my_own_lease_is_mine_to_renew() -> None:
    assert may_take(seen("a"), me="a", now=100.0, lease_seconds=LEASE)


@given(still=st.floats(min_value=0, max_value=LEASE, exclude_max=True), since=moments)
def test_anothers_lease_is_theirs_for_the_whole_lease_time(still: float, since: float) -> None:
    """Counted from when this replica saw it change, never from the time that is written in it."""
    now = since + still
    assert may_take(seen("b", since), me="a", now=now, lease_seconds=LEASE) is (now - since >= LEASE)


@given(more=st.floats(min_value=0.001, max_value=1e5), since=moments)
def test_a_lease_that_has_stood_still_for_so_long_may_be_taken(more: float, since: float) -> None:
    assert may_take(seen("b", since), me="a", now=since + LEASE + more, lease_seconds=LEASE)
