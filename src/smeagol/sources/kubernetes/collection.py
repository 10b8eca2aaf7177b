"""All objects of one kind as far as they are known, and how answers of the API server change them. No I/O.

Level-based: after a listing the store holds what the listing says, whatever it held before, and says what differs. An
object that vanished while nobody watched (a ghost) is so deleted like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeAlias, TypeVar

import msgspec

__all__ = ["Decoded", "Event", "Kind", "ObjectKey", "Store", "WatchError", "key_of", "reaches", "read_event"]

ObjectKey: TypeAlias = tuple[str, str]
"""(namespace, name); the namespace of a cluster-scoped object is empty."""


class _Metadata(Protocol):
    @property
    def namespace(self) -> str: ...
    @property
    def name(self) -> str: ...


class Decoded(Protocol):
    """What a store keeps: anything with metadata."""

    @property
    def metadata(self) -> _Metadata: ...


T = TypeVar("T", bound=Decoded)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind(Generic[T]):
    """One kind of objects on the API server: where it is served, and how its JSON becomes a value.

    `decode` raises ValueError (msgspec.ValidationError is one) for an object that it cannot read.
    """

    group_version: str
    plural: str
    decode: Callable[[bytes], T]

    @property
    def path(self) -> str:
        prefix = f"/apis/{self.group_version}" if "/" in self.group_version else f"/api/{self.group_version}"
        return f"{prefix}/{self.plural}"


class _ListMeta(msgspec.Struct, frozen=True, rename="camel"):
    resource_version: str = ""
    continue_: str = msgspec.field(default="", name="continue")


class Page(msgspec.Struct, frozen=True):
    """A page of a listing; `items` stay bytes until each is decoded on its own."""

    metadata: _ListMeta = _ListMeta()
    items: tuple[msgspec.Raw, ...] = ()


class _RawEvent(msgspec.Struct, frozen=True):
    type: str
    object: msgspec.Raw


class _Status(msgspec.Struct, frozen=True):
    code: int = 0
    reason: str = ""
    message: str = ""


class _Marks(msgspec.Struct, frozen=True, rename="camel"):
    resource_version: str = ""
    annotations: dict[str, str] = {}


class _Marked(msgspec.Struct, frozen=True):
    metadata: _Marks = _Marks()


@dataclass(frozen=True, slots=True)
class WatchError:
    """The API server ends a watch with a reason: 410 means that its history does not reach back so far."""

    code: int
    message: str


@dataclass(frozen=True, slots=True)
class Event:
    """One line of a watch: `ADDED`, `MODIFIED`, `DELETED` or `BOOKMARK`, with its object still as bytes."""

    type: str
    body: bytes = field(repr=False)
    resource_version: str
    ends_initial: bool = False
    """a bookmark that says: all that existed at the start has been sent (sendInitialEvents)"""


def read_event(line: bytes) -> Event | WatchError:
    """One line of a watch. Raises ValueError for a line that was cut off or is none of the API server's."""
    raw = msgspec.json.decode(line, type=_RawEvent)
    if raw.type == "ERROR":
        status = msgspec.json.decode(raw.object, type=_Status)
        return WatchError(status.code, status.message or status.reason)
    marks = msgspec.json.decode(raw.object, type=_Marked).metadata
    return Event(
        raw.type,
        bytes(raw.object),
        marks.resource_version,
        ends_initial=raw.type == "BOOKMARK" and marks.annotations.get("k8s.io/initial-events-end") == "true",
    )


class Store(Generic[T]):
    """Holds the objects; every change is returned as what differs (None: the object is gone)."""

    def __init__(self, kind: Kind[T]) -> None:
        self.kind = kind
        self.objects: dict[ObjectKey, T] = {}
        self.undecodable: dict[ObjectKey, str] = {}
        """objects that are there but cannot be read, with the reason; they keep their last good value"""

    def replace(self, bodies: Iterable[bytes]) -> Mapping[ObjectKey, T | None]:
        """Take over a whole listing."""
        found: dict[ObjectKey, T] = {}
        self.undecodable.clear()
        for body in bodies:
            key, value = self._decode(body)
            if value is not None:
                found[key] = value
        changed: dict[ObjectKey, T | None] = {
            key: value for key, value in found.items() if self.objects.get(key) != value
        }
        changed |= dict.fromkeys(self.objects.keys() - found.keys())
        self.objects = found
        return changed

    def apply(self, event: Event) -> Mapping[ObjectKey, T | None]:
        """Take over one event; an object that reads the same as before is no change."""
        if event.type == "BOOKMARK":
            return {}
        if event.type == "DELETED":
            key = key_of(event.body)
            self.undecodable.pop(key, None)
            return {key: None} if self.objects.pop(key, None) is not None else {}
        key, value = self._decode(event.body)
        if value is None or self.objects.get(key) == value:
            return {}
        self.objects[key] = value
        return {key: value}

    def _decode(self, body: bytes) -> tuple[ObjectKey, T | None]:
        """An object that cannot be read keeps its last good value: one fault stops nothing else."""
        key = key_of(body)
        try:
            value = self.kind.decode(body)
        except ValueError as error:
            self.undecodable[key] = str(error)
            return key, self.objects.get(key)
        self.undecodable.pop(key, None)
        return key, value


def reaches(version: str, write: str) -> bool:
    """Whether a state as of `version` knows of a write of that version, both of one kind of objects.

    Versions are decimal numbers that grow (KEP-5504); of a server whose are not, nothing is known.
    """
    return version.isdecimal() and write.isdecimal() and int(version) >= int(write)


class _Named(msgspec.Struct, frozen=True):
    namespace: str = ""
    name: str = ""


class _Object(msgspec.Struct, frozen=True):
    metadata: _Named = _Named()


def key_of(body: bytes) -> ObjectKey:
    """The name of an object, read without reading the rest."""
    metadata = msgspec.json.decode(body, type=_Object).metadata
    return metadata.namespace, metadata.name
