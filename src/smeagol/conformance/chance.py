"""Exact bounds for shares."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction

from smeagol.conformance.limits import ALPHA

__all__ = ["bounds", "complaints"]


def bounds(n: int, p: Fraction, alpha: float = ALPHA) -> tuple[int, int]:
    """The smallest and the largest count that n draws of probability p give, but for alpha/2 on each side."""
    if p in (0, 1):
        return int(n * p), int(n * p)
    log_p, log_q = math.log(p), math.log(1 - p)

    def mass(k: int) -> float:
        return math.exp(math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) + k * log_p + (n - k) * log_q)

    low, left = 0, mass(0)
    while left <= alpha / 2:
        low += 1
        left += mass(low)
    high, right = n, mass(n)
    while right <= alpha / 2:
        high -= 1
        right += mass(high)
    return low, high


def complaints(counted: Mapping[str, int], shares: Mapping[str, Fraction]) -> list[str]:
    """What is wrong with these counts if each request were drawn by these shares (of one); empty if nothing is."""
    n = sum(counted.values())
    found = [
        f"{name} answered {count} times, and has no part in it"
        for name, count in counted.items()
        if not shares.get(name)
    ]
    for name, share in shares.items():
        low, high = bounds(n, share)
        if share and not low <= counted.get(name, 0) <= high:
            found.append(
                f"{name} answered {counted.get(name, 0)} of {n} times; its share is {float(share):.2%}, "
                f"so {low} to {high} would be right"
            )
    return found
