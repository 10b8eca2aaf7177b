"""How a root is replaced without anyone losing a connection: a small state machine of pure functions.

    steady        one root is trusted, and signs
      │ begin     at two thirds of its life, or when asked to
    introducing   old and new are trusted, the old one still signs
      │ switch    when every proxy has acknowledged the bundle with both (or patience ends)
    retiring      old and new are trusted, the new one signs
      │ drop      when no leaf of the old one is in use any more
    steady

In every state each leaf in use leads to a root that everyone trusts, which is why no request is lost. Time, and what
proxies have acknowledged, come in as arguments; the authority carries the steps out.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol

from smeagol.pki.rotation import RENEW_AT

__all__ = ["Generation", "Overlap", "Phase", "RootState", "Step", "begin", "drop", "last_expiry", "next_step", "switch"]


@dataclass(frozen=True, slots=True)
class Generation:
    """One root. `id`: its key id. `created`, `expires`: its life."""

    id: str
    created: datetime
    expires: datetime

    @property
    def renew_at(self) -> datetime:
        return self.created + (self.expires - self.created) * RENEW_AT


class Phase(enum.Enum):
    STEADY = "steady"
    INTRODUCING = "introducing"
    RETIRING = "retiring"


class Step(enum.Enum):
    """What to do next: nothing yet, or the step that leads to the next phase."""

    WAIT = "wait"
    BEGIN = "begin"
    SWITCH = "switch"
    DROP = "drop"


@dataclass(frozen=True, slots=True, kw_only=True)
class RootState:
    """The roots trusted, oldest first (one or two), the id of the one that signs, and when this phase began.

    `hurried`: the new root signs as soon as the proxies trust it; nobody outside the mesh is waited for.
    """

    trusted: tuple[Generation, ...]
    signer: str
    since: datetime
    hurried: bool = False

    def __post_init__(self) -> None:
        ids = [g.id for g in self.trusted]
        if not 1 <= len(set(ids)) == len(ids) <= 2 or self.signer not in ids:
            msg = "one or two different roots are trusted, and one of them signs"
            raise ValueError(msg)

    @property
    def phase(self) -> Phase:
        if len(self.trusted) == 1:
            return Phase.STEADY
        return Phase.INTRODUCING if self.signer == self.trusted[0].id else Phase.RETIRING


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """How long both roots are trusted before the new one signs.

    `minimum`: at least, for clients outside the mesh that read the bundle from a file and acknowledge nothing.
    `patience`: at most, even if a proxy has not acknowledged. By default the life of a leaf: a proxy that was not
    heard of for so long has no valid certificate anyway.
    """

    minimum: timedelta = timedelta(hours=1)
    patience: timedelta = timedelta(hours=24)


def next_step(
    state: RootState,
    *,
    now: datetime,
    bundle_acknowledged: bool,
    last_old_leaf_expiry: datetime | None,
    overlap: Overlap,
) -> tuple[Step, datetime | None]:
    """The step to take now; and with WAIT, when time alone will call for one (None: only when leaves are renewed).

    `bundle_acknowledged`: every connected proxy has acknowledged the bundle of this very state.
    `last_old_leaf_expiry`: when the last leaf that does not lead to the signer expires, among those that may still
    be in use, which one is until its proxy has acknowledged the successor; None if there are none. Who does not
    know, after a restart, passes `state.since` plus the life of a leaf.
    """
    old = state.trusted[0]
    match state.phase:
        case Phase.STEADY:
            return _at(Step.BEGIN, old.renew_at, now)
        case Phase.INTRODUCING:
            minimum = timedelta(0) if state.hurried else overlap.minimum
            wait = minimum if bundle_acknowledged else max(minimum, overlap.patience)
            # A root that has expired can't sign, so there is nothing left to wait for.
            return _at(Step.SWITCH, min(state.since + wait, old.expires), now)
        case Phase.RETIRING:
            if last_old_leaf_expiry is None:
                return Step.DROP, None
            return _at(Step.DROP, min(last_old_leaf_expiry, old.expires), now)


def begin(state: RootState, new: Generation, *, now: datetime, hurried: bool = False) -> RootState:
    """Trust `new` as well; the old root still signs."""
    _expect(state, Phase.STEADY)
    return RootState(trusted=(*state.trusted, new), signer=state.signer, since=now, hurried=hurried)


def switch(state: RootState, *, now: datetime) -> RootState:
    """Let the new root sign; the old one is still trusted."""
    _expect(state, Phase.INTRODUCING)
    return replace(state, signer=state.trusted[-1].id, since=now)


def drop(state: RootState, *, now: datetime) -> RootState:
    """Trust the new root alone."""
    _expect(state, Phase.RETIRING)
    return RootState(trusted=state.trusted[1:], signer=state.signer, since=now)


class _Leaf(Protocol):
    @property
    def root(self) -> str: ...
    @property
    def not_after(self) -> datetime: ...


def last_expiry(in_use: Iterable[_Leaf], state: RootState) -> datetime | None:
    """`last_old_leaf_expiry` of `next_step`, from the leaves that may still be in use."""
    return max((leaf.not_after for leaf in in_use if leaf.root != state.signer), default=None)


def _at(step: Step, when: datetime, now: datetime) -> tuple[Step, datetime | None]:
    return (step, None) if now >= when else (Step.WAIT, when)


def _expect(state: RootState, phase: Phase) -> None:
    if state.phase is not phase:
        msg = f"a step from {phase.value} was asked for while {state.phase.value}"
        raise ValueError(msg)
