"""What connected proxies have acknowledged: the source of status, warnings and metrics.

Nothing is kept here for each proxy and resource; a question is answered from the state of the streams.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING

from smeagol.refs import NodeId
from smeagol.xds.collection import Collection, members
from smeagol.xds.subscription import Standing, Subscription

if TYPE_CHECKING:
    from smeagol.xds.cache import Cache, Key

__all__ = ["AckChanges", "Acks", "Nack", "NodeProgress", "Progress", "Reach"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Nack:
    """A resource that a connected proxy has refused, and goes on without, until there is another version of it."""

    node: NodeId
    type_url: str
    name: str
    version: str  # empty: the proxy refused the removal
    message: str
    time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far the connected proxies that get a resource are with its newest version; nodes in alphabetical order.

    Who has gone is in none of the lists, and neither is who has not asked for the resource: with nobody connected, all
    are empty. For a removed resource, `current` is empty and those lag that may have it.
    """

    current: tuple[NodeId, ...]
    lagging: tuple[NodeId, ...]
    refused: tuple[Nack, ...]

    @property
    def complete(self) -> bool:
        return not (self.lagging or self.refused)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """How far several resources have come together: how many connected proxies get any of them, and who lacks one."""

    proxies: int
    lagging: frozenset[NodeId]
    refused: Mapping[NodeId, Nack]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeProgress:
    """How far one connected proxy is with everything that it asked for."""

    since: datetime
    settled: bool  # it has answered for everything
    refused: tuple[Nack, ...]


@dataclass(frozen=True, slots=True)
class AckChanges:
    """What to ask for again; whatever is not named here is as it was.

    `keys`: how far the proxies are with these. `nodes`: how far each of these is with what it alone gets, and whether
    it is connected. `everything`: how far the proxies are with any resource, since one of them has come or gone.
    """

    keys: frozenset[Key]
    nodes: frozenset[NodeId]
    everything: bool


@dataclass(frozen=True, slots=True)
class _Connection:
    stream: int
    since: datetime


class Acks:
    """A view of the streams of `cache`. When a proxy has several streams (Envoy's hot restart, or one that was cut
    and not yet noticed), only the newest speaks for it.
    """

    def __init__(self, cache: Cache) -> None:
        self._observer: Callable[[], None] | None = None
        self._cache = cache
        self._connections: dict[NodeId, dict[int, _Connection]] = {}  # by stream, oldest first
        self._since: dict[NodeId, datetime] = {}
        self._speaking = 0  # the newest stream of each node, a bit each
        self._changed_keys: set[Key] = set()
        self._changed_nodes: set[NodeId] = set()
        self._everything = False
        self._restless: dict[str, tuple[int, int]] = {}

    @property
    def connected(self) -> Mapping[NodeId, datetime]:
        """Connected proxies, and since when; as they come and go."""
        return MappingProxyType(self._since)

    def of(self, type_url: str, name: str) -> Progress:
        """How far the proxies are with one resource."""
        current: list[NodeId] = []
        lagging: list[NodeId] = []
        refused: list[Nack] = []
        collection = self._cache.find(type_url)
        if collection is None:
            return Progress(current=(), lagging=(), refused=())
        for _, subscription, standing in _standings(collection, name, self._asking(collection, name)):
            if standing is Standing.REFUSED:
                refused.append(_nack(subscription, name))
            else:
                (lagging if standing is Standing.LAGGING else current).append(subscription.node)
        return Progress(
            current=tuple(sorted(current)),
            lagging=tuple(sorted(lagging)),
            refused=tuple(sorted(refused, key=lambda nack: nack.node)),
        )

    def reach(self, keys: Iterable[Key]) -> Reach:
        """How far the proxies are with several resources. Costs as much as there are proxies that lack anything."""
        reached = 0  # streams, a bit each
        lagging: set[NodeId] = set()
        refused: dict[NodeId, Nack] = {}
        for type_url, name in keys:
            if (collection := self._cache.find(type_url)) is None:
                continue
            streams = self._asking(collection, name)
            looked_at = streams
            if collection.shares(name):  # one that has too much may lack none of these, unless it has its own
                lacking, unquiet = self._restless_in(collection)
                looked_at &= unquiet if collection.owned(name) else lacking
            reached |= streams & ~looked_at
            for stream, subscription, standing in _standings(collection, name, looked_at):
                reached |= 1 << stream
                if standing is Standing.REFUSED:
                    refused[subscription.node] = _nack(subscription, name)
                elif standing is Standing.LAGGING:
                    lagging.add(subscription.node)
        return Reach(proxies=reached.bit_count(), lagging=frozenset(lagging), refused=refused)

    def standing(self, node: NodeId, type_url: str, name: str) -> Standing | Nack | None:
        """How far one proxy is with one resource: its refusal, if it refused it; None if it has not asked for it."""
        collection = self._cache.find(type_url)
        streams = self._connections.get(node)
        if collection is None or streams is None:
            return None
        subscription = collection.readers.get(_newest(streams).stream)
        if subscription is None or subscription.entry(name) is None:
            return None
        standing = subscription.standing(name)
        return _nack(subscription, name) if standing is Standing.REFUSED else standing

    def of_node(self, node: NodeId) -> NodeProgress | None:
        """How far one proxy is; None if it is not connected."""
        streams = self._connections.get(node)
        if streams is None:
            return None
        connection = _newest(streams)
        subscriptions = self._cache.subscriptions(connection.stream)
        return NodeProgress(
            since=connection.since,
            settled=bool(subscriptions) and all(subscription.settled for subscription in subscriptions),
            refused=_nacks(subscriptions),
        )

    def refused(self) -> tuple[Nack, ...]:
        """Everything that connected proxies refuse now."""
        return tuple(
            nack
            for _, streams in sorted(self._connections.items())
            for nack in _nacks(self._cache.subscriptions(_newest(streams).stream))
        )

    def observe(self, observer: Callable[[], None]) -> None:
        """Call `observer` when something may have changed (at once, if it has): once, until `take_changes` is called.

        It is called in the middle of an update or an answer, so it should only set an event.
        """
        self._observer = observer
        if self._news:
            observer()

    def take_changes(self) -> AckChanges:
        """What may have changed since the last call."""
        changes = AckChanges(frozenset(self._changed_keys), frozenset(self._changed_nodes), self._everything)
        self._changed_keys = set()
        self._changed_nodes = set()
        self._everything = False
        return changes

    def _asking(self, collection: Collection, name: str) -> int:
        """The streams that get a resource, or may still have it."""
        wildcards = collection.wildcards
        if not collection.shares(name) and not collection.owned(name):
            wildcards &= self._restless_in(collection)[1]  # the others neither get it nor may still have it
        return self._speaking & (collection.watchers.get(name, 0) | wildcards)

    def _restless_in(self, collection: Collection) -> tuple[int, int]:
        """The streams that may lack something of this type, and those that may lack something or have too much, since
        what was removed may linger. Found once for many questions, until something stirs.
        """
        found = self._restless.get(collection.type_url)
        if found is None:
            lacking = unquiet = 0
            for stream, subscription in collection.readers.items():
                subscription.catch_up()  # a change that does not concern this stream did not wake it
                if not subscription.quiet:
                    unquiet |= 1 << stream
                    if not subscription.steady:
                        lacking |= 1 << stream
            found = self._restless[collection.type_url] = lacking, unquiet
        return found

    # For the cache and its sessions.

    def opened(self, stream: int, node: NodeId, since: datetime) -> None:
        streams = self._connections.setdefault(node, {})
        for older in streams:
            self._speaking &= ~(1 << older)
        streams[stream] = _Connection(stream, since)
        self._since[node] = since
        self._speaking |= 1 << stream
        self._note((), (node,), everything=True)

    def closed(self, stream: int, node: NodeId) -> None:
        streams = self._connections[node]
        del streams[stream]
        self._speaking &= ~(1 << stream)
        if streams:
            self._speaking |= 1 << _newest(streams).stream
            self._since[node] = _newest(streams).since
        else:
            del self._connections[node]
            del self._since[node]
        self._note((), (node,), everything=True)

    def asked(self, node: NodeId, type_url: str, names: Iterable[str], *, everything: bool) -> None:
        """A stream asks for something, or no longer does; `everything`: for all of a type. So it may come to lack
        something, which sending does not bring about.
        """
        self.answered(node, type_url, names)
        if everything:
            self._note((), (node,), everything=True)

    def answered(self, node: NodeId, type_url: str, names: Iterable[str]) -> None:
        self._restless.clear()
        collection = self._cache.find(type_url)
        own = collection is not None and any(collection.owns(node, name) for name in names)
        self._note(((type_url, name) for name in names), (node,) if own else ())

    def changed(self, keys: Iterable[Key], nodes: Iterable[NodeId]) -> None:
        """Resources have changed, of all or of these nodes alone."""
        self._note(keys, nodes)

    def _note(self, keys: Iterable[Key], nodes: Iterable[NodeId], *, everything: bool = False) -> None:
        self._restless.clear()
        told = self._news
        self._changed_keys.update(keys)
        self._changed_nodes.update(nodes)
        self._everything |= everything
        if not told and self._news and self._observer is not None:
            self._observer()

    @property
    def _news(self) -> bool:
        return bool(self._changed_keys or self._changed_nodes or self._everything)


def _standings(collection: Collection, name: str, streams: int) -> Iterator[tuple[int, Subscription, Standing]]:
    """How far these streams are with one resource; those left out that neither get it nor may still have it."""
    for_all = collection.shares(name)
    for stream in members(streams):
        subscription = collection.readers[stream]
        standing = Standing.CURRENT if subscription.quiet else subscription.standing(name)
        if standing is not Standing.CURRENT or for_all or subscription.entry(name) is not None:
            yield stream, subscription, standing


def _newest(streams: dict[int, _Connection]) -> _Connection:
    return next(reversed(streams.values()))


def _nack(subscription: Subscription, name: str) -> Nack:
    rejection = subscription.rejected[name]
    return Nack(
        node=subscription.node,
        type_url=subscription.collection.type_url,
        name=name,
        version=rejection.version,
        message=rejection.message,
        time=rejection.time,
    )


def _nacks(subscriptions: Iterable[Subscription]) -> tuple[Nack, ...]:
    return tuple(
        _nack(subscription, name)
        for subscription in subscriptions
        for name in sorted(subscription.rejected)
        if subscription.standing(name) is Standing.REFUSED  # not if another version is on its way
    )
