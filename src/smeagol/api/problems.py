"""What is wrong with a manifest: where, why, and how to mend it."""

from __future__ import annotations

from dataclasses import dataclass, field

from smeagol.errors import sentence
from smeagol.refs import ObjectRef

__all__ = ["Path", "Place", "Problem", "path_text"]

Path = tuple[str | int, ...]
"""Where in a document: keys and indexes, outermost first."""


def path_text(path: Path) -> str:
    """Write a path as the API server does: `spec.backends[1].weight`, and `labels[a.b/c]` for keys with a dot."""
    text = ""
    for step in path:
        if isinstance(step, int) or not step.replace("-", "").replace("_", "").isalnum():
            text += f"[{step}]"
        else:
            text += f".{step}" if text else step
    return text


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Place:
    """Where in which file; lines count from 1, and 0 means that it is not known."""

    file: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One problem of one object or file. Its text is the same on all surfaces."""

    code: str
    what: str
    fix: str = ""
    place: Place
    object: ObjectRef | None = None
    path: Path = field(default=())

    @property
    def field(self) -> str:
        return path_text(self.path)

    def __str__(self) -> str:
        parts = (str(self.object) if self.object else "", self.field)
        where = ", ".join(part for part in parts if part)
        return f"{self.place}: {where + ': ' if where else ''}{sentence(self.what, self.fix)} [{self.code}]"
