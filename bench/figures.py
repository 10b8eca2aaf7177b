"""The arithmetic of the report: quantiles of samples, spreads over rounds, and whether a goal is met."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Goal", "Spread", "Verdict", "median", "quantile"]


def quantile(samples: Sequence[float], q: float) -> float:
    """The smallest sample that at least the share `q` (0 to 1) of all samples does not exceed: one that was measured.

    `samples` must be sorted and not empty.
    """
    if not samples:
        raise ValueError("no samples")
    return samples[max(0, math.ceil(q * len(samples)) - 1)]


def median(samples: Sequence[float]) -> float:
    """The middle of `samples`, in any order; of two middle ones their mean."""
    ordered = sorted(samples)
    if not ordered:
        raise ValueError("no samples")
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


@dataclass(frozen=True, slots=True)
class Spread:
    """One figure over all rounds."""

    low: float
    middle: float
    high: float

    @classmethod
    def of(cls, samples: Sequence[float]) -> Spread:
        return cls(min(samples), median(samples), max(samples))

    def show(self, digits: int = 1) -> str:
        """`low / middle / high`, as the tables have it."""
        return " / ".join(f"{value:,.{digits}f}" for value in (self.low, self.middle, self.high))


class Verdict(StrEnum):
    PASS = "PASS"
    MISS = "MISS"


@dataclass(frozen=True, slots=True)
class Goal:
    """`what` shall be at most `limit`; `measured` is what it was. Ratios, unless `what` names a unit."""

    what: str
    limit: float
    measured: float

    @property
    def verdict(self) -> Verdict:
        return Verdict.PASS if self.measured <= self.limit else Verdict.MISS
