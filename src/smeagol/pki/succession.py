"""How one authority takes another's place in a mesh that runs: the mesh's own that of one elsewhere, or the reverse.

Whoever signed before goes on to, until all trust the root of the one that follows: the steps of `roots`, as from any
root to the next. What is handed over is kept beside the mesh's own keys, so which of the two signs is told by both.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from smeagol.pki.authority import DEFAULT_OVERLAP, LEAF_LIFETIME, Chance, KeptAuthority, LocalAuthority
from smeagol.pki.certificates import Issued
from smeagol.pki.roots import Overlap, Phase, RootState, Step
from smeagol.pki.store import KeyStore
from smeagol.pki.supplied import Supplied, SuppliedAuthority, Supply, forget, kept_state, own_pair
from smeagol.plan import Purpose

__all__ = ["Authorities", "open_authorities"]

Follow = Callable[[KeptAuthority, datetime], KeptAuthority]
"""Who is to sign, where so far the one that is given has. May raise as `SuppliedAuthority.open` does."""


@dataclass(frozen=True, slots=True)
class Authorities:
    """`mesh`: who signs for the mesh. `own`: by whose root the control plane itself is known, so that who has read that
    once knows it for good, whoever comes to sign for the mesh.
    """

    mesh: KeptAuthority
    own: LocalAuthority


def open_authorities(
    own: KeyStore,
    supplied: KeyStore,
    supply: Supply | None,
    *,
    trust_domain: str,
    now: datetime,
    overlap: Overlap = DEFAULT_OVERLAP,
    chance: Chance = random.random,
) -> Authorities:
    """A mesh's own authority, which signs for it too unless there is a `supply`. `own` and `supplied`: where the keys
    of either are kept.

    Raises AuthorityError and StoreError, where there is nothing to sign with yet.
    """

    def local() -> LocalAuthority:
        return LocalAuthority.open(own, trust_domain=trust_domain, now=now, overlap=overlap, chance=chance)

    def handed(supply: Supply, now: datetime, before: LocalAuthority | None = None) -> SuppliedAuthority:
        return SuppliedAuthority.open(supplied, supply, now=now, overlap=overlap, chance=chance, before=before)

    # In this order, against that of saving below: own keys alone have signed for the mesh.
    if supply is not None and own.load() is None and kept_state(supplied) is None:
        return Authorities(handed(supply, now), local())
    mine = local()

    def forgotten(is_over: Callable[[RootState], bool]) -> bool:
        """Whether the own authority signs alone: nothing else is kept, or what is kept has it sign, and is over."""
        if kept_state(supplied) is None:
            return True
        with supplied.lock():
            state = kept_state(supplied)
            if state is not None and (state.signer != mine.state.signer or not is_over(state)):
                return False
            if state is not None:
                forget(supplied)
        return True

    if supply is not None:
        source, patience = supply, max(overlap.minimum, overlap.patience)

        def taken_over(present: KeptAuthority, now: datetime) -> KeptAuthority:
            return handed(source, now, mine) if present is mine else present

        # Who tends it takes each step in time. What nobody has tended since tells nothing of who trusts whom.
        if forgotten(lambda state: state.phase is Phase.STEADY or now > state.since + patience):
            return Authorities(_Succession(mine, taken_over), mine)
        return Authorities(handed(supply, now), mine)

    def taken_back(present: KeptAuthority, _now: datetime) -> KeptAuthority:
        """No certificate of another root is in use any more. Looked at ever after: a replica that was told of another
        and is about to end, as in a rollout that is undone, may keep it once more.
        """
        return mine if forgotten(_none_other_in_use) else present

    alone = forgotten(_none_other_in_use)
    return Authorities(_Succession(mine if alone else handed(_Own(mine), now), taken_back), mine)


def _none_other_in_use(state: RootState) -> bool:
    return state.phase is not Phase.RETIRING


class _Own:
    """The mesh's own intermediate, as if it were handed over."""

    def __init__(self, own: LocalAuthority) -> None:
        self._own = own

    def load(self, held: tuple[Supplied, ...]) -> Supplied:
        return own_pair(self._own)


class _Succession:
    """The authority that is, until another takes its place."""

    def __init__(self, present: KeptAuthority, follow: Follow) -> None:
        self._present = present
        self._follow = follow

    @property
    def trust_bundle_pem(self) -> bytes:
        return self._present.trust_bundle_pem

    @property
    def state(self) -> RootState:
        return self._present.state

    @property
    def not_after(self) -> datetime:
        return self._present.not_after

    @property
    def is_own(self) -> bool:
        return self._present.is_own

    def issue(
        self, names: Iterable[str], purpose: Purpose, *, now: datetime, lifetime: timedelta = LEAF_LIFETIME
    ) -> Issued:
        return self._present.issue(names, purpose, now=now, lifetime=lifetime)

    def maintain(
        self,
        *,
        now: datetime,
        bundle_acknowledged: bool,
        last_old_leaf_expiry: datetime | None,
        rotate_root: bool = False,
    ) -> Step:
        """As that of the authority that is. Raises AuthorityError or StoreError, after all else is done, for what
        would take its place and can't.
        """
        step = self._present.maintain(
            now=now,
            bundle_acknowledged=bundle_acknowledged,
            last_old_leaf_expiry=last_old_leaf_expiry,
            rotate_root=rotate_root,
        )
        if step in (Step.BEGIN, Step.SWITCH):
            return step  # what it changes has to be acknowledged first
        following = self._follow(self._present, now)
        if following is self._present:
            return step
        self._present = following
        return step if following.state.phase is Phase.STEADY else Step.BEGIN

    def next_maintenance(self, *, bundle_acknowledged: bool, last_old_leaf_expiry: datetime | None) -> datetime | None:
        return self._present.next_maintenance(
            bundle_acknowledged=bundle_acknowledged, last_old_leaf_expiry=last_old_leaf_expiry
        )
