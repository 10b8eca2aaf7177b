"""Whatever applications speak keeps working, whether the server has MutualTLS or not, by every way to dial it."""

from __future__ import annotations

import pytest

from datapath.app import App, DialError
from datapath.apps.wire import Tls
from datapath.harness import Mesh
from datapath.three_modes import CLIENT, MODES, PLAIN

pytestmark = [pytest.mark.netns, pytest.mark.envoy, pytest.mark.xdist_group("datapath-modes")]

OWN_TLS = Tls(server_name="own.example")
"""The application's own TLS, which the mesh knows nothing of."""


@pytest.fixture(scope="module", params=["strict/client", "plain/web"])
def client(modes: Mesh, request: pytest.FixtureRequest) -> App:
    """A meshed client, with MutualTLS and without."""
    namespace, name = request.param.split("/")
    return modes.app(name, namespace)


@pytest.fixture(scope="module")
def stranger(modes: Mesh) -> App:
    return modes.app("stranger", "strict")


@pytest.mark.parametrize("mode", MODES)
class TestBytes:
    """SMI-MTLS-17."""

    @pytest.mark.parametrize("port", [9000, 9002])
    def test_tcp(self, client: App, mode: str, port: int) -> None:
        """Declared and undeclared; the connection lives on."""
        with client.connect(f"web.{mode}", port) as connection:
            assert [connection.line(text) for text in ("one", "two")] == [f"{mode} one", f"{mode} two"]

    @pytest.mark.parametrize("port", [9001, 3306])
    def test_server_that_speaks_first(self, client: App, mode: str, port: int) -> None:
        """The client waits for the greeting before it says anything: a declared port, and a well-known one."""
        with client.connect(f"web.{mode}", port) as connection:
            assert connection.exchange(until=b"\n") == f"220 {mode}\n".encode()
            assert connection.line("hello") == f"{mode} hello"

    def test_server_that_speaks_first_by_its_own_address(self, modes: Mesh, client: App, mode: str) -> None:
        for host in modes.ips("web", mode):
            with client.connect(host, 9001) as connection:
                assert connection.exchange(until=b"\n") == f"220 {mode}\n".encode()

    def test_application_that_encrypts_by_itself(self, client: App, mode: str) -> None:
        """The client sees the application's own certificate, and no header of the mesh is put in."""
        answer = client.get(f"https://web.{mode}/", tls=OWN_TLS)
        assert (answer.version, answer.identities) == (mode, [])

    def test_application_that_encrypts_by_itself_by_its_own_address(self, modes: Mesh, client: App, mode: str) -> None:
        for host in modes.ips("web", mode):
            shown = f"[{host}]" if ":" in host else host
            assert client.get(f"https://{shown}:9443/", tls=OWN_TLS).version == mode

    def test_much(self, client: App, mode: str) -> None:
        """More than any buffer holds, and unharmed."""
        line = "x" * 100_000
        with client.connect(f"web.{mode}", 9000) as connection:
            assert connection.line(line) == f"{mode} {line}"


class TestUnmeshedClients:
    """SMI-MTLS-20, SMI-CAN-19: Permissive and no MutualTLS serve them as a Service without a mesh does."""

    @pytest.mark.parametrize("mode", ["permissive", "plain"])
    def test_all_protocols(self, stranger: App, mode: str) -> None:
        assert stranger.get(f"http://web.{mode}/").version == mode
        assert stranger.get(f"http://web.{mode}:81/").version == mode
        for port in (9000, 9002):
            with stranger.connect(f"web.{mode}", port) as connection:
                assert connection.line("a") == f"{mode} a"
        for port in (9001, 3306):
            with stranger.connect(f"web.{mode}", port) as connection:
                assert connection.exchange(until=b"\n") == f"220 {mode}\n".encode()
        assert stranger.get(f"https://web.{mode}/", tls=OWN_TLS).version == mode
        for port in (5000, 5001):
            assert stranger.grpc(f"web.{mode}:{port}").versions == (mode,)

    def test_own_tls_under_strict(self, stranger: App) -> None:
        """SMI-MTLS-19: encrypted is not enough."""
        with pytest.raises(DialError):
            stranger.get("https://web.strict/", tls=OWN_TLS)


@pytest.mark.parametrize("mode", MODES)
class TestHttp:
    @pytest.mark.parametrize("port", [80, 81])
    def test_http_1_0(self, client: App, mode: str, port: int) -> None:
        assert client.get(f"http://web.{mode}:{port}/", version="1.0").version == mode

    @pytest.mark.parametrize("port", [80, 81])
    def test_http_1_0_without_host(self, client: App, mode: str, port: int) -> None:
        with client.connect(f"web.{mode}", port) as connection:
            assert f'"version": "{mode}"'.encode() in connection.exchange(b"GET / HTTP/1.0\r\n\r\n")

    @pytest.mark.parametrize("port", [80, 81])
    def test_websocket(self, client: App, mode: str, port: int) -> None:
        with client.connect(f"web.{mode}", port) as connection:
            request = b"GET /chat HTTP/1.1\r\nHost: web\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
            assert connection.exchange(request, until=b"\r\n\r\n").startswith(b"HTTP/1.1 101")
            assert connection.exchange(b"\x00\x01frame", count=7) == b"\x00\x01frame"

    @pytest.mark.parametrize("port", [80, 81])
    def test_body(self, client: App, mode: str, port: int) -> None:
        body = b"b" * 300_000
        answer = client.get(f"http://web.{mode}:{port}/", method="POST", body=body)
        assert answer.content.count(b"b" * 300_000) == 1

    def test_keep_alive_and_slow_answers(self, client: App, mode: str) -> None:
        with client.connect(f"web.{mode}", 80) as connection:
            assert [connection.http(path).version for path in ("/", "/slow", "/")] == [mode] * 3

    def test_expect_100_continue(self, client: App, mode: str) -> None:
        """The application's own answer decides, and it may well come without `100 Continue`."""
        with client.connect(f"web.{mode}", 80) as connection:
            request = b"POST / HTTP/1.1\r\nHost: web\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc"
            assert b"200" in connection.exchange(request, until=b"\r\n")

    @pytest.mark.parametrize("port", [5000, 5001])
    def test_grpc(self, client: App, mode: str, port: int) -> None:
        for stream in (False, True):
            answers = client.grpc(f"web.{mode}:{port}", calls=5, stream=stream)
            assert (answers.error, answers.versions) == ("", (mode,) * 5)


@pytest.mark.parametrize("mode", MODES)
class TestAddresses:
    """SMI-SVC-01, SMI-SVC-05: whatever is dialled leads to the same server, with the same identity."""

    def test_service_by_each_address(self, modes: Mesh, client: App, mode: str) -> None:
        for ip in modes.cluster_ips("web", mode):
            self._is_reached(client, ip, 80, mode)

    def test_service_by_each_name(self, client: App, mode: str) -> None:
        for name in (
            f"web.{mode}",
            f"web.{mode}.svc",
            f"web.{mode}.svc.cluster.local",
            f"web.{mode}.svc.cluster.local.",
        ):
            self._is_reached(client, name, 80, mode)

    def test_pod_by_each_address(self, modes: Mesh, client: App, mode: str) -> None:
        for ip in modes.ips("web", mode):
            for port in (8080, 8081, 8082):
                self._is_reached(client, ip, port, mode)

    def test_headless_service(self, client: App, mode: str) -> None:
        self._is_reached(client, f"direct.{mode}", 8080, mode)

    @staticmethod
    def _is_reached(client: App, host: str, port: int, mode: str) -> None:
        shown = f"[{host}]" if ":" in host else host
        answer = client.get(f"http://{shown}:{port}/")
        assert answer.version == mode
        assert set(answer.identities) <= {CLIENT, PLAIN}
        assert bool(answer.identities) is (mode != "plain")


@pytest.mark.parametrize("mode", MODES)
class TestSelfCall:
    """A Pod that calls itself, through its Service or directly."""

    def test_by_service(self, modes: Mesh, mode: str) -> None:
        app = modes.app("web", mode)
        for _ in range(3):
            assert app.get(f"http://web.{mode}/").version == mode
        with app.connect(f"web.{mode}", 9000) as connection:
            assert connection.line("me") == f"{mode} me"

    def test_by_its_own_address(self, modes: Mesh, mode: str) -> None:
        for ip in modes.ips("web", mode):
            shown = f"[{ip}]" if ":" in ip else ip
            assert modes.app("web", mode).get(f"http://{shown}:8080/").version == mode

    def test_by_loopback(self, modes: Mesh, mode: str) -> None:
        for host in ("127.0.0.1", "[::1]", "localhost"):
            answer = modes.app("web", mode).get(f"http://{host}:8080/", headers=[("x-sme-identity", "me")])
            assert answer.version == mode
