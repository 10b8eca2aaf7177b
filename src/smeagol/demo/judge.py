"""Did a step hold? Counted requests against the desired share, by the exact binomial distribution."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from smeagol.binomial import bounds
from smeagol.control import Status
from smeagol.demo.load import Counts
from smeagol.demo.script import Expected, Step

__all__ = ["Share", "Verdict", "held", "shares"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """One version's part in a window: `count` of `answered` requests, which must lie within `low` and `high`."""

    version: str
    desired: Fraction
    count: int
    answered: int
    low: int
    high: int

    @property
    def measured(self) -> float:
        return self.count / self.answered if self.answered else 0.0

    @property
    def holds(self) -> bool:
        return self.low <= self.count <= self.high


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What was measured of a step, and what did not hold, in words; it held if there is nothing to say.

    `passing`: what was sent while the change was on its way; `counts`: what was sent once it was in force.
    """

    step: Step
    passing: Counts
    counts: Counts
    shares: tuple[Share, ...]
    complaints: tuple[str, ...]

    @property
    def held(self) -> bool:
        return not self.complaints

    @property
    def sent(self) -> int:
        return self.passing.sent + self.counts.sent

    @property
    def failed(self) -> int:
        return self.passing.failed + self.counts.failed


def shares(desired: tuple[tuple[str, Fraction], ...], counts: Counts) -> tuple[Share, ...]:
    """Every version that should have or has had a part, in name order."""
    wanted = dict(desired)
    found = []
    for version in sorted(wanted.keys() | dict(counts.versions).keys()):
        part = wanted.get(version, Fraction(0))
        low, high = bounds(counts.answered, part)
        found.append(
            Share(version=version, desired=part, count=counts.of(version), answered=counts.answered, low=low, high=high)
        )
    return tuple(found)


def held(step: Step, passing: Counts, counts: Counts, status: Status, *, identity: str) -> Verdict:
    """Judge what was counted while `step` was put in force and while it was.

    No request failed, before or after; each version had its share after; every request arrived under the client's name
    `identity`; and the mesh says of its objects what the step expects.
    """
    measured = shares(step.desired, counts)
    complaints = [f"{count} failed: {error}" for error, count in (*passing.errors, *counts.errors)]
    complaints += [
        f"{share.version} answered {share.count:,} of {share.answered:,}, expected {share.low:,} to {share.high:,}"
        for share in measured
        if not share.holds
    ]
    seen = (*passing.identities, *counts.identities)
    strangers = sum(count for names, count in seen if identity not in names.split(","))
    if strangers:
        complaints.append(f"{strangers:,} requests arrived without the name {identity}")
    complaints += [complaint for expected in step.expects if (complaint := _contradiction(expected, status))]
    return Verdict(step=step, passing=passing, counts=counts, shares=measured, complaints=tuple(complaints))


def _contradiction(expected: Expected, status: Status) -> str:
    found = next((o for o in status.objects if (o.kind, o.name) == (expected.kind, expected.name)), None)
    condition = found.status.condition(expected.condition) if found else None
    if condition is None:
        return f"{expected.kind} {expected.name} does not say {expected.condition}"
    if (condition.status, condition.reason) != (expected.status, expected.reason):
        return (
            f"{expected.kind} {expected.name} says {expected.condition}={condition.status}/{condition.reason}, "
            f"expected {expected.status}/{expected.reason}"
        )
    return ""
