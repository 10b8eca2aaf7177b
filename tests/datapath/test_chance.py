"""The bounds that the shares are judged by."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datapath.chance import assert_shares
from smeagol.binomial import bounds


@given(
    n=st.integers(1, 60), p=st.fractions(Fraction(1, 50), Fraction(49, 50)), alpha=st.sampled_from([0.2, 0.01, 1e-6])
)
def test_bounds_are_those_of_the_binomial_distribution(n: int, p: Fraction, alpha: float) -> None:
    """Outside lies at most alpha/2 on each side, and one count more would be too much."""

    def exactly(k: int) -> Fraction:
        return math.comb(n, k) * p**k * (1 - p) ** (n - k)

    low, high = bounds(n, p, alpha)
    below, above = sum(map(exactly, range(low))), sum(map(exactly, range(high + 1, n + 1)))
    tolerance = 1 + 1e-9
    assert below <= alpha / 2 * tolerance
    assert above <= alpha / 2 * tolerance
    assert below + exactly(low) > alpha / 2 / tolerance
    assert above + exactly(high) > alpha / 2 / tolerance


def test_wrong_ratio_is_noticed() -> None:
    """What the original text says of 1 against 500m, half and half, is far outside of two to one."""
    assert_shares({"v1": 2012, "v2": 988}, {"v1": 1000, "v2": 500})
    with pytest.raises(AssertionError, match="v1"):
        assert_shares({"v1": 1500, "v2": 1500}, {"v1": 1000, "v2": 500})


def test_zero_means_none() -> None:
    with pytest.raises(AssertionError, match="v2"):
        assert_shares({"v1": 2999, "v2": 1}, {"v1": 1000, "v2": 0})
