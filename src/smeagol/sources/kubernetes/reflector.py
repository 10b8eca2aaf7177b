"""Keeps a store equal to what the API server has: WatchList where it is served, else pages and a watch.

Whatever goes wrong ends in one of two places: the watch is resumed where it was (cut connections, silence, server
time-outs), or everything is listed anew and compared (410: the server's history is too short; 504 and others: it does
not know). What was known stays in force meanwhile, so an API server that is away changes nothing.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

import httpx2
import msgspec
import structlog

from smeagol.sources.kubernetes.collection import Decoded, Kind, ObjectKey, Page, Store, WatchError, key_of, read_event

__all__ = ["Backoff", "Reflector"]

log = structlog.get_logger(__name__)

T = TypeVar("T", bound=Decoded)

PAGE = 500
"""Objects a page: what client-go asks for."""

WATCH_SECONDS = (240, 480)
"""How long a watch is asked to last, drawn by lot, so that watches do not all end together."""

SILENCE_SECONDS = 150.0
"""A watch without a word for so long is dead: the server sends a bookmark about every minute."""

_GONE = 410


@dataclass(slots=True)
class Backoff:
    """Waits that double up to a limit, with full jitter; a success begins anew."""

    first: float = 0.5
    most: float = 30.0
    chance: Callable[[], float] = random.random
    _next: float = 0.0

    def wait(self) -> float:
        """Seconds to wait before the next try."""
        self._next = min(self.most, self._next * 2 or self.first)
        return self._next * (0.5 + self.chance() / 2)

    def reset(self) -> None:
        self._next = 0.0


class _Relist(Exception):  # noqa: N818 - no error: the server asks for a new listing
    """What is known is too old to go on from."""


class _NoWatchList(Exception):  # noqa: N818 - no error: an older server
    """The server does not stream the initial state."""


class Reflector(Generic[T]):
    """One kind of objects. `run` never returns; `synced` is set once the store holds a whole state.

    `on_change` gets what differs, each time something does; it must not block.
    """

    def __init__(
        self,
        client: httpx2.AsyncClient,
        kind: Kind[T],
        on_change: Callable[[Mapping[ObjectKey, T | None]], None],
        *,
        backoff: Backoff | None = None,
        silence_seconds: float = SILENCE_SECONDS,
        watch_list: bool = True,
        page: int = PAGE,
    ) -> None:
        self.store: Store[T] = Store(kind)
        self.synced = asyncio.Event()
        self.lists = 0
        self.watches = 0
        self.faults = 0
        self.connected = False
        self.kind = kind
        self._client = client
        self._on_change = on_change
        self._backoff = backoff or Backoff()
        self._silence = silence_seconds
        self.watch_list = watch_list
        self._page = page
        self.version = ""
        """as of which the store is; empty if all must be listed anew"""
        self._fruitful = False
        self._heard = time.monotonic()

    @property
    def silent_seconds(self) -> float:
        """Since the API server last said something; a bookmark comes about every minute."""
        return time.monotonic() - self._heard

    @property
    def plural(self) -> str:
        """The name of the kind on the API server."""
        return self.kind.plural

    def __len__(self) -> int:
        return len(self.store.objects)

    async def run(self) -> None:
        """Keep the store up to date until cancelled.

        There is a pause before each new try, which grows while tries bring nothing: a server that ends every watch at
        once, or always asks for a new listing, is not asked in a busy loop. One that has forgotten where a watch is to
        go on, as after an outage, is there again, and asked for all at once.
        """
        while True:
            resumed, self._fruitful = bool(self.version), False
            try:
                if not self.version:
                    await self._sync()
                await self._watch()
                reason = "the server ended the watch"
            except _NoWatchList:
                self.watch_list = False
                continue
            except _Relist as error:
                self.version = ""
                reason = str(error)
                if resumed:
                    self.connected = False
                    log.info("listing anew", kind=self.plural, reason=reason)
                    continue
            except (httpx2.HTTPError, ValueError) as error:
                self.faults += 1
                reason = repr(error)
            self.connected = False
            if self._fruitful:
                self._backoff.reset()
            wait = self._backoff.wait()
            log.info("watching anew", kind=self.plural, reason=reason, wait_seconds=round(wait, 1))
            await asyncio.sleep(wait)

    # Where the state comes from.

    async def _sync(self) -> None:
        if self.watch_list:
            await self._sync_by_watch_list()
        else:
            await self._sync_by_pages()

    async def _sync_by_watch_list(self) -> None:
        """The initial state as a stream of events, which costs the server no copy of it (KEP-3157)."""
        bodies: dict[ObjectKey, bytes] = {}
        query = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan", "resourceVersion": ""}
        try:
            async with self._stream(query) as lines:
                async for line in lines:
                    event = read_event(line)
                    if isinstance(event, WatchError):
                        raise _NoWatchList
                    if event.ends_initial:
                        self._listed(bodies.values(), event.resource_version)
                        bodies.clear()  # else all objects are kept as JSON for as long as the watch lasts
                        await self._follow(lines)
                        return
                    if event.type == "DELETED":
                        bodies.pop(key_of(event.body), None)
                    elif event.type != "BOOKMARK":
                        bodies[key_of(event.body)] = event.body
        except httpx2.HTTPStatusError as error:
            if error.response.status_code in (400, 405, 422):
                raise _NoWatchList from error
            raise
        msg = "the initial state was cut off"
        raise httpx2.RemoteProtocolError(msg)

    async def _sync_by_pages(self) -> None:
        bodies: list[bytes] = []
        token, version = "", ""
        while True:
            query = {"limit": str(self._page)} | ({"continue": token} if token else {})
            answer = await self._client.get(self.kind.path, params=query)
            if answer.status_code == _GONE and token:
                # The token of the next page has expired: begin again, in one piece this time.
                bodies, token = [], ""
                answer = await self._client.get(self.kind.path)
            answer.raise_for_status()
            page = msgspec.json.decode(answer.content, type=Page)
            bodies += [bytes(item) for item in page.items]
            token, version = page.metadata.continue_, page.metadata.resource_version
            if not token:
                break
        self._listed(bodies, version)

    async def _watch(self) -> None:
        async with self._stream({"resourceVersion": self.version}) as lines:
            await self._follow(lines)

    async def _follow(self, lines: AsyncIterator[bytes]) -> None:
        """Take over events until the server ends the watch, which it does from time to time."""
        self.connected = True
        async for line in lines:
            event = read_event(line)
            if isinstance(event, WatchError):
                raise _Relist(f"{event.code}: {event.message}")
            self._take(self.store.apply(event), event.resource_version)
            self._fruitful = True

    def _listed(self, bodies: Iterable[bytes], version: str) -> None:
        self._take(self.store.replace(bodies), version)
        self.lists += 1
        self.connected = True
        self.synced.set()

    def _take(self, changed: Mapping[ObjectKey, T | None], version: str) -> None:
        self.version = version or self.version
        self._heard = time.monotonic()
        if changed:
            self._on_change(changed)

    @asynccontextmanager
    async def _stream(self, query: dict[str, str]) -> AsyncIterator[AsyncIterator[bytes]]:
        """A watch as lines. Raises httpx2.HTTPError for what ends it; 410 becomes a new listing."""
        seconds = random.randint(*WATCH_SECONDS)  # noqa: S311 - spreads load, guards nothing
        params = query | {"watch": "true", "allowWatchBookmarks": "true", "timeoutSeconds": str(seconds)}
        timeout = httpx2.Timeout(10.0, read=self._silence)
        # A compressed stream keeps events back until enough have come together.
        plain = {"accept-encoding": "identity"}
        async with self._client.stream("GET", self.kind.path, params=params, timeout=timeout, headers=plain) as answer:
            if answer.status_code == _GONE:
                raise _Relist("410: the watch was asked for from too long ago")
            if answer.is_error:
                await answer.aread()
                answer.raise_for_status()
            self.watches += 1
            yield _lines(answer)


async def _lines(answer: httpx2.Response) -> AsyncIterator[bytes]:
    """Whole lines only: what was cut off at the end of a stream is not an event."""
    rest = b""
    async for chunk in answer.aiter_bytes():
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            if line:
                yield line
