"""Containers that Sidecars put into Pods: which a Pod is to have, and which it was made with.

A Pod tells the latter by an annotation, so that it can be seen whether it runs with those that are wanted now, and so
that they can be taken out again.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from smeagol import api
from smeagol.errors import SmeagolError

__all__ = [
    "ADDED_CONTAINERS",
    "AddedContainer",
    "AdditionError",
    "Mark",
    "added_containers",
    "marks_of",
    "marks_text",
    "taken_names",
]

ADDED_CONTAINERS: Final = "smeagol.dev/sidecar-containers"
"""Annotation of a Pod: `sidecar/container@digest` for each container that it has from a Sidecar, by commas."""

_MARK = re.compile(r"([a-z0-9.-]+)/([a-z0-9-]+)@([0-9a-f]{12})")


class AdditionError(SmeagolError):
    """A Sidecar's container does not fit into a Pod."""

    code = "SMI-I007"


@dataclass(frozen=True, slots=True, order=True)
class Mark:
    """A container in a Pod: the Sidecar of the Pod's namespace that it is from, and a digest of what that said."""

    sidecar: str
    container: str
    digest: str


@dataclass(frozen=True, slots=True)
class AddedContainer:
    """A container that a Pod is to have from a Sidecar of its namespace."""

    sidecar: str
    container: api.Container

    @property
    def mark(self) -> Mark:
        text = msgspec.json.encode(self.container, order="deterministic")
        return Mark(self.sidecar, self.container.name, hashlib.sha256(text).hexdigest()[:12])


def added_containers(sidecars: Iterable[tuple[str, Iterable[api.Container]]]) -> tuple[AddedContainer, ...]:
    """What Sidecars, the oldest first, put into one Pod. Of two containers of one name the oldest Sidecar's stands."""
    found: dict[str, AddedContainer] = {}
    for sidecar, containers in sidecars:
        for container in containers:
            found.setdefault(container.name, AddedContainer(sidecar, container))
    return tuple(found.values())


def taken_names(added: Iterable[AddedContainer], names: Iterable[str], where: str) -> tuple[AdditionError, ...]:
    """What is wrong with putting them beside containers of these names. `where`: the Pod, or the place in it."""
    taken = frozenset(names)
    return tuple(
        AdditionError(
            f"the Pod has a container of its own with the name of '{each.container.name}' of Sidecar {each.sidecar}",
            where=where,
            fix="Give the Sidecar's container another name, or let the Sidecar select other Pods",
        )
        for each in added
        if each.container.name in taken
    )


def marks_text(added: Iterable[AddedContainer]) -> str:
    """The value of the annotation."""
    marks = (each.mark for each in added)
    return ",".join(f"{mark.sidecar}/{mark.container}@{mark.digest}" for mark in marks)


def marks_of(annotations: Mapping[str, str]) -> frozenset[Mark]:
    """What a Pod says that it has. Anyone may write an annotation: what does not read is passed over."""
    return frozenset(_marks(annotations.get(ADDED_CONTAINERS, "")))


def _marks(text: str) -> Iterator[Mark]:
    for part in text.split(","):
        if (match := _MARK.fullmatch(part)) is not None:
            yield Mark(*match.groups())
