"""The header that tells the application who calls: what is in it, and that nobody else can set it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress

import pytest

from datapath.app import App, DialError
from datapath.harness import Mesh
from datapath.outside import credentials
from datapath.three_modes import CLIENT, MODES, PLAIN

pytestmark = [pytest.mark.netns, pytest.mark.envoy, pytest.mark.xdist_group("datapath-modes")]

FORGED = "admin.example,spiffe://cluster.local/ns/strict/sa/admin"
SPELLINGS = ("x-sme-identity", "X-SME-IDENTITY", "X-Sme-Identity")
FORGERY = [(name, FORGED) for name in SPELLINGS]
LATE_SECONDS = 1.2
"""Longer than any proxy waits for the first byte before it takes a connection for plaintext or for bytes."""


@pytest.fixture(scope="module")
def client(modes: Mesh) -> App:
    return modes.app("client", "strict")


@pytest.fixture(scope="module")
def plain(modes: Mesh) -> App:
    return modes.app("web", "plain")


@pytest.fixture(scope="module")
def stranger(modes: Mesh) -> App:
    return modes.app("stranger", "strict")


def told(mode: str, identity: str) -> list[str]:
    """What the application in this mode hears of a meshed client of this identity."""
    return [] if mode == "plain" else [identity]


class TestContent:
    def test_names_then_uris(self, modes: Mesh, stranger: App) -> None:
        """SMI-MTLS-15: the DNS names, then the URIs, separated by commas, whatever their order in the certificate."""
        tls = credentials(modes, "https://b.example/x", "b.example", "spiffe://a.example/y", "a.example")
        answer = stranger.get("https://web.strict:80/", tls=tls)
        assert answer.identities == ["b.example,a.example,https://b.example/x,spiffe://a.example/y"]

    def test_granted_names_and_default_identity(self, client: App) -> None:
        """SMI-MTLS-08: the clientSubjectNames that were granted, and always the SPIFFE id."""
        assert client.get("http://web.strict/").identities == [CLIENT]

    def test_default_identity_alone(self, plain: App) -> None:
        """SMI-MTLS-04: a meshed Pod without MutualTLS speaks it to servers that need it, as its service account."""
        assert plain.get("http://web.strict/").identities == [PLAIN]
        assert plain.get("http://web.permissive/").identities == [PLAIN]

    @pytest.mark.parametrize("port", [80, 81])
    def test_each_request_of_a_connection(self, client: App, port: int) -> None:
        """SMI-MTLS-15: also the second one, on declared and undeclared ports."""
        with client.connect("web.strict", port) as connection:
            assert [connection.http(headers=FORGERY).identities for _ in range(3)] == [[CLIENT]] * 3

    def test_none_in_plaintext(self, stranger: App) -> None:
        """SMI-MTLS-20: Permissive serves plaintext, without an identity."""
        assert stranger.get("http://web.permissive/").identities == []


class TestForgery:
    """SMI-MTLS-16: a header of that name that comes from anyone else is removed, on every path."""

    @pytest.mark.parametrize("port", [80, 81])
    @pytest.mark.parametrize("mode", MODES)
    def test_meshed_client(self, client: App, plain: App, mode: str, port: int) -> None:
        """Declared and undeclared ports; a certificate with DNS names and URI, and one with a URI alone."""
        url = f"http://web.{mode}:{port}/"
        assert client.get(url, headers=FORGERY).identities == told(mode, CLIENT)
        assert plain.get(url, headers=FORGERY).identities == told(mode, PLAIN)

    @pytest.mark.parametrize("port", [8080, 8081, 8082])
    @pytest.mark.parametrize("mode", MODES)
    def test_meshed_client_that_dials_the_pod(self, modes: Mesh, client: App, mode: str, port: int) -> None:
        """By its address; no Service knows port 8082."""
        for ip in modes.ips("web", mode):
            host = f"[{ip}]" if ":" in ip else ip
            assert client.get(f"http://{host}:{port}/", headers=FORGERY).identities == told(mode, CLIENT)

    @pytest.mark.parametrize("mode", MODES)
    def test_meshed_client_of_a_headless_service(self, client: App, mode: str) -> None:
        answer = client.get(f"http://direct.{mode}:8080/", headers=FORGERY)
        assert answer.identities == told(mode, CLIENT)

    @pytest.mark.parametrize("port", [80, 81])
    @pytest.mark.parametrize("mode", MODES)
    def test_meshed_client_that_talks_late(self, client: App, mode: str, port: int) -> None:
        """Silence does not make bytes of HTTP."""
        with client.connect(f"web.{mode}", port) as connection:
            keep_silent()
            assert connection.http(headers=FORGERY).identities == told(mode, CLIENT)

    @pytest.mark.parametrize("port", [80, 81])
    @pytest.mark.parametrize("mode", ["permissive", "plain"])
    def test_plaintext(self, stranger: App, mode: str, port: int) -> None:
        assert stranger.get(f"http://web.{mode}:{port}/", headers=FORGERY).identities == []

    @pytest.mark.parametrize("port", [80, 81])
    @pytest.mark.parametrize("mode", ["permissive", "plain"])
    def test_plaintext_late(self, stranger: App, mode: str, port: int) -> None:
        with stranger.connect(f"web.{mode}", port) as connection:
            keep_silent()
            assert connection.http(headers=FORGERY).identities == []

    @pytest.mark.parametrize("alpn", [(), ("http/1.1",), ("smi-tcp",), ("nonsense",)])
    @pytest.mark.parametrize("port", [80, 81])
    @pytest.mark.parametrize("mode", ["strict", "permissive"])
    @pytest.mark.parametrize(
        ("names", "identity"),
        [
            (["a.example"], ["a.example"]),
            (["spiffe://b.example/x"], ["spiffe://b.example/x"]),
            (["a.example", "spiffe://b.example/x"], ["a.example,spiffe://b.example/x"]),
            (["10.1.2.3"], []),
        ],
    )
    def test_outside_client_with_each_kind_of_name(
        self,
        modes: Mesh,
        stranger: App,
        mode: str,
        port: int,
        names: Sequence[str],
        identity: Sequence[str],
        alpn: Sequence[str],
    ) -> None:
        """Certificates with and without each kind of name; a client cannot choose by ALPN what it is taken for."""
        tls = credentials(modes, *names, alpn=alpn)
        assert stranger.get(f"https://web.{mode}:{port}/", headers=FORGERY, tls=tls).identities == identity

    @pytest.mark.parametrize("port", [80, 81])
    def test_outside_client_that_talks_late(self, modes: Mesh, stranger: App, port: int) -> None:
        with stranger.connect("web.strict", port, tls=credentials(modes, "a.example")) as connection:
            keep_silent()
            assert connection.http(headers=FORGERY).identities == ["a.example"]

    @pytest.mark.parametrize("port", [5000, 5001])
    @pytest.mark.parametrize("mode", MODES)
    def test_http2(self, client: App, mode: str, port: int) -> None:
        """gRPC, on a declared and an undeclared port."""
        answers = client.grpc(f"web.{mode}:{port}", metadata=[("x-sme-identity", FORGED)] * 2)
        assert answers.error == ""
        assert identities_in(answers.metadata[0]) == told(mode, CLIENT)

    @pytest.mark.parametrize("port", [5000, 5001])
    @pytest.mark.parametrize("mode", ["permissive", "plain"])
    def test_http2_plaintext(self, stranger: App, mode: str, port: int) -> None:
        answers = stranger.grpc(f"web.{mode}:{port}", metadata=[("x-sme-identity", FORGED)])
        assert answers.error == ""
        assert identities_in(answers.metadata[0]) == []

    @pytest.mark.parametrize("port", [80, 81])
    @pytest.mark.parametrize("mode", MODES)
    def test_http_1_0(self, client: App, mode: str, port: int) -> None:
        answer = client.get(f"http://web.{mode}:{port}/", headers=FORGERY, version="1.0")
        assert answer.identities == told(mode, CLIENT)

    @pytest.mark.parametrize("port", [80, 81])
    @pytest.mark.parametrize("mode", MODES)
    def test_upgrade(self, modes: Mesh, client: App, mode: str, port: int) -> None:
        """The request that asks for another protocol is a request like any other."""
        with client.connect(f"web.{mode}", port) as connection:
            headers = "".join(f"{name}: {value}\r\n" for name, value in FORGERY)
            mark = f"/upgrade-{mode}-{port}"
            request = f"GET {mark} HTTP/1.1\r\nHost: w\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n{headers}\r\n"
            assert connection.exchange(request.encode(), until=b"\r\n\r\n").startswith(b"HTTP/1.1 101")
            heads = modes.app("web", mode).seen({80: 8080, 81: 8081}[port]).heads
        head = next(head for head in heads if mark.encode() in head)
        assert b"admin" not in head

    @pytest.mark.parametrize("mode", MODES)
    def test_trailers(self, client: App, mode: str) -> None:
        """Some applications read trailers as headers."""
        with client.connect(f"web.{mode}", 80) as connection:
            chunked = f"3\r\nabc\r\n0\r\nx-sme-identity: {FORGED}\r\n\r\n"
            request = f"POST / HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\n\r\n{chunked}"
            connection.send(request.encode())
            answer = connection.exchange(until=b'"method"')
        assert b"admin" not in answer

    @pytest.mark.parametrize(
        "lines",
        [
            "x-sme-identity : {}\r\n",
            " x-sme-identity: {}\r\n",
            "x-sme-identity\t: {}\r\n",
            "x-other: a\r\n x-sme-identity: {}\r\n",
            "x-other: a\nx-sme-identity: {}\r\n",
            "x-other: a\rx-sme-identity: {}\r\n",
            "x-sme-identity:\r\n {}\r\n",
            "connection: x-sme-identity\r\nx-sme-identity: {}\r\n",
        ],
    )
    @pytest.mark.parametrize("mode", ["permissive", "plain"])
    def test_odd_spelling(self, modes: Mesh, stranger: App, mode: str, lines: str) -> None:
        """What some applications might still read as a header is refused, or removed like it."""
        with stranger.connect(f"web.{mode}", 80) as connection:
            mark = "/odd-" + str(abs(hash(lines)))
            request = f"GET {mark} HTTP/1.1\r\nHost: web\r\n{lines.format(FORGED)}\r\n"
            with suppress(DialError):
                connection.exchange(request.encode(), until=b"\r\n\r\n")
        for head in modes.app("web", mode).seen().heads:
            if mark.encode() in head:
                assert not any(line.lstrip().lower().startswith(b"x-sme-identity") for line in head.splitlines()), head


def keep_silent() -> None:
    """Say nothing for a while: the passing of time is what is tested."""
    time.sleep(LATE_SECONDS)


def identities_in(metadata: Sequence[tuple[str, str]]) -> list[str]:
    return [value for key, value in metadata if key == "x-sme-identity"]
