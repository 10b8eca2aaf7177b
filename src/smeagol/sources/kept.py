"""How standalone mode keeps its objects, so that a change costs what it changes: old values, and labels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Generic, TypeVar

from smeagol.sources.addresses import Key

__all__ = ["ByLabel", "Kept"]

T = TypeVar("T")


class Kept(Generic[T]):
    """Objects by key, and which of them differ from when that was last asked."""

    def __init__(self) -> None:
        self._now: dict[Key, T] = {}
        self._before: dict[Key, T | None] = {}
        self.now: Mapping[Key, T] = MappingProxyType(self._now)
        """a live view"""

    def put(self, key: Key, value: T | None) -> bool:
        """None: it is gone. False if nothing has changed."""
        old = self._now.get(key)
        if old == value:
            return False
        self._before.setdefault(key, old)
        if value is None:
            del self._now[key]
        else:
            self._now[key] = value
        return True

    def changes(self) -> dict[Key, T | None]:
        """What differs from the last call; None means it is gone. What was changed and changed back does not differ."""
        before, self._before = self._before, {}
        return {key: self._now.get(key) for key, old in before.items() if self._now.get(key) != old}


class ByLabel:
    """Keys by their namespace and one label at a time."""

    def __init__(self) -> None:
        self._keys: defaultdict[tuple[str, str, str], set[Key]] = defaultdict(set)

    def move(self, key: Key, old: Iterable[tuple[str, str]], new: Iterable[tuple[str, str]]) -> None:
        """The labels of `key` were `old` and are `new`."""
        for label in old:
            self._keys[key[0], *label].discard(key)
            if not self._keys[key[0], *label]:
                del self._keys[key[0], *label]
        for label in new:
            self._keys[key[0], *label].add(key)

    def having(self, namespace: str, label: tuple[str, str]) -> frozenset[Key]:
        return frozenset(self._keys.get((namespace, *label), ()))
