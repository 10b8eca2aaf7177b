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
from smeagol.pki.supplied import Supplied, SuppliedAuthority, Supply, own_pair
from smeagol.plan import Purpose

__all__ = ["Authorities", "open_authorities"]

Follow = Callable[[KeptAuthority, datetime], KeptAuthority | None]
"""Who takes the place of the authority that is, if it is time. May raise as `SuppliedAuthority.open` does."""


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
    ours = own.load() is not None
    others = supplied.load() is not None
    if supply is not None and (others or not ours):
        return Authorities(handed(supply, now), local())
    mine = local()
    if supply is not None:
        source = supply
        return Authorities(_Succession(mine, lambda _, now: handed(source, now, mine)), mine)
    if not others:
        return Authorities(mine, mine)

    def taken_back(present: KeptAuthority, _now: datetime) -> LocalAuthority | None:
        """No certificate of another root is in use any more, here or, as somebody has cleared it, elsewhere."""
        with supplied.lock():
            if supplied.load() is not None:
                state, roots = present.state, {root.id for root in mine.state.trusted}
                if state.phase is Phase.RETIRING or state.signer not in roots:
                    return None
                supplied.clear()
        return mine

    return Authorities(_Succession(handed(_Own(mine), now), taken_back), mine)


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
        self._follow: Follow | None = follow

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
        if step is not Step.WAIT or self._follow is None:
            return step
        following = self._follow(self._present, now)
        if following is None:
            return step
        self._present, self._follow = following, None
        return Step.WAIT if following.state.phase is Phase.STEADY else Step.BEGIN

    def next_maintenance(self, *, bundle_acknowledged: bool, last_old_leaf_expiry: datetime | None) -> datetime | None:
        return self._present.next_maintenance(
            bundle_acknowledged=bundle_acknowledged, last_old_leaf_expiry=last_old_leaf_expiry
        )
