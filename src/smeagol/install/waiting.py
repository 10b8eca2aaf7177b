"""Waits for a cluster to get somewhere."""

from __future__ import annotations

import time
from collections.abc import Callable

from smeagol.errors import SmeagolError

__all__ = ["NotReadyError", "wait_for"]

_PAUSE_SECONDS = 0.25


class NotReadyError(SmeagolError):
    """The cluster did not get there in time."""

    code = "SMI-K115"


def wait_for(unmet: Callable[[], str], *, where: str, fix: str, seconds: float) -> None:
    """Ask until `unmet` has nothing more to say. Raises NotReadyError with the last that it said."""
    deadline = time.monotonic() + seconds
    while said := unmet():
        if time.monotonic() >= deadline:
            raise NotReadyError(f"{said} after {seconds:.0f} seconds", where=where, fix=fix)
        time.sleep(_PAUSE_SECONDS)
