"""One stream of one proxy: what it asked for, what it is sent and in which order. No sockets, no tasks, no clock.

The owner calls `on_request` with each parsed request, asks `next_response` until it says None, and asks again when
`wake` was called or the time `deadline` has come.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Generic, TypeVar

from smeagol.refs import NodeId
from smeagol.xds.errors import LostHistory, TooManyNames
from smeagol.xds.subscription import Batch, PartialSubscription, Subscription, WorldSubscription
from smeagol.xds.type_urls import CLUSTER, ENDPOINT, FIRST, LISTENER, WHOLE_WORLD, WILDCARD_BY_SILENCE, push_rank
from smeagol.xds.wire import DeltaRequest, WorldRequest, delta_response, world_response

if TYPE_CHECKING:
    from smeagol.xds.cache import Cache

__all__ = ["DeltaSession", "Session", "WorldSession"]

PATIENCE_SECONDS = 15.0
"""How long additions wait for the acknowledgement of what they refer to. Envoy itself gives up warming a cluster
after as long (`ConfigSource.initial_fetch_timeout`)."""

LINGER_SECONDS = 30.0
"""How long clusters and endpoints outlast a listener that was removed: connections that it has accepted go on, and a
request that comes on one of them is answered, whereupon Envoy ends the connection (`--drain-strategy immediate`).
So do those that a proxy has from an earlier stream: its listener may have gone just before."""

NAMES_LIMIT = 100_000
"""Names that a stream may ask for, of all types together."""

TYPES_LIMIT = 32
"""Types that a stream may ask for."""


class _Gate:
    """Keeps a step from happening while what must come before is not done, but not for ever."""

    __slots__ = ("closed_since",)

    def __init__(self) -> None:
        self.closed_since: float | None = None

    def opens(self, *, clear: bool, now: float) -> bool:
        if clear:
            self.closed_since = None
            return True
        if self.closed_since is None:
            self.closed_since = now
        return now >= self.closed_since + PATIENCE_SECONDS


R = TypeVar("R")


class Session(ABC, Generic[R]):
    """What both protocol variants share: order, nonces, answers. `R` is the type of a request."""

    def __init__(self, cache: Cache, node: NodeId, wake: Callable[[], None]) -> None:
        self.cache = cache
        self.node = node
        self.wake = wake
        self.stream = cache.attach(self)
        self._subscriptions: dict[str, Subscription] = {}  # in push order
        self._nonces: dict[str, str] = {}  # type -> nonce of the last response
        self._sent_at: dict[str, datetime] = {}  # type -> when that was
        self._sent = 0
        self._additions = _Gate()
        self._removals = _Gate()
        self._lingers_since = self._lingers_until = 0.0
        self._leftovers = False  # of an earlier stream, which lingered there perhaps

    # Requests.

    def subscription(self, type_url: str) -> Subscription | None:
        return self._subscriptions.get(type_url)

    def _check_types(self) -> None:
        """Whether there may be one more."""
        if len(self._subscriptions) >= TYPES_LIMIT:
            raise TooManyNames(
                f"the proxy asks for more than {TYPES_LIMIT} types",
                where=f"proxy {self.node}",
                fix="check what connects to this port",
            )

    def _subscribe(self, subscription: Subscription) -> None:
        self._subscriptions[subscription.collection.type_url] = subscription
        self._subscriptions = dict(sorted(self._subscriptions.items(), key=lambda item: push_rank(item[0])))

    def _check_names(self) -> None:
        if sum(subscription.load for subscription in self._subscriptions.values()) > NAMES_LIMIT:
            raise TooManyNames(
                f"the proxy asks for more than {NAMES_LIMIT} names",
                where=f"proxy {self.node}",
                fix="check what connects to this port",
            )

    def _on_answer(self, subscription: Subscription, refusal: str | None) -> None:
        """Take the ACK or NACK of the awaited response."""
        type_url = subscription.collection.type_url
        if refusal is None:
            self.cache.stats.acks += 1
            taken = (self.cache.clock() - self._sent_at[type_url]).total_seconds()
            self.cache.stats.ack_latency.add(max(0.0, taken))  # the host's clock may be set meanwhile
            names = subscription.accepted().names
        else:
            self.cache.stats.nacks += 1
            names = subscription.refused(refusal, self.cache.clock()).names
            names = (*names, *subscription.rejected)  # may be of an earlier response: see WorldSubscription
        self.cache.acks.answered(self.node, type_url, names)

    # Responses.

    def next_response(self, now: float) -> bytes | None:
        """The next message for this proxy, None if it has to wait; `now` in seconds, on any steady clock.

        Make before break (xDS protocol, Eventual consistency considerations): what is referred to is sent first, and
        listeners and routes follow when the clusters are acknowledged, which Envoy does when they are warm. Endpoints
        must not wait for that: Envoy withholds the acknowledgement of a cluster until it has been sent its endpoints
        (again, if the cluster replaces another). Removals come last, in reverse order.

        Raises LostHistory if the proxy must reconnect.
        """
        if any(subscription.lost for subscription in self._subscriptions.values()):
            raise LostHistory(
                "too much was removed since the proxy last answered",
                where=f"proxy {self.node}",
                fix="nothing to do: it reconnects and says what it has",
            )
        response = self._next_addition(now) or self._next_removal(now)
        for type_url, subscription in self._subscriptions.items():
            if subscription.dropped:
                self.cache.acks.answered(self.node, type_url, subscription.dropped)
                subscription.dropped = ()
        return response

    def _next_addition(self, now: float) -> bytes | None:
        first = [s for s in self._subscriptions.values() if s.collection.type_url in FIRST]
        for subscription in first:
            if (batch := subscription.next_update()) is not None:
                if (
                    subscription.collection.type_url == CLUSTER
                    and (endpoints := self.subscription(ENDPOINT))
                    and (again := endpoints.remind(batch.names))  # an assignment is named as its cluster
                ):
                    self.cache.acks.answered(self.node, ENDPOINT, again)
                return self._encode(subscription, batch)
        later = [s for s in self._subscriptions.values() if s.collection.type_url not in FIRST]
        if not any(subscription.behind for subscription in later):
            self._additions.opens(clear=True, now=now)
            return None
        clusters = self.subscription(CLUSTER)
        clear = (clusters is None or clusters.awaited is None) and not any(s.behind for s in first)
        if self._additions.opens(clear=clear, now=now):
            for subscription in later:
                if (batch := subscription.next_update()) is not None:
                    return self._encode(subscription, batch)
        return None

    def _next_removal(self, now: float) -> bytes | None:
        if not any(subscription.has_removals for subscription in self._subscriptions.values()):
            self._removals.opens(clear=True, now=now)
            for subscription in self._subscriptions.values():
                subscription.lingers = False
            return None
        clear = not any(
            s.behind or (s.awaited is not None and s.collection.type_url not in FIRST)
            for s in self._subscriptions.values()
        )
        if self._removals.opens(clear=clear, now=now):
            if self._leftovers:
                self._leftovers = False
                self._linger(now)
            for subscription in reversed(self._subscriptions.values()):
                type_url = subscription.collection.type_url
                subscription.lingers = type_url in FIRST and now < self._lingers_until
                if not subscription.lingers and (batch := subscription.next_removal()) is not None:
                    if type_url == LISTENER:
                        self._linger(now)
                    return self._encode(subscription, batch)
        return None

    def _linger(self, now: float) -> None:
        if now >= self._lingers_until:
            self._lingers_since = now
        # Where listeners go all the time, what they needed must not stay for ever.
        self._lingers_until = min(now, self._lingers_since + LINGER_SECONDS) + LINGER_SECONDS

    def _encode(self, subscription: Subscription, batch: Batch) -> bytes:
        self._sent += 1
        nonce = str(self._sent)
        self._nonces[subscription.collection.type_url] = nonce
        self._sent_at[subscription.collection.type_url] = self.cache.clock()
        response = self._message(subscription, batch, nonce)
        self.cache.stats.responses += 1
        self.cache.stats.response_bytes += len(response)
        self.cache.stats.resources_sent += len(batch.entries)
        return response

    @abstractmethod
    def on_request(self, request: R) -> None:
        """Take one request. Raises TooManyNames if the client asks for more than it may."""

    @abstractmethod
    def _message(self, subscription: Subscription, batch: Batch, nonce: str) -> bytes: ...

    def deadline(self, now: float) -> float | None:
        """When to ask for a response again although nothing happened; on the clock of `next_response`."""
        opens = [
            gate.closed_since + PATIENCE_SECONDS
            for gate in (self._additions, self._removals)
            if gate.closed_since is not None
        ]
        if any(subscription.lingers for subscription in self._subscriptions.values()):
            opens.append(self._lingers_until)
        return min((time for time in opens if time > now), default=None)

    @property
    def settled(self) -> bool:
        """Whether the proxy has asked for something, got all of it, and answered."""
        return bool(self._subscriptions) and all(s.settled for s in self._subscriptions.values())

    def close(self) -> None:
        """The stream has ended."""
        for subscription in self._subscriptions.values():
            subscription.close()
        self.cache.detach(self.stream, self._subscriptions)


class DeltaSession(Session[DeltaRequest]):
    """A stream of `DeltaAggregatedResources`."""

    def on_request(self, request: DeltaRequest) -> None:
        self.cache.stats.requests += 1
        subscription = self.subscription(request.type_url)
        known = request.known
        if subscription is None:
            self._check_types()
            subscription = Subscription(self.cache.collection(request.type_url), self.node, self.stream)
            self._subscribe(subscription)
            silent = not (request.subscribe or request.unsubscribe) and request.type_url in WILDCARD_BY_SILENCE
        else:
            silent = False
            known = {}  # only the first request of a type may say what the client has
        if request.nonce:
            if subscription.awaited is not None and request.nonce == self._nonces[request.type_url]:
                self._on_answer(subscription, request.refusal)
            else:
                self.cache.stats.stale_nonces += 1
        # The rest counts even if the nonce is stale (xDS protocol, Incremental xDS).
        subscription.want((name for name in request.subscribe if name != "*"), known)
        self._check_names()
        if silent or "*" in request.subscribe:
            subscription.want_all(known)
            self._leftovers |= bool(known) and request.type_url in FIRST and subscription.has_removals
        subscription.forget(name for name in request.unsubscribe if name != "*")
        if "*" in request.unsubscribe:
            subscription.forget_all()
        names = (*request.subscribe, *request.unsubscribe)
        if names or silent:
            self.cache.acks.asked(self.node, request.type_url, names, everything=silent or "*" in names)

    def _message(self, subscription: Subscription, batch: Batch, nonce: str) -> bytes:
        return delta_response(
            type_url=subscription.collection.type_url,
            nonce=nonce,
            version=str(self.cache.version),
            entries=subscription.payload(batch),
            removed=batch.removed,
        )


class WorldSession(Session[WorldRequest]):
    """A stream of `StreamAggregatedResources`, the state-of-the-world variant."""

    def __init__(self, cache: Cache, node: NodeId, wake: Callable[[], None]) -> None:
        super().__init__(cache, node, wake)
        self._has_named: set[str] = set()  # types for which saying nothing no longer means all

    def on_request(self, request: WorldRequest) -> None:
        self.cache.stats.requests += 1
        type_url = request.type_url
        subscription = self.subscription(type_url)
        if subscription is None:
            self._check_types()
            subscription = self._open(type_url, fresh=not request.version)
            self._subscribe(subscription)
        elif request.nonce != self._nonces.get(type_url, ""):
            # It was sent before the newest response had come; the answer to that one will say all that this one says.
            self.cache.stats.stale_nonces += 1
            return
        elif subscription.awaited is not None:
            self._on_answer(subscription, request.refusal)
        if request.names:
            self._has_named.add(type_url)
        silent = type_url in WILDCARD_BY_SILENCE and type_url not in self._has_named
        wildcard = silent or "*" in request.names
        turned = wildcard != subscription.wildcard
        if turned:
            subscription.want_all({}) if wildcard else subscription.forget_all()
        names = dict.fromkeys(name for name in request.names if name != "*")
        new = [name for name in names if not subscription.names(name)]
        subscription.want(new, {})
        self._check_names()
        old: list[str] = []
        if subscription.named > len(names):
            old = [name for name in subscription.collection.watched_by(self.stream) if name not in names]
            subscription.forget(old)
        if turned or new or old:
            self.cache.acks.asked(self.node, type_url, (*new, *old), everything=turned)

    def _open(self, type_url: str, *, fresh: bool) -> Subscription:
        collection = self.cache.collection(type_url)
        if type_url in WHOLE_WORLD:
            return WorldSubscription(collection, self.node, self.stream, fresh=fresh)
        return PartialSubscription(collection, self.node, self.stream)

    def _message(self, subscription: Subscription, batch: Batch, nonce: str) -> bytes:
        return world_response(
            type_url=subscription.collection.type_url,
            nonce=nonce,
            version=str(self.cache.version),
            entries=subscription.payload(batch),
        )
