"""What all adapters share: names that fit, and weights in whole numbers."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smeagol.plan.making import made_name, whole_weights

WEIGHTS = st.lists(st.integers(0, 10**9), min_size=1, max_size=64).filter(any)


class TestNames:
    @given(st.lists(st.from_regex(r"[a-z0-9]([a-z0-9.-]{0,200}[a-z0-9])?", fullmatch=True), min_size=1, max_size=3))
    def test_a_name_fits(self, parts: list[str]) -> None:
        """At most so long as a name may be, and it ends as one may."""
        for limit in (63, 253):
            name = made_name(*parts, limit=limit)
            assert len(name) <= limit
            assert name[-1].isalnum()

    def test_names_that_differ_after_the_cut_stay_different(self) -> None:
        assert made_name("a" * 300, 80) != made_name("a" * 300, 81)


class TestWeights:
    """SMI-CAN-07, SMI-CAN-08 in a peer's whole numbers."""

    @given(WEIGHTS)
    def test_without_a_limit_the_ratio_is_exact(self, weights: list[int]) -> None:
        whole = whole_weights(weights)
        assert all(a * whole[0] == b * weights[0] for a, b in zip(weights, whole, strict=True))
        assert math.gcd(*whole) == 1

    @given(WEIGHTS, st.integers(100, 1_000_000))
    def test_a_limit_is_kept(self, weights: list[int], most: int) -> None:
        whole = whole_weights(weights, most=most)
        assert max(whole) <= most
        check(weights, whole)

    @given(WEIGHTS, st.integers(100, 10_000))
    def test_a_sum_is_exact(self, weights: list[int], total: int) -> None:
        """Percentages add up to 100."""
        whole = whole_weights(weights, total=total)
        assert sum(whole) == total
        check(weights, whole)

    @pytest.mark.parametrize(
        ("weights", "whole"),
        [
            ((10, 100, 1500), (1, 6, 93)),
            ((335, 335, 325, 5), (33, 33, 33, 1)),
            ((1_000_000, 1, 0), (99, 1, 0)),
            ((1000,), (100,)),
        ],
    )
    def test_percentages(self, weights: tuple[int, ...], whole: tuple[int, ...]) -> None:
        assert whole_weights(weights, total=100) == whole

    @pytest.mark.parametrize("weights", [(0, 0), (-1, 2)])
    def test_what_is_no_split_is_refused(self, weights: tuple[int, ...]) -> None:
        with pytest.raises(ValueError, match="positive"):
            whole_weights(weights)


def check(weights: list[int], whole: tuple[int, ...]) -> None:
    """Nothing vanishes, nothing appears, and whoever has more weight never gets less."""
    assert all((a > 0) == (b > 0) for a, b in zip(weights, whole, strict=True))
    pairs = sorted(zip(weights, whole, strict=True))
    assert all(a == c or b <= d for (a, b), (c, d) in pairwise(pairs))
