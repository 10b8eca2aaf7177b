"""What the graph keeps of one collection: its values, its errors, and which of them changed since the last settle."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

__all__ = ["AnyTable", "GraphError", "News", "Phase", "Table", "Tracked"]

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class GraphError(RuntimeError):
    """The graph is wired or used wrongly: a mistake in the code that builds it, never in a user's objects."""


class Phase:
    """Whether the graph is computing now; one per graph, shared by all its collections."""

    __slots__ = ("settling",)

    def __init__(self) -> None:
        self.settling = False

    def refuse_while_settling(self, deed: str, instead: str) -> None:
        """Raise GraphError if called, directly or not, by a function that the graph is computing."""
        if self.settling:
            raise GraphError(f"a derived collection's function may not {deed}; {instead}")


def _equal(one: object, other: object) -> bool:
    return one == other


def _same_error(one: Exception, other: Exception) -> bool:
    """Exceptions compare by identity, but the same complaint raised again is no news."""
    return type(one) is type(other) and one.args == other.args


class Tracked(Generic[K, V]):
    """A dictionary that knows how its keys stood when they were last asked for with `take`.

    There and back again between two takes is no change, and an equal value leaves the old object in place.
    """

    __slots__ = ("_before", "_ordered", "_same", "now")

    def __init__(self, same: Callable[[V, V], bool] = _equal) -> None:
        self.now: dict[K, V] = {}
        self._before: dict[K, V | None] = {}
        self._ordered: tuple[K, ...] | None = ()
        self._same = same

    def put(self, key: K, value: V | None) -> None:
        """Give `key` its value; None takes it away."""
        old = self.now.get(key)
        if self._alike(old, value):
            return
        self._before.setdefault(key, old)
        if value is None:
            del self.now[key]
        else:
            self.now[key] = value
        if old is None or value is None:
            self._ordered = None

    def take(self) -> dict[K, V | None]:
        """The keys that changed since the last take, each with its value of then (None: it had none)."""
        before, self._before = self._before, {}
        return {key: old for key, old in before.items() if not self._alike(old, self.now.get(key))}

    def ordered(self) -> tuple[K, ...]:
        """All keys in order; sorted again only after the key set has changed."""
        if self._ordered is None:
            # None, the only key of a singleton, has no order and needs none; so K cannot be bound to one.
            self._ordered = tuple(sorted(self.now))  # type: ignore[type-var]  # ordered keys are a rule of the room
        return self._ordered

    def _alike(self, one: V | None, other: V | None) -> bool:
        return one is other or (one is not None and other is not None and self._same(one, other))


@dataclass(frozen=True, slots=True)
class News:
    """The keys of a collection whose value changed; `resized` if one of them was added or removed."""

    keys: frozenset[Hashable]
    resized: bool


class AnyTable(ABC):
    """A table whose types of key and value do not matter."""

    def __init__(self, name: str, rank: int, phase: Phase) -> None:
        self.name = name
        self.rank = rank
        """How many collections of the graph were created before this one."""
        self.phase = phase
        self.errors: Tracked[Hashable, Exception] = Tracked(_same_error)
        self.recomputed = 0

    @abstractmethod
    def take(self) -> News:
        """What changed since the last call."""

    @abstractmethod
    def present(self) -> Collection[Hashable]:
        """The keys that have a value."""


class Table(AnyTable, Generic[K, V]):
    """The values and errors of one collection."""

    def __init__(self, name: str, rank: int, phase: Phase) -> None:
        super().__init__(name, rank, phase)
        self.values: Tracked[K, V] = Tracked()

    def take(self) -> News:
        changed = self.values.take()
        resized = any(before is None or key not in self.values.now for key, before in changed.items())
        return News(frozenset(changed), resized)

    def present(self) -> Collection[Hashable]:
        return self.values.now.keys()
