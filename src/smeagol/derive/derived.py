"""The kinds of derived collection: how each turns what its function returns into values."""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Generic, TypeVar, cast

from smeagol.derive.collection import Collection
from smeagol.derive.reads import Reader, Reads
from smeagol.derive.table import AnyTable, Table

__all__ = ["Derived", "Flattened", "Grouped", "Joined", "Mapped"]

Owner = TypeVar("Owner", bound=Hashable)
"""A key of the driving collection: the unit of computation."""
Given = TypeVar("Given")
"""A value of the driving collection."""
Result = TypeVar("Result")
"""What the function returns."""
K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Derived(ABC):
    """A collection that the graph computes; see `Computed` for how."""

    def __init__(self, table: AnyTable) -> None:
        self._table = table
        self._pending: set[Hashable] = set()
        self.clashes: dict[Hashable, tuple[Hashable, ...]] = {}
        """Keys that more than one owner gives, with those owners; the first one's value is the one that stands."""

    def mark(self, owners: Iterable[Hashable]) -> None:
        """What these owners are computed from has changed."""
        self._pending.update(owners)

    @abstractmethod
    def recompute(self) -> None:
        """Compute every marked owner once, and bring the table up to date."""


class Computed(Derived, Generic[Owner, Given, Result]):
    """One call of a function per owner, under the eyes of a Reader."""

    def __init__(
        self,
        table: AnyTable,
        reads: Reads,
        driver: Callable[[Owner], Given | None],
        compute: Callable[[Owner, Given, Reader], Result | None],
    ) -> None:
        super().__init__(table)
        self._reads = reads
        self._driver = driver
        self._compute = compute

    def recompute(self) -> None:
        for owner in self._pending:
            # The graph keeps the marks of all collections alike; only owners of this one are marked here.
            self._recompute_one(cast("Owner", owner))
        # Emptied last: should something escape (an interrupt), the next settle does it all again.
        self._pending.clear()
        self._finish()

    def _recompute_one(self, owner: Owner) -> None:
        table = self._table
        result: Result | None = None
        reader = Reader(table)
        given = self._driver(owner)
        if given is None:
            table.errors.put(owner, None)
        else:
            table.recomputed += 1
            try:
                result = self._compute(owner, given, reader)
            except Exception as error:  # whatever a function raises is the business of its key alone
                table.errors.put(owner, error)
            else:
                table.errors.put(owner, None)
            reader.close()
        self._reads.record((table.rank, owner), reader.spots)
        self._store(owner, result)

    @abstractmethod
    def _store(self, owner: Owner, result: Result | None) -> None:
        """Put what `owner` now gives in the place of what it gave before; None if it gives nothing."""

    def _finish(self) -> None:
        """Called once after all owners have been stored."""


class Mapped(Computed[K, Given, V]):
    """One value per owner, under the same key."""

    def __init__(
        self,
        table: Table[K, V],
        reads: Reads,
        driver: Callable[[K], Given | None],
        compute: Callable[[K, Given, Reader], V | None],
    ) -> None:
        super().__init__(table, reads, driver, compute)
        self._values = table.values

    def _store(self, owner: K, result: V | None) -> None:
        self._values.put(owner, result)


class Flattened(Computed[Owner, Given, Mapping[K, V]]):
    """Any number of values per owner. Of owners that give the same key, the smallest has its way."""

    def __init__(
        self,
        table: Table[K, V],
        reads: Reads,
        driver: Callable[[Owner], Given | None],
        compute: Callable[[Owner, Given, Reader], Mapping[K, V]],
    ) -> None:
        def copied(owner: Owner, given: Given, read: Reader) -> dict[K, V]:
            # Copied during the call: a lazy mapping reads now or never.
            return {key: value for key, value in compute(owner, given, read).items() if value is not None}

        super().__init__(table, reads, driver, copied)
        self._values = table.values
        self._given: dict[Owner, Mapping[K, V]] = {}
        self._owners: dict[K, tuple[Owner, ...]] = {}

    def _store(self, owner: Owner, result: Mapping[K, V] | None) -> None:
        before = self._given.pop(owner, {})
        now = result or {}
        if now:
            self._given[owner] = now
        for key in before.keys() - now.keys():
            owners = self._owners[key]
            at = owners.index(owner)
            self._settle_owners(key, owners[:at] + owners[at + 1 :])
        for key in now:
            owners = self._owners.get(key, ())
            if key not in before:
                at = _place(owners, owner)
                owners = (*owners[:at], owner, *owners[at:])
            self._settle_owners(key, owners)

    def _settle_owners(self, key: K, owners: tuple[Owner, ...]) -> None:
        if owners:
            self._owners[key] = owners
            self._values.put(key, self._given[owners[0]][key])
        else:
            del self._owners[key]
            self._values.put(key, None)
        if len(owners) > 1:
            self.clashes[key] = owners
        else:
            self.clashes.pop(key, None)


class Grouped(Computed[Owner, Given, frozenset[K]]):
    """The owners that name a key, in order. Only members that changed are moved."""

    def __init__(
        self,
        table: Table[K, tuple[Owner, ...]],
        reads: Reads,
        driver: Callable[[Owner], Given | None],
        groups_of: Callable[[Owner, Given], Iterable[K]],
    ) -> None:
        super().__init__(table, reads, driver, lambda owner, given, _read: frozenset(groups_of(owner, given)))
        self._values = table.values
        self._groups: dict[Owner, frozenset[K]] = {}
        self._members: dict[K, list[Owner]] = {}
        self._moved: set[K] = set()

    def _store(self, owner: Owner, result: frozenset[K] | None) -> None:
        before = self._groups.pop(owner, frozenset())
        now = result or frozenset()
        if now:
            self._groups[owner] = now
        for group in before - now:
            members = self._members[group]
            del members[_place(members, owner)]
        for group in now - before:
            members = self._members.setdefault(group, [])
            members.insert(_place(members, owner), owner)
        self._moved |= before ^ now

    def _finish(self) -> None:
        for group in self._moved:
            members = self._members[group]
            if members:
                self._values.put(group, tuple(members))
            else:
                del self._members[group]
                self._values.put(group, None)
        self._moved.clear()


class Joined(Derived, Generic[K, V]):
    """The union of collections. Of those that have the same key, the first one named has its way."""

    def __init__(self, table: Table[K, V], parts: tuple[Collection[K, V], ...]) -> None:
        super().__init__(table)
        self._values = table.values
        self._parts = tuple(part.table for part in parts)

    def recompute(self) -> None:
        for marked in self._pending:
            key = cast("K", marked)  # as in Computed: only keys of the parts are marked here
            holders = tuple(part for part in self._parts if key in part.values.now)
            self._values.put(key, holders[0].values.now[key] if holders else None)
            if len(holders) > 1:
                self.clashes[key] = tuple(part.name for part in holders)
            else:
                self.clashes.pop(key, None)
        self._pending.clear()


def _place(ordered: Sequence[Owner], owner: Owner) -> int:
    """Where `owner` stands, or belongs, among `ordered`."""
    # Most keys have one owner, and None (the key of a singleton) is always the only one: nothing to compare.
    if not ordered or ordered[0] == owner:
        return 0
    return bisect_left(ordered, owner)  # type: ignore[no-any-return,call-overload]  # that keys are ordered is a rule of the room
