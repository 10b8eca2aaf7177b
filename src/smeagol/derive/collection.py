"""Collections as code outside the graph sees them: read all of them, edit the sources."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from types import MappingProxyType
from typing import Generic, TypeVar

from smeagol.derive.table import AnyTable, Table

__all__ = ["AnyCollection", "Collection", "Source"]

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
V_co = TypeVar("V_co", covariant=True)

_THROUGH_READER = "use the Reader it was given, or the graph cannot know when to compute it again"
_FROM_OUTSIDE = "edit sources before settle, from outside"


class AnyCollection:
    """What can be said of a collection whatever its types: for logs, metrics and `Changes`.

    `table` is the graph's side of it; readers have no use for it.
    """

    __slots__ = ("table",)

    table: AnyTable

    def __init__(self, table: AnyTable) -> None:
        self.table = table

    @property
    def name(self) -> str:
        """Unique in its graph."""
        return self.table.name

    @property
    def recomputed(self) -> int:
        """How often its function has run."""
        return self.table.recomputed

    @property
    def errors(self) -> Mapping[Hashable, Exception]:
        """What its function raised, by the key it was called with (of the driving collection); a live view."""
        return MappingProxyType(self.table.errors.now)

    def __len__(self) -> int:
        return len(self.table.present())

    def __repr__(self) -> str:
        failing = f", {len(self.errors)} failing" if self.errors else ""
        # Values may be secret and keys may be many, so neither is shown.
        return f"<{type(self).__name__} {self.name!r}: {len(self)} values{failing}>"


class Collection(AnyCollection, Generic[K, V_co]):
    """Values by key, read only. Listings are in key order."""

    __slots__ = ()

    table: Table[K, V_co]

    def get(self, key: K) -> V_co | None:
        """The value of `key`, or None."""
        self._check()
        return self.table.values.now.get(key)

    def keys(self) -> tuple[K, ...]:
        self._check()
        return self.table.values.ordered()

    def items(self) -> tuple[tuple[K, V_co], ...]:
        self._check()
        values = self.table.values
        return tuple((key, values.now[key]) for key in values.ordered())

    def __contains__(self, key: object) -> bool:
        self._check()
        return key in self.table.values.now

    def _check(self) -> None:
        self.table.phase.refuse_while_settling(f"look into '{self.name}' itself", _THROUGH_READER)


class Source(Collection[K, V]):
    """A collection that is fed from outside. Setting an equal value changes nothing."""

    __slots__ = ()

    def set(self, key: K, value: V) -> None:
        """Give `key` its value; None, as everywhere, means absent."""
        self._check_edit()
        self.table.values.put(key, value)

    def delete(self, key: K) -> None:
        """Take `key` away; nothing happens if it is not there."""
        self._check_edit()
        self.table.values.put(key, None)

    def update(self, changes: Mapping[K, V | None]) -> None:
        """Set and delete as a source of events says it: None means that the key is gone."""
        self._check_edit()
        for key, value in changes.items():
            self.table.values.put(key, value)

    def replace(self, values: Mapping[K, V]) -> None:
        """Make `values` the whole content, as after a relist; only what differs counts as changed."""
        self._check_edit()
        for key in self.table.values.now.keys() - values.keys():
            self.table.values.put(key, None)
        for key, value in values.items():
            self.table.values.put(key, value)

    def _check_edit(self) -> None:
        self.table.phase.refuse_while_settling(f"edit '{self.name}'", _FROM_OUTSIDE)
