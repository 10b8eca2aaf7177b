"""Which resources proxies were told on demand, by the address that each answer depends on.

A proxy that dials a Pod's address asks once and keeps the answer. When mutual TLS begins or ends at that address, or
the address gets another Pod, the answer must be given again, or the proxy would go on with what was true before.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

__all__ = ["Dialled", "Key"]

Key = tuple[str, str]
"""A resource's type URL and name."""

SPARE = 1_000
"""How many that nobody wants any more may be kept, beside as many as were wanted when they were last looked at."""


class Dialled:
    """`wanted` tells whether any proxy still asks for a resource; what nobody asks for is forgotten in time."""

    def __init__(self, wanted: Callable[[Key], bool]) -> None:
        self._wanted = wanted
        self._keys: dict[str, set[Key]] = defaultdict(set)
        self._count = 0
        self._limit = SPARE

    def __len__(self) -> int:
        return self._count

    def note(self, address: str, key: Key) -> None:
        """The answer to `key` depends on what is at `address`."""
        if key in self._keys[address]:
            return
        self._keys[address].add(key)
        self._count += 1
        if self._count > self._limit:
            self._tidy()

    def take(self, address: str) -> frozenset[Key]:
        """What must be answered again since something else is at `address` now; noted anew when it is answered."""
        keys = self._keys.pop(address, set())
        self._count -= len(keys)
        return frozenset(filter(self._wanted, keys))

    def _tidy(self) -> None:
        left = {address: set(filter(self._wanted, keys)) for address, keys in self._keys.items()}
        self._keys = defaultdict(set, {address: keys for address, keys in left.items() if keys})
        self._count = sum(map(len, self._keys.values()))
        self._limit = 2 * self._count + SPARE
