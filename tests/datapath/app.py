"""The program in a Pod, in a test's hands."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import urlsplit

from datapath.apps import wire
from datapath.apps.wire import GrpcAnswers, PortSeen, Tally, Tls

__all__ = ["Answer", "App", "Connection", "DialError", "Load"]

SOCKET_SECONDS = 60.0
START_SECONDS = 60.0

R = TypeVar("R")


class DialError(Exception):
    """A connection could not be opened, or ended before what was expected had come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An HTTP answer. `head` is the request as it reached the application, `identity` the header that the mesh set."""

    status: int
    headers: tuple[tuple[str, str], ...]
    content: bytes

    @property
    def version(self) -> str:
        return str(self._told["version"])

    @property
    def pod(self) -> str:
        return str(self._told["pod"])

    @property
    def identity(self) -> str:
        return str(self._told["identity"])

    @property
    def head(self) -> str:
        return str(self._told["head"])

    @property
    def identities(self) -> list[str]:
        """The values of all identity headers that reached the application, each as it stood."""
        lines = [line.partition(":") for line in self.head.split("\r\n")[1:]]
        return [value.strip() for name, _, value in lines if name.strip().lower() == "x-sme-identity"]

    @property
    def _told(self) -> dict[str, object]:
        assert self.status == 200, f"{self.status}: {self.content[:500]!r}"
        told: dict[str, object] = json.loads(self.content)
        return told


class App:
    """Steers the program behind a socket."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._socket: socket.socket | None = None

    # Calling others.

    def get(
        self,
        url: str,
        *,
        headers: Sequence[tuple[str, str]] = (),
        method: str = "GET",
        body: bytes = b"",
        version: str = "1.1",
        tls: Tls | None = None,
    ) -> Answer:
        """One request on a connection of its own. Raises DialError. `https` needs `tls`."""
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or {"http": 80, "https": 443}[parts.scheme]
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        with self.connect(host, port, tls=tls) as connection:
            return connection.http(path, host=parts.netloc, headers=headers, method=method, body=body, version=version)

    @contextmanager
    def connect(self, host: str, port: int, *, tls: Tls | None = None) -> Iterator[Connection]:
        """A connection to send and read bytes on. Raises DialError."""
        opened = self._ask(wire.Open(host=host, port=port, tls=tls))
        if isinstance(opened, wire.Failed):
            raise DialError(opened.error)
        assert isinstance(opened, wire.Opened)
        connection = Connection(self, opened)
        try:
            yield connection
        finally:
            self._ask(wire.Close(connection=opened.connection))

    def burst(
        self,
        url: str,
        requests: int,
        *,
        headers: Sequence[tuple[str, str]] = (),
        at_once: int = 16,
        fresh: bool = False,
        line: bool = False,
    ) -> Tally:
        """So many requests as fast as they are answered."""
        parts = urlsplit(url)
        asked = wire.Burst(
            host=parts.hostname or "",
            port=parts.port or 80,
            requests=requests,
            headers=tuple(headers),
            at_once=at_once,
            fresh=fresh,
            line=line,
        )
        return self._expect(wire.Tally, asked)

    @contextmanager
    def load(self, url: str, rate: float = 500) -> Iterator[Load]:
        """Constant load while the block runs; `load.end()` tells what became of it."""
        parts = urlsplit(url)
        begun = self._expect(wire.Fine, wire.StartLoad(host=parts.hostname or "", port=parts.port or 80, rate=rate))
        load = Load(self, begun.number)
        try:
            yield load
        finally:
            load.end()

    def grpc(
        self, target: str, *, calls: int = 1, stream: bool = False, metadata: Sequence[tuple[str, str]] = ()
    ) -> GrpcAnswers:
        asked = wire.GrpcCall(target=target, calls=calls, stream=stream, metadata=tuple(metadata))
        return self._expect(wire.GrpcAnswers, asked)

    # Its own servers.

    def seen(self, port: int = 8080) -> PortSeen:
        """What has reached one of its servers, probes aside."""
        return self._expect(wire.SeenByPort, wire.Seen()).ports[port]

    def wait_up(self) -> None:
        """Return once the program answers."""
        self._ask(wire.Seen())

    def set_ready(self, ready: bool) -> None:
        self._ask(wire.SetReady(ready=ready))

    def set_listening(self, listening: bool) -> None:
        self._ask(wire.SetListening(listening=listening))

    def die(self) -> None:
        """As by `kill -9`."""
        try:
            self._ask(wire.Die())
        except (EOFError, OSError):
            self._socket = None

    # The socket.

    def _expect(self, kind: type[R], request: wire.Request) -> R:
        reply = self._ask(request)
        assert isinstance(reply, kind), reply
        return reply

    def _ask(self, request: wire.Request) -> wire.Reply:
        if self._socket is None:
            self._socket = self._connected()
        return wire.ask(self._socket, request)

    def _connected(self) -> socket.socket:
        """A Pod without a readiness probe counts as ready before its program listens."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            connection = socket.socket(socket.AF_UNIX)
            connection.settimeout(SOCKET_SECONDS)
            try:
                connection.connect(str(self._path))
            except OSError:
                connection.close()
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
            else:
                return connection


class Connection:
    """An open connection of a Pod."""

    def __init__(self, app: App, opened: wire.Opened) -> None:
        self._app = app
        self._number = opened.connection
        self.alpn = opened.alpn
        self.certificate = opened.certificate

    def exchange(
        self, send: bytes = b"", *, until: bytes = b"", count: int = 0, seconds: float = 30.0
    ) -> bytes:  # fmt: skip
        """Send, then read up to `until`, or `count` bytes, or all until the peer closes. Raises DialError."""
        received = self._app._expect(
            wire.Received,
            wire.Exchange(connection=self._number, send=send, until=until, count=count, seconds=seconds),
        )
        if received.error:
            raise DialError(f"{received.error} (after {received.data[:300]!r})")
        return received.data

    def send(self, data: bytes) -> None:
        """Send and read nothing."""
        self._app._expect(wire.Received, wire.Exchange(connection=self._number, send=data, count=0, seconds=0.001))

    def line(self, text: str) -> str:
        """One line there and one back."""
        return self.exchange(f"{text}\n".encode(), until=b"\n").decode().rstrip("\n")

    def http(
        self,
        path: str = "/",
        *,
        host: str = "test",
        headers: Sequence[tuple[str, str]] = (),
        method: str = "GET",
        body: bytes = b"",
        version: str = "1.1",
    ) -> Answer:
        """One request on this connection."""
        fields = list(headers)
        if "host" not in {name.lower() for name, _ in headers}:
            fields.insert(0, ("Host", host))
        if body:
            fields.append(("Content-Length", str(len(body))))
        lines = [f"{method} {path} HTTP/{version}", *(f"{name}: {value}" for name, value in fields), "", ""]
        head = self.exchange("\r\n".join(lines).encode("latin-1") + body, until=b"\r\n\r\n").decode("latin-1")
        first, *rest = head.rstrip("\r\n").split("\r\n")
        parsed = tuple((name.strip(), value.strip()) for name, _, value in (each.partition(":") for each in rest))
        length = int(next((value for name, value in parsed if name.lower() == "content-length"), "0"))
        content = self.exchange(count=length) if length else b""
        return Answer(status=int(first.split(" ")[1]), headers=parsed, content=content)


@dataclass(slots=True)
class Load:
    """Load that runs."""

    app: App
    number: int
    _total: Tally | None = field(default=None)

    def so_far(self) -> Tally:
        return self.app._expect(wire.Tally, wire.LoadSoFar(load=self.number))

    def wait_for(self, more: int) -> None:
        """Return once that many further requests have been answered or have failed."""
        now = self.so_far()
        wanted = now.answered + now.failed + more
        deadline = time.monotonic() + SOCKET_SECONDS
        while (now := self.so_far()).answered + now.failed < wanted:
            assert time.monotonic() < deadline, f"the load has come to a stand: {now}"
            time.sleep(0.05)

    def end(self) -> Tally:
        """Stop and tell all; the same again when asked again."""
        if self._total is None:
            self._total = self.app._expect(wire.Tally, wire.StopLoad(load=self.number))
        return self._total

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()
