"""What the sample client writes down (`examples/foobar/client.py`, a line of JSON per slot of time), and sums of it."""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate

import msgspec

__all__ = ["Counts", "Slot", "read_slot", "total"]


class Slot(msgspec.Struct, frozen=True, kw_only=True):
    """The requests begun within `seconds` from `time` (Unix time), all of which have ended.

    `versions` and `identities` count answers, `latency` counts them per bucket by its upper bound in seconds.
    """

    time: float
    seconds: float
    sent: int
    failed: int
    errors: dict[str, int] = {}
    versions: dict[str, int] = {}
    identities: dict[str, int] = {}
    latency: tuple[tuple[float, int], ...] = ()


def read_slot(line: str) -> Slot | None:
    """The slot of one line of the client's log; None for lines that are something else."""
    try:
        return msgspec.json.decode(line, type=Slot)
    except msgspec.MsgspecError:
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Slots added up. Pairs are sorted by their first half."""

    seconds: float = 0.0
    sent: int = 0
    failed: int = 0
    errors: tuple[tuple[str, int], ...] = ()
    versions: tuple[tuple[str, int], ...] = ()
    identities: tuple[tuple[str, int], ...] = ()
    latency: tuple[tuple[float, int], ...] = ()

    @property
    def answered(self) -> int:
        return self.sent - self.failed

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.sent / self.seconds if self.seconds else 0.0

    def of(self, version: str) -> int:
        """How many requests `version` answered."""
        return dict(self.versions).get(version, 0)

    def quantile(self, q: float) -> float | None:
        """Seconds within which a part `q` of the answers came, interpolated within its bucket; None without answers."""
        sums = list(accumulate(count for _, count in self.latency))
        if not sums or not sums[-1]:
            return None
        rank = q * sums[-1]
        at = bisect.bisect_left(sums, rank)
        bound, count = self.latency[at]
        lower = self.latency[at - 1][0] if at else 0.0
        return bound - (bound - lower) * (sums[at] - rank) / count


def total(slots: Iterable[Slot]) -> Counts:
    """All slots added up."""
    seconds, sent, failed = 0.0, 0, 0
    errors, versions, identities = Counter[str](), Counter[str](), Counter[str]()
    latency = Counter[float]()
    for slot in slots:
        seconds += slot.seconds
        sent += slot.sent
        failed += slot.failed
        errors.update(slot.errors)
        versions.update(slot.versions)
        identities.update(slot.identities)
        latency.update(dict(slot.latency))
    return Counts(
        seconds=seconds,
        sent=sent,
        failed=failed,
        errors=tuple(sorted(errors.items())),
        versions=tuple(sorted(versions.items())),
        identities=tuple(sorted(identities.items())),
        latency=tuple(sorted(latency.items())),
    )
