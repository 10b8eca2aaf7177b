"""What is wrong with counted answers, by exact bounds."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from smeagol.binomial import bounds

__all__ = ["complaints"]


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
