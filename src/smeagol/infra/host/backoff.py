"""When a container that ended is started again (Kubernetes: Pod lifecycle, container restarts). Pure."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Backoff"]


@dataclass(slots=True, kw_only=True)
class Backoff:
    """At once after the first end, then after `base_seconds`, doubling up to `most_seconds`.

    A container that ran for twice `most_seconds` starts from the beginning.
    """

    base_seconds: float = 10
    most_seconds: float = 300
    _next: float = 0

    def after(self, ran_seconds: float) -> float:
        """How long to wait before the next start, after a run of this length."""
        if ran_seconds > 2 * self.most_seconds:
            self._next = 0
        delay = self._next
        self._next = min(self.most_seconds, delay * 2) if delay else self.base_seconds
        return delay
