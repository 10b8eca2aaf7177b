"""All limits of time and number in one place."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Limits"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long the suite waits for what, in seconds unless the name says otherwise.

    Nothing is waited for once it holds: on a good provider these cost nothing.
    """

    condition: float = 60.0
    """until a condition has its status for the object's present generation"""
    effect: float = 60.0
    """until traffic is as the objects want it"""
    start: float = 120.0
    """until the Pods of the suite are ready"""
    delete: float = 60.0
    """until what was deleted is gone"""
    poll: float = 0.2
    """between two looks"""
    in_a_row: int = 3
    """so often must an expectation hold one time after the other before it counts"""
    requests: int = 2000
    """for each measured share: one of 10 % is then known to 3.3 percentage points either way"""
    few: int = 60
    """requests where only it matters who answers"""
