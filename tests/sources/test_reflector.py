"""The store equals the API server's state, whatever happens on the way (against a scripted HTTP server)."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx2
import msgspec
import pytest

from smeagol.infra.kubernetes.connection import connect
from smeagol.objects import Service
from smeagol.sources.kubernetes import Kind, ObjectKey, Reflector
from smeagol.sources.kubernetes.reflector import Backoff

SERVICES = Kind(group_version="v1", plural="services", decode=msgspec.json.Decoder(Service).decode)
Query = Mapping[str, str]


@dataclass
class Reply:
    """What the server says to one request: a status, lines or one body, and whether it hangs up or stays silent."""

    status: int = 200
    lines: tuple[str, ...] = ()
    tail: str = ""
    """sent without a line's end"""
    silent: bool = False


@dataclass
class Script:
    """Answers requests in turn; the last answer repeats, so that nothing runs dry."""

    replies: list[Callable[[Query], Reply]]
    queries: list[Query] = field(default_factory=list)

    def next(self, query: Query) -> Reply:
        self.queries.append(query)
        return (self.replies.pop(0) if len(self.replies) > 1 else self.replies[0])(query)


def service(name: str, version: int, **labels: str) -> dict[str, object]:
    return {"metadata": {"name": name, "namespace": "shop", "resourceVersion": str(version), "labels": labels}}


def event(kind: str, obj: object) -> str:
    return json.dumps({"type": kind, "object": obj})


def page(*items: object, version: int = 1, more: str = "") -> Callable[[Query], Reply]:
    body = {"metadata": {"resourceVersion": str(version), "continue": more}, "items": list(items)}
    return lambda _: Reply(lines=(json.dumps(body),))


def watch(*events: str, **more: object) -> Callable[[Query], Reply]:
    return lambda _: Reply(lines=events, **more)  # type: ignore[arg-type]  # fields of Reply


def status(code: int) -> Callable[[Query], Reply]:
    return lambda _: Reply(status=code, lines=("{}",))


SILENCE = watch(silent=True)
DONE = event("BOOKMARK", {"metadata": {"resourceVersion": "9", "annotations": {"k8s.io/initial-events-end": "true"}}})


@asynccontextmanager
async def serving(script: Script) -> AsyncIterator[str]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            query = {k: v[0] for k, v in parse_qs(urlsplit(head.split()[1].decode()).query).items()}
            reply = script.next(query)
            writer.write(f"HTTP/1.1 {reply.status} x\r\nconnection: close\r\n\r\n".encode())
            writer.write("".join(f"{line}\n" for line in reply.lines).encode() + reply.tail.encode())
            await writer.drain()
            if reply.silent:
                await reader.read()  # until the client gives up
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@dataclass
class Seen:
    reflector: Reflector[Service]
    changes: list[Mapping[ObjectKey, Service | None]]
    script: Script

    async def until(self, names: set[str], *, lists: int = 0) -> None:
        """Wait until exactly these objects are known."""
        async with asyncio.timeout(60):
            while {name for _, name in self.reflector.store.objects} != names or self.reflector.lists < lists:
                await asyncio.sleep(0.005)


@asynccontextmanager
async def reflecting(
    *replies: Callable[[Query], Reply],
    watch_list: bool = False,
    silence: float = 60.0,
    kind: Kind[Service] = SERVICES,
    backoff: Backoff | None = None,
) -> AsyncIterator[Seen]:
    script = Script(list(replies))
    changes: list[Mapping[ObjectKey, Service | None]] = []
    async with serving(script) as url, httpx2.AsyncClient(base_url=url, trust_env=False) as client:
        reflector = Reflector(
            client,
            kind,
            changes.append,
            backoff=backoff or Backoff(first=0.001, most=0.01),
            silence_seconds=silence,
            watch_list=watch_list,
        )
        task = asyncio.create_task(reflector.run())
        try:
            yield Seen(reflector, changes, script)
        finally:
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task


async def test_pages_are_put_together() -> None:
    async with reflecting(page(service("a", 1), more="next"), page(service("b", 1)), SILENCE) as seen:
        await seen.until({"a", "b"})
        assert seen.script.queries[1]["continue"] == "next"


async def test_events_follow_the_listing() -> None:
    events = (
        event("ADDED", service("b", 2)),
        event("MODIFIED", service("a", 3, x="y")),
        event("DELETED", service("b", 4)),
    )
    async with reflecting(page(service("a", 1)), watch(*events, silent=True)) as seen:
        async with asyncio.timeout(60):
            while len(seen.changes) < 4:
                await asyncio.sleep(0.005)
        assert {name for _, name in seen.reflector.store.objects} == {"a"}
        assert seen.changes[-1] == {("shop", "b"): None}


async def test_the_initial_state_comes_as_a_stream_where_that_is_served() -> None:
    """WatchList: what exists, then a bookmark, then events, all on one stream."""
    events = (
        event("ADDED", service("a", 1)),
        event("ADDED", service("b", 2)),
        DONE,
        event("DELETED", service("b", 10)),
    )
    async with reflecting(watch(*events, silent=True), watch_list=True) as seen:
        await seen.until({"a"})
        assert seen.reflector.synced.is_set()
        assert seen.script.queries[0]["sendInitialEvents"] == "true"


async def test_the_json_of_the_initial_state_is_let_go() -> None:
    """It is far more than what is read of it, and the stream that brought it lasts for minutes."""
    read: list[bytes] = []

    def decode(body: bytes) -> Service:
        read.append(body)
        return SERVICES.decode(body)

    events = (event("ADDED", service("a", 1)), DONE, event("ADDED", service("b", 10)))
    kind = replace(SERVICES, decode=decode)
    async with reflecting(watch(*events, silent=True), watch_list=True, kind=kind) as seen:
        await seen.until({"a", "b"})
        held_by = sys.getrefcount(read[0])
        assert held_by == 2  # `read`, and the question itself


@pytest.mark.parametrize("refusal", [status(400), status(422), watch(event("ERROR", {"code": 504}))])
async def test_an_older_server_is_asked_in_pages(refusal: Callable[[Query], Reply]) -> None:
    async with reflecting(refusal, page(service("a", 1)), SILENCE, watch_list=True) as seen:
        await seen.until({"a"})


async def test_a_watch_that_ends_goes_on_where_it_was() -> None:
    """Server time-outs are ordinary: nothing is listed again, and bookmarks move the place to go on from."""
    bookmark = event("BOOKMARK", {"metadata": {"resourceVersion": "7"}})
    again = watch(event("ADDED", service("b", 8)), silent=True)
    async with reflecting(page(service("a", 1), version=5), watch(bookmark), again) as seen:
        await seen.until({"a", "b"})
        assert [q.get("resourceVersion") for q in seen.script.queries] == [None, "5", "7"]
        assert seen.reflector.lists == 1


@pytest.mark.parametrize(
    "gone",
    [status(410), watch(event("ERROR", {"code": 410, "message": "too old"})), watch(event("ERROR", {"code": 504}))],
)
async def test_a_lost_history_means_listing_anew_and_ghosts_go(gone: Callable[[Query], Reply]) -> None:
    """What was deleted while nobody watched is deleted now; what is the same is no change."""
    async with reflecting(page(service("a", 1), service("b", 1)), gone, page(service("a", 1)), SILENCE) as seen:
        await seen.until({"a"}, lists=2)
        assert seen.changes[-1] == {("shop", "b"): None}


async def test_after_an_outage_a_lost_history_is_listed_anew_at_once() -> None:
    """The pause has grown by then, and the server is there again."""
    waits: list[float] = []

    def chance() -> float:
        waits.append(0)
        return 0

    replies = page(service("a", 1)), status(503), status(503), status(410), page(service("b", 1)), SILENCE
    async with reflecting(*replies, backoff=Backoff(first=0.001, chance=chance)) as seen:
        await seen.until({"b"})
        assert len(waits) == 2


async def test_a_line_cut_in_the_middle_is_no_event() -> None:
    cut = event("DELETED", service("a", 2))
    async with reflecting(
        page(service("a", 1)), watch(tail=cut[:-5]), watch(event("ADDED", service("b", 3)), silent=True)
    ) as seen:
        await seen.until({"a", "b"})


async def test_a_silent_server_is_given_up() -> None:
    """A peer that vanished without a word would leave us with old state for ever."""
    async with reflecting(
        page(service("a", 1)), SILENCE, watch(event("ADDED", service("b", 2)), silent=True), silence=0.2
    ) as seen:
        await seen.until({"a", "b"})


async def test_a_page_token_that_expires_begins_anew() -> None:
    async with reflecting(
        page(service("a", 1), more="next"), status(410), page(service("b", 1), service("c", 1)), SILENCE
    ) as seen:
        await seen.until({"b", "c"})


async def test_an_absent_server_changes_nothing() -> None:
    """API-server outage: what is known stays in force, and the watch goes on afterwards."""
    async with reflecting(
        page(service("a", 1)),
        status(503),
        status(500),
        status(503),
        watch(event("ADDED", service("b", 2)), silent=True),
    ) as seen:
        await seen.until({"a", "b"})
        assert all(None not in change.values() for change in seen.changes)


async def test_an_object_that_cannot_be_read_keeps_its_last_good_value() -> None:
    """One fault stops nothing else."""
    bad = {"metadata": {"name": "a", "namespace": "shop"}, "spec": {"ports": "none"}}
    events = (event("MODIFIED", bad), event("ADDED", service("b", 3)))
    async with reflecting(page(service("a", 1)), watch(*events, silent=True)) as seen:
        await seen.until({"a", "b"})
        assert "spec.ports" in seen.reflector.store.undecodable["shop", "a"]


async def test_a_token_that_cannot_be_read_is_waited_for(tmp_path: Path) -> None:
    """It is a fault like a server that is away: told, and tried again with a growing pause. The kubelet replaces the
    file all the time, and a disk may fail and recover."""
    token = tmp_path / "token"
    script = Script([page(service("web", 1)), SILENCE])
    async with serving(script) as url:
        (tmp_path / "config").write_text(f"""
            apiVersion: v1
            kind: Config
            current-context: x
            clusters: [{{name: x, cluster: {{server: {url}}}}}]
            users: [{{name: x, user: {{tokenFile: {token}}}}}]
            contexts: [{{name: x, context: {{cluster: x, user: x}}}}]
            """)
        async with connect(tmp_path / "config") as client, asyncio.TaskGroup() as tasks, asyncio.timeout(60):
            backoff = Backoff(first=0.001)
            reflector = Reflector(client, SERVICES, lambda _: None, backoff=backoff, watch_list=False)
            running = tasks.create_task(reflector.run())
            while reflector.faults < 2:
                await asyncio.sleep(0.005)
            token.write_text("a")
            await reflector.synced.wait()
            running.cancel()
