"""What a test and the program in a Pod say to each other: MessagePack, each message after its length (4 bytes).

The socket lies in the mesh's folder, so nothing of this goes through a proxy.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Any

import msgspec

__all__ = [
    "Burst",
    "Close",
    "Closed",
    "Die",
    "Exchange",
    "Failed",
    "Fine",
    "GrpcAnswers",
    "GrpcCall",
    "Open",
    "Opened",
    "PortSeen",
    "Received",
    "Reply",
    "Request",
    "Seen",
    "SeenByPort",
    "SetListening",
    "SetReady",
    "StartLoad",
    "StopLoad",
    "Tally",
    "Tls",
    "ask",
    "read_request",
    "write_reply",
]


class Tls(msgspec.Struct, frozen=True, kw_only=True):
    """How to speak TLS. Without `roots` the server is not checked, without `certificate` none is shown (both PEM)."""

    server_name: str = ""
    roots: bytes = b""
    certificate: bytes = b""
    key: bytes = b""
    alpn: tuple[str, ...] = ()


class _Message(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    pass


# What a test asks.


class Open(_Message, frozen=True, kw_only=True):
    """Open a connection; answered by Opened or Failed."""

    host: str
    port: int
    tls: Tls | None = None


class Exchange(_Message, frozen=True, kw_only=True):
    """Send, then read up to and including `until`, or `count` bytes, or what comes until the peer closes."""

    connection: int
    send: bytes = b""
    until: bytes = b""
    count: int = 0
    seconds: float = 30.0


class Close(_Message, frozen=True, kw_only=True):
    connection: int


class Burst(_Message, frozen=True, kw_only=True):
    """Send that many requests as fast as they are answered; with `fresh` each on a connection of its own."""

    host: str
    port: int
    requests: int
    headers: tuple[tuple[str, str], ...] = ()
    at_once: int = 16
    fresh: bool = False
    line: bool = False
    """not HTTP: one line there and one back, on a connection of its own"""


class StartLoad(_Message, frozen=True, kw_only=True):
    """Begin to send `rate` requests a second, however long each answer takes."""

    host: str
    port: int
    rate: float


class LoadSoFar(_Message, frozen=True, kw_only=True):
    """What became of the requests that have ended by now; answered by Tally."""

    load: int


class StopLoad(_Message, frozen=True, kw_only=True):
    """Stop, wait for the answers that are still to come, and tell all; answered by Tally."""

    load: int


class GrpcCall(_Message, frozen=True, kw_only=True):
    """Unary calls on one channel, or one call of a stream with that many messages."""

    target: str
    calls: int = 1
    stream: bool = False
    metadata: tuple[tuple[str, str], ...] = ()


class Seen(_Message, frozen=True, kw_only=True):
    """What the servers of this program have seen; answered by SeenByPort."""


class SetReady(_Message, frozen=True, kw_only=True):
    """What the readiness probe hears from now on."""

    ready: bool


class SetListening(_Message, frozen=True, kw_only=True):
    """Without listening, the HTTP servers refuse connections and close those they have after the next answer."""

    listening: bool


class Die(_Message, frozen=True, kw_only=True):
    """End as if killed: no goodbye to anybody."""


Request = (
    Open | Exchange | Close | Burst | StartLoad | LoadSoFar | StopLoad | GrpcCall | Seen | SetReady | SetListening | Die
)  # fmt: skip


# What the program answers.


class Opened(_Message, frozen=True, kw_only=True):
    """`certificate` is the server's (DER); empty without TLS or where nothing was checked."""

    connection: int
    alpn: str = ""
    certificate: bytes = b""


class Received(_Message, frozen=True, kw_only=True):
    """`ended`: the peer has closed; `error`: what went wrong before all had come."""

    data: bytes
    ended: bool = False
    error: str = ""


class Tally(_Message, frozen=True, kw_only=True):
    """What became of requests. Every one that was begun is answered or failed, or has not ended yet."""

    begun: int = 0
    answered: int = 0
    failed: int = 0
    versions: dict[str, int] = {}
    identities: dict[str, int] = {}
    errors: dict[str, int] = {}
    slowest_seconds: float = 0.0


class GrpcAnswers(_Message, frozen=True, kw_only=True):
    """One entry an answer: who gave it, and the metadata that reached the server. `error`: code and details."""

    versions: tuple[str, ...] = ()
    metadata: tuple[tuple[tuple[str, str], ...], ...] = ()
    error: str = ""


class PortSeen(msgspec.Struct, frozen=True, kw_only=True):
    """What has come to one port: connections, requests, and the first heads or bytes of them."""

    connections: int = 0
    requests: int = 0
    heads: tuple[bytes, ...] = ()


class SeenByPort(_Message, frozen=True, kw_only=True):
    ports: dict[int, PortSeen]


class Closed(_Message, frozen=True, kw_only=True):
    pass


class Fine(_Message, frozen=True, kw_only=True):
    """`number` names what was begun."""

    number: int = 0


class Failed(_Message, frozen=True, kw_only=True):
    error: str


Reply = Opened | Received | Tally | GrpcAnswers | SeenByPort | Closed | Fine | Failed

_LENGTH = struct.Struct(">I")
_requests = msgspec.msgpack.Decoder(Request)
_replies: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(Reply)


def ask(connection: socket.socket, request: Request) -> Reply:
    """The test's side. Raises OSError, EOFError if the program has gone."""
    message = msgspec.msgpack.encode(request)
    connection.sendall(_LENGTH.pack(len(message)) + message)
    length = _LENGTH.unpack(_exactly(connection, _LENGTH.size))[0]
    reply: Reply = _replies.decode(_exactly(connection, length))
    return reply


def _exactly(connection: socket.socket, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        part = connection.recv(count - len(data))
        if not part:
            msg = "the program in the Pod has gone"
            raise EOFError(msg)
        data += part
    return bytes(data)


async def read_request(reader: asyncio.StreamReader) -> Request:
    """The program's side. Raises IncompleteReadError when the test has gone."""
    length = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))[0]
    request: Request = _requests.decode(await reader.readexactly(length))
    return request


async def write_reply(writer: asyncio.StreamWriter, reply: Reply) -> None:
    message = msgspec.msgpack.encode(reply)
    writer.write(_LENGTH.pack(len(message)) + message)
    await writer.drain()
