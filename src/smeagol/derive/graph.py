"""The graph: where collections are created, and where a change is carried to all that depends on it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar, cast

from smeagol.derive.collection import AnyCollection, Collection, Source
from smeagol.derive.derived import Derived, Flattened, Grouped, Joined, Mapped
from smeagol.derive.reads import Reader, Reads, Whole
from smeagol.derive.table import GraphError, News, Phase, Table

__all__ = ["Changes", "Clash", "Failure", "Graph"]

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
K2 = TypeVar("K2", bound=Hashable)
V2 = TypeVar("V2")


@dataclass(frozen=True, slots=True)
class Failure:
    """The function of `collection` raised `error` when called for `key` of the driving collection."""

    collection: AnyCollection
    key: Hashable
    error: Exception


@dataclass(frozen=True, slots=True)
class Clash:
    """`key` of `collection` is given by more than one; the value is that of the first.

    Owners are keys of the driving collection, smallest first; in a join, names of collections in the order given.
    """

    collection: AnyCollection
    key: Hashable
    owners: tuple[Hashable, ...]


class Changes:
    """What one settle changed: `changes[collection]` are the keys added, updated or removed, often none.

    Iterates over the collections that changed, in order of creation. `failures` began to fail, or fail differently;
    `recovered` no longer fail, be it that they have a value again or that their key is gone. False if nothing changed.
    """

    __slots__ = ("_keys", "failures", "recovered")

    def __init__(
        self,
        keys: Mapping[AnyCollection, frozenset[Hashable]],
        failures: tuple[Failure, ...],
        recovered: tuple[Failure, ...],
    ) -> None:
        self._keys = keys
        self.failures = failures
        self.recovered = recovered

    def __getitem__(self, collection: Collection[K, V]) -> frozenset[K]:
        # The keys came out of this very collection's table, whose type is lost in the mapping.
        return cast("frozenset[K]", self._keys.get(collection, frozenset()))

    def __contains__(self, collection: object) -> bool:
        return collection in self._keys

    def __iter__(self) -> Iterator[AnyCollection]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)

    def __bool__(self) -> bool:
        return bool(self._keys or self.failures or self.recovered)

    def __repr__(self) -> str:
        counts = [f"{collection.name} {len(keys)}" for collection, keys in self._keys.items()]
        counts += [f"{len(self.failures)} failing"] if self.failures else []
        counts += [f"{len(self.recovered)} recovered"] if self.recovered else []
        return f"<Changes: {', '.join(counts) or 'none'}>"


class Graph:
    """Sources, and collections derived from them. Names are unique; each method below creates one collection.

    A collection may be added at any time between settles, and has its values after the next one.
    """

    def __init__(self) -> None:
        self._phase = Phase()
        self._reads = Reads()
        self._collections: list[AnyCollection] = []
        self._derived: dict[int, Derived] = {}
        self._followers: dict[int, list[Derived]] = {}

    def source(self, name: str) -> Source[K, V]:
        """A collection that is fed from outside; annotate the variable with its types."""
        source: Source[K, V] = Source(self._table(name))
        self._collections.append(source)
        return source

    def map(
        self, name: str, driver: Collection[K, V], compute: Callable[[K, V, Reader], V2 | None]
    ) -> Collection[K, V2]:
        """At most one value for each key of `driver`, under that key; None for no entry."""
        self._check_driver(name, driver)
        table: Table[K, V2] = self._table(name)
        return self._add(table, Mapped(table, self._reads, driver.table.values.now.get, compute), driver)

    def flatten(
        self, name: str, driver: Collection[K, V], compute: Callable[[K, V, Reader], Mapping[K2, V2]]
    ) -> Collection[K2, V2]:
        """Any number of entries for each key of `driver`. Two that give the same key are one of `clashes`."""
        self._check_driver(name, driver)
        table: Table[K2, V2] = self._table(name)
        return self._add(table, Flattened(table, self._reads, driver.table.values.now.get, compute), driver)

    def group(
        self, name: str, driver: Collection[K, V], groups_of: Callable[[K, V], Iterable[K2]]
    ) -> Collection[K2, tuple[K, ...]]:
        """The keys of `driver` by the groups they name, members in order; a group without members has no entry."""
        self._check_driver(name, driver)
        table: Table[K2, tuple[K, ...]] = self._table(name)
        return self._add(table, Grouped(table, self._reads, driver.table.values.now.get, groups_of), driver)

    def join(self, name: str, *parts: Collection[K, V]) -> Collection[K, V]:
        """All entries of `parts`. A key that several have is one of `clashes`."""
        for part in parts:
            self._check_driver(name, part)
        table: Table[K, V] = self._table(name)
        return self._add(table, Joined(table, parts), *parts)

    def value(self, name: str, compute: Callable[[Reader], V | None]) -> Collection[None, V]:
        """A single value, computed from what it reads alone; its key is None."""
        table: Table[None, V] = self._table(name)

        def always(_key: None) -> bool:
            return True

        single: Mapped[None, bool, V] = Mapped(table, self._reads, always, lambda _key, _given, read: compute(read))
        single.mark((None,))
        return self._add(table, single)

    def settle(self) -> Changes:
        """Compute what depends on anything that changed since the last settle, and say what came of it."""
        self._phase.refuse_while_settling("settle the graph", "settle it from outside")
        changed: dict[AnyCollection, frozenset[Hashable]] = {}
        failures: list[Failure] = []
        recovered: list[Failure] = []
        self._phase.settling = True
        try:
            for collection in self._collections:
                table = collection.table
                if table.rank in self._derived:
                    self._derived[table.rank].recompute()
                news = table.take()
                if news.keys:
                    changed[collection] = news.keys
                    self._tell(table.rank, news)
                for key, before in table.errors.take().items():
                    if key in table.errors.now:
                        failures.append(Failure(collection, key, table.errors.now[key]))
                    elif before is not None:
                        recovered.append(Failure(collection, key, before))
        finally:
            self._phase.settling = False
        return Changes(changed, tuple(failures), tuple(recovered))

    @property
    def collections(self) -> tuple[AnyCollection, ...]:
        """All of them, in order of creation."""
        return tuple(self._collections)

    @property
    def failures(self) -> tuple[Failure, ...]:
        """All that fail as of the last settle, in order of collection and key."""
        return tuple(
            Failure(collection, key, collection.table.errors.now[key])
            for collection in self._collections
            for key in collection.table.errors.ordered()
        )

    @property
    def clashes(self) -> tuple[Clash, ...]:
        """All keys that are given twice as of the last settle, in order of collection and key."""
        return tuple(
            Clash(self._collections[rank], key, derived.clashes[key])
            for rank, derived in self._derived.items()
            # Keys of one collection are ordered among themselves (rule of the room), which Hashable cannot say.
            for key in sorted(derived.clashes)  # type: ignore[type-var]
        )

    def __repr__(self) -> str:
        return f"<Graph: {len(self._collections)} collections, {len(self._reads)} reads>"

    def _table(self, name: str) -> Table[K, V]:
        self._phase.refuse_while_settling(f"create the collection '{name}'", "create it from outside")
        if any(name == collection.name for collection in self._collections):
            raise GraphError(f"the graph already has a collection '{name}'; names are for logs and metrics, so unique")
        return Table(name, len(self._collections), self._phase)

    def _check_driver(self, name: str, driver: AnyCollection) -> None:
        if driver.table.phase is not self._phase:
            raise GraphError(f"'{name}' may not be computed from '{driver.name}': it belongs to another graph")

    def _add(self, table: Table[K, V], derived: Derived, *drivers: AnyCollection) -> Collection[K, V]:
        collection: Collection[K, V] = Collection(table)
        self._collections.append(collection)
        self._derived[table.rank] = derived
        for driver in drivers:
            self._followers.setdefault(driver.table.rank, []).append(derived)
            derived.mark(driver.table.present())
        return collection

    def _tell(self, rank: int, news: News) -> None:
        """Mark what is computed from the keys in `news`; all of it comes later in this settle."""
        for follower in self._followers.get(rank, ()):
            follower.mark(news.keys)
        wholes = (Whole.ITEMS, Whole.KEYS) if news.resized else (Whole.ITEMS,)
        for key in (*news.keys, *wholes):
            for reader_rank, owner in self._reads.readers((rank, key)):
                self._derived[reader_rank].mark((owner,))
