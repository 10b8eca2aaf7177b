"""The aggregated discovery service over gRPC. Awaits, cancels, and decides nothing: see `session` for what is sent.

The handlers are generic, with bytes in and out, so that nothing is parsed that was just serialized.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Final, Protocol, Self, TypeVar

import grpc
import grpc.aio

from smeagol.refs import NodeId
from smeagol.xds.auth import Authenticator, check_owner
from smeagol.xds.cache import Cache
from smeagol.xds.errors import AddressUnavailable, LostHistory, MalformedRequest, TooManyNames, Unauthenticated
from smeagol.xds.session import DeltaSession, Session, WorldSession
from smeagol.xds.tls import TlsConfig, server_credentials
from smeagol.xds.wire import DeltaRequest, WorldRequest

__all__ = ["AdsServer"]

SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"

FIRST_REQUEST_SECONDS = 10.0
"""A stream that says nothing for so long is closed: it holds memory and proves nothing."""

INITIAL_SYNC_SECONDS = 5.0
"""A proxy that is slower with its first requests and its configuration no longer keeps others waiting."""

_OPTIONS = (
    # Beyond these, gRPC refuses new streams of a reconnect storm at random; admission is ours, in order.
    ("grpc.server.max_pending_requests", 100_000),
    ("grpc.server.max_pending_requests_hard_limit", 200_000),
    ("grpc.max_concurrent_streams", 100_000),
    # A reconnecting proxy lists every version it has: some hundred bytes for each resource.
    ("grpc.max_receive_message_length", 16 * 1024 * 1024),
    ("grpc.max_send_message_length", -1),
    # A proxy that vanished without a word is noticed within a minute.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    # Buffers of TLS records, several a connection, stay as large as the largest: 16 KiB each unless told otherwise.
    ("grpc.tsi.max_frame_size", 4096),
    # What comes before it is read is kept: up to 4 MiB a stream if gRPC measures what the line can carry, and thousands
    # of proxies that come back would fill the memory with all they have to say. So it stays with them until its turn.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 16 * 1024),
    # A connection that has once read a large request would hold 64 KiB or more for the next one, for hours.
    ("grpc.experimental.tcp_max_read_buffer_size", 8 * 1024),
    ("grpc.so_reuseport", 0),  # else a second server on the port takes half of the proxies unnoticed
)

_EOF: Final[object] = grpc.aio.EOF  # type: ignore[attr-defined]  # missing from grpc-stubs
_Context = grpc.aio.ServicerContext[bytes, bytes]


class _Request(Protocol):
    @property
    def node_id(self) -> str: ...

    @classmethod
    def parse(cls, raw: bytes) -> Self: ...


_R = TypeVar("_R", bound=_Request)


class AdsServer:
    """Serves a cache to proxies.

    `authenticator` None lets everybody in (a Unix socket, tests). `initial_syncs` streams at a time are read and get
    their first configuration; more wait in order and none is refused, so that a reconnect storm costs time and not
    memory.
    """

    def __init__(
        self,
        cache: Cache,
        *,
        authenticator: Authenticator | None = None,
        tls: TlsConfig | None = None,
        initial_syncs: int = 64,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.cache = cache
        self._authenticator = authenticator
        self._tls = tls
        self._jitter = jitter
        self._admission = _Admission(initial_syncs)
        self._open: set[_Stream] = set()
        self._server: grpc.aio.Server | None = None

    @property
    def connected(self) -> Mapping[NodeId, datetime]:
        """Connected proxies, and since when."""
        return self.cache.acks.connected

    async def start(self, address: str) -> int:
        """Listen on `host:port` (port 0: any) or `unix:/path`. Returns the port (of no meaning for a Unix socket).

        Raises AddressUnavailable.
        """
        self._server = server = grpc.aio.server(options=_OPTIONS)
        handler = grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "DeltaAggregatedResources": grpc.stream_stream_rpc_method_handler(self._delta),
                "StreamAggregatedResources": grpc.stream_stream_rpc_method_handler(self._world),
            },
        )
        server.add_generic_rpc_handlers((handler,))
        first = self._tls
        try:
            if first is None:
                port = server.add_insecure_port(address)
            else:
                port = server.add_secure_port(address, server_credentials(lambda: self._tls or first))
        except RuntimeError as error:
            raise AddressUnavailable(
                "the discovery server cannot listen here",
                where=address,
                fix="choose a free port or path, or stop what uses it",
            ) from error
        await server.start()
        return port

    def use_tls(self, tls: TlsConfig) -> None:
        """Show another certificate from the next handshake on; connections that stand are not touched.

        Whether there is TLS at all, and whether clients must show a certificate, stays as it was at the start.
        """
        self._tls = tls

    async def stop(self, grace: float) -> None:
        """Send proxies away over `grace` seconds, at times drawn by lot, so that they do not all reconnect at once."""
        if self._server is None:
            return
        loop = asyncio.get_running_loop()
        for stream in self._open:
            loop.call_later(self._jitter() * grace * 0.8, stream.drain)
        await self._server.stop(grace)

    # Streams.

    async def _delta(self, _requests: object, context: _Context) -> None:
        await self._answer(context, DeltaRequest, DeltaSession)

    async def _world(self, _requests: object, context: _Context) -> None:
        await self._answer(context, WorldRequest, WorldSession)

    async def _answer(
        self,
        context: _Context,
        requests: type[_R],
        open_session: Callable[[Cache, NodeId, Callable[[], None]], Session[_R]],
    ) -> None:
        """Serve one stream to its end, and say why if it is we who end it."""
        stats = self.cache.stats
        stats.streams_opened += 1
        try:
            await self._serve(context, requests, open_session)
        except MalformedRequest as error:
            stats.malformed_requests += 1
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except Unauthenticated as error:
            stats.streams_refused += 1
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, str(error))
        except TooManyNames as error:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, str(error))
        except LostHistory as error:
            stats.histories_lost += 1
            await context.abort(grpc.StatusCode.ABORTED, str(error))
        except _Drained:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the server is going away; connect to another replica")

    async def _serve(
        self,
        context: _Context,
        requests: type[_R],
        open_session: Callable[[Cache, NodeId, Callable[[], None]], Session[_R]],
    ) -> None:
        stats = self.cache.stats
        stats.waiting += 1
        try:
            place = await self._admission.enter()
        finally:
            stats.waiting -= 1
        try:
            owners = None
            if self._authenticator is not None:
                # Before anything is read: a stranger is to take up neither memory nor, by saying nothing, a place.
                owners = await self._authenticator(context.invocation_metadata() or (), context.auth_context())
                self._admission.keep_one(place, owners)
            asyncio.get_running_loop().call_later(INITIAL_SYNC_SECONDS, place.leave)
            raw = await self._first_message(context)
            if raw is None:
                return
            request = requests.parse(raw)
            del raw  # a reconnecting proxy names all it has
            if not request.node_id:
                raise MalformedRequest("the first request names no node", fix="set node.id in the proxy's bootstrap")
            node = NodeId(request.node_id)
            if owners is not None:
                check_owner(owners, node)
            stream = _Stream()
            session = open_session(self.cache, node, stream.wake)
            self._open.add(stream)
            stats.streams += 1
            try:
                session.on_request(request)
                del request
                async with asyncio.TaskGroup() as tasks:
                    writer = tasks.create_task(self._write(context, session, stream, place))
                    await self._read(context, requests, session, stream)
                    writer.cancel()
            except BaseExceptionGroup as failures:
                raise failures.exceptions[0] from None  # the first one is why the stream ends
            finally:
                stats.streams -= 1
                self._open.discard(stream)
                session.close()
        finally:
            place.leave()

    async def _first_message(self, context: _Context) -> bytes | None:
        try:
            async with asyncio.timeout(FIRST_REQUEST_SECONDS):
                raw = await context.read()
        except TimeoutError:
            raise MalformedRequest(
                f"the client sent no request within {FIRST_REQUEST_SECONDS:.0f} s",
                fix="send a discovery request when the stream is open",
            ) from None
        return None if raw is _EOF else raw

    async def _read(self, context: _Context, requests: type[_R], session: Session[_R], stream: _Stream) -> None:
        while (raw := await context.read()) is not _EOF:
            session.on_request(requests.parse(raw))
            stream.wake()

    async def _write(self, context: _Context, session: Session[_R], stream: _Stream, place: _Place) -> None:
        loop = asyncio.get_running_loop()
        while True:
            stream.woken.clear()
            while (response := session.next_response(asked := loop.time())) is not None:
                await context.write(response)
                await asyncio.sleep(0)  # one response each, else a proxy with many keeps all others waiting
            if stream.drained:
                raise _Drained
            if session.settled:
                place.leave()
            with suppress(TimeoutError):
                # As of when it was asked: what was due just then still is.
                async with asyncio.timeout_at(session.deadline(asked)):
                    await stream.woken.wait()


class _Drained(Exception):  # noqa: N818 - no error
    """The server is going away."""


class _Stream:
    """An open stream, as those see it who want it to do something."""

    __slots__ = ("drained", "woken")

    def __init__(self) -> None:
        self.woken = asyncio.Event()
        self.drained = False

    def wake(self) -> None:
        self.woken.set()

    def drain(self) -> None:
        self.drained = True
        self.woken.set()


class _Admission:
    """Lets so many in at a time, the others in the order of their coming."""

    __slots__ = ("_kept", "_places")

    def __init__(self, places: int) -> None:
        self._places = asyncio.Semaphore(places)
        self._kept: dict[frozenset[NodeId], _Place] = {}

    async def enter(self) -> _Place:
        await self._places.acquire()
        return _Place(self)

    def keep_one(self, place: _Place, owners: frozenset[NodeId]) -> None:
        """Take from `owners` the place that an earlier stream of theirs has: with one each, however many streams they
        open and say nothing, they keep nobody waiting."""
        if (earlier := self._kept.get(owners)) is not None:
            earlier.leave()
        place.owners = owners
        self._kept[owners] = place

    def left(self, place: _Place) -> None:
        self._places.release()
        if place.owners is not None and self._kept.get(place.owners) is place:
            del self._kept[place.owners]


class _Place:
    """One of the places; may be left more than once."""

    __slots__ = ("_admission", "owners")

    def __init__(self, admission: _Admission) -> None:
        self._admission: _Admission | None = admission
        self.owners: frozenset[NodeId] | None = None

    def leave(self) -> None:
        if self._admission is not None:
            self._admission.left(self)
            self._admission = None
