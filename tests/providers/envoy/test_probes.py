"""Probes that the proxy of an injected Pod passes on to its application, asked as the kubelet asks."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib.request import urlopen

import grpc
import pytest

from e2e.ports import free_port
from providers.envoy.applications import Answer, Application, ask, open_application
from providers.envoy.kit import MESH
from providers.envoy.real_envoy import in_folder
from smeagol.pki import LocalAuthority, MemoryKeyStore, Purpose
from smeagol.plan import AppProbe, ProbeKind, ProxyConnection
from smeagol.providers.envoy import provider
from smeagol.providers.envoy.binary import envoy_binary
from smeagol.refs import NodeId

pytestmark = pytest.mark.envoy

READY = "/probes/app/readiness"
CONNECTION = ProxyConnection(address="smeagol.smeagol.svc:15010", token_file="/nowhere/token", ca_file="/nowhere/ca")
_OWN_PORTS = (15021, 15090)


def bootstrap(*probes: AppProbe) -> str:
    return provider.injected_bootstrap(NodeId("<node>"), "<address>", MESH, CONNECTION, probes).decode()


@asynccontextmanager
async def proxy(folder: Path, *probes: AppProbe) -> AsyncIterator[int]:
    """Run Envoy as an injected Pod would, on loopback and with no control plane; gives its readiness port."""
    text = bootstrap(*probes).replace("<address>", "127.0.0.1").replace("<node>", "shop/web-1")
    ports = {own: free_port() for own in _OWN_PORTS}
    for own, free in ports.items():
        text = text.replace(f'"port_value": {own}', f'"port_value": {free}')
    config = json.loads(text)
    del config["dynamic_resources"]  # else it would wait for the control plane before it is ready
    in_folder(config, "admin.sock")
    process = await asyncio.create_subprocess_exec(
        envoy_binary(),
        "--config-yaml",
        json.dumps(config),
        "--concurrency",
        "1",
        "--disable-hot-restart",
        "-l",
        "error",
        cwd=folder,
    )
    try:
        async with asyncio.timeout(30):
            while not await asyncio.to_thread(_is_ready, ports[15021]):
                assert process.returncode is None, "Envoy ended"
                await asyncio.sleep(0.02)
        yield ports[15021]
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def _is_ready(port: int) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{port}/ready", timeout=10) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


async def until(port: int, path: str, status: int) -> None:
    async with asyncio.timeout(20):
        while (await probe(port, path)).status != status:
            await asyncio.sleep(0.02)


async def probe(port: int, path: str, headers: Sequence[tuple[str, str]] = ()) -> Answer:
    return await ask(port, path=path, headers=[("User-Agent", "kube-probe/1.37"), *headers], close=True)


def http(app: Application, target: str = "/healthz", kind: ProbeKind = ProbeKind.HTTP) -> AppProbe:
    return AppProbe(kind=kind, port=app.port, path=READY, target=target)


@pytest.mark.parametrize("target", ["/healthz", "/", "/healthz?full=1&x=%20y"])
async def test_an_http_probe_is_the_applications_to_answer(tmp_path: Path, target: str) -> None:
    """The path, its query and the kubelet's headers arrive; so does the application's status, whatever it is."""
    async with open_application() as app, proxy(tmp_path, http(app, target)) as port:
        assert (await probe(port, READY, [("X-Token", "abc")])).status == 200
        first, _ = app.requests[-1]
        assert first == f"GET {target} HTTP/1.1"
        assert app.values("x-token") == ["abc"]
        assert app.values("user-agent") == ["kube-probe/1.37"]
        app.status = 500
        assert (await probe(port, READY)).status == 500


async def test_nothing_else_of_the_application_is_reached(tmp_path: Path) -> None:
    """Only the probe's own path passes, with GET: strangers may call this port."""
    async with open_application() as app, proxy(tmp_path, http(app)) as port:
        for path in ("/healthz", f"{READY}/more", f"{READY}/../x", "/"):
            assert (await probe(port, path)).status == 404
        assert app.requests == []


async def test_a_redirect_is_the_answer_of_a_healthy_application(tmp_path: Path) -> None:
    """The kubelet would follow it to a port where it is refused, so it does not learn where to."""
    async with open_application() as app, proxy(tmp_path, http(app)) as port:
        app.status, app.answer_headers = 302, [("Location", "/login")]
        answer = await probe(port, READY)
        assert answer.status == 302
        assert answer.values("location") == []


async def test_an_application_that_does_not_listen_fails_its_probe(tmp_path: Path) -> None:
    down = AppProbe(kind=ProbeKind.HTTP, port=free_port(), path=READY, target="/")
    async with proxy(tmp_path, down) as port:
        assert (await probe(port, READY)).status == 503


async def test_each_probe_is_a_connection_of_its_own(tmp_path: Path) -> None:
    """As from the kubelet: a connection that the application closes between two probes fails neither."""
    async with open_application() as app, proxy(tmp_path, http(app)) as port:
        for _ in range(3):
            assert (await probe(port, READY)).status == 200
        assert app.connections == 3


async def test_an_https_probe_checks_no_certificate(tmp_path: Path) -> None:
    """As the kubelet: the application may have signed its certificate itself."""
    issued = LocalAuthority.open(MemoryKeyStore(), trust_domain="elsewhere", now=datetime.now(UTC)).issue(
        ["whoever.example.com"], Purpose.SERVER, now=datetime.now(UTC)
    )
    pem = tmp_path / "app.pem"
    pem.write_bytes(issued.chain_pem + issued.key_pem.reveal())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    app = Application("app")
    server = await asyncio.start_server(app.serve_http, "127.0.0.1", 0, ssl=context)
    app.port = server.sockets[0].getsockname()[1]
    async with server, proxy(tmp_path, http(app, kind=ProbeKind.HTTPS)) as port:
        assert (await probe(port, READY)).status == 200
        assert app.requests[-1][0] == "GET /healthz HTTP/1.1"


async def test_a_tcp_probe_follows_whether_the_application_takes_connections(tmp_path: Path) -> None:
    """Failing before it listens, 200 soon after, failing again within the probe's period once it is gone."""
    app_port = free_port()
    tcp = AppProbe(kind=ProbeKind.TCP, port=app_port, path=READY, period_seconds=1)
    async with proxy(tmp_path, tcp) as port:
        assert (await probe(port, READY)).status == 503
        async with open_application(lines=True, port=app_port):
            await until(port, READY, 200)
        await until(port, READY, 503)


async def test_a_grpc_probe_asks_the_applications_health_service(tmp_path: Path) -> None:
    """Request and answer pass unread, so the service's name in it counts; no other method does."""
    asked: list[bytes] = []

    async def check(request: bytes, _: object) -> bytes:
        asked.append(request)
        return b"\x08\x01"  # grpc.health.v1.HealthCheckResponse: SERVING

    server = grpc.aio.server()
    methods = {"Check": grpc.unary_unary_rpc_method_handler(check), "Watch": grpc.unary_unary_rpc_method_handler(check)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("grpc.health.v1.Health", methods),))
    app_port, asked_at = server.add_insecure_port("127.0.0.1:0"), free_port()
    await server.start()
    try:
        async with (
            proxy(tmp_path, AppProbe(kind=ProbeKind.GRPC, port=app_port, asked_at=asked_at)),
            grpc.aio.insecure_channel(f"127.0.0.1:{asked_at}") as channel,
        ):
            call = channel.unary_unary("/grpc.health.v1.Health/Check", bytes, bytes)
            assert await call(b"\x0a\x04cart", timeout=10) == b"\x08\x01"
            assert asked == [b"\x0a\x04cart"]
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await channel.unary_unary("/grpc.health.v1.Health/Watch", bytes, bytes)(b"", timeout=10)
            assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
    finally:
        await server.stop(0)


async def test_ports_that_several_probes_share(tmp_path: Path) -> None:
    """Each path has its own target, and one port may be asked in several ways."""
    async with open_application() as app:
        probes = [
            AppProbe(kind=ProbeKind.HTTP, port=app.port, path="/probes/app/readiness", target="/ready"),
            AppProbe(kind=ProbeKind.HTTP, port=app.port, path="/probes/app/liveness", target="/live"),
            AppProbe(kind=ProbeKind.TCP, port=app.port, path="/probes/app/startup", period_seconds=1),
        ]
        async with proxy(tmp_path, *probes) as port:
            await until(port, "/probes/app/startup", 200)
            for path in ("ready", "live"):
                name = {"ready": "readiness", "live": "liveness"}[path]
                assert (await probe(port, f"/probes/app/{name}")).status == 200
                assert app.requests[-1][0] == f"GET /{path} HTTP/1.1"


def test_name_and_address_of_the_pod_are_only_copied() -> None:
    """They are not known yet, so whatever stands for them comes out where a name and an address belong."""
    config = json.loads(bootstrap())
    assert config["node"]["id"] == "<node>"
    places = {
        one["name"]: one["address"]["socket_address"]["address"] for one in config["static_resources"]["listeners"]
    }
    assert places == {"readiness": "<address>", "metrics": "<address>"}
