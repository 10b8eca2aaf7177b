"""Model proxies: what a client of the protocol does, without a wire, so that a test decides what arrives when.

A body that contains "bad" is refused. `DeltaProxy` and `WorldProxy` follow Envoy's subscription states
(`delta_subscription_state.cc`, `grpc_mux_impl.cc`) as far as a server can tell.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable
from itertools import count

from smeagol.refs import NodeId
from smeagol.xds.cache import Cache
from smeagol.xds.session import DeltaSession, WorldSession
from smeagol.xds.type_urls import CLUSTER, LISTENER
from smeagol.xds.wire import DeltaRequest, WorldRequest
from xds_kit.client import DeltaAnswer, WorldAnswer, delta_request, world_request

connections = count(1)
REPLACED_AS_A_WHOLE = (CLUSTER, LISTENER)


def is_bad(body: bytes) -> bool:
    return b"bad" in body


class ModelProxy(ABC):
    """A proxy and the two directions of its connection, as queues of messages on their way."""

    def __init__(self, cache: Cache, node: NodeId, *, picky: bool, terse: bool) -> None:
        """`picky`: one bad resource makes it refuse all of a response, not only that one.

        `terse`: it does not say which resource it could not use.
        """
        self.cache = cache
        self.node = node
        self.picky = picky
        self.terse = terse
        self.wanted: dict[str, set[str]] = {}  # type -> names; "*" is the wildcard
        self.holds: dict[str, dict[str, bytes]] = {}  # type -> name -> body
        self.session: DeltaSession | WorldSession | None = None
        self.woken = False
        self.to_server: deque[bytes] = deque()
        self.to_proxy: deque[bytes] = deque()
        self.withheld: set[str] = set()  # types whose answers are kept back
        self.answers: dict[str, deque[bytes]] = {}
        self.received = 0
        self.connected_as = 0  # grows with each connection that any proxy makes

    def wake(self) -> None:
        self.woken = True

    @abstractmethod
    def parse(self, raw: bytes) -> DeltaAnswer | WorldAnswer: ...

    def connect(self) -> None:
        self.connected_as = next(connections)
        self._open()

    @abstractmethod
    def _open(self) -> None: ...

    def disconnect(self) -> None:
        assert self.session is not None
        self.session.close()
        self.session = None
        self.to_server.clear()
        self.to_proxy.clear()
        self.answers.clear()

    @abstractmethod
    def want(self, type_url: str, names: Iterable[str]) -> None: ...

    @abstractmethod
    def unwant(self, type_url: str, names: Iterable[str]) -> None: ...

    # One message moves.

    def server_sends(self, now: float) -> bool:
        assert self.session is not None
        response = self.session.next_response(now)
        if response is not None:
            self.to_proxy.append(response)
        return response is not None

    @abstractmethod
    def server_receives(self) -> bool: ...

    @abstractmethod
    def proxy_receives(self) -> bool: ...

    def _refusal(self, bad: list[str]) -> str | None:
        if not bad:
            return None
        return "no" if self.terse else f"cannot use {', '.join(bad)}"

    def _answer(self, type_url: str, raw: bytes) -> None:
        if type_url in self.withheld:
            self.answers.setdefault(type_url, deque()).append(raw)
        else:
            self.to_server.append(raw)

    def release(self, type_url: str) -> None:
        """Send the answers that were kept back."""
        self.withheld.discard(type_url)
        self.to_server.extend(self.answers.pop(type_url, ()))

    def settle(self, now: float) -> None:
        """Let all messages through until nobody has anything to say."""
        for type_url in list(self.withheld):
            self.release(type_url)
        for _ in range(10_000):
            if not (self.server_receives() or self.server_sends(now) or self.proxy_receives()):
                return
        raise AssertionError("the two talk for ever")


class DeltaProxy(ModelProxy):
    """Speaks the delta variant."""

    def __init__(self, cache: Cache, node: NodeId, *, picky: bool, terse: bool) -> None:
        super().__init__(cache, node, picky=picky, terse=terse)
        self.versions: dict[str, dict[str, str]] = {}

    def parse(self, raw: bytes) -> DeltaAnswer:
        return DeltaAnswer.parse(raw)

    def _open(self) -> None:
        self.session = DeltaSession(self.cache, self.node, self.wake)
        for type_url, names in self.wanted.items():
            known = self.versions.get(type_url, {})
            # What came with a refused response has no version to name; Envoy would be sent it again.
            self.holds[type_url] = {n: b for n, b in self.holds.get(type_url, {}).items() if n in known}
            if names:  # saying nothing would mean all
                self.to_server.append(delta_request(type_url, sorted(names), node=self.node, known=known))

    def want(self, type_url: str, names: Iterable[str]) -> None:
        self.wanted.setdefault(type_url, set()).update(names)
        if self.session is not None:
            self.to_server.append(delta_request(type_url, sorted(names), node=self.node))

    def unwant(self, type_url: str, names: Iterable[str]) -> None:
        names = set(names) & self.wanted.get(type_url, set())
        if not names:
            return
        self.wanted[type_url] -= names
        if "*" not in self.wanted[type_url]:
            # With a wildcard it cannot know whether the wildcard includes them, and waits to be told.
            gone = [n for n in self.holds.get(type_url, ()) if n not in self.wanted[type_url]]
            for name in gone:
                self.holds[type_url].pop(name, None)
                self.versions.get(type_url, {}).pop(name, None)
        if self.session is not None:
            self.to_server.append(delta_request(type_url, (), sorted(names), node=self.node))

    def server_receives(self) -> bool:
        if not self.to_server:
            return False
        assert isinstance(self.session, DeltaSession)
        self.session.on_request(DeltaRequest.parse(self.to_server.popleft()))
        return True

    def proxy_receives(self) -> bool:
        if not self.to_proxy:
            return False
        answer = self.parse(self.to_proxy.popleft())
        self.received += 1
        wanted = self.wanted.get(answer.type_url, set())
        bad = [name for name, body in answer.resources.items() if is_bad(body)]
        holds = self.holds.setdefault(answer.type_url, {})
        versions = self.versions.setdefault(answer.type_url, {})
        if not (bad and self.picky):
            for name, body in answer.resources.items():
                if not is_bad(body) and ("*" in wanted or name in wanted):
                    holds[name] = body
                    if not bad:
                        versions[name] = answer.versions[name]
            for name in answer.removed:
                holds.pop(name, None)
                versions.pop(name, None)
        request = delta_request(answer.type_url, nonce=answer.nonce, refusal=self._refusal(bad))
        self._answer(answer.type_url, request)
        return True


class WorldProxy(ModelProxy):
    """Speaks the state-of-the-world variant. A body is its name, a colon, and what else there is."""

    def __init__(self, cache: Cache, node: NodeId, *, picky: bool, terse: bool) -> None:
        super().__init__(cache, node, picky=picky, terse=terse)
        self.version: dict[str, str] = {}
        self.nonce: dict[str, str] = {}

    def _request(self, type_url: str, refusal: str | None = None) -> bytes:
        return world_request(
            type_url,
            sorted(self.wanted[type_url]),
            node=self.node,
            version=self.version.get(type_url, ""),
            nonce=self.nonce.get(type_url, ""),
            refusal=refusal,
        )

    def parse(self, raw: bytes) -> WorldAnswer:
        return WorldAnswer.parse(raw)

    def _open(self) -> None:
        self.session = WorldSession(self.cache, self.node, self.wake)
        self.nonce.clear()
        self.to_server.extend(self._request(type_url) for type_url, names in self.wanted.items() if names)

    def want(self, type_url: str, names: Iterable[str]) -> None:
        self.wanted.setdefault(type_url, set()).update(names)
        if self.session is not None:
            self._answer(type_url, self._request(type_url))  # behind what is kept back, as it would acknowledge it

    def unwant(self, type_url: str, names: Iterable[str]) -> None:
        names = set(names) & self.wanted.get(type_url, set())
        if not names:
            return  # an empty request, if it is the first, would mean all
        self.wanted[type_url] -= names
        if "*" not in self.wanted[type_url]:
            self.holds[type_url] = {n: b for n, b in self.holds.get(type_url, {}).items() if n in self.wanted[type_url]}
        if self.session is not None:
            self._answer(type_url, self._request(type_url))  # behind what is kept back, as it would acknowledge it

    def server_receives(self) -> bool:
        if not self.to_server:
            return False
        assert isinstance(self.session, WorldSession)
        self.session.on_request(WorldRequest.parse(self.to_server.popleft()))
        return True

    def proxy_receives(self) -> bool:
        if not self.to_proxy:
            return False
        answer = self.parse(self.to_proxy.popleft())
        self.received += 1
        self.nonce[answer.type_url] = answer.nonce
        wanted = self.wanted[answer.type_url]
        holds = self.holds.setdefault(answer.type_url, {})
        said = {body.partition(b":")[0].decode(): body for body in answer.bodies}
        said = {name: body for name, body in said.items() if "*" in wanted or name in wanted}
        bad = [name for name, body in said.items() if is_bad(body)]
        if not (bad and self.picky):
            if answer.type_url in REPLACED_AS_A_WHOLE:
                for name in [name for name in holds if name not in said]:
                    del holds[name]
            holds.update({name: body for name, body in said.items() if not is_bad(body)})
        if not bad:
            self.version[answer.type_url] = answer.version
        self._answer(answer.type_url, self._request(answer.type_url, self._refusal(bad)))
        return True
