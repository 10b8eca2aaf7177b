"""Exact bounds for shares: what a correct split stays within, but for one run in a million."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from smeagol.binomial import bounds

__all__ = ["assert_shares"]


def assert_shares(counted: Mapping[str, int], weights: Mapping[str, int]) -> None:
    """The counts are those of independent draws in the ratio of the weights, and of nothing else."""
    n, total = sum(counted.values()), sum(weights.values())
    assert set(counted) <= set(weights), counted
    for name, weight in weights.items():
        low, high = bounds(n, Fraction(weight, total))
        assert low <= counted.get(name, 0) <= high, f"{name}: {dict(counted)}, but {low} to {high} of {n} are expected"
