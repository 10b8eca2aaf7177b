"""The wanted state of all proxies. Synchronous, single-threaded, without I/O: one `update` is one step for everybody.

The cost of an update grows with what it changes and with the streams concerned, never with what there is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from smeagol.refs import NodeId
from smeagol.xds.acks import Acks
from smeagol.xds.collection import Collection, members
from smeagol.xds.errors import MalformedResource
from smeagol.xds.resource import Entry, Resource
from smeagol.xds.stats import Stats
from smeagol.xds.subscription import Subscription

__all__ = ["Cache", "Key", "NodeUpdate"]

Key = tuple[str, str]
"""A resource's type URL and name."""


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class NodeUpdate:
    """A change of what one proxy alone gets. A key that is both removed and put is put."""

    put: tuple[Resource, ...] = ()
    remove: tuple[Key, ...] = ()


class Stream(Protocol):
    """A session, as the cache sees it."""

    @property
    def node(self) -> NodeId: ...

    @property
    def wake(self) -> Callable[[], None]: ...


class Cache:
    """All resources, by type and name, shared or of one node; a node's own hides the shared one of its name.

    `fallback` is asked for resources that somebody names and that are not here; what it returns is sent and counts
    as long as nothing is put under that name. `clock` gives the time that refusals are recorded with.
    """

    def __init__(
        self,
        *,
        fallback: Callable[[str, str], Resource | None] | None = None,
        clock: Callable[[], datetime] = _utc_now,
    ) -> None:
        self.clock = clock
        self.stats = Stats()
        self.acks = Acks(self)
        self.version = 0
        """Counts the updates that changed something. For people who debug; says nothing across restarts."""
        self._fallback = fallback
        self._collections: dict[str, Collection] = {}
        self._streams: dict[int, Stream] = {}
        self._nodes: dict[NodeId, int] = {}  # connected as which streams, a bit each
        self._free: list[int] = []

    def update(
        self,
        *,
        shared: Iterable[Resource] = (),
        remove_shared: Iterable[Key] = (),
        nodes: Mapping[NodeId, NodeUpdate] | None = None,
        remove_nodes: Iterable[NodeId] = (),
    ) -> frozenset[Key]:
        """Apply a batch of changes in one step and wake the streams that they concern.

        What is both removed and given is given. Equal bytes are no change. Returns the keys that really changed, for
        everybody or for a node. Raises MalformedResource, and changes nothing, if a resource has no usable name.
        """
        shared_steps: dict[Key, Entry | None] = dict.fromkeys(remove_shared)
        shared_steps.update(_entries(shared))
        own_steps: dict[NodeId, dict[Key, Entry | None]] = {}
        for node in remove_nodes:
            own_steps[node] = {
                (c.type_url, name): None for c in self._collections.values() for name in c.own_names(node)
            }
        for node, update in (nodes or {}).items():
            steps = own_steps.setdefault(node, {})
            steps.update(dict.fromkeys(update.remove))
            steps.update(_entries(update.put))

        changed: set[Key] = set()
        owners: set[NodeId] = set()
        concerned = 0
        for key, entry in shared_steps.items():
            streams = self.collection(key[0]).set_shared(key[1], entry)
            if streams is not None:
                changed.add(key)
                concerned |= streams
        for node, steps in own_steps.items():
            connected = self._nodes.get(node, 0)
            for key, entry in steps.items():
                streams = self.collection(key[0]).set_own(node, key[1], entry, connected)
                if streams is not None:
                    changed.add(key)
                    owners.add(node)
                    concerned |= streams
        if changed:
            self.version += 1
            self.stats.updates += 1
            self.acks.changed(changed, owners)
            for stream in members(concerned):
                self._streams[stream].wake()
        return frozenset(changed)

    def version_of(self, type_url: str, name: str, node: NodeId | None = None) -> str | None:
        """The version that `node` should have under this name (None: one without resources of its own)."""
        collection = self.find(type_url)
        entry = collection.named(node or NodeId(""), name) if collection else self._fall_back(type_url, name)
        return None if entry is None else entry.version

    @property
    def sizes(self) -> dict[str, int]:
        """Number of resources by type."""
        return {collection.type_url: collection.size for collection in self._collections.values() if collection.size}

    # For sessions and for what observes them.

    def find(self, type_url: str) -> Collection | None:
        """The collection of a type that has resources or subscribers."""
        return self._collections.get(type_url)

    def subscriptions(self, stream: int) -> tuple[Subscription, ...]:
        """What a stream has asked for."""
        return tuple(c.readers[stream] for c in self._collections.values() if stream in c.readers)

    def collection(self, type_url: str) -> Collection:
        collection = self._collections.get(type_url)
        if collection is None:
            collection = self._collections[type_url] = Collection(
                type_url, lambda name: self._fall_back(type_url, name)
            )
        return collection

    def _fall_back(self, type_url: str, name: str) -> Entry | None:
        resource = self._fallback(type_url, name) if self._fallback is not None else None
        return None if resource is None else Entry.of(resource)

    def attach(self, stream: Stream) -> int:
        """Make a stream known; returns its number, which is reused after `detach`."""
        number = self._free.pop() if self._free else len(self._streams)
        self._streams[number] = stream
        self._nodes[stream.node] = self._nodes.get(stream.node, 0) | 1 << number
        self.acks.opened(number, stream.node, self.clock())
        return number

    def detach(self, number: int, types: Iterable[str]) -> None:
        """Forget a stream that has ended, and the types that nothing else knows."""
        node = self._streams.pop(number).node
        self._free.append(number)
        left = self._nodes[node] & ~(1 << number)
        if left:
            self._nodes[node] = left
        else:
            del self._nodes[node]
        for type_url in types:
            if self._collections[type_url].idle:
                del self._collections[type_url]
        self.acks.closed(number, node)


def _entries(resources: Iterable[Resource]) -> dict[Key, Entry | None]:
    entries: dict[Key, Entry | None] = {}
    for resource in resources:
        if not resource.type_url or not resource.name or resource.name == "*":
            raise MalformedResource(
                f"a resource cannot be of type {resource.type_url!r} and have the name {resource.name!r}",
                fix="give it a type URL, and a name other than '*', which means all",
            )
        entries[resource.type_url, resource.name] = Entry.of(resource)
    return entries
