"""How the replica that leads learns what the proxies of the others have: one stream from each of the others.

A port of its own, mutual TLS by the mesh's authority, and a name in the client's certificate that nobody but the
control plane is given. The leader asks, so who does not lead costs nothing; a stream begins with all there is and goes
on with what changes (`progress.Change`). The method's name has a version; fields may be added to what it carries.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import grpc
import grpc.aio
import msgspec
import structlog

from smeagol.errors import SmeagolError
from smeagol.names import SpiffeId
from smeagol.objects import EndpointSlice
from smeagol.runtime.progress import Change, View, changes
from smeagol.sources.kubernetes import Backoff, ObjectKey
from smeagol.xds import TlsConfig, server_credentials

__all__ = ["PEERS_PORT", "Credentials", "PeerServer", "Peers", "own_name"]

log = structlog.get_logger(__name__)

PEERS_PORT = "peers"
"""What the port is called in the discovery Service, and so in its EndpointSlices."""

SERVICE = "smeagol.peers.v1.Peers"
METHOD = "Watch"

STREAMS_AT_MOST = 8
"""One leader asks; a few more may, while one follows another."""

HEARTBEAT_SECONDS = 3.0
"""A replica that has nothing new to say says so. gRPC's own pings are answered by a process that does nothing else."""

SILENCE_SECONDS = 10.0
"""One that says nothing for so long does not answer, and nothing is claimed of its proxies."""

_OPTIONS = (
    ("grpc.so_reuseport", 0),
    ("grpc.enable_http_proxy", 0),
)

_Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"


def own_name(trust_domain: str) -> str:
    """The name of the control plane itself, which no MutualTLS is granted."""
    return str(SpiffeId.control_plane(trust_domain))


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """`tls`: what we show, as server or client, and whom we trust, anew at each connection. `name`: the client's that
    is let in. `server_name`: what a replica must be able to prove to be."""

    server: Callable[[], TlsConfig]
    client: Callable[[], TlsConfig]
    name: str
    server_name: str


class PeerServer:
    """Tells whoever leads what our own proxies have. `changed` is called when somebody begins to listen."""

    def __init__(self, credentials: Credentials, *, changed: Callable[[], None]) -> None:
        self._credentials = credentials
        self._changed = changed
        self._view = View("", "")
        self._listening: set[asyncio.Event] = set()
        self._server: grpc.aio.Server | None = None

    @property
    def listened_to(self) -> bool:
        return bool(self._listening)

    def show(self, view: View) -> None:
        """Tell what is new to those who listen. The view must not be changed afterwards."""
        self._view = view
        for news in self._listening:
            news.set()

    async def start(self, address: str) -> int:
        """Returns the port. Raises RuntimeError if it cannot listen there."""
        self._server = server = grpc.aio.server(options=_OPTIONS)
        handler = grpc.unary_stream_rpc_method_handler(self._watch)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {METHOD: handler}),))

        port = server.add_secure_port(address, server_credentials(self._credentials.server))
        await server.start()
        return port

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop(0)

    async def _watch(self, _request: bytes, context: _Context) -> AsyncIterator[bytes]:
        names = context.auth_context().get("x509_subject_alternative_name", ())
        if self._credentials.name.encode() not in names:
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, "only the control plane itself may ask")
        if len(self._listening) >= STREAMS_AT_MOST:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many ask already")
        news = asyncio.Event()
        self._listening.add(news)
        told = View("", "")
        clock = asyncio.get_running_loop().time
        due = clock() + HEARTBEAT_SECONDS
        try:
            self._changed()
            await news.wait()  # for a view of now
            yield msgspec.json.encode(Change(name=self._view.name, build=self._view.build))
            while True:
                news.clear()
                view = self._view
                for change in changes(told, view, time.time()):
                    yield msgspec.json.encode(change)
                if told.name != view.name:
                    yield msgspec.json.encode(Change(whole=True))
                told = view
                try:
                    async with asyncio.timeout_at(due):  # a view that is shown again may hold nothing new to tell
                        await news.wait()
                except TimeoutError:
                    yield b"{}"
                    due = clock() + HEARTBEAT_SECONDS
        finally:
            self._listening.discard(news)


@dataclass(slots=True)
class _Peer:
    """A replica that we ask. `view` is None while it does not answer; `ours`: it is we ourselves."""

    name: str
    serves: bool
    view: View | None = None
    ours: bool = False
    task: asyncio.Task[None] | None = field(default=None, repr=False)


class Peers:
    """The other replicas, as the EndpointSlices of the discovery Service list them. Asked while `run` runs."""

    def __init__(self, credentials: Credentials, *, identity: str, changed: Callable[[], None]) -> None:
        self._credentials = credentials
        self._identity = identity
        self._changed = changed
        self._slices: dict[ObjectKey, EndpointSlice] = {}
        self._peers: dict[str, _Peer] = {}
        self._moved = asyncio.Event()

    def note(self, namespace: str, service: str, changed: Mapping[ObjectKey, EndpointSlice | None]) -> None:
        """Take over changed EndpointSlices, of which those of the discovery Service count."""
        for key, found in changed.items():
            ours = found is not None and key[0] == namespace and found.service_name == service
            if ours and found is not None:
                self._slices[key] = found
            elif self._slices.pop(key, None) is None:
                continue
            self._moved.set()

    @property
    def views(self) -> tuple[View, ...]:
        """Those of the others that answer."""
        return tuple(peer.view for _, peer in sorted(self._peers.items()) if peer.view is not None and not peer.ours)

    @property
    def silent(self) -> tuple[str, ...]:
        """Names of those that serve proxies, and do not answer us."""
        return tuple(
            sorted(peer.name for peer in self._peers.values() if peer.serves and peer.view is None and not peer.ours)
        )

    async def run(self) -> None:
        """Ask all of them until cancelled."""
        try:
            while True:
                self._moved.clear()
                self._follow_slices()
                await self._moved.wait()
        finally:
            tasks = [peer.task for peer in self._peers.values() if peer.task is not None]
            self._peers.clear()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _follow_slices(self) -> None:
        found = {address: (name, serves) for address, name, serves in _listed(self._slices.values())}
        for address in self._peers.keys() - found.keys():
            peer = self._peers.pop(address)
            if peer.task is not None:
                peer.task.cancel()
        for address, (name, serves) in found.items():
            if name == self._identity:
                continue
            known = self._peers.get(address)
            if known is None or (known.name != name and known.view is None):
                if known is not None and known.task is not None:
                    known.task.cancel()
                known = self._peers[address] = _Peer(name, serves)
                known.task = asyncio.create_task(self._ask(address, known))
            known.serves = serves
        self._changed()

    async def _ask(self, address: str, peer: _Peer) -> None:
        backoff = Backoff(first=0.2, most=3.0)
        while not peer.ours:
            try:
                await self._listen(address, peer, backoff)
            except (grpc.aio.AioRpcError, msgspec.MsgspecError, TimeoutError, SmeagolError) as error:
                code = error.code().name if isinstance(error, grpc.aio.AioRpcError) else type(error).__name__
                log.info("replica does not answer", replica=peer.name, address=address, reason=code)
            peer.view = None
            self._changed()
            await asyncio.sleep(backoff.wait())

    async def _listen(self, address: str, peer: _Peer, backoff: Backoff) -> None:
        tls = self._credentials.client()
        credentials = grpc.ssl_channel_credentials(tls.client_ca, tls.private_key, tls.certificate_chain)
        options = (*_OPTIONS, ("grpc.ssl_target_name_override", self._credentials.server_name))
        async with grpc.aio.secure_channel(address, credentials, options=options) as channel:
            watch = channel.unary_stream(f"/{SERVICE}/{METHOD}", request_serializer=None, response_deserializer=None)
            view = View(peer.name, "")
            call = watch(b"{}")
            while True:
                async with asyncio.timeout(SILENCE_SECONDS):
                    raw = await call.read()
                if not isinstance(raw, bytes):
                    return  # it has ended
                change = msgspec.json.decode(raw, type=Change)
                change.apply(view, time.time())
                if change.name == self._identity:
                    peer.ours = True
                    return
                if change.whole:
                    log.info("replica answers", replica=view.name, address=address, build=view.build)
                    peer.view = view
                    backoff.reset()
                if peer.view is not None and raw != b"{}":
                    self._changed()


def _listed(slices: Iterable[EndpointSlice]) -> Iterable[tuple[str, str, bool]]:
    """Address with port, name, and whether it serves proxies."""
    for each in slices:
        port = next((port.port for port in each.ports if port.name == PEERS_PORT), None)
        if port is None:
            continue
        for endpoint in each.endpoints:
            name = endpoint.target_ref.name if endpoint.target_ref is not None else ""
            for ip in endpoint.addresses[:1]:
                address = f"[{ip}]:{port}" if each.address_type == "IPv6" else f"{ip}:{port}"
                yield address, name or address, endpoint.conditions.ready is not False
