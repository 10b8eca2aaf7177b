"""Where a client's connections and requests go, seen with the real Envoy (spec: Canary; MutualTLS, Outbound)."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import grpc
import grpc.aio
import pytest

from e2e.ports import free_port
from providers.envoy.applications import Application, ask, open_application, talk
from providers.envoy.kit import MESH, backend, service, service_port, split, workload
from providers.envoy.real_envoy import Proxy, proxy
from smeagol.intent import Endpoint, Fronted, FrontedPort, InboundPort, Protocol, ServicePort, Split
from smeagol.plan import ProxyResource
from smeagol.providers.envoy import provider
from smeagol.providers.envoy.metrics import series
from smeagol.refs import PodRef, ServiceRef

pytestmark = pytest.mark.envoy

CLIENT = workload(name="client-1")


@asynccontextmanager
async def client(folder: Path, port: ServicePort) -> AsyncIterator[tuple[int, Proxy]]:
    """The port on which a client's application finds the Service `web`."""
    dialled = free_port()
    resources = provider.plan(service(port)).resources
    async with proxy(
        CLIENT, resources, folder, ports={f"web.shop.svc.cluster.local:{port.number}": dialled}
    ) as running:
        yield dialled, running


@asynccontextmanager
async def applications(*names: str, lines: bool = False) -> AsyncIterator[list[Application]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(open_application(name, lines=lines)) for name in names]


@asynccontextmanager
async def meshed(
    folder: Path, app: Application, *server_names: str, protocol: Protocol = Protocol.HTTP
) -> AsyncIterator[Endpoint]:
    """The application behind a proxy of its own that ends mutual TLS."""
    port = free_port()
    owner = workload(InboundPort(port, protocol), name=f"{app.name}-1", server_names=server_names)
    resources: Iterable[ProxyResource] = [*provider.plan(owner).resources, *provider.plan(MESH).resources]
    async with proxy(owner, resources, folder, ports={"inbound": port}, app_port=app.port):
        yield Endpoint("127.0.0.1", port, mutual_tls=True)


def plain(app: Application) -> Endpoint:
    return Endpoint("127.0.0.1", app.port)


async def answers(port: int, count: int) -> Counter[str]:
    """Who answered so many requests, each on a connection of its own."""
    found: Counter[str] = Counter()
    for _ in range(count // 50):
        found.update([answer.body for answer in await asyncio.gather(*(ask(port) for _ in range(50)))])
    return found


class TestMutualTLS:
    """To a meshed endpoint goes mutual TLS, and the server is checked by ordinary HTTPS rules; others stay plain."""

    async def test_the_client_proves_its_names_and_the_application_hears_them(self, tmp_path: Path) -> None:
        async with (
            applications("web") as [app],
            meshed(tmp_path, app, "web.shop.svc.cluster.local") as endpoint,
            client(tmp_path, service_port(endpoint)) as (port, _),
        ):
            answer = await ask(port, headers=[("x-sme-identity", "admin")])
            assert (answer.status, app.values("x-sme-identity")) == (200, ["spiffe://cluster.local/ns/shop/sa/web"])

    async def test_a_server_without_the_name_is_not_spoken_to(self, tmp_path: Path) -> None:
        """SMI-MTLS-02: a certificate of the mesh is not enough; it must carry the name that was dialled."""
        async with (
            applications("web") as [app],
            meshed(tmp_path, app, "other.shop.svc.cluster.local") as endpoint,
            client(tmp_path, service_port(endpoint)) as (port, _),
        ):
            assert ((await ask(port)).status, app.requests) == (503, [])

    async def test_an_endpoint_without_mutual_tls_gets_what_was_sent(self, tmp_path: Path) -> None:
        async with (
            applications("web") as [app],
            client(tmp_path, service_port(plain(app))) as (port, _),
        ):
            assert (await ask(port, headers=[("x-sme-identity", "own")])).status == 200
            assert app.values("x-sme-identity") == ["own"]

    async def test_backends_are_checked_by_their_own_names(self, tmp_path: Path) -> None:
        """A version's Pods need not be endpoints of the root, so their certificates may not carry its name."""
        async with (
            applications("v1", "v2") as [v1, v2],
            meshed(tmp_path, v1, "web-v1.shop.svc.cluster.local") as one,
            meshed(tmp_path, v2, "web-v1.shop.svc.cluster.local") as impostor,
            client(
                tmp_path,
                service_port(divided=split(backend("web-v1", 1000, one), backend("web-v2", 1000, impostor))),
            ) as (port, _),
        ):
            assert await answers(port, 50) == {"v1": 50}
            assert v2.requests == []


def within_chance(seen: int, total: int, share: float) -> bool:
    """Whether a fair draw gives such a count, at alpha = 1e-6 (normal bound; the samples are large)."""
    return abs(seen - total * share) <= 4.9 * math.sqrt(total * share * (1 - share)) + 1


FRONTED = Fronted(
    root=ServiceRef("shop", "web"),
    fqdn="web.shop.svc.cluster.local",
    ports=(FrontedPort(80, Protocol.HTTP, 20080),),
)


class TestRootProxy:
    """SMI-CAN-22: what clients without a proxy send to the root is divided as a client's own proxy would."""

    async def test_requests_are_divided_and_nobody_brings_an_identity_along(self, tmp_path: Path) -> None:
        """A server behind mutual TLS hears of the root proxy itself; one without hears of nobody."""
        owner = workload(mode=None, name="web-root-proxy-1", fronted=FRONTED)
        dialled = free_port()
        async with (
            applications("v1", "v2") as [v1, v2],
            meshed(tmp_path, v1, "web-v1.shop.svc.cluster.local") as one,
        ):
            divided = split(backend("web-v1", 1000, one), backend("web-v2", 1000, plain(v2)))
            root = provider.plan(service(service_port(divided=divided))).resources
            resources = (*root, *provider.plan(owner).resources)
            async with proxy(owner, resources, tmp_path, ports={"root-80": dialled}):
                found: Counter[str] = Counter()
                for _ in range(200):
                    answer = await ask(dialled, headers=[("x-sme-identity", "admin"), ("X-SME-Identity", "b")])
                    found[answer.body] += 1
        assert within_chance(found["v1"], 200, 0.5), found
        assert set(v1.values("x-sme-identity")) == {"spiffe://cluster.local/ns/shop/sa/web"}
        assert v2.values("x-sme-identity") == []
        assert len(v2.requests) == found["v2"]

    @pytest.mark.parametrize("ending", [False, True])
    async def test_one_that_is_on_its_way_out_asks_its_clients_to_go(self, tmp_path: Path, ending: bool) -> None:
        """It serves on while it is there, but keeps no connection that it would have to break."""
        owner = workload(mode=None, name="web-root-proxy-1", fronted=replace(FRONTED, ending=ending))
        dialled = free_port()
        async with applications("web") as [app]:
            root = provider.plan(service(service_port(plain(app)))).resources
            async with proxy(owner, (*root, *provider.plan(owner).resources), tmp_path, ports={"root-80": dialled}):
                answer = await ask(dialled)
        assert (answer.status, answer.values("connection")) == (200, ["close"] if ending else [])


class TestSplit:
    """Only the ratio counts; a zero weight gets no request at all; one with any positive weight gets everything."""

    @pytest.mark.slow
    @pytest.mark.parametrize("weights", [(10, 100, 1500), (1000, 500, 0), (0, 1, 0)])
    async def test_requests_are_divided_by_weight(self, tmp_path: Path, weights: tuple[int, int, int]) -> None:
        async with applications("v1", "v2", "v3") as apps:
            divided = divided_among(apps, weights)
            async with client(tmp_path, service_port(divided=divided)) as (port, _):
                found = await answers(port, 3000)
        for app, weight in zip(apps, weights, strict=True):
            assert within_chance(found[app.name], 3000, weight / sum(weights)), found
            assert found[app.name] == 0 or weight

    @pytest.mark.parametrize(("weights", "shares"), [((750, 250), (30, 10)), ((1, 3), (10, 30)), ((0, 7), (0, 40))])
    async def test_connections_are_divided_by_weight(
        self, tmp_path: Path, weights: tuple[int, int], shares: tuple[int, int]
    ) -> None:
        """Non-HTTP ports are split per connection; few connections are enough to see the ratio."""
        async with applications("v1", "v2", lines=True) as apps:
            divided = divided_among(apps, weights)
            port_of = service_port(protocol=Protocol.TCP, divided=divided)
            async with client(tmp_path, port_of) as (port, _):
                before = [app.connections for app in apps]
                found = Counter([(await talk(port))[0] for _ in range(40)])
        assert sum(before) <= 1  # the harness looks whether the proxy listens
        for app, share in zip(apps, shares, strict=True):
            assert abs(found[f"220 {app.name}\n"] - share) <= 1

    @pytest.mark.parametrize("protocol", [Protocol.HTTP, Protocol.AUTO])
    async def test_no_request_fails_because_a_backend_cannot_be_reached(
        self, tmp_path: Path, protocol: Protocol
    ) -> None:
        """The others answer, before anybody has noticed."""
        async with applications("v1") as [app]:
            nobody = Endpoint("127.0.0.1", free_port())
            divided = split(backend("web-v1", 500, plain(app)), backend("web-v2", 500, nobody))
            async with client(tmp_path, service_port(protocol=protocol, divided=divided)) as (port, _):
                assert await answers(port, 100) == {"v1": 100}

    async def test_no_request_fails_because_an_application_has_gone_before_its_proxy(self, tmp_path: Path) -> None:
        """Its proxy says that nobody has seen the request; another endpoint answers, and the client never knows."""
        async with applications("v1", "v2") as [v1, v2]:
            async with (
                meshed(tmp_path, v1, "web.shop.svc.cluster.local") as one,
                meshed(tmp_path, Application("gone", free_port()), "web.shop.svc.cluster.local") as gone,
                client(tmp_path, service_port(one, gone)) as (port, _),
            ):
                assert await answers(port, 100) == {"v1": 100}
            async with (
                meshed(tmp_path, Application("gone", free_port()), "web.shop.svc.cluster.local") as gone,
                client(tmp_path, service_port(gone)) as (port, _),
            ):
                answer = await ask(port)
                assert (answer.status, answer.values("x-smeagol-unreached")) == (503, [])
            assert v2.requests == []

    async def test_what_an_application_answered_is_never_asked_again(self, tmp_path: Path) -> None:
        """Also when it answers 503 and claims that it has not seen the request."""
        async with applications("v1", "v2") as apps:
            for app in apps:
                app.status = 503
                app.answer_headers = [("x-smeagol-unreached", "true")]
            async with (
                meshed(tmp_path, apps[0], "web.shop.svc.cluster.local") as one,
                meshed(tmp_path, apps[1], "web.shop.svc.cluster.local") as two,
                client(tmp_path, service_port(one, two)) as (port, _),
            ):
                assert (await ask(port)).status == 503
            assert sum(len(app.requests) for app in apps) == 1


@asynccontextmanager
async def both_proxies(folder: Path, app: Application, protocol: Protocol) -> AsyncIterator[int]:
    """From the client's application to the server's through the proxies of both."""
    async with (
        meshed(folder, app, "web.shop.svc.cluster.local", protocol=protocol) as endpoint,
        client(folder, service_port(endpoint, protocol=protocol)) as (port, _),
    ):
        yield port


class TestProtocols:
    """HTTP/1.1, HTTP/2, gRPC, upgrades and bytes arrive as they were sent, inside mutual TLS."""

    @pytest.mark.parametrize("protocol", [Protocol.GRPC, Protocol.HTTP2, Protocol.HTTP, Protocol.AUTO])
    async def test_grpc(self, tmp_path: Path, protocol: Protocol) -> None:
        """Streams in both directions, and the status in the trailers; also where the declaration is vague."""
        server = grpc.aio.server()
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("test", {"Echo": grpc.stream_stream_rpc_method_handler(_echo)}),)
        )
        app = Application("grpc", server.add_insecure_port("127.0.0.1:0"))
        await server.start()
        try:
            async with (
                both_proxies(tmp_path, app, protocol) as port,
                grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
            ):
                call = channel.stream_stream("/test/Echo", None, None)(None)
                for number in range(3):
                    await call.write(str(number).encode())
                    assert await call.read() == str(number).encode()
                await call.done_writing()
                assert await call.code() == grpc.StatusCode.OUT_OF_RANGE
        finally:
            await server.stop(None)

    @pytest.mark.parametrize("protocol", [Protocol.HTTP, Protocol.AUTO])
    @pytest.mark.parametrize(
        "request_head",
        [
            "GET /chat HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
            "CONNECT other:443 HTTP/1.1\r\nHost: other:443\r\n\r\n",
        ],
        ids=["websocket", "connect"],
    )
    async def test_tunnels(self, tmp_path: Path, protocol: Protocol, request_head: str) -> None:
        async def tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            asked = (await reader.readuntil(b"\r\n\r\n")).decode()
            accepted = "200 OK" if asked.startswith("CONNECT") else "101 Switching Protocols"
            upgrade = "" if asked.startswith("CONNECT") else "connection: upgrade\r\nupgrade: websocket\r\n"
            writer.write(f"HTTP/1.1 {accepted}\r\n{upgrade}\r\n".encode())
            writer.write((await reader.readline()).upper())
            writer.close()

        server = await asyncio.start_server(tunnel, "127.0.0.1", 0)
        app = Application("tunnel", server.sockets[0].getsockname()[1])
        async with server, both_proxies(tmp_path, app, protocol) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request_head.encode())
            assert (await reader.readuntil(b"\r\n\r\n")).startswith((b"HTTP/1.1 101", b"HTTP/1.1 200"))
            writer.write(b"through the tunnel\n")
            assert await reader.readline() == b"THROUGH THE TUNNEL\n"
            writer.close()

    async def test_a_client_of_http_1_0_is_answered(self, tmp_path: Path) -> None:
        async with applications("web") as [app], both_proxies(tmp_path, app, Protocol.HTTP) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.0\r\n\r\n")
            assert (await reader.read()).endswith(b"\r\n\r\nweb")
            writer.close()

    async def test_the_application_decides_whether_to_continue(self, tmp_path: Path) -> None:
        """100-continue is the application's answer and not the proxy's (RFC 9110, 10.1.1)."""

        async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            assert b"expect: 100-continue" in (await reader.readuntil(b"\r\n\r\n")).lower()
            writer.write(b"HTTP/1.1 417 No\r\ncontent-length: 0\r\n\r\n")
            writer.close()

        server = await asyncio.start_server(refuse, "127.0.0.1", 0)
        app = Application("refuses", server.sockets[0].getsockname()[1])
        async with server, both_proxies(tmp_path, app, Protocol.HTTP) as port:
            answer = await ask(port, headers=[("Expect", "100-continue"), ("Content-Length", "5")])
            assert answer.status == 417

    @pytest.mark.parametrize("protocol", [Protocol.TCP, Protocol.TLS])
    async def test_bytes_of_a_server_that_speaks_first(self, tmp_path: Path, protocol: Protocol) -> None:
        async with applications("db", lines=True) as [app], both_proxies(tmp_path, app, protocol) as port:
            assert await talk(port, "hello\n") == ["220 db\n", "hello\n"]

    async def test_half_of_a_connection_may_close(self, tmp_path: Path) -> None:
        """Who has said everything still hears the answer."""
        async with applications("db", lines=True) as [app], both_proxies(tmp_path, app, Protocol.TCP) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"last words\n")
            writer.write_eof()
            assert await reader.read() == b"220 db\nlast words\n"
            writer.close()


async def _echo(
    requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext[bytes, bytes]
) -> AsyncIterator[bytes]:
    async for request in requests:
        yield request
    context.set_code(grpc.StatusCode.OUT_OF_RANGE)


class TestUndeclaredPort:
    """The first bytes decide, and silence means that the server speaks first."""

    async def test_http_is_seen(self, tmp_path: Path) -> None:
        async with (
            applications("web") as [app],
            client(tmp_path, service_port(plain(app), protocol=Protocol.AUTO)) as (port, running),
        ):
            assert (await ask(port)).status == 200
            assert "smi_requests_total" in {sample.name for sample in series(await running.metrics(), CLIENT.pod)}

    async def test_a_server_that_speaks_first_is_heard(self, tmp_path: Path) -> None:
        async with (
            applications("db", lines=True) as [app],
            client(tmp_path, service_port(plain(app), protocol=Protocol.AUTO)) as (port, _),
        ):
            assert await talk(port, "hello\n") == ["220 db\n", "hello\n"]


class TestMetrics:
    """HTTP status codes, requests and latency per workload, for inbound and outbound traffic (spec: Sidecar)."""

    async def test_requests_are_counted_by_service_backend_and_code(self, tmp_path: Path) -> None:
        async with applications("v1", "v2") as [v1, v2]:
            v1.status = 404
            divided = split(backend("web-v1", 1000, plain(v1)), backend("web-v2", 0, plain(v2)))
            async with client(tmp_path, service_port(divided=divided)) as (port, running):
                for _ in range(3):
                    await ask(port)
                found: dict[tuple[str, str, str], float] = {}
                while "smi_request_duration_seconds_count" not in {name for name, *_ in found}:  # a second or so
                    samples = series(await running.metrics(), CLIENT.pod, [("version", "7")])
                    found = {
                        (sample.name, labels.pop("response_code", ""), labels.pop("le", "")): sample.value
                        for sample in samples
                        if (labels := dict(sample.labels))
                        and labels.items() >= {("backend", "web-v1"), ("version", "7"), ("direction", "outbound")}
                    }
        assert found["smi_requests_total", "404", ""] == 3
        assert found["smi_request_duration_seconds_count", "", ""] == 3
        assert found["smi_request_duration_seconds_bucket", "", "+Inf"] == 3

    async def test_connections_are_counted_by_service(self, tmp_path: Path) -> None:
        async with (
            applications("db", lines=True) as [app],
            client(tmp_path, service_port(plain(app), protocol=Protocol.TCP)) as (port, running),
        ):
            await talk(port, "hello\n")
            samples = series(await running.metrics(), PodRef("shop", "client-1"))
        found = {sample.name: (sample.value, dict(sample.labels)["service"]) for sample in samples}
        assert found["smi_tcp_connections_total"][0] >= 1
        assert found["smi_tcp_request_bytes_total"] == (6, "web")


def divided_among(apps: Iterable[Application], weights: Iterable[int]) -> Split:
    return split(*(backend(f"web-{app.name}", weight, plain(app)) for app, weight in zip(apps, weights, strict=True)))


class TestWindows:
    """Outsiders may see whether a proxy is ready and what it has counted, and nothing else of it."""

    async def test_only_their_one_path_is_open(self, tmp_path: Path) -> None:
        async with applications("web") as [app], client(tmp_path, service_port(plain(app))) as (_, running):
            assert await running.readiness() == "LIVE\n"
            for port in (running.readiness_port, running.metrics_port):
                for path in ("/", "/quitquitquit", "/config_dump", "/ready/../quitquitquit"):
                    assert (await ask(port, path=path)).status == 404
