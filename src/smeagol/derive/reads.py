"""Who read what: the edges along which changes travel."""

from __future__ import annotations

from collections.abc import Hashable
from collections.abc import Set as AbstractSet
from enum import Enum
from typing import TypeVar

from smeagol.derive.collection import AnyCollection, Collection
from smeagol.derive.table import AnyTable, GraphError

__all__ = ["Reader", "Reads", "Spot", "Whole"]

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

Spot = tuple[int, Hashable]
"""A place for one value, filled or not: the rank of a collection, and a key (or a `Whole`).

As a reader, the same pair names the computation that a collection makes for one key of what drives it.
"""


class Whole(Enum):
    """Reading more than one key; members stand where a key stands, and equal none."""

    KEYS = "keys"
    ITEMS = "items"


class Reads:
    """Both directions of "this computation read that spot". Nothing is kept for readers that read nothing."""

    __slots__ = ("_readers", "_spots")

    def __init__(self) -> None:
        self._spots: dict[Spot, AbstractSet[Spot]] = {}
        self._readers: dict[Spot, set[Spot]] = {}

    def record(self, reader: Spot, spots: AbstractSet[Spot]) -> None:
        """`reader` has just read `spots`, and whatever it read before no longer counts."""
        before = self._spots.get(reader, frozenset())
        for spot in before - spots:
            readers = self._readers[spot]
            readers.discard(reader)
            if not readers:
                del self._readers[spot]
        for spot in spots - before:
            self._readers.setdefault(spot, set()).add(reader)
        if spots:
            self._spots[reader] = spots
        elif before:
            del self._spots[reader]

    def readers(self, spot: Spot) -> AbstractSet[Spot]:
        return self._readers.get(spot, frozenset())

    def __len__(self) -> int:
        """How many edges there are."""
        return sum(map(len, self._readers.values()))


class Reader:
    """How a function looks into other collections: what it reads here makes it run again.

    Valid for the one call it was made for. Every method raises GraphError for a collection that was not created
    before the one that is being computed, or that belongs to another graph.
    """

    __slots__ = ("_open", "_table", "spots")

    def __init__(self, table: AnyTable) -> None:
        self._table = table
        self._open = True
        self.spots: set[Spot] = set()

    def get(self, collection: Collection[K, V], key: K) -> V | None:
        """The value of `key`, or None; either way the caller depends on it."""
        self._note(collection, key)
        return collection.table.values.now.get(key)

    def keys(self, collection: Collection[K, V]) -> tuple[K, ...]:
        """All keys in order. The caller runs again whenever one is added or removed, so prefer `get` and groups."""
        self._note(collection, Whole.KEYS)
        return collection.table.values.ordered()

    def items(self, collection: Collection[K, V]) -> tuple[tuple[K, V], ...]:
        """Everything, in key order. The caller runs again on any change, so prefer `get` and groups."""
        self._note(collection, Whole.ITEMS)
        values = collection.table.values
        return tuple((key, values.now[key]) for key in values.ordered())

    def close(self) -> None:
        self._open = False

    def _note(self, collection: AnyCollection, key: Hashable) -> None:
        read = collection.table
        if read.phase is not self._table.phase:
            raise GraphError(f"'{self._table.name}' may not read '{read.name}': it belongs to another graph")
        if read.rank >= self._table.rank:
            raise GraphError(
                f"'{self._table.name}' may not read '{read.name}': a collection reads only those created before it; "
                f"create '{read.name}' first"
            )
        if not self._open:
            raise GraphError(f"a Reader of '{self._table.name}' was kept after the call it was made for")
        self.spots.add((read.rank, key))
