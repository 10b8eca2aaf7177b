"""When certificates are renewed: at about two thirds of life, spread so that they don't all come at once.

A third of life is left to retry in, and the jitter spreads the renewals of workloads that started together: with
24 h leaves, 10,000 of them come over 4.8 hours, one every two seconds.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Protocol, TypeVar

__all__ = ["Renewable", "due", "next_wakeup", "renewal_time"]

RENEW_AT = 2 / 3
"""of the time from issue to expiry"""

JITTER = 0.1
"""of that time, to either side"""


class Renewable(Protocol):
    """What must be renewed at a time, and useless after another."""

    @property
    def renew_at(self) -> datetime: ...
    @property
    def not_after(self) -> datetime: ...


T = TypeVar("T", bound=Renewable)


def renewal_time(issued_at: datetime, not_after: datetime, *, chance: float) -> datetime:
    """`chance` is uniform in [0, 1). Counted from the issue, not from `not_before`, which is backdated: else a
    certificate of a few minutes would be due at once."""
    return issued_at + (not_after - issued_at) * (RENEW_AT + JITTER * (2 * chance - 1))


def due(issued: Iterable[T], now: datetime) -> tuple[T, ...]:
    """Those to renew now, the first to expire first, so that after an outage the most pressing come first."""
    return tuple(sorted((i for i in issued if i.renew_at <= now), key=lambda i: i.not_after))


def next_wakeup(issued: Iterable[Renewable]) -> datetime | None:
    """When `due` next has something to give (in the past if it has already), or None if there is nothing to renew."""
    return min((i.renew_at for i in issued), default=None)
