"""What is wrong with a manifest: where, why, and how to mend it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from smeagol.errors import sentence
from smeagol.refs import ObjectRef

__all__ = ["CODES", "Path", "Place", "Problem", "path_text"]

CODES: Mapping[str, str] = {
    "SMI-F001": "A file cannot be read",
    "SMI-F002": "A file is too large",
    "SMI-F003": "A text is not YAML that Kubernetes takes",
    "SMI-F004": "A key occurs twice",
    "SMI-F005": "A document is nested too deep",
    "SMI-F006": "A file holds too many values",
    "SMI-F007": "There are no manifests",
    "SMI-V001": "A document is no Kubernetes object",
    "SMI-V002": "A value is of the wrong type",
    "SMI-V003": "A field is missing",
    "SMI-V004": "A field is unknown",
    "SMI-V005": "A word is not one of those allowed",
    "SMI-V006": "A value is too long, too short, too large or too small",
    "SMI-V007": "An item occurs twice in a list",
    "SMI-V008": "A name in the metadata is not one that Kubernetes takes",
    "SMI-V009": "There is no such kind or version",
    "SMI-V010": "A manifest is of an early draft",
    "SMI-V011": "There are more problems than are shown",
    "SMI-L001": "The key of a label is not valid",
    "SMI-L002": "A label comparison has values it cannot have, or lacks them",
    "SMI-L003": "The value of a label is not valid",
    "SMI-M001": "A subject name is neither a DNS name nor a URI",
    "SMI-M002": "A subject name is an IP address",
    "SMI-C001": "A Canary names no root",
    "SMI-C002": "A Canary has no backend",
    "SMI-C003": "The root of a Canary is not the name of a Service",
    "SMI-C004": "A backend of a Canary is not the name of a Service",
    "SMI-C005": "A weight is negative",
    "SMI-C006": "A weight is not a quantity",
    "SMI-C007": "A backend of a Canary is its root",
    "SMI-C008": "All weights of a Canary are zero",
    "SMI-S001": "A metric label is not one that Prometheus lets one set",
    "SMI-S002": "The name of a container is not valid",
    "SMI-S003": "An environment variable has no source, or several",
    "SMI-S004": "An environment variable has both a value and a source",
    "SMI-P001": "The name of a controller is not valid",
    "SMI-P002": "The controller of a ProviderClass was changed",
    "SMI-P003": "The name of a ProviderClass is not valid",
    "SMI-P004": "A pattern for subject names fits none",
    "SMI-P005": "A rule for subject names does not say whose they are",
    "SMI-Q001": "A quantity is not one that Kubernetes takes",
    "SMI-D001": "A draft cannot be converted",
}
"""Every problem that manifests can have, by its stable code. Each has a page under `docs/problems/`."""

Path = tuple[str | int, ...]
"""Where in a document: keys and indexes, outermost first."""


def path_text(path: Path) -> str:
    """Write a path as the API server does: `spec.backends[1].weight`, and `labels[a.b/c]` for keys with a dot."""
    text = ""
    for step in (step if isinstance(step, int) or len(step) <= 80 else f"{step[:80]}…" for step in path):
        if isinstance(step, int) or any(mark in step for mark in "./[]"):
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
