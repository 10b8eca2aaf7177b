"""The one error of the test cluster: what is wrong, and how to mend it."""

from __future__ import annotations

__all__ = ["ClusterError"]


class ClusterError(Exception):
    """The cluster cannot be built, started or found. `fix` says what to do about it."""

    def __init__(self, what: str, *, fix: str = "") -> None:
        super().__init__(f"{what.rstrip('.')}. {fix}".strip())
