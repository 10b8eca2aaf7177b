"""Replicas over real mutual TLS: what one says of its proxies reaches the one that asks, whole, then as it changes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import grpc
import grpc.aio
import pytest

from smeagol.objects import Endpoint, EndpointPort, EndpointSlice, Metadata
from smeagol.objects.core import EndpointConditions, TargetRef
from smeagol.pki import LocalAuthority, MemoryKeyStore, Purpose
from smeagol.refs import NodeId, ObjectRef
from smeagol.runtime.peers import Credentials, Peers, PeerServer, own_name
from smeagol.runtime.progress import Said, View
from smeagol.xds import TlsConfig

WEB = ObjectRef("Canary", "shop", "web")
SERVER_NAME = "smeagol-discovery.system.svc"
AUTHORITY = LocalAuthority.open(MemoryKeyStore(), trust_domain="cluster.local", now=datetime.now(UTC))


def shown(name: str, purpose: Purpose) -> TlsConfig:
    issued = AUTHORITY.issue([name], purpose, now=datetime.now(UTC))
    return TlsConfig(
        certificate_chain=issued.chain_pem,
        private_key=issued.key_pem.reveal(),
        client_ca=AUTHORITY.trust_bundle_pem,
    )


CREDENTIALS = Credentials(
    server=lambda: shown(SERVER_NAME, Purpose.SERVER),
    client=lambda: shown(own_name("cluster.local"), Purpose.CLIENT),
    name=own_name("cluster.local"),
    server_name=SERVER_NAME,
)


def listed(name: str, port: int, *, ready: bool = True) -> EndpointSlice:
    return EndpointSlice(
        metadata=Metadata(name=name, namespace="system", labels={"kubernetes.io/service-name": "smeagol-discovery"}),
        endpoints=(
            Endpoint(
                addresses=("127.0.0.1",),
                conditions=EndpointConditions(ready=ready),
                target_ref=TargetRef(kind="Pod", name=name),
            ),
        ),
        ports=(EndpointPort(name="peers", port=port),),
    )


class Asking:
    """A replica that leads, and one that it asks."""

    def __init__(self, credentials: Credentials = CREDENTIALS) -> None:
        self.news = asyncio.Event()
        self.peers = Peers(credentials, identity="a", changed=self.news.set)
        self.asked = PeerServer(CREDENTIALS, changed=self.show)
        self.view = View("b", "1", {NodeId("shop/cart"): 1.0}, {WEB: Said(digest="one", proxies=1)})

    def show(self) -> None:
        self.asked.show(self.view)

    def note(self, port: int, *, ready: bool = True) -> None:
        self.peers.note("system", "smeagol-discovery", {("system", "b"): listed("b", port, ready=ready)})

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not holds():
                await self.news.wait()
                self.news.clear()


async def test_all_of_it_and_then_what_changes() -> None:
    """A replica counts once it has told all of its beginning; one that ends is silent, and comes back."""
    both = Asking()
    port = await both.asked.start("127.0.0.1:0")
    running = asyncio.create_task(both.peers.run())
    both.note(port)
    await both.until(lambda: bool(both.peers.views))
    (view,) = both.peers.views
    assert view.said == both.view.said
    assert view.connected.keys() == both.view.connected.keys()
    assert both.peers.silent == ()

    both.view = replace(both.view, connected={}, said={WEB: Said(digest="two")})
    both.show()
    await both.until(lambda: both.peers.views[0].said == both.view.said and not both.peers.views[0].connected)

    await both.asked.stop()
    await both.until(lambda: both.peers.silent == ("b",))
    both.note(port, ready=False)
    await both.until(lambda: both.peers.silent == ())  # it serves no proxies, so it can be ignored

    both.asked = PeerServer(CREDENTIALS, changed=both.show)
    await both.asked.start(f"127.0.0.1:{port}")
    await both.until(lambda: bool(both.peers.views))
    running.cancel()
    await asyncio.wait([running])
    assert both.peers.views == ()
    await both.asked.stop()


async def test_a_workload_is_told_nothing() -> None:
    """The mesh's own certificates do not suffice: the name must be the control plane's."""
    workload = replace(CREDENTIALS, client=lambda: shown("spiffe://cluster.local/ns/a/sa/b", Purpose.CLIENT))
    both = Asking(workload)
    port = await both.asked.start("127.0.0.1:0")
    running = asyncio.create_task(both.peers.run())
    both.note(port)
    await both.until(lambda: both.peers.silent == ("b",))
    assert both.peers.views == ()
    running.cancel()
    await asyncio.wait([running])
    await both.asked.stop()


async def test_a_replica_that_looks_again_and_finds_nothing_new_still_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says so at each heartbeat, however often its view is shown: else it is taken for one that is silent."""
    monkeypatch.setattr("smeagol.runtime.peers.HEARTBEAT_SECONDS", 0.5)
    both = Asking()
    port = await both.asked.start("127.0.0.1:0")

    async def look_again() -> None:
        while True:
            both.show()
            await asyncio.sleep(0.01)

    looking = asyncio.create_task(look_again())
    tls = CREDENTIALS.client()
    async with grpc.aio.secure_channel(
        f"127.0.0.1:{port}",
        grpc.ssl_channel_credentials(tls.client_ca, tls.private_key, tls.certificate_chain),
        options=[("grpc.ssl_target_name_override", SERVER_NAME)],
    ) as channel:
        watch = channel.unary_stream(
            "/smeagol.peers.v1.Peers/Watch", request_serializer=None, response_deserializer=None
        )
        call = watch(b"{}")
        async with asyncio.timeout(60):
            while await call.read() != b"{}":
                pass
    looking.cancel()
    await both.asked.stop()


async def test_it_does_not_ask_itself() -> None:
    both = Asking()
    port = await both.asked.start("127.0.0.1:0")
    both.view = replace(both.view, name="a")
    running = asyncio.create_task(both.peers.run())
    both.note(port)
    await both.until(lambda: both.peers.silent == ("b",))
    await both.until(lambda: both.peers.silent == ())
    assert both.peers.views == ()
    running.cancel()
    await asyncio.wait([running])
    await both.asked.stop()
