"""What reaches an application through its own proxy, seen with the real Envoy (spec: MutualTLS, Inbound)."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from e2e.ports import free_port
from providers.envoy.applications import Application, ask, open_application, talk
from providers.envoy.kit import MESH, workload
from providers.envoy.real_envoy import (
    OTHER_AUTHORITY,
    client_context,
    external_client_context,
    proxy,
    trusting_context,
)
from smeagol.intent import InboundPort, Protocol, TLSMode
from smeagol.plan import Purpose
from smeagol.providers.envoy import provider

pytestmark = pytest.mark.envoy

FORGED = (("x-sme-identity", "admin"), ("X-SME-Identity", "root"))
REFUSED = (ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)


@asynccontextmanager
async def server(
    folder: Path, protocol: Protocol, mode: TLSMode | None = TLSMode.STRICT, *, lines: bool = False
) -> AsyncIterator[tuple[int, Application]]:
    """The port of a Pod whose application is reached through its proxy."""
    port = free_port()
    owner = workload(InboundPort(port, protocol), mode=mode)
    resources = [*provider.plan(owner).resources, *provider.plan(MESH).resources]
    async with (
        open_application(lines=lines) as app,
        proxy(owner, resources, folder, ports={"inbound": port}, app_port=app.port),
    ):
        # The start of the proxy was awaited by a connection; it must not be taken for a client's.
        app.connections = 0
        yield port, app


@pytest.fixture(params=[Protocol.HTTP, Protocol.GRPC, Protocol.AUTO], ids=lambda protocol: f"port-{protocol.value}")
def http_port(request: pytest.FixtureRequest) -> Protocol:
    """The ways to declare a port on which HTTP is spoken; undeclared is one of them."""
    protocol: Protocol = request.param
    return protocol


class TestIdentityHeader:
    """The verified names reach the app in x-sme-identity; a header of that name from anyone else is removed."""

    @pytest.mark.parametrize("alpn", [("http/1.1",), (), ("smi-tcp",)], ids=["http", "none", "smi-tcp"])
    async def test_holds_the_names_of_the_certificate_only(
        self, tmp_path: Path, http_port: Protocol, alpn: tuple[str, ...]
    ) -> None:
        """DNS names, then URIs, whatever the client claims, and whatever protocol it pretends to speak."""
        async with server(tmp_path, http_port) as (port, app):
            for names, seen in [
                (["foo", "bar.baz", "spiffe://cluster.local/x"], ["foo,bar.baz,spiffe://cluster.local/x"]),
                (["spiffe://cluster.local/x"], ["spiffe://cluster.local/x"]),
                (["foo"], ["foo"]),
                (["10.9.9.9"], []),
            ]:
                await ask(port, tls=client_context(tmp_path, names, alpn=alpn), headers=FORGED)
                assert app.values("x-sme-identity") == seen

    async def test_silence_does_not_let_a_forged_header_through(self, tmp_path: Path, http_port: Protocol) -> None:
        """A client that speaks late on a port is still read as HTTP where that is spoken."""
        async with server(tmp_path, http_port) as (port, app):
            late = asyncio.Event()
            asyncio.get_running_loop().call_later(1.5, late.set)
            await ask(port, tls=client_context(tmp_path, alpn=()), headers=FORGED, after=late)
            assert app.values("x-sme-identity") == ["foo"]

    @pytest.mark.parametrize("mode", [TLSMode.PERMISSIVE, None])
    async def test_plaintext_brings_no_identity(
        self, tmp_path: Path, http_port: Protocol, mode: TLSMode | None
    ) -> None:
        """Unmeshed clients are served by Permissive, without identity header; so they are where no MutualTLS is."""
        async with server(tmp_path, http_port, mode) as (port, app):
            answer = await ask(port, headers=FORGED)
            assert (answer.status, app.values("x-sme-identity")) == (200, [])

    @pytest.mark.parametrize("name", [x509.UniformResourceIdentifier("https://x/a,admin"), x509.DNSName("a,admin")])
    async def test_a_name_that_would_read_as_two_is_refused(
        self, tmp_path: Path, http_port: Protocol, name: x509.GeneralName
    ) -> None:
        """No certificate of ours has such a name, but an external authority's may: nothing of it reaches the app."""
        async with server(tmp_path, http_port) as (port, app):
            with pytest.raises(REFUSED):
                await ask(port, tls=external_client_context(tmp_path, name))
            assert app.requests == []


class TestStrict:
    """Strict refuses unmeshed clients at the TLS layer: nothing reaches the app."""

    @pytest.mark.parametrize("protocol", list(Protocol))
    async def test_without_a_good_certificate_the_application_sees_nothing(
        self, tmp_path: Path, protocol: Protocol
    ) -> None:
        """None at all, another authority's, a server's, an expired one, and plaintext: not even a connection."""
        strangers = {
            "none": trusting_context(),
            "other authority": client_context(tmp_path, authority=OTHER_AUTHORITY),
            "a server's": client_context(tmp_path, purpose=Purpose.SERVER),
            "expired": client_context(tmp_path, age=timedelta(days=3)),
            "plaintext": None,
        }
        async with server(tmp_path, protocol) as (port, app):
            for stranger in strangers.values():
                with pytest.raises(REFUSED):
                    await ask(port, tls=stranger)
            assert (app.connections, app.requests) == (0, [])
            assert (await ask(port, tls=client_context(tmp_path))).status == 200

    async def test_every_name_of_the_server_passes_hostname_verification(self, tmp_path: Path) -> None:
        """An ordinary TLS client that dials the Pod IP or any of the Service names is content."""
        async with server(tmp_path, Protocol.HTTP) as (port, _):
            for name in workload().server_names:
                assert (await ask(port, tls=client_context(tmp_path), server_name=name)).status == 200
            with pytest.raises(ssl.SSLCertVerificationError):
                await ask(port, tls=client_context(tmp_path), server_name="other.shop.svc.cluster.local")

    async def test_ordinary_clients_get_the_version_that_the_port_declares(self, tmp_path: Path) -> None:
        """The application is spoken to in the version that the client negotiated, so HTTP/2 needs a declaration."""
        for protocol, version in ((Protocol.HTTP, "http/1.1"), (Protocol.AUTO, "http/1.1"), (Protocol.GRPC, "h2")):
            async with server(tmp_path, protocol) as (port, _):
                offered = client_context(tmp_path, alpn=("h2", "http/1.1"))
                _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=offered, server_hostname="10.0.0.1")
                chosen = writer.get_extra_info("ssl_object").selected_alpn_protocol()
                writer.close()
                assert chosen == version


class TestBytes:
    """Raw TCP, server-first protocols and apps that already speak TLS keep working."""

    @pytest.mark.parametrize("protocol", [Protocol.TCP, Protocol.TLS])
    async def test_the_server_may_speak_first(self, tmp_path: Path, protocol: Protocol) -> None:
        async with server(tmp_path, protocol, lines=True) as (port, _):
            tls = client_context(tmp_path, alpn=("smi-tcp",))
            assert await talk(port, "hello\n", tls=tls) == ["220 app\n", "hello\n"]

    @pytest.mark.parametrize("mode", [TLSMode.PERMISSIVE, None])
    async def test_plaintext_bytes_pass_where_they_may(self, tmp_path: Path, mode: TLSMode | None) -> None:
        async with server(tmp_path, Protocol.TCP, mode, lines=True) as (port, _):
            assert await talk(port, "hello\n") == ["220 app\n", "hello\n"]

    async def test_an_undeclared_port_takes_bytes_that_are_not_http(self, tmp_path: Path) -> None:
        """The client must speak first there: see the known limits."""
        async with server(tmp_path, Protocol.AUTO, lines=True) as (port, _):
            context = client_context(tmp_path, alpn=("smi-tcp",))
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", port, ssl=context, server_hostname="web.shop.svc.cluster.local"
            )
            writer.write(b"\x00\x01 no http\n")
            assert [await reader.readline(), await reader.readline()] == [b"220 app\n", b"\x00\x01 no http\n"]
            writer.close()

    async def test_permissive_leaves_tls_of_others_to_an_application_that_speaks_it(self, tmp_path: Path) -> None:
        """On a port declared TLS only mesh clients are taken for mesh clients; here the app itself would answer."""
        async with server(tmp_path, Protocol.TLS, TLSMode.PERMISSIVE, lines=True) as (port, app):
            with pytest.raises(ssl.SSLError):  # it speaks lines, and says so in plaintext
                await talk(port, tls=trusting_context())
            assert app.connections == 1


class TestUnreached:
    """A request that the application never saw is marked for the client's proxy, and for nobody else."""

    async def test_only_a_failed_connection_is_marked(self, tmp_path: Path, http_port: Protocol) -> None:
        async with server(tmp_path, http_port) as (port, app):
            tls = client_context(tmp_path)
            app.status = 503
            app.answer_headers = [("x-smeagol-unreached", "forged")]
            answer = await ask(port, tls=tls)
            assert (answer.status, answer.values("x-smeagol-unreached")) == (503, [])

    async def test_a_refused_connection_is_marked(self, tmp_path: Path, http_port: Protocol) -> None:
        port = free_port()
        owner = workload(InboundPort(port, http_port))
        resources = [*provider.plan(owner).resources, *provider.plan(MESH).resources]
        async with proxy(owner, resources, tmp_path, ports={"inbound": port}, app_port=free_port()):
            for alpn in (("http/1.1",), ()):
                answer = await ask(port, tls=client_context(tmp_path, alpn=alpn))
                assert (answer.status, answer.values("x-smeagol-unreached")) == (503, ["true"])

    async def test_plaintext_clients_of_permissive_see_no_mark(self, tmp_path: Path, http_port: Protocol) -> None:
        port = free_port()
        owner = workload(InboundPort(port, http_port), mode=TLSMode.PERMISSIVE)
        resources = [*provider.plan(owner).resources, *provider.plan(MESH).resources]
        async with proxy(owner, resources, tmp_path, ports={"inbound": port}, app_port=free_port()):
            answer = await ask(port)
            assert (answer.status, answer.values("x-smeagol-unreached")) == (503, [])


class TestTransparency:
    """HTTPS becomes plain HTTP to the app, and nothing else changes."""

    async def test_the_application_sees_what_the_client_sent(self, tmp_path: Path, http_port: Protocol) -> None:
        """Path and spelling stay; of headers only the identity and x-forwarded-proto are added."""
        async with server(tmp_path, http_port) as (port, app):
            app.answer_headers = [("X-App", "yes"), ("Server", "own")]
            sent = (("X-Mixed-Case", "1"), ("x-request-id", "7"), ("X-Forwarded-For", "1.2.3.4"))
            answer = await ask(port, tls=client_context(tmp_path), headers=sent, path="//a/../b/%2e/c%2Fd?x=1")
            first, headers = app.requests[-1]
            assert first == "GET //a/../b/%2e/c%2Fd?x=1 HTTP/1.1"
            assert [name for name, _ in headers] == [
                "Host", "X-Mixed-Case", "x-request-id", "X-Forwarded-For", "x-forwarded-proto", "x-sme-identity",
            ]  # fmt: skip
            assert dict(answer.headers) | {"date": ""} == {
                "X-App": "yes",
                "Server": "own",
                "content-length": "3",
                "date": "",
            }

    async def test_an_answer_before_the_end_of_the_connection_arrives(
        self, tmp_path: Path, http_port: Protocol
    ) -> None:
        async with server(tmp_path, http_port) as (port, _):
            for alpn in (("http/1.1",), ()):
                for _ in range(20):
                    answer = await ask(port, tls=client_context(tmp_path, alpn=alpn), close=True)
                    assert answer.body == "app"
