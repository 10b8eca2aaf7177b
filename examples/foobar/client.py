"""The sample client: calls a service at a constant rate and writes down who answered.

    python3 client.py load http://foobar/ --rate 400      one line of JSON per slot of time, until SIGTERM
    python3 client.py get http://foobar-v2/ --count 10    one line per answer

It knows nothing of the mesh: it speaks plain HTTP to a Service name. The rate is open-loop, so a slow answer delays
no other request, and nothing is ever tried again: each fault that reaches the application is counted as failed (but
see --reopen). A line is written once all requests *begun* in its slot have ended, so what it counts belongs to that
time and to no other:

    {"time": 1700000000.25, "seconds": 0.25, "sent": 100, "failed": 0, "errors": {}, "versions": {"v1": 67, "v2": 33},
     "identities": {"client.example.com": 100}, "latency": [[0.001, 12], [0.002, 80], …]}

`latency` counts answers per bucket, by the bucket's upper bound in seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import bisect
import collections
import contextlib
import dataclasses
import json
import signal
import sys
import time
import urllib.parse

TIMEOUT_SECONDS = 10.0
SLOT_SECONDS = 0.25
TICK_SECONDS = 0.005
BOUNDS = tuple(ms / 1000 for ms in (1, 1.5, 2, 3, 4, 5, 7.5, 10, 15, 20, 30, 50, 100, 200, 500, 1000, 2000, 5000))
BOUNDS_AND_TIMEOUT = (*BOUNDS, TIMEOUT_SECONDS)


class BadAnswerError(Exception):
    """The service answered, but not with what was asked for."""


@dataclasses.dataclass
class Slot:
    """What became of the requests begun in one slot of time."""

    begun: float
    seconds: float = 0.0
    """how long the slot was; 0 while it lasts"""
    sent: int = 0
    ended: int = 0
    errors: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    versions: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    identities: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    latency: collections.Counter[float] = dataclasses.field(default_factory=collections.Counter)

    @property
    def complete(self) -> bool:
        return self.seconds > 0 and self.ended == self.sent

    def line(self) -> str:
        return json.dumps(
            {
                "time": round(self.begun, 3),
                "seconds": round(self.seconds, 3),
                "sent": self.sent,
                "failed": self.errors.total(),
                "errors": self.errors,
                "versions": self.versions,
                "identities": self.identities,
                "latency": sorted(self.latency.items()),
            }
        )


class Service:
    """The service at a URL, with the connections to it that are kept open."""

    def __init__(self, url: str, *, reopen: bool = False) -> None:
        """`reopen`: send a request again whose kept connection the server closed before any byte of an answer. Servers
        may close such a connection at any time, and clients may do this with what is safe to repeat (RFC 9110, 9.2.2).
        """
        self.reopen = reopen
        parts = urllib.parse.urlsplit(url)
        self.host, self.port = parts.hostname or "", parts.port or 80
        self.request = f"GET {parts.path or '/'} HTTP/1.1\r\nhost: {parts.netloc}\r\n\r\n".encode()
        self.idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def get(self) -> dict[str, str]:
        """One request and its answer. Raises OSError, TimeoutError, IncompleteReadError or BadAnswerError."""
        async with asyncio.timeout(TIMEOUT_SECONDS):
            reader, writer, first = await self.begin()
            try:
                head = (first + await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().split("\r\n")
                headers = {name: value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
            except BaseException:
                writer.close()
                raise
        if headers.get("connection") == "close":
            writer.close()
        else:
            self.idle.append((reader, writer))
        status = head[0].split(" ")[1]
        if status != "200":
            raise BadAnswerError(f"status {status}: {body.decode(errors='replace')[:100]}")
        answer: dict[str, str] = json.loads(body)
        return answer

    async def begin(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, bytes]:
        """Send a request over the connection that was used last and is still open, or over a new one. Also the first
        byte of the answer, if it was waited for.
        """
        while self.idle:
            reader, writer = self.idle.pop()
            if not reader.at_eof() and not writer.is_closing():
                writer.write(self.request)
                if not self.reopen:
                    return reader, writer, b""
                with contextlib.suppress(OSError):
                    if first := await reader.read(1):
                        return reader, writer, first
            writer.close()
        reader, writer = await asyncio.open_connection(self.host, self.port)
        writer.write(self.request)
        return reader, writer, b""


async def call(service: Service, slot: Slot) -> None:
    """One request of the load, counted in the slot in which it began."""
    begun = time.perf_counter()
    slot.sent += 1
    try:
        answer = await service.get()
    except (OSError, TimeoutError, EOFError, BadAnswerError, ValueError) as error:
        slot.errors[f"{type(error).__name__}: {error}"] += 1
    else:
        seconds = time.perf_counter() - begun
        slot.versions[answer["version"]] += 1
        slot.identities[answer["identity"]] += 1
        slot.latency[BOUNDS_AND_TIMEOUT[bisect.bisect_left(BOUNDS, seconds)]] += 1
    finally:
        slot.ended += 1


async def load(url: str, rate: float, *, reopen: bool) -> None:
    """Send `rate` requests a second to `url` until SIGTERM or SIGINT, then wait for the last answers."""
    stopping = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, stopping.set)
    service = Service(url, reopen=reopen)
    slots = collections.deque([Slot(time.time())])
    running: set[asyncio.Task[None]] = set()
    start, sent = time.perf_counter(), 0
    while not stopping.is_set():
        while sent < (time.perf_counter() - start) * rate:
            task = asyncio.create_task(call(service, slots[-1]))
            running.add(task)
            task.add_done_callback(running.discard)
            sent += 1
        await asyncio.sleep(TICK_SECONDS)
        if (now := time.time()) - slots[-1].begun >= SLOT_SECONDS:
            slots[-1].seconds = now - slots[-1].begun
            slots.append(Slot(now))
        while slots[0].complete:
            print(slots.popleft().line(), flush=True)
    slots[-1].seconds = time.time() - slots[-1].begun
    if running:
        await asyncio.wait(running)
    for slot in slots:
        print(slot.line(), flush=True)


async def get(url: str, count: int) -> None:
    """Call `url` one time after the other and print each answer."""
    service = Service(url)
    for _ in range(count):
        print(json.dumps(await service.get()), flush=True)


def main() -> int:
    arguments = argparse.ArgumentParser(description="Call a service of the mesh by its name.")
    commands = arguments.add_subparsers(dest="command", required=True)
    for command in (commands.add_parser("load", help="constant load"), commands.add_parser("get", help="a few calls")):
        command.add_argument("url", help="for example http://foobar/")
    commands.choices["load"].add_argument("--rate", type=float, default=400.0, help="requests per second")
    again = "repeat what a server has not begun to answer on a kept connection that it closed"
    commands.choices["load"].add_argument("--reopen", action="store_true", help=again)
    commands.choices["get"].add_argument("--count", type=int, default=1)
    chosen = arguments.parse_args()
    try:
        if chosen.command == "load":
            asyncio.run(load(chosen.url, chosen.rate, reopen=chosen.reopen))
        else:
            asyncio.run(get(chosen.url, chosen.count))
    except (OSError, TimeoutError, EOFError, BadAnswerError) as error:
        print(f"{chosen.url}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
