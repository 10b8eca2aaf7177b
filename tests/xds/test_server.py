"""The server over real gRPC connections."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from smeagol.refs import NodeId
from smeagol.xds import AdsServer, Cache, Resource
from smeagol.xds.type_urls import CLUSTER, ENDPOINT
from xds_kit.client import channel, delta

WEB = NodeId("shop/web-1")


@pytest.fixture
def cache() -> Cache:
    return Cache()


@pytest.fixture
async def target(cache: Cache) -> AsyncIterator[str]:
    server = AdsServer(cache)
    port = await server.start("127.0.0.1:0")
    yield f"127.0.0.1:{port}"
    await server.stop(0)


class TestDelta:
    async def test_what_is_there_what_changes_and_what_goes(self, cache: Cache, target: str) -> None:
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

    async def test_a_named_resource_that_is_not_there(self, cache: Cache, target: str) -> None:
        """It is answered as removed, so that the proxy need not wait, and sent when it appears."""
        async with channel(target) as on:
            stream = delta(on)
            await stream.ask(ENDPOINT, ["a"], node=WEB)
            assert (await stream.acked(ENDPOINT)).removed == ("a",)
            cache.update(shared=[Resource(ENDPOINT, "a", b"1")])
            assert (await stream.acked(ENDPOINT)).resources == {"a": b"1"}
