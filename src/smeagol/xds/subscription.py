"""What one stream wants of one type, what it still lacks, and what it has refused: state, no sockets, no tasks.

At most one response per type waits for its answer. What changes meanwhile is not queued but looked up when the
proxy is ready again, so a slow proxy costs no memory and gets only the newest state.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from functools import cached_property
from typing import Any, ClassVar

from smeagol.refs import NodeId
from smeagol.xds.collection import Collection
from smeagol.xds.refusal import mentioned, parts, reason
from smeagol.xds.resource import Entry

__all__ = ["Batch", "PartialSubscription", "Rejection", "Standing", "Subscription", "WorldSubscription"]

REMOVALS_LIMIT = 50_000
"""Removed names kept for a proxy that does not answer; beyond them it must reconnect and say what it has."""


class Standing(Enum):
    """How far a proxy is with one resource."""

    CURRENT = "current"
    LAGGING = "lagging"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Rejection:
    """A version that the proxy refused, and why. It is not sent again until there is another version."""

    version: str  # empty: the removal was refused
    message: str
    time: datetime


@dataclass(frozen=True)
class Batch:
    """Part of the wanted state, to be sent as one response. `name in batch` costs the same however large it is."""

    entries: Sequence[Entry]
    removed: Sequence[str] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return (*(entry.name for entry in self.entries), *self.removed)

    def __contains__(self, name: str) -> bool:
        return name in self._found

    @cached_property
    def _found(self) -> frozenset[str]:
        return frozenset(self.names)


class Subscription:
    """One type on one stream of the delta variant."""

    response_bytes: ClassVar = 2_000_000
    """A response is cut here: gRPC clients refuse messages of more than 4 MiB unless told otherwise."""

    tells_absence: ClassVar = True
    """Whether a response can say that there is no resource of some name."""

    __slots__ = (
        "_asked",
        "_dirty",
        "_greet",
        "_probes",
        "_removals",
        "_seen",
        "awaited",
        "collection",
        "dropped",
        "lingers",
        "lost",
        "named",
        "node",
        "rejected",
        "stream",
        "wildcard",
    )

    def __init__(self, collection: Collection, node: NodeId, stream: int) -> None:
        self.collection = collection
        self.node = node
        self.stream = stream
        self.wildcard = False
        self.named = 0  # how many names the client has asked for
        self.awaited: Batch | None = None  # sent, not answered
        self.rejected: dict[str, Rejection] = {}
        self.dropped: tuple[str, ...] = ()  # the proxy lacked them, and nothing needs to be sent: nobody will answer
        self.lingers = False  # what is to be removed may still serve for a while, and is not waited for
        self.lost = False  # too far behind to be brought up to date
        self._seen = collection.generation  # changes of shared resources up to here are in the sets below
        self._asked: dict[str, None] = {}  # must be answered whatever the proxy has; insertion order, like those below
        self._dirty: dict[str, None] = {}  # the proxy may have another version
        self._removals: dict[str, None] = {}  # the proxy may still have it
        self._probes: list[tuple[str, ...]] = []  # parts of a refused response, to find the bad resource
        self._greet = False  # an empty response is due, so that a proxy knows that there is nothing
        collection.readers[stream] = self

    # What the client asks for.

    def want_all(self, known: Mapping[str, str]) -> None:
        """Subscribe to the wildcard; `known` is what the client has, name to version. All else is sent, also again."""
        self.wildcard = True
        self.collection.wildcards |= 1 << self.stream
        self._greet = True
        self.catch_up()
        for entry in self.collection.wildcard(self.node):
            if known.get(entry.name) != entry.version:
                self._dirty[entry.name] = None
        for name in known:
            if self.entry(name) is None:
                self._removals[name] = None

    def want(self, names: Iterable[str], known: Mapping[str, str]) -> None:
        """Subscribe to `names`. Each is answered even if it was sent before: the client may have forgotten it
        (xDS protocol, Subscribing to Resources); except those that it says it has, in the version it would get."""
        for name in names:
            self.named += self.collection.watch(name, self.stream)
            has = known.get(name)
            if has is not None and (entry := self.entry(name)) is not None and entry.version == has:
                continue
            self._asked[name] = None

    def forget(self, names: Iterable[str]) -> None:
        """Unsubscribe from `names`. If a wildcard remains, the client needs to hear whether it still includes them
        (xDS protocol, Unsubscribing from Resources)."""
        for name in names:
            if not self.collection.unwatch(name, self.stream):
                continue
            self.named -= 1
            if self.wildcard:
                self._asked[name] = None
                continue
            for state in (self._asked, self._dirty, self._removals, self.rejected):
                state.pop(name, None)

    def forget_all(self) -> None:
        """Unsubscribe from the wildcard; names asked for stay."""
        self.wildcard = False
        self.collection.wildcards &= ~(1 << self.stream)
        self._greet = False
        states: tuple[dict[str, Any], ...] = (self._dirty, self._removals, self.rejected)
        for state in states:
            for name in [name for name in state if not self.names(name)]:
                del state[name]

    @property
    def load(self) -> int:
        """How many names this stream makes the server remember."""
        return max(self.named, len(self._asked))

    def names(self, name: str) -> bool:
        """Whether the client has asked for `name` itself."""
        return bool(self.collection.watchers.get(name, 0) & 1 << self.stream)

    def entry(self, name: str) -> Entry | None:
        """What the proxy should have under `name`; None if nothing, or if it has not asked."""
        if self.named and self.names(name):
            return self.collection.named(self.node, name)
        return self.collection.of_wildcard(self.node, name) if self.wildcard else None

    def _wanted(self, name: str) -> bool:
        return self.wildcard or self.names(name)

    # What changes.

    def touch(self, name: str) -> None:
        """Look at `name` again: it changed, for this node or for all."""
        if not self._wanted(name):
            return
        entry = self.entry(name)
        if entry is None:
            self._dirty.pop(name, None)
            if not self.tells_absence:
                self.rejected.pop(name, None)
                return
            self._removals[name] = None
            if len(self._removals) > REMOVALS_LIMIT:
                self.lost = True
                self._removals = {}
            return
        self._removals.pop(name, None)
        rejection = self.rejected.get(name)
        if rejection is None or rejection.version != entry.version:
            self._dirty[name] = None

    def catch_up(self) -> None:
        """Take from the log of shared changes what this stream has not looked at yet."""
        if self._seen == self.collection.generation:
            return
        for name in self.collection.changed_since(self._seen):
            if not self.collection.owns(self.node, name):
                self.touch(name)
        self._seen = self.collection.generation

    def remind(self, names: Iterable[str]) -> tuple[str, ...]:
        """Send `names` again if the client has asked for them, although it has them. Returns those."""
        asked = tuple(name for name in names if self.names(name))
        self._asked.update(dict.fromkeys(asked))
        return asked

    # What to send.

    def payload(self, batch: Batch) -> Sequence[Entry]:
        """The resources of the response for `batch`."""
        return batch.entries

    @property
    def behind(self) -> bool:
        """Whether there may be something to add or change that was not sent."""
        return bool(
            self._dirty or self._asked or self._probes or self._greet or self._seen != self.collection.generation
        )

    def next_update(self) -> Batch | None:
        """What to add or change now; the caller sends it. None if there is nothing or an answer is awaited."""
        if self.awaited is not None:
            return None
        self.catch_up()
        while self._probes:
            batch = self._take(dict.fromkeys(self._probes.pop(0)), rest=self._dirty)
            if batch is not None:
                return self._sent(batch)
        queue = self._asked | self._dirty if self._asked else self._dirty
        self._dirty = {}
        batch = self._take(queue, rest=self._dirty)
        self._asked = {name: None for name in self._asked if name in self._dirty} if self._dirty else {}
        if batch is None and self._greet:
            batch = Batch(())
        self._greet = False
        return None if batch is None else self._sent(batch)

    def next_removal(self) -> Batch | None:
        """What to remove now, once nothing refers to it any more."""
        if self.awaited is not None:
            return None
        self.catch_up()
        names = [name for name in self._removals if self._wanted(name) and self.entry(name) is None]
        self.dropped += tuple(self._removals.keys() - names)
        self._removals = {}
        return self._sent(Batch((), names)) if names else None

    def _take(self, queue: dict[str, None], *, rest: dict[str, None]) -> Batch | None:
        """The part of `queue` that fits one response; what does not fit goes to `rest`."""
        entries: list[Entry] = []
        absent: list[str] = []
        size = 0
        for name in queue:
            if size >= self.response_bytes:
                rest[name] = None
                continue
            entry = self.entry(name)
            if entry is not None:
                entries.append(entry)
                size += entry.size
            elif name in self._asked:
                absent.append(
                    name
                )  # at once: the proxy waits for it (Knowing When a Requested Resource Does Not Exist)
                self._removals.pop(name, None)
            else:
                self.touch(name)
                self.dropped += (name,)
        return Batch(entries, absent) if entries or absent else None

    def _sent(self, batch: Batch) -> Batch:
        self.awaited = batch
        for entry in batch.entries:
            self._dirty.pop(entry.name, None)
        return batch

    # What the proxy says.

    def accepted(self) -> Batch:
        """The awaited response was acknowledged. Returns it."""
        batch = self._answered()
        if self.rejected:
            for name in batch.names:
                self.rejected.pop(name, None)
        return batch

    def refused(self, message: str, now: datetime) -> Batch:
        """The awaited response was refused. Returns it.

        One response has one verdict, so the good resources in it may have been lost with a bad one (Envoy checks all
        before it takes any). Its parts are sent again, smaller and smaller, until the bad one stands alone.
        """
        batch = self._answered()
        names = batch.names
        if len(names) > 1:
            self._probes.extend(parts(names, message))
        elif batch.entries:
            self.rejected[names[0]] = Rejection(batch.entries[0].version, reason(message), now)
        elif batch.removed:
            self.rejected[names[0]] = Rejection("", reason(message), now)
        return batch

    def _answered(self) -> Batch:
        assert self.awaited is not None  # noqa: S101  # the session matched the nonce
        batch, self.awaited = self.awaited, None
        return batch

    # What is known.

    @property
    def quiet(self) -> bool:
        """Whether every resource is current; False proves nothing."""
        return self.steady and not self._removals

    @property
    def steady(self) -> bool:
        """Whether every resource that it gets is current, whatever else it may still have; False proves nothing."""
        return not (self.rejected or self.behind) and self.awaited is None

    def standing(self, name: str) -> Standing:
        """How far the proxy is with `name`, which it has asked for."""
        entry = self.entry(name)
        rejection = self.rejected.get(name)
        if rejection is not None and rejection.version == ("" if entry is None else entry.version):
            return Standing.REFUSED
        if (
            name in self._dirty
            or name in self._asked
            or name in self._removals
            or (self.collection.last_change(name) > self._seen and not self.collection.owns(self.node, name))
            or (self.awaited is not None and name in self.awaited)
            or any(name in probe for probe in self._probes)
        ):
            return Standing.LAGGING
        return Standing.CURRENT

    @property
    def has_removals(self) -> bool:
        return bool(self._removals)

    @property
    def settled(self) -> bool:
        """Whether the proxy has answered for everything that it was to get."""
        self.catch_up()  # a change that does not concern this stream did not wake it
        return self.awaited is None and not self.behind and (self.lingers or not self._removals)

    def close(self) -> None:
        self.collection.leave(self.stream)


class PartialSubscription(Subscription):
    """One type on one stream of the state-of-the-world variant, where a response replaces only what it contains
    (all types but listeners and clusters). What is gone is not told; whatever referred to it no longer does."""

    __slots__ = ()

    tells_absence = False


class WorldSubscription(Subscription):
    """Listeners or clusters on one stream of the state-of-the-world variant: a response is all that the proxy has.

    So what it has must be known, to keep what is to be removed until nothing refers to it, and to send the last
    accepted version of what it refused: one reference for each resource and stream, unlike in the delta variant.
    """

    __slots__ = ("_before", "_certain", "_holding")

    response_bytes = sys.maxsize

    def __init__(self, collection: Collection, node: NodeId, stream: int, *, fresh: bool) -> None:
        """`fresh`: the client says that it has nothing yet, so nothing can be lost by sending less than all."""
        super().__init__(collection, node, stream)
        self._holding: dict[str, Entry] = {}
        self._before: dict[str, Entry | None] = {}  # of the awaited batch
        self._certain = fresh

    def payload(self, batch: Batch) -> Sequence[Entry]:
        return tuple(self._holding.values())

    def forget(self, names: Iterable[str]) -> None:
        names = tuple(names)
        super().forget(names)
        self._drop_unwanted(names)

    def forget_all(self) -> None:
        super().forget_all()
        self._drop_unwanted(tuple(self._holding))

    def _drop_unwanted(self, names: Iterable[str]) -> None:
        for name in names:
            if not self._wanted(name):
                self._holding.pop(name, None)
                self._before.pop(name, None)

    def _sent(self, batch: Batch) -> Batch:
        self._before = {name: self._holding.get(name) for name in batch.names}
        for entry in batch.entries:
            self._holding[entry.name] = entry
        for name in batch.removed:
            self._holding.pop(name, None)
        return super()._sent(batch)

    def accepted(self) -> Batch:
        self._certain = True
        self._before = {}
        return super().accepted()

    def refused(self, message: str, now: datetime) -> Batch:
        if not self._certain:
            # The proxy has resources from an earlier stream, and would drop what the parts of this response lack.
            # So all of it stays, the bad resources too, and Envoy takes what it can.
            batch = self._answered()
            for name in mentioned(self._holding, message) or batch.names:
                entry = self._holding.get(name)
                self.rejected[name] = Rejection("" if entry is None else entry.version, reason(message), now)
            return batch
        for name, entry in self._before.items():
            if entry is None:
                self._holding.pop(name, None)
            else:
                self._holding[name] = entry
        self._before = {}
        return super().refused(message, now)
