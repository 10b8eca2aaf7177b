"""How much of a node a proxy may use, and how that is written: by an installation for all, by a Pod for its own."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from smeagol.quantity import Quantity, QuantityError

__all__ = ["CURES", "ProxySize"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxySize:
    """What the proxy's container asks for and may use, as Kubernetes quantities (empty: not said), and its worker
    threads. The defaults are for where nobody says otherwise.
    """

    cpu_request: str = "20m"
    cpu_limit: str = "2"
    memory_request: str = "64Mi"
    memory_limit: str = "1Gi"
    concurrency: int = 2

    def changed(self, field: str, text: str) -> ProxySize:
        """With one field as `text` says. Raises ValueError with what it is not; CURES has how it is written."""
        in_threads = field == "concurrency"
        if in_threads and not re.fullmatch("[1-9][0-9]{0,2}", text):
            raise ValueError("a number of threads")
        if not in_threads and _nanos(text) <= 0:
            raise ValueError("a quantity above zero")
        change: dict[str, Any] = {field: int(text) if in_threads else text}
        return replace(self, **change)

    def excesses(self) -> Iterator[tuple[str, str]]:
        """`cpu`, `memory`: of which more is asked for than may be used, which no API server takes; and in words."""
        for what, request, limit in (
            ("cpu", self.cpu_request, self.cpu_limit),
            ("memory", self.memory_request, self.memory_limit),
        ):
            if limit and _nanos(request) > _nanos(limit):
                yield what, f"a proxy would ask for more {what} ({request}) than it may use ({limit})"

    def resources(self) -> dict[str, dict[str, str]]:
        """As the container has it (core/v1 ResourceRequirements)."""
        sides = {
            "requests": {"cpu": self.cpu_request, "memory": self.memory_request},
            "limits": {"cpu": self.cpu_limit, "memory": self.memory_limit},
        }
        stated = {side: {name: said for name, said in both.items() if said} for side, both in sides.items()}
        return {side: both for side, both in stated.items() if both}


_CPU_CURE = "Write it as for any container, as in '100m' or '2'"
_MEMORY_CURE = "Write it as for any container, as in '64Mi'"
CURES: Final[Mapping[str, str]] = {
    "cpu_request": _CPU_CURE,
    "cpu_limit": _CPU_CURE,
    "memory_request": _MEMORY_CURE,
    "memory_limit": _MEMORY_CURE,
    "concurrency": "Write a whole number from 1 to 999",
}
"""By the fields of ProxySize."""


def _nanos(text: str) -> int:
    try:
        return Quantity.parse(text).nanos
    except QuantityError:
        return 0
