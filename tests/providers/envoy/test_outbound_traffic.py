"""Where a client's connections and requests go, seen with the real Envoy (spec: Canary; MutualTLS, Outbound)."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from providers.envoy.applications import Application, ask, free_port, open_application, talk
from providers.envoy.kit import MESH, backend, service, service_port, split, workload
from providers.envoy.real_envoy import Proxy, proxy
from smeagol.intent import Endpoint, InboundPort, Protocol, ServicePort, Split
from smeagol.plan import ProxyResource
from smeagol.providers.envoy import provider
from smeagol.providers.envoy.metrics import series
from smeagol.refs import PodRef

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
async def meshed(folder: Path, app: Application, *server_names: str) -> AsyncIterator[Endpoint]:
    """The application behind a proxy of its own that ends mutual TLS."""
    port = free_port()
    owner = workload(InboundPort(port, Protocol.HTTP), name=f"{app.name}-1", server_names=server_names)
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
