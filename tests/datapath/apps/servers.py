"""Servers that say who answered and write down all that reaches them.

    http    HTTP/1.0 and 1.1; answers JSON: version, pod, identity and the head of the request as it came
    tcp     echoes line by line, each behind the version: `v1 line`
    first   greets with `220 <version>` before it reads anything, then as tcp
    tls     HTTP as above, inside TLS of its own, under a certificate that no mesh knows
    grpc    echoes messages by gRPC, with the metadata that came (unary `/echo/Unary`, streams `/echo/Stream`)

Paths of http: `/slow` answers after a second, `/status/418` with that status; `/ready` answers the readiness probe and
is not written down. An `Upgrade: websocket` is granted and turns the connection into an echo.
"""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

from datapath.apps.wire import PortSeen

__all__ = ["POD", "VERSION", "Servers"]

VERSION = os.environ.get("VERSION", "v0")
POD = os.environ.get("POD_NAME", "")
KEPT_HEADS = 200
SLOW_SECONDS = 1.0


class Servers:
    """All servers of one program. `ready` is what the readiness probe hears."""

    def __init__(self) -> None:
        self.ready = True
        self.stopping = False
        """connections are closed after their next answer"""
        self.active = 0
        """requests that are being answered"""
        self._connections: dict[int, int] = {}
        self._requests: dict[int, int] = {}
        self._heads: dict[int, list[bytes]] = {}
        self._idle: set[HttpConnection] = set()
        self._servers: list[asyncio.Server] = []
        self._http: list[int] = []

    async def start(self, kind: str, port: int) -> None:
        """Listen on all addresses, of both families."""
        self._connections.setdefault(port, 0)
        self._requests.setdefault(port, 0)
        self._heads.setdefault(port, [])
        loop = asyncio.get_running_loop()
        match kind:
            case "http" | "tls":
                tls = _own_tls() if kind == "tls" else None
                server = await loop.create_server(lambda: HttpConnection(self, port), None, port, ssl=tls, backlog=1024)
                self._http += [port] if kind == "http" else []
            case "tcp" | "first":
                server = await loop.create_server(
                    lambda: LineConnection(self, port, greets=kind == "first"), None, port
                )
            case "grpc":
                from datapath.apps.grpc_echo import serve_grpc

                await serve_grpc(port, lambda head: self.note_request(port, head))
                return
            case _:
                msg = f"no server of kind {kind}"
                raise ValueError(msg)
        self._servers.append(server)

    async def stop(self) -> None:
        """What a well-behaved server does on SIGTERM: no new connections, finish what has begun, close the rest."""
        self.stopping = True
        for server in self._servers:
            server.close()
        for connection in list(self._idle):
            connection.close_if_idle()
        while self.active:
            await asyncio.sleep(0.01)

    async def set_listening(self, listening: bool) -> None:
        """Refuse new HTTP connections for a while."""
        self.stopping = not listening
        for server in self._servers:
            server.close()
        self._servers.clear()
        if listening:
            ports, self._http = self._http, []
            for port in ports:
                await self.start("http", port)

    def seen(self) -> dict[int, PortSeen]:
        return {
            port: PortSeen(
                connections=count, requests=self._requests[port], heads=tuple(self._heads[port][:KEPT_HEADS])
            )
            for port, count in self._connections.items()
        }

    def note_connection(self, port: int) -> None:
        self._connections[port] += 1

    def note_request(self, port: int, head: bytes) -> None:
        self._requests[port] += 1
        heads = self._heads[port]
        if len(heads) < KEPT_HEADS:
            heads.append(head)

    def note_alive(self, connection: HttpConnection) -> None:
        self._idle.add(connection)

    def note_gone(self, connection: HttpConnection) -> None:
        self._idle.discard(connection)


class HttpConnection(asyncio.Protocol):
    """One connection of an HTTP server: as little as it takes, and the head of each request kept as it came."""

    def __init__(self, servers: Servers, port: int) -> None:
        self._servers = servers
        self._port = port
        self._buffer = bytearray()
        self._upgraded = False
        self._answering = False
        self._transport: asyncio.Transport | None = None
        self._later: set[asyncio.Task[None]] = set()
        self._noted = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are no subclass of it
        self._servers.note_alive(self)

    def connection_lost(self, _error: Exception | None) -> None:
        self._servers.note_gone(self)

    def close_if_idle(self) -> None:
        if not self._answering and self._transport is not None:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        transport = self._transport
        assert transport is not None
        if self._upgraded:
            transport.write(data)
            return
        self._buffer += data
        while not self._answering and (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = bytes(self._buffer[: end + 4])
            length = _body_length(head, self._buffer[end + 4 :])
            if length is None or len(self._buffer) < end + 4 + length:
                return
            body = bytes(self._buffer[end + 4 : end + 4 + length])
            del self._buffer[: end + 4 + length]
            self._request(head, body)

    def _request(self, head: bytes, body: bytes) -> None:
        servers, transport = self._servers, self._transport
        assert transport is not None
        line, *fields = head.decode("latin-1").split("\r\n")
        method, target, protocol = line.split(" ", 2)
        path = target.partition("?")[0]
        headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
        if path == "/ready":
            self._answer(503 if not servers.ready or servers.stopping else 200, b"", close=False)
            return
        if not self._noted:
            self._noted = True
            servers.note_connection(self._port)
        servers.note_request(self._port, head)
        if headers.get("upgrade", "").lower() == "websocket":
            self._upgraded = True
            transport.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
            return
        answer = {
            "version": VERSION,
            "pod": POD,
            "identity": headers.get("x-sme-identity", ""),
            "head": head.decode("latin-1"),
            "body": body.decode("latin-1"),
            "method": method,
        }
        content = json.dumps(answer).encode()
        close = servers.stopping or headers.get("connection", "").lower() == "close" or protocol == "HTTP/1.0"
        if path == "/slow":
            self._answering = True
            servers.active += 1
            task = asyncio.get_running_loop().create_task(self._answer_late(content, close=close))
            self._later.add(task)
            task.add_done_callback(self._later.discard)
        else:
            status = int(path.removeprefix("/status/")) if path.startswith("/status/") else 200
            self._answer(status, content, close=close)

    async def _answer_late(self, content: bytes, *, close: bool) -> None:
        try:
            await asyncio.sleep(SLOW_SECONDS)
            self._answer(200, content, close=close or self._servers.stopping)
        finally:
            self._answering = False
            self._servers.active -= 1
            self.data_received(b"")

    def _answer(self, status: int, content: bytes, *, close: bool) -> None:
        assert self._transport is not None
        self._transport.write(
            b"HTTP/1.1 %d Whatever\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%s\r\n%s"
            % (status, len(content), b"Connection: close\r\n" if close else b"", content)
        )
        if close:
            self._transport.close()


class LineConnection(asyncio.Protocol):
    """One connection of a server that is not HTTP."""

    def __init__(self, servers: Servers, port: int, *, greets: bool) -> None:
        self._servers = servers
        self._port = port
        self._greets = greets
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are no subclass of it
        self._servers.note_connection(self._port)
        if self._greets:
            self._transport.write(b"220 %s\n" % VERSION.encode())

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        self._buffer += data
        while (end := self._buffer.find(b"\n")) >= 0:
            line = bytes(self._buffer[: end + 1])
            del self._buffer[: end + 1]
            self._servers.note_request(self._port, line)
            self._transport.write(b"%s %s" % (VERSION.encode(), line))


def _body_length(head: bytes, rest: bytes | bytearray) -> int | None:
    """How much of `rest` is the body, as it came: with its chunk sizes and trailers. None: its end is still to come."""
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
        if name.lower() == b"transfer-encoding":
            return _chunked_length(rest)
    return 0


def _chunked_length(rest: bytes | bytearray) -> int | None:
    at = 0
    while (line := rest.find(b"\r\n", at)) >= 0:
        size = int(rest[at:line], 16)
        if size:
            at = line + 2 + size + 2
            continue
        if rest[line : line + 4] == b"\r\n\r\n":  # no trailers
            return line + 4
        end = rest.find(b"\r\n\r\n", line)
        return None if end < 0 else end + 4
    return None


def _own_tls() -> ssl.SSLContext:
    """A server's own TLS, with a certificate it has made for itself."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "own.example")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("own.example")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "own.pem"
        path.write_bytes(
            key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
            + certificate.public_bytes(pem)
        )
        context.load_cert_chain(path)
    return context
