"""The client of the suite: runs inside a Pod, calls, and prints what came of it. Standard library only, but for gRPC.

    echo '[{"url": "http://web/", "count": 100}]' | python3 -m smeagol.conformance.call

One JSON object for each call: who answered how often, under which identity the caller was known, what failed and why.
Nothing is tried twice, so each fault that reaches an application is counted.
"""

from __future__ import annotations

import asyncio
import base64
import collections
import json
import socket
import ssl
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

__all__ = ["Call", "Result", "Tls", "made"]

AT_ONCE = 8
"""Connections on which a call's requests are sent side by side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """TLS of the caller's own. Without `roots` the server is not verified; `certificate` and `key` are PEM."""

    server_name: str = ""
    roots: str = ""
    certificate: str = field(default="", repr=False)
    key: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """`count` requests to one URL: `http:`, `https:` (with `tls`), `tcp:` (a line), `first:` (server speaks first).

    Or `udp:` (a datagram), or `grpc:` with a port (a method, without TLS; all on one connection).

    `fresh`: a connection for each request. `seconds` > 0: instead of `count`, call at `rate` a second for so long.
    """

    url: str
    count: int = 1
    headers: tuple[tuple[str, str], ...] = ()
    fresh: bool = False
    tls: Tls | None = None
    seconds: float = 0.0
    rate: float = 100.0
    timeout: float = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What became of one Call. `last`: the last HTTP answer whole. `certificate`: what the server showed (DER)."""

    sent: int = 0
    versions: Mapping[str, int] = field(default_factory=dict)
    identities: Mapping[str, int] = field(default_factory=dict)
    """by what stood in `x-sme-identity`; `-` where there was none"""
    statuses: Mapping[str, int] = field(default_factory=dict)
    errors: Mapping[str, int] = field(default_factory=dict)
    last: Mapping[str, Any] = field(default_factory=dict)
    certificate: str = ""

    @property
    def failed(self) -> int:
        return sum(self.errors.values())


def made(text: str) -> list[Result]:
    """What the program printed, as values."""
    return [Result(**each) for each in json.loads(text)]


class _BadAnswerError(Exception):
    pass


@dataclass(slots=True)
class _Caller:
    call: Call
    versions: collections.Counter[str] = field(default_factory=collections.Counter)
    identities: collections.Counter[str] = field(default_factory=collections.Counter)
    statuses: collections.Counter[str] = field(default_factory=collections.Counter)
    errors: collections.Counter[str] = field(default_factory=collections.Counter)
    last: dict[str, Any] = field(default_factory=dict)
    certificate: str = ""
    idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = field(default_factory=list)
    channel: Any = None
    """of gRPC"""
    sent: int = 0

    async def run(self) -> Result:
        if self.call.seconds:
            await self._at_rate()
        else:
            turns = iter(range(self.call.count))
            await asyncio.gather(*(self._in_turn(turns) for _ in range(min(AT_ONCE, self.call.count))))
        for _, writer in self.idle:
            writer.close()
        if self.channel is not None:
            await self.channel.close()
        return Result(
            sent=self.sent,
            versions=dict(self.versions),
            identities=dict(self.identities),
            statuses=dict(self.statuses),
            errors=dict(self.errors),
            last=self.last,
            certificate=self.certificate,
        )

    async def _in_turn(self, turns: Any) -> None:
        for _ in turns:
            await self._one()

    async def _at_rate(self) -> None:
        """Open loop: a slow answer delays no other request."""
        began = time.monotonic()
        tasks: set[asyncio.Task[None]] = set()
        while (passed := time.monotonic() - began) < self.call.seconds:
            while len(tasks) + 1 <= passed * self.call.rate:
                tasks.add(asyncio.create_task(self._one()))
            await asyncio.sleep(0.005)
        await asyncio.gather(*tasks)

    async def _one(self) -> None:
        self.sent += 1
        try:
            async with asyncio.timeout(self.call.timeout):
                await self._exchange()
        except TimeoutError:
            self.errors["no answer in time"] += 1
        except (OSError, EOFError, ValueError, _BadAnswerError) as error:
            self.errors[f"{type(error).__name__}: {error}"[:200]] += 1

    async def _exchange(self) -> None:
        parts = urlsplit(self.call.url)
        host, port = parts.hostname or "", parts.port or {"https": 443}.get(parts.scheme, 80)
        if parts.scheme == "udp":
            await self._datagram(host, port)
            return
        if parts.scheme == "grpc":
            await self._method(parts.netloc, parts.path)
            return
        reader, writer = self._kept() or await self._open(host, port)
        try:
            if parts.scheme in ("tcp", "first"):
                closing = True
                await self._line(reader, writer, greeted=parts.scheme == "first")
            else:
                closing = await self._request(reader, writer, parts.netloc, parts.path or "/")
        except BaseException:
            writer.close()
            raise
        if closing or self.call.fresh:
            writer.close()
        else:
            self.idle.append((reader, writer))

    def _kept(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        """The connection that was used last and is still open."""
        while self.idle:
            reader, writer = self.idle.pop()
            if not reader.at_eof() and not writer.is_closing():
                return reader, writer
            writer.close()
        return None

    async def _open(self, host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        tls = self.call.tls
        if tls is None:
            return await asyncio.open_connection(host, port)
        opened = await asyncio.open_connection(host, port, ssl=_context(tls), server_hostname=tls.server_name or host)
        shown = opened[1].get_extra_info("ssl_object").getpeercert(binary_form=True)
        self.certificate = base64.b64encode(shown or b"").decode()
        return opened

    async def _line(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, greeted: bool) -> None:
        if greeted:
            greeting = await reader.readline()
            if not greeting.startswith(b"220 "):
                raise _BadAnswerError(f"no greeting but {greeting!r}")
        writer.write(b"hello\n")
        self._echoed(await reader.readline())

    async def _datagram(self, host: str, port: int) -> None:
        loop = asyncio.get_running_loop()
        family, kind, protocol, _, address = (await loop.getaddrinfo(host, port, type=socket.SOCK_DGRAM))[0]
        with socket.socket(family, kind, protocol) as link:
            link.setblocking(False)
            await loop.sock_connect(link, address)
            await loop.sock_sendall(link, b"hello\n")
            self._echoed(await loop.sock_recv(link, 512))

    def _echoed(self, found: bytes) -> None:
        answer = found.decode(errors="replace")
        version, _, rest = answer.partition(" ")
        if rest != "hello\n":
            raise _BadAnswerError(f"no echo but {answer!r}")
        self.versions[version] += 1

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, path: str) -> bool:
        headers = [*self.call.headers]
        if not any(name.lower() == "host" for name, _ in headers):
            headers.insert(0, ("Host", host))
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
        writer.write(f"GET {path} HTTP/1.1\r\n{lines}\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
        body = await reader.readexactly(int(fields.get("content-length", 0)))
        status = head[0].split(" ")[1]
        self.statuses[status] += 1
        self._told(body, f"status {status}")
        return fields.get("connection") == "close"

    async def _method(self, target: str, path: str) -> None:
        import grpc

        if self.channel is None:
            alone = [("grpc.enable_retries", 0), ("grpc.enable_http_proxy", 0)]
            self.channel = grpc.aio.insecure_channel(target, options=alone)
        metadata = [(name.lower(), value) for name, value in self.call.headers]
        try:
            self._told(await self.channel.unary_unary(path or "/echo.Echo/Say")(b"", metadata=metadata), "gRPC")
        except grpc.RpcError as error:
            raise _BadAnswerError(f"{error.code().name}: {error.details()}") from error

    def _told(self, body: bytes, where: str) -> None:
        """Count an answer of the application."""
        try:
            told = json.loads(body)
        except ValueError as error:
            raise _BadAnswerError(f"{where}: {body[:80].decode(errors='replace')}") from error
        self.last = told
        self.versions[told.get("version", "")] += 1
        heard = [value for name, value in told.get("headers", ()) if name.lower() == "x-sme-identity"]
        self.identities[" | ".join(heard) if heard else "-"] += 1


def _context(tls: Tls) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if tls.roots:
        context.load_verify_locations(cadata=tls.roots)
    else:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if tls.certificate:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "own.pem"
            path.write_text(tls.certificate + tls.key)
            context.load_cert_chain(path)
    return context


async def _all(calls: Sequence[Call]) -> list[Result]:
    return [await _Caller(call).run() for call in calls]


def _read(text: str) -> list[Call]:
    return [
        Call(**{**each, "headers": tuple(map(tuple, each.get("headers", ()))), "tls": _tls(each.get("tls"))})
        for each in json.loads(text)
    ]


def _tls(found: Mapping[str, str] | None) -> Tls | None:
    return Tls(**found) if found is not None else None


if __name__ == "__main__":
    print(json.dumps([asdict(result) for result in asyncio.run(_all(_read(sys.stdin.read())))]))
