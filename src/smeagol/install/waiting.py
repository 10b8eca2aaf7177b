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


def wait_for(
    unmet: Callable[[], str],
    *,
    where: str,
    fix: str,
    seconds: float,
    progress: Callable[[str], None] = lambda _: None,
) -> None:
    """Ask until `unmet` has nothing more to say; `progress` is told when it says something new.

    Raises NotReadyError with the last that it said.
    """
    deadline = time.monotonic() + seconds
    told = ""
    while said := unmet():
        if said != told:
            progress(said)
            told = said
        if time.monotonic() >= deadline:
            raise NotReadyError(f"{said} after {seconds:.0f} seconds", where=where, fix=fix)
        time.sleep(_PAUSE_SECONDS)
