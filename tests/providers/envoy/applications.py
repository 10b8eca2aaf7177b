"""What stands at both ends of a proxy: applications that remember what reached them, and clients that ask."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

__all__ = ["Answer", "Application", "ask", "open_application", "talk"]

Headers = list[tuple[str, str]]


@dataclass(slots=True)
class Application:
    """A small server. `connections` counts what reached it, `requests` holds the heads of what HTTP clients asked."""

    name: str
    port: int = 0
    answer_headers: Headers = field(default_factory=list)
    status: int = 200
    connections: int = 0
    requests: list[tuple[str, Headers]] = field(default_factory=list)

    def values(self, header: str) -> list[str]:
        """What the last request carried under this name."""
        return [value for name, value in self.requests[-1][1] if name.lower() == header]

    async def serve_http(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                first, headers = _head(await reader.readuntil(b"\r\n\r\n"))
                self.requests.append((first, headers))
                length = next((int(value) for name, value in headers if name.lower() == "content-length"), 0)
                await reader.readexactly(length)
                own = "".join(f"{name}: {value}\r\n" for name, value in self.answer_headers)
                body = self.name.encode()
                head = f"HTTP/1.1 {self.status} Whatever\r\n{own}content-length: {len(body)}\r\n\r\n"
                writer.write(head.encode() + body)
                await writer.drain()
        writer.close()

    async def serve_lines(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Speaks first, then echoes."""
        self.connections += 1
        with suppress(ConnectionError):
            writer.write(f"220 {self.name}\n".encode())
            while line := await reader.readline():
                writer.write(line)
                await writer.drain()
        writer.close()


@asynccontextmanager
async def open_application(name: str = "app", *, lines: bool = False, port: int = 0) -> AsyncIterator[Application]:
    """HTTP, or lines of text where the server speaks first."""
    app = Application(name)
    server = await asyncio.start_server(app.serve_lines if lines else app.serve_http, "127.0.0.1", port)
    app.port = server.sockets[0].getsockname()[1]
    try:
        yield app
    finally:
        server.close()


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Headers
    body: str

    def values(self, header: str) -> list[str]:
        return [value for name, value in self.headers if name.lower() == header]


async def ask(
    port: int,
    *,
    tls: ssl.SSLContext | None = None,
    server_name: str = "web.shop.svc.cluster.local",
    headers: Sequence[tuple[str, str]] = (),
    path: str = "/",
    after: asyncio.Event | None = None,
    close: bool = False,
) -> Answer:
    """One HTTP/1.1 request on a connection of its own; `after`: stay silent until then."""
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=tls, server_hostname=server_name if tls else None
    )
    try:
        if after is not None:
            await after.wait()
        lines = [("Host", "whatever"), *headers, *([("Connection", "close")] if close else [])]
        writer.write(
            f"GET {path} HTTP/1.1\r\n{''.join(f'{k}: {v}' + chr(13) + chr(10) for k, v in lines)}\r\n".encode()
        )
        first, answered = _head(await reader.readuntil(b"\r\n\r\n"))
        length = next(int(value) for name, value in answered if name.lower() == "content-length")
        body = await reader.readexactly(length)
        return Answer(int(first.split(" ")[1]), answered, body.decode())
    finally:
        writer.close()


async def talk(port: int, *said: str, tls: ssl.SSLContext | None = None) -> list[str]:
    """The server's first line, then its answer to each line said."""
    name = "web.shop.svc.cluster.local" if tls else None
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls, server_hostname=name)
    try:
        heard = [(await reader.readline()).decode()]
        for line in said:
            writer.write(line.encode())
            heard.append((await reader.readline()).decode())
        return heard
    finally:
        writer.close()


def _head(raw: bytes) -> tuple[str, Headers]:
    first, *rest = raw.decode().split("\r\n")
    pairs = [line.partition(": ") for line in rest if line]
    return first, [(name, value) for name, _, value in pairs]
