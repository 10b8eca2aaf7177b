"""Clients: connections that a test drives byte by byte, and load that counts what became of every request.

Nothing here tries anything twice: each fault that reaches an application is counted.
"""

from __future__ import annotations

import asyncio
import collections
import itertools
import json
import ssl
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from datapath.apps.wire import Burst, Exchange, Open, Opened, Received, StartLoad, Tally, Tls

__all__ = ["Connections", "Load", "burst"]

DIAL_SECONDS = 30.0
ANSWER_SECONDS = 30.0
TICK_SECONDS = 0.004
AT_ONCE = 64
"""More requests than this wait for their turn, so that a slow moment of the machine opens no flood of connections."""
MOST_WAITING = 2000
"""More than this are not begun: on a machine that cannot keep up the rate is lower, and the end does not come late."""


class BadAnswerError(Exception):
    """An answer came, but not the one that was asked for."""


class Connections:
    """Open connections by number."""

    def __init__(self) -> None:
        self._open: dict[int, tuple[asyncio.StreamReader, asyncio.StreamWriter]] = {}
        self._numbers = itertools.count(1)

    async def open(self, asked: Open) -> Opened:
        """Raises OSError, TimeoutError (and ssl.SSLError, which is an OSError)."""
        context = _tls(asked.tls) if asked.tls is not None else None
        name = (asked.tls.server_name or asked.host) if asked.tls is not None else None
        async with asyncio.timeout(DIAL_SECONDS):
            reader, writer = await asyncio.open_connection(
                asked.host, asked.port, ssl=context, server_hostname=name, limit=1 << 20
            )
        number = next(self._numbers)
        self._open[number] = reader, writer
        secured: ssl.SSLObject | None = writer.get_extra_info("ssl_object")
        if secured is None:
            return Opened(connection=number)
        return Opened(
            connection=number,
            alpn=secured.selected_alpn_protocol() or "",
            certificate=secured.getpeercert(binary_form=True) or b"",
        )

    async def exchange(self, asked: Exchange) -> Received:
        reader, writer = self._open[asked.connection]
        try:
            async with asyncio.timeout(asked.seconds):
                if asked.send:
                    writer.write(asked.send)
                    await writer.drain()
                if asked.until:
                    return Received(data=await reader.readuntil(asked.until))
                if asked.count:
                    return Received(data=await reader.readexactly(asked.count))
                return Received(data=await reader.read(), ended=True)
        except asyncio.IncompleteReadError as error:
            return Received(data=error.partial, ended=True, error="the peer closed")
        except (OSError, TimeoutError) as error:
            return Received(data=b"", error=f"{type(error).__name__}: {error}")

    def close(self, number: int) -> None:
        _, writer = self._open.pop(number)
        writer.close()


def _tls(wanted: Tls) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if wanted.roots:
        context.load_verify_locations(cadata=wanted.roots.decode())
    else:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if wanted.alpn:
        context.set_alpn_protocols(list(wanted.alpn))
    if wanted.certificate:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "own.pem"
            path.write_bytes(wanted.certificate + wanted.key)
            context.load_cert_chain(path)
    return context


@dataclass(slots=True)
class Counted:
    """What became of requests so far."""

    begun: int = 0
    answered: int = 0
    versions: collections.Counter[str] = field(default_factory=collections.Counter)
    identities: collections.Counter[str] = field(default_factory=collections.Counter)
    errors: collections.Counter[str] = field(default_factory=collections.Counter)
    slowest_seconds: float = 0.0

    def tally(self) -> Tally:
        return Tally(
            begun=self.begun,
            answered=self.answered,
            failed=self.errors.total(),
            versions=dict(self.versions),
            identities=dict(self.identities),
            errors=dict(self.errors),
            slowest_seconds=round(self.slowest_seconds, 4),
        )


class HttpConnection(asyncio.Protocol):
    """One connection on which one request after the other is sent."""

    def __init__(self) -> None:
        self.reusable = True
        self._buffer = bytearray()
        self._answer: asyncio.Future[bytes] | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are no subclass of it

    def connection_lost(self, error: Exception | None) -> None:
        self.reusable = False
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error or BadAnswerError("the connection was closed before the answer"))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(self._buffer[:end]).lower()
        _, _, rest = head.partition(b"\r\ncontent-length:")
        length = int(rest.partition(b"\r\n")[0]) if rest else 0
        if len(self._buffer) < end + 4 + length:
            return
        body = bytes(self._buffer[end + 4 : end + 4 + length])
        del self._buffer[: end + 4 + length]
        if b"\r\nconnection: close" in head:
            self.close()
        if self._answer is None or self._answer.done():
            return
        status = head.split(b" ", 2)[1]
        if status == b"200":
            self._answer.set_result(body)
        else:
            self._answer.set_exception(BadAnswerError(f"status {status.decode()}: {body[:120].decode('latin-1')}"))

    async def ask(self, request: bytes) -> bytes:
        """The body of the answer. Raises OSError, TimeoutError, BadAnswerError."""
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await self._answer
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self.reusable = False
        if self._transport is not None:
            self._transport.close()


class Caller:
    """Calls one address, on connections that it keeps open, or on a new one each time."""

    def __init__(
        self,
        host: str,
        port: int,
        headers: tuple[tuple[str, str], ...] = (),
        *,
        fresh: bool = False,
        line: bool = False,
    ) -> None:
        self.host, self.port, self.fresh, self.line = host, port, fresh, line
        given = {name.lower() for name, _ in headers}
        fields = [*headers] if "host" in given else [("host", host), *headers]
        self._request = "".join(
            ("GET / HTTP/1.1\r\n", *(f"{name}: {value}\r\n" for name, value in fields), "\r\n")
        ).encode("latin-1")
        self._idle: list[HttpConnection] = []
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._address = ""

    async def call(self, counted: Counted) -> None:
        begun = time.perf_counter()
        counted.begun += 1
        try:
            async with self._slots:
                version, identity = await (self._line() if self.line else self._http())
        except (OSError, TimeoutError, EOFError, BadAnswerError, ValueError) as error:
            counted.errors[f"{type(error).__name__}: {error}"] += 1
        else:
            counted.answered += 1
            counted.versions[version] += 1
            counted.identities[identity] += 1
        counted.slowest_seconds = max(counted.slowest_seconds, time.perf_counter() - begun)

    async def _http(self) -> tuple[str, str]:
        connection = await self._connection()
        answer = json.loads(await connection.ask(self._request))
        if self.fresh:
            connection.close()
        elif connection.reusable:
            self._idle.append(connection)
        return str(answer["version"]), str(answer["identity"])

    async def _line(self) -> tuple[str, str]:
        async with asyncio.timeout(ANSWER_SECONDS):
            reader, writer = await asyncio.open_connection(await self._resolved(), self.port)
            try:
                writer.write(b"hello\n")
                answer = (await reader.readuntil(b"\n")).decode()
            finally:
                writer.close()
        version, _, rest = answer.partition(" ")
        if rest != "hello\n":
            raise BadAnswerError(answer)
        return version, ""

    async def _connection(self) -> HttpConnection:
        while self._idle:
            connection = self._idle.pop()
            if connection.reusable:
                return connection
        async with asyncio.timeout(DIAL_SECONDS):
            _, connection = await asyncio.get_running_loop().create_connection(
                HttpConnection, await self._resolved(), self.port
            )
        return connection

    async def _resolved(self) -> str:
        """The address, asked for once: what is to be loaded is not the resolver."""
        if not self._address:
            found = await asyncio.get_running_loop().getaddrinfo(self.host, self.port)
            self._address = str(found[0][4][0])
        return self._address

    def close(self) -> None:
        for connection in self._idle:
            connection.close()


async def burst(asked: Burst) -> Tally:
    """So many requests, a few at once."""
    caller = Caller(asked.host, asked.port, asked.headers, fresh=asked.fresh, line=asked.line)
    counted = Counted()
    left = iter(range(asked.requests))

    async def work() -> None:
        for _ in left:
            await caller.call(counted)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(asked.at_once):
            tasks.create_task(work())
    caller.close()
    return counted.tally()


class Load:
    """An open loop: the rate does not depend on how fast answers come."""

    def __init__(self, asked: StartLoad) -> None:
        self._rate = asked.rate
        self._caller = Caller(asked.host, asked.port)
        self._counted = Counted()
        self._running: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop().create_task(self._run())

    def so_far(self) -> Tally:
        return self._counted.tally()

    async def stop(self) -> Tally:
        """All that was begun has ended in what it returns."""
        self._loop.cancel()
        await asyncio.wait([self._loop])
        if self._running:
            await asyncio.wait(set(self._running))
        self._caller.close()
        return self._counted.tally()

    async def _run(self) -> None:
        start, sent = time.perf_counter(), 0
        while True:
            due = int((time.perf_counter() - start) * self._rate)
            for _ in range(min(due - sent, MOST_WAITING - len(self._running))):
                task = asyncio.create_task(self._caller.call(self._counted))
                self._running.add(task)
                task.add_done_callback(self._running.discard)
            sent = max(sent, due)
            await asyncio.sleep(TICK_SECONDS)
