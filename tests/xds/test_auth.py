"""A proxy may only be the node that its token or its client certificate names."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import grpc
import pytest
from cryptography import x509

from smeagol.refs import NodeId
from smeagol.xds import (
    AdsServer,
    Authenticator,
    BearerToken,
    Cache,
    ClientCertificate,
    NodeUpdate,
    Resource,
    TlsConfig,
)
from smeagol.xds.type_urls import CLUSTER, ENDPOINT
from xds_kit.certificates import Authority, Pair
from xds_kit.client import DeltaStream, channel, delta, world

WEB = NodeId("shop/web-1")
CART = NodeId("shop/cart-1")
TOKENS = {"web-token": WEB, "cart-token": CART}


async def verify(token: str) -> NodeId | None:
    return TOKENS.get(token)


def node_of(name: str) -> NodeId | None:
    """The Pod in `spiffe://mesh/shop/web-1`."""
    return NodeId(name.removeprefix("spiffe://mesh/")) if name.startswith("spiffe://mesh/") else None


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def server_pair(authority: Authority) -> Pair:
    return authority.issue(x509.DNSName("localhost"))


@asynccontextmanager
async def serving(authenticator: Authenticator | None, tls: TlsConfig | None) -> AsyncIterator[tuple[AdsServer, str]]:
    cache = Cache()
    cache.update(shared=[Resource(CLUSTER, "a", b"1")])
    ads = AdsServer(cache, authenticator=authenticator, tls=tls)
    port = await ads.start("localhost:0")
    yield ads, f"localhost:{port}"
    await ads.stop(0)


async def outcome(stream: Callable[[], DeltaStream], node: NodeId) -> str:
    """What comes of asking as `node`: `served`, or why not.

    Asked once more if the server ends the stream just as the request is written: grpc.aio says nothing of why then.
    """
    while True:
        asking = stream()
        try:
            await asking.ask(CLUSTER, node=node)
            await asking.acked(CLUSTER)
        except (EOFError, grpc.aio.AioRpcError):
            code, details = await asking.end()
            if not details.startswith("Internal error from Core"):
                return f"{code.name}: {details}"
        else:
            return "served"


class TestBearerToken:
    @pytest.fixture
    async def target(self, server_pair: Pair) -> AsyncIterator[str]:
        tls = TlsConfig(certificate_chain=server_pair.certificate, private_key=server_pair.key)
        async with serving(BearerToken(verify), tls) as (_, target):
            yield target

    @pytest.mark.parametrize(
        ("headers", "says"),
        [
            ([("authorization", "Bearer web-token")], "served"),
            ([("authorization", "bearer web-token")], "served"),
            ([], "UNAUTHENTICATED: the proxy shows no bearer token"),
            ([("authorization", "Basic web-token")], "UNAUTHENTICATED: the proxy shows no bearer token"),
            ([("authorization", "Bearer ")], "UNAUTHENTICATED: the proxy shows no bearer token"),
            ([("authorization", "Bearer forged")], "UNAUTHENTICATED: the proxy's bearer token is not"),
            (
                [("authorization", "Bearer cart-token")],
                "UNAUTHENTICATED: proxy shop/web-1: the proxy may only hold the id",
            ),
            (
                [("authorization", "Bearer cart-token"), ("authorization", "Bearer web-token")],
                "UNAUTHENTICATED: the proxy shows no bearer token",
            ),
        ],
    )
    async def test_only_ones_own(
        self, authority: Authority, target: str, headers: list[tuple[str, str]], says: str
    ) -> None:
        """Its own valid token, and exactly one, lets a proxy in."""
        credentials = grpc.ssl_channel_credentials(authority.certificate)
        async with channel(target, credentials) as on:
            assert (await outcome(lambda: delta(on, headers), WEB)).startswith(says)

    @pytest.mark.parametrize("variant", [delta, world])
    async def test_a_stranger_is_not_read(self, authority: Authority, target: str, variant: type) -> None:
        """It is refused for what it shows, before it has said anything."""
        async with channel(target, grpc.ssl_channel_credentials(authority.certificate)) as on:
            code, _ = await variant(on).end()
        assert code is grpc.StatusCode.UNAUTHENTICATED

    async def test_plaintext_is_not_served(self, target: str) -> None:
        async with channel(target) as on:
            assert (await outcome(lambda: delta(on, [("authorization", "Bearer web-token")]), WEB)).startswith(
                "UNAVAILABLE"
            )

    async def test_a_node_cannot_be_changed_later(self) -> None:
        """The node of the first request is the one that was checked; a later one is not read."""
        async with serving(BearerToken(verify), tls=None) as (ads, target), channel(target) as on:
            own = {node: NodeUpdate((Resource(ENDPOINT, "own", node.encode()),)) for node in (WEB, CART)}
            ads.cache.update(nodes=own)
            stream = delta(on, [("authorization", "Bearer web-token")])
            for node in (WEB, CART):
                await stream.ask(ENDPOINT, ["own"], node=node)
                assert (await stream.acked(ENDPOINT)).resources == {"own": WEB.encode()}
            assert ads.connected.keys() == {WEB}


class TestClientCertificate:
    @pytest.fixture
    async def target(self, authority: Authority, server_pair: Pair) -> AsyncIterator[str]:
        tls = TlsConfig(
            certificate_chain=server_pair.certificate, private_key=server_pair.key, client_ca=authority.certificate
        )
        async with serving(ClientCertificate(node_of), tls) as (_, target):
            yield target

    async def ask(self, target: str, authority: Authority, pair: Pair | None) -> str:
        credentials = grpc.ssl_channel_credentials(
            authority.certificate, pair.key if pair else None, pair.certificate if pair else None
        )
        async with channel(target, credentials) as on:
            return await outcome(lambda: delta(on), WEB)

    async def test_ones_own(self, authority: Authority, target: str) -> None:
        """Other names in the certificate do no harm."""
        names = x509.DNSName("web.shop"), x509.UniformResourceIdentifier(f"spiffe://mesh/{WEB}")
        assert await self.ask(target, authority, authority.issue(*names)) == "served"

    async def test_anothers(self, authority: Authority, target: str) -> None:
        pair = authority.issue(x509.UniformResourceIdentifier(f"spiffe://mesh/{CART}"))
        assert "may only hold the id shop/cart-1" in await self.ask(target, authority, pair)

    async def test_one_without_a_node(self, authority: Authority, target: str) -> None:
        pair = authority.issue(x509.DNSName("web.shop"))
        assert "no client certificate that names a node" in await self.ask(target, authority, pair)

    async def test_of_an_unknown_issuer(self, authority: Authority, target: str) -> None:
        pair = Authority("somebody else").issue(x509.UniformResourceIdentifier(f"spiffe://mesh/{WEB}"))
        assert (await self.ask(target, authority, pair)).startswith("UNAVAILABLE")

    async def test_none(self, authority: Authority, target: str) -> None:
        assert (await self.ask(target, authority, None)).startswith("UNAVAILABLE")


class TestServerCertificate:
    async def test_it_can_be_replaced_while_serving(self, authority: Authority, server_pair: Pair) -> None:
        """New connections see the new one; who trusts only its issuer is served, and who does not is not."""
        successor = Authority("the next root")
        first = TlsConfig(certificate_chain=server_pair.certificate, private_key=server_pair.key)
        old, new = (grpc.ssl_channel_credentials(each.certificate) for each in (authority, successor))
        async with serving(None, first) as (ads, target), channel(target, old) as on:
            standing = delta(on)
            assert await outcome(lambda: standing, WEB) == "served"
            pair = successor.issue(x509.DNSName("localhost"))
            ads.use_tls(TlsConfig(certificate_chain=pair.certificate, private_key=pair.key))
            async with channel(target, new) as late:
                assert await outcome(lambda: delta(late), CART) == "served"
            async with channel(target, old) as late:
                assert (await outcome(lambda: delta(late), CART)).startswith("UNAVAILABLE")
            ads.cache.update(shared=[Resource(CLUSTER, "a", b"2")])
            assert (await standing.acked(CLUSTER)).resources == {"a": b"2"}

    async def test_a_storm_of_handshakes_is_answered(self, authority: Authority, server_pair: Pair) -> None:
        """Many at a time, on gRPC's own threads: taking over a certificate at each of them ends the process."""
        tls = TlsConfig(certificate_chain=server_pair.certificate, private_key=server_pair.key)
        trusting = ssl.create_default_context(cadata=authority.certificate.decode())
        trusting.set_alpn_protocols(["h2"])

        def connect(port: int) -> None:
            for _ in range(20):
                with (
                    socket.create_connection(("localhost", port), timeout=20) as plain,
                    trusting.wrap_socket(plain, server_hostname="localhost") as encrypted,
                ):
                    assert encrypted.selected_alpn_protocol() == "h2"

        async with serving(None, tls) as (_, target):
            port = int(target.rpartition(":")[2])
            with ThreadPoolExecutor(32) as clients:
                loop = asyncio.get_running_loop()
                await asyncio.gather(*(loop.run_in_executor(clients, connect, port) for _ in range(32)))

    def test_keys_are_not_shown(self, server_pair: Pair) -> None:
        tls = TlsConfig(certificate_chain=b"chain", private_key=server_pair.key)
        assert "PRIVATE KEY" not in repr(tls)
        assert "secret" not in repr(Resource(CLUSTER, "a", b"secret"))
