"""The exact binomial distribution: the counts within which a right share lies but for one run in a million. Pure."""

from __future__ import annotations

import math
from fractions import Fraction

__all__ = ["ALPHA", "bounds"]

ALPHA = 1e-6
"""How often a share that is right may be called wrong, both sides together."""


def bounds(n: int, p: Fraction, alpha: float = ALPHA) -> tuple[int, int]:
    """The smallest and the largest count that n draws of probability p give, but for `alpha / 2` on either side.

    Share 0 allows nothing but 0, and share 1 nothing but n.
    """
    return _lowest(n, p, alpha / 2), n - _lowest(n, 1 - p, alpha / 2)


def _lowest(n: int, p: Fraction, tail: float) -> int:
    """The smallest k for which P(X <= k) is more than `tail`."""
    if p <= 0:
        return 0
    if p >= 1:
        return n
    log_p, log_q, below = math.log(p), math.log(1 - p), 0.0
    for k in range(n):
        log_choose = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
        below += math.exp(log_choose + k * log_p + (n - k) * log_q)
        if below > tail:
            return k
    return n
