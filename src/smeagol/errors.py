"""The errors a person can act on: what happened, where, and how to mend it.

Every problem Smeagol reports, in the CLI, in an admission denial, in a condition's message and in the logs, is
one of these and reads the same everywhere. `code` is stable and has a page under `docs/problems/`.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = ["SmeagolError", "sentence"]


def sentence(what: str, fix: str = "") -> str:
    """Join cause and cure into the one text that all surfaces show: two sentences."""
    parts = (what, f"{fix[0].upper()}{fix[1:]}" if fix else "")
    return " ".join(part if part.endswith("?") else f"{part.rstrip('.')}." for part in parts if part)


class SmeagolError(Exception):
    """Base of all errors that reach a user.

    `what` says what is wrong, `where` names the object and field path (or the file, or the address), `fix` says
    what to do about it. Subclasses set `code`, for example `SMI-C002`.
    """

    code: ClassVar[str] = "SMI-X000"

    def __init__(self, what: str, *, where: str = "", fix: str = "") -> None:
        super().__init__(what, where, fix)
        self.what = what
        self.where = where
        self.fix = fix

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        return f"{place}{sentence(self.what, self.fix)} [{self.code}]"
