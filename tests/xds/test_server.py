"""The server over real gRPC connections: both variants, slow and ill-behaved clients, storms, draining."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import grpc
import pytest

from smeagol.refs import NodeId
from smeagol.xds import AdsServer, Cache, Resource, server
from smeagol.xds.auth import Metadata, PeerContext
from smeagol.xds.errors import AddressUnavailable
from smeagol.xds.session import NAMES_LIMIT, TYPES_LIMIT, DeltaSession
from smeagol.xds.type_urls import CLUSTER, ENDPOINT, LISTENER
from xds_kit.client import channel, delta, delta_request, world
from xds_kit.waiting import Watch, until

WEB = NodeId("shop/web-1")
CART = NodeId("shop/cart-1")


@pytest.fixture
def cache() -> Cache:
    return Cache()


@pytest.fixture
async def target(cache: Cache) -> AsyncIterator[str]:
    ads = AdsServer(cache)
    port = await ads.start("127.0.0.1:0")
    yield f"127.0.0.1:{port}"
    await ads.stop(0)


async def test_a_stream_waits_as_of_when_it_was_asked(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not due yet when it is asked, and has become so a moment later, would else be waited for for ever."""
    asked: list[float] = []
    waited: list[float] = []

    class Noting(DeltaSession):
        def next_response(self, now: float) -> bytes | None:
            asked.append(now)
            return super().next_response(now)

        def deadline(self, now: float) -> float | None:
            waited.append(now)
            assert asked[-1] == now
            return super().deadline(now)

    monkeypatch.setattr("smeagol.xds.server.DeltaSession", Noting)
    cache.update(shared=[Resource(CLUSTER, "a", b"1")])
    ads = AdsServer(cache)
    port = await ads.start("127.0.0.1:0")
    async with channel(f"127.0.0.1:{port}") as on:
        stream = delta(on)
        await stream.ask(CLUSTER, node=WEB)
        assert (await stream.acked(CLUSTER)).resources == {"a": b"1"}
    await ads.stop(0)
    assert waited


class TestBothVariants:
    async def test_delta(self, cache: Cache, target: str) -> None:
        """A wildcard gives all there is, then only what changed; a removal is told by name."""
        cache.update(shared=[Resource(CLUSTER, "a", b"1"), Resource(CLUSTER, "b", b"1")])
        async with channel(target) as on:
            stream = delta(on)
            await stream.ask(CLUSTER, node=WEB)
            assert (await stream.acked(CLUSTER)).resources == {"a": b"1", "b": b"1"}

            cache.update(shared=[Resource(CLUSTER, "a", b"2"), Resource(CLUSTER, "b", b"1")])
            assert (await stream.acked(CLUSTER)).resources == {"a": b"2"}

            cache.update(remove_shared=[(CLUSTER, "b")])
            third = await stream.acked(CLUSTER)
            assert (third.resources, third.removed) == ({}, ("b",))

    async def test_state_of_the_world(self, cache: Cache, target: str) -> None:
        """For clusters every response has all there is; for endpoints only what changed."""
        cache.update(shared=[Resource(CLUSTER, "a", b"1"), Resource(CLUSTER, "b", b"1"), Resource(ENDPOINT, "a", b"1")])
        async with channel(target) as on:
            stream = world(on)
            await stream.ask(CLUSTER, node=WEB)
            assert set((await stream.acked(CLUSTER)).bodies) == {b"1"}
            await stream.ask(ENDPOINT, ["a", "b"])
            assert (await stream.acked(ENDPOINT, ["a", "b"])).bodies == (b"1",)

            cache.update(shared=[Resource(CLUSTER, "a", b"2"), Resource(ENDPOINT, "b", b"2")])
            assert set((await stream.acked(CLUSTER)).bodies) == {b"1", b"2"}
            assert set((await stream.acked(ENDPOINT, ["a", "b"])).bodies) == {b"1", b"2"}, "a again: its cluster is new"

    async def test_over_a_unix_socket(self, cache: Cache) -> None:
        """Where the proxies are on the same machine, no port is needed."""
        cache.update(shared=[Resource(CLUSTER, "a", b"1")])
        with TemporaryDirectory(prefix="xds-") as folder:
            ads = AdsServer(cache)
            path = Path(folder) / "ads"
            await ads.start(f"unix:{path}")
            async with channel(f"unix:{path}") as on:
                stream = delta(on)
                await stream.ask(CLUSTER, node=WEB)
                assert (await stream.acked(CLUSTER)).resources == {"a": b"1"}
                assert ads.connected.keys() == {WEB}
            await ads.stop(0)

    async def test_an_address_in_use(self, cache: Cache, target: str) -> None:
        """It is said so; the two servers do not silently share the port."""
        with pytest.raises(AddressUnavailable) as caught:
            await AdsServer(cache).start(target)
        assert caught.value.where == target


class TestMisbehavingClients:
    """Each is answered by a status that says why, and harms no other."""

    @pytest.fixture(autouse=True)
    async def others_are_served(self, cache: Cache, target: str) -> AsyncIterator[None]:
        """Before and after, a decent proxy gets its due."""
        async with channel(target) as on:
            decent = delta(on)
            await decent.ask(LISTENER, node=CART)
            assert (await decent.acked(LISTENER)).resources == {}
            yield
            cache.update(shared=[Resource(LISTENER, "front", b"1")])
            assert (await decent.acked(LISTENER)).resources == {"front": b"1"}
            await Watch(cache).until(lambda: cache.acks.connected.keys() == {CART})
            assert cache.stats.streams == 1

    @pytest.mark.parametrize("variant", [delta, world])
    async def test_garbage(self, cache: Cache, target: str, variant: type) -> None:
        async with channel(target) as on:
            stream = variant(on)
            await stream.send(b"\xff\xfe garbage")
            code, details = await stream.end()
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert "not a discovery message" in details
        assert cache.stats.malformed_requests == 1

    async def test_garbage_later(self, cache: Cache, target: str) -> None:
        async with channel(target) as on:
            stream = delta(on)
            await stream.ask(CLUSTER, node=WEB)
            await stream.acked(CLUSTER)
            await stream.send(b"\x0a\xff")
            code, _ = await stream.end()
        assert code is grpc.StatusCode.INVALID_ARGUMENT

    async def test_no_node(self, target: str) -> None:
        async with channel(target) as on:
            stream = delta(on)
            await stream.ask(CLUSTER)
            code, details = await stream.end()
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert "names no node" in details

    async def test_no_type(self, target: str) -> None:
        async with channel(target) as on:
            stream = delta(on)
            await stream.ask("", node=WEB)
            code, details = await stream.end()
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert "type_url" in details

    async def test_silence(self, target: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """A stream on which nothing is ever asked is closed after a while."""
        monkeypatch.setattr(server, "FIRST_REQUEST_SECONDS", 0.05)
        async with channel(target) as on:
            code, details = await delta(on).end()
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert "sent no request" in details

    async def test_nothing_but_a_goodbye(self, target: str) -> None:
        async with channel(target) as on:
            stream = delta(on)
            await stream.call.done_writing()
            code, _ = await stream.end()
        assert code is grpc.StatusCode.OK

    async def test_a_huge_request(self, target: str) -> None:
        async with channel(target, options=[("grpc.max_send_message_length", -1)]) as on:
            stream = delta(on)
            await stream.ask(CLUSTER, node=WEB, known={"x": "y" * 20_000_000})
            code, _ = await stream.end()
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED

    @pytest.mark.parametrize("variant", [delta, world])
    async def test_too_many_names(self, target: str, variant: type) -> None:
        async with channel(target) as on:
            stream = variant(on)
            await stream.ask(ENDPOINT, [f"name-{i}" for i in range(NAMES_LIMIT + 1)], node=WEB)
            code, details = await stream.end()
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert str(NAMES_LIMIT) in details

    async def test_too_many_types(self, cache: Cache, target: str) -> None:
        """Nothing of them remains."""
        async with channel(target) as on:
            stream = delta(on)
            for number in range(TYPES_LIMIT + 1):
                await stream.ask(f"type.googleapis.com/invented.{number}", ["a"], node=WEB)
            code, _ = await stream.end()
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert cache.find("type.googleapis.com/invented.0") is None

    async def test_who_never_acknowledges(self, cache: Cache, target: str) -> None:
        """Gets one response of a type, however much changes; and when it answers at last, only the newest state."""
        async with channel(target) as on:
            stream = delta(on)
            await stream.ask(ENDPOINT, ["a"], node=WEB)
            first = await stream.answer()
            for number in range(500):
                cache.update(shared=[Resource(ENDPOINT, "a", b"%d" % number)])
            await asyncio.sleep(0)
            assert cache.acks.of(ENDPOINT, "a").lagging == (WEB,)
            await stream.ack(first)
            assert (await stream.acked(ENDPOINT)).resources == {"a": b"499"}
            await Watch(cache).until(lambda: cache.acks.of(ENDPOINT, "a").current == (WEB,))

    async def test_who_never_reads(self, cache: Cache, target: str) -> None:
        """What does not fit into its window waits with gRPC, one response a type; the others do not wait for it."""
        cache.update(shared=[Resource(CLUSTER, str(i), bytes(1_000_000)) for i in range(20)])
        async with channel(target) as on:
            stream = delta(on)
            await stream.ask(CLUSTER, node=WEB)
            watch = Watch(cache)
            await watch.until(lambda: WEB in cache.acks.connected)
            other = delta(on)  # on the same connection, too
            await other.ask(ENDPOINT, ["a"], node="shop/other-1")
            assert (await other.acked(ENDPOINT)).removed == ("a",)
            stream.call.cancel()
            other.call.cancel()
            await watch.until(lambda: cache.acks.connected.keys() == {CART})

    @pytest.mark.parametrize("nonce", ["0", "77", "x"])
    async def test_stale_and_invented_nonces(self, cache: Cache, target: str, nonce: str) -> None:
        """Neither acknowledge nor refuse anything, but in the delta variant the names count."""
        cache.update(shared=[Resource(ENDPOINT, "a", b"1"), Resource(ENDPOINT, "b", b"1")])
        async with channel(target) as on:
            stream = delta(on)
            await stream.ask(ENDPOINT, ["a"], node=WEB)
            first = await stream.answer()
            await stream.send(delta_request(ENDPOINT, ["b"], nonce=nonce, refusal="no"))
            await stream.ack(first)
            assert (await stream.acked(ENDPOINT)).resources == {"b": b"1"}
        assert cache.stats.stale_nonces == 1
        assert cache.stats.nacks == 0

    async def test_who_breaks_off_in_the_middle(self, cache: Cache, target: str) -> None:
        """Hundreds come, ask, and are gone without a word."""
        cache.update(shared=[Resource(CLUSTER, str(i), bytes(10_000)) for i in range(50)])
        watch = Watch(cache)
        async with channel(target) as on:
            streams = [delta(on) for _ in range(300)]
            for number, stream in enumerate(streams):
                await stream.ask(CLUSTER, node=f"shop/flaky-{number}")
            await streams[0].answer()
        await watch.until(lambda: cache.acks.connected.keys() == {CART} and cache.stats.streams == 1)
        await until(lambda: cache.stats.waiting == 0)


class TestStorm:
    async def test_hundreds_reconnect_at_once(self, cache: Cache) -> None:
        """All are served, so many at a time and none refused; they are sent nothing that they have."""
        busy = Concurrency()
        resources = [Resource(CLUSTER, f"service-{i}", b"%d" % i) for i in range(200)]
        cache.update(shared=resources)
        known = {r.name: str(cache.version_of(CLUSTER, r.name)) for r in resources}
        ads = AdsServer(cache, authenticator=busy, initial_syncs=8)
        port = await ads.start("127.0.0.1:0")

        async def reconnect(on: grpc.aio.Channel, number: int) -> None:
            node = f"shop/web-{number}"
            stream = delta(on, [("node", node)])
            await stream.ask(CLUSTER, node=node, known=known if number % 2 else {})
            answer = await stream.acked(CLUSTER)
            assert len(answer.resources) == (0 if number % 2 else 200)
            await stream.call.done_writing()

        async with channel(f"127.0.0.1:{port}") as one, channel(f"127.0.0.1:{port}") as two:
            await asyncio.gather(*(reconnect((one, two)[i % 2], i) for i in range(400)))
        assert busy.most <= 8
        assert cache.stats.streams_opened == 400
        await ads.stop(0)

    async def test_who_is_slow_does_not_keep_others_waiting(
        self, cache: Cache, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A proxy that does not answer gives up its place after a while."""
        monkeypatch.setattr(server, "INITIAL_SYNC_SECONDS", 0.05)
        ads = AdsServer(cache, initial_syncs=1)
        port = await ads.start("127.0.0.1:0")
        async with channel(f"127.0.0.1:{port}") as on:
            slow, next_one = delta(on), delta(on)
            await slow.ask(CLUSTER, node=WEB)
            await slow.answer()
            await next_one.ask(CLUSTER, node=CART)
            await next_one.acked(CLUSTER)
        await ads.stop(0)

    async def test_who_is_silent_neither(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nor does who opens a stream and asks for nothing, long before the stream is closed for that."""
        monkeypatch.setattr(server, "INITIAL_SYNC_SECONDS", 0.05)
        monkeypatch.setattr(server, "FIRST_REQUEST_SECONDS", 3600)
        ads = AdsServer(Cache(), initial_syncs=1)
        port = await ads.start("127.0.0.1:0")
        async with channel(f"127.0.0.1:{port}") as on:
            silent = delta(on)
            await silent.call.wait_for_connection()
            decent = delta(on)
            await decent.ask(CLUSTER, node=CART)
            await decent.acked(CLUSTER)
        await ads.stop(0)

    async def test_who_is_silent_on_many_streams_has_one_place(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A later stream of a proxy takes the place of its earlier one, so that the others have theirs."""
        monkeypatch.setattr(server, "INITIAL_SYNC_SECONDS", 3600)
        ads = AdsServer(Cache(), authenticator=Claimed(), initial_syncs=2)
        port = await ads.start("127.0.0.1:0")
        async with channel(f"127.0.0.1:{port}") as on:
            silent = [delta(on, [("node", WEB)]) for _ in range(50)]
            await asyncio.gather(*(stream.call.wait_for_connection() for stream in silent))
            decent = delta(on, [("node", CART)])
            await decent.ask(CLUSTER, node=CART)
            await decent.acked(CLUSTER)
        await ads.stop(0)

    async def test_what_waits_stays_with_the_client(self) -> None:
        """A stream is not read before it has a place and its client is known: of a large request, next to nothing is
        taken meanwhile, however fast the line."""
        cache = Cache()
        authenticator = Claimed(WEB)
        ads = AdsServer(cache, authenticator=authenticator, initial_syncs=2)
        port = await ads.start("127.0.0.1:0")
        async with channel(f"127.0.0.1:{port}") as on:
            waiting = delta(on, [("node", WEB)])
            known = {f"service-{number}": "0123456789abcdef" for number in range(10_000)}
            asking = asyncio.create_task(waiting.ask(CLUSTER, node=WEB, known=known))
            other = delta(on, [("node", CART)])
            await other.ask(CLUSTER, node=CART)
            for number in range(50):
                cache.update(shared=[Resource(CLUSTER, "a", b"%d" % number)])
                await other.acked(CLUSTER)
            assert not asking.done()
            authenticator.let_go.set()
            await asking
            assert (await waiting.acked(CLUSTER)).names == {"a"}
        await ads.stop(0)


class Concurrency:
    """Everybody is who the header `node` says; counts how many it looks at at a time."""

    def __init__(self) -> None:
        self.now = 0
        self.most = 0

    async def __call__(self, metadata: Metadata, peer: PeerContext) -> frozenset[NodeId]:
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0)
        self.now -= 1
        return claimed(metadata)


class Claimed:
    """Everybody is who the header `node` says; that of those `held` is not told before they are let go."""

    def __init__(self, *held: NodeId) -> None:
        self._held = set(held)
        self.let_go = asyncio.Event()

    async def __call__(self, metadata: Metadata, peer: PeerContext) -> frozenset[NodeId]:
        if claimed(metadata) & self._held:
            await self.let_go.wait()
        return claimed(metadata)


def claimed(metadata: Metadata) -> frozenset[NodeId]:
    return frozenset(NodeId(str(value)) for key, value in metadata if key == "node")


class TestStop:
    async def test_proxies_are_sent_away_one_after_the_other(self, cache: Cache) -> None:
        """Each at a time of its own within the grace, with a status that makes it try another server."""
        lots = count(1)
        ads = AdsServer(cache, jitter=lambda: next(lots) / 600)
        port = await ads.start("127.0.0.1:0")
        async with channel(f"127.0.0.1:{port}") as on:
            streams = [delta(on) for _ in range(5)]
            for number, stream in enumerate(streams):
                await stream.ask(CLUSTER, node=f"shop/web-{number}")
                await stream.acked(CLUSTER)
            loop = asyncio.get_running_loop()
            start = loop.time()
            ended: list[float] = []

            async def wait(stream: object) -> grpc.StatusCode:
                code, _ = await stream.end()  # type: ignore[attr-defined]
                ended.append(loop.time() - start)
                return code  # type: ignore[no-any-return]

            codes = asyncio.gather(*map(wait, streams))
            await ads.stop(grace=60)
            assert set(await codes) == {grpc.StatusCode.UNAVAILABLE}
        assert len(cache.acks.connected) == 0
        assert ended[0] < ended[-1]
        assert loop.time() - start < 45, "it does not wait longer than the last one needs"

    async def test_without_grace(self, cache: Cache) -> None:
        ads = AdsServer(cache)
        port = await ads.start("127.0.0.1:0")
        async with channel(f"127.0.0.1:{port}") as on:
            stream = delta(on)
            await stream.ask(CLUSTER, node=WEB)
            await stream.acked(CLUSTER)
            await ads.stop(grace=0)
            code, _ = await stream.end()
            assert code is not grpc.StatusCode.OK
        assert len(cache.acks.connected) == 0
