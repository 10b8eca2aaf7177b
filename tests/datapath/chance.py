"""Exact bounds for shares: what a correct split stays within, but for one run in a million."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction

__all__ = ["ALPHA", "assert_shares", "bounds"]

ALPHA = 1e-6


def bounds(n: int, p: Fraction, alpha: float = ALPHA) -> tuple[int, int]:
    """The smallest and largest count that n draws of probability p give, but for alpha/2 on each side. Exact."""
    if p in (0, 1):
        return int(n * p), int(n * p)
    log_p, log_q = math.log(p), math.log(1 - p)

    def mass(k: int) -> float:
        ways = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
        return math.exp(ways + k * log_p + (n - k) * log_q)

    low, left = 0, mass(0)
    while left <= alpha / 2:
        low += 1
        left += mass(low)
    high, right = n, mass(n)
    while right <= alpha / 2:
        high -= 1
        right += mass(high)
    return low, high


def assert_shares(counted: Mapping[str, int], weights: Mapping[str, int]) -> None:
    """The counts are those of independent draws in the ratio of the weights, and of nothing else."""
    n, total = sum(counted.values()), sum(weights.values())
    assert set(counted) <= set(weights), counted
    for name, weight in weights.items():
        low, high = bounds(n, Fraction(weight, total))
        assert low <= counted.get(name, 0) <= high, f"{name}: {dict(counted)}, but {low} to {high} of {n} are expected"
