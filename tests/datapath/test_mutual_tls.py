"""MutualTLS: who gets in, under which names, and what stays as it was."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from datapath.app import App, DialError
from datapath.apps.wire import PortSeen, Tls
from datapath.harness import Mesh, eventually
from datapath.manifests import Manifest, mutual_tls, pod, service
from datapath.outside import credentials, expired, from_wrong_authority, server_as_client
from datapath.three_modes import CLIENT, MODES
from smeagol.control import Status

pytestmark = [pytest.mark.netns, pytest.mark.envoy, pytest.mark.xdist_group("datapath-modes")]


@pytest.fixture(scope="module")
def client(modes: Mesh) -> App:
    return modes.app("client", "strict")


@pytest.fixture(scope="module")
def stranger(modes: Mesh) -> App:
    return modes.app("stranger", "strict")


def names_of(service: str, namespace: str) -> list[str]:
    """The four names by which clients know a Service."""
    short = f"{service}.{namespace}"
    return [service, short, f"{short}.svc", f"{short}.svc.cluster.local"]


def names_in(certificate: bytes) -> set[str]:
    """The subject alternative names of a certificate (DER)."""
    names = x509.load_der_x509_certificate(certificate).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return {str(name.value) for name in names.value}


def url_host(host: str) -> str:
    return f"[{host}]" if ":" in host else host


class TestOrdinaryClients:
    """SMI-MTLS-06: an ordinary TLS client that dials the Pod or its Service finds that name in the certificate."""

    def test_every_address_and_name_is_verified(self, modes: Mesh, stranger: App) -> None:
        tls = credentials(modes, "a.example")
        for host in names_of("web", "strict"):
            assert stranger.get(f"https://{host}:80/", tls=tls).identity == "a.example"
        for host in modes.ips("web", "strict"):
            assert stranger.get(f"https://{url_host(host)}:8080/", tls=tls).identity == "a.example"

    @pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
    def test_curl(self, modes: Mesh) -> None:
        """curl --cacert --cert --key, word for word."""
        tls = credentials(modes, "a.example")
        for name, content in (("roots", tls.roots), ("certificate", tls.certificate), ("key", tls.key)):
            (modes.folder / "run" / f"{name}.pem").write_bytes(content)
        files = ["--cacert", "run/roots.pem", "--cert", "run/certificate.pem", "--key", "run/key.pem"]
        hosts = [f"{url_host(ip)}:8080" for ip in modes.ips("web", "strict")]
        hosts += [f"{name}:80" for name in names_of("web", "strict")]
        for host in hosts:
            told = modes.exec("stranger", "curl", "-sS", "-m", "10", *files, f"https://{host}/", namespace="strict")
            assert told.code == 0, f"{host}: {told.errors}"
            assert '"identity": "a.example"' in told.text
        without = modes.exec("stranger", "curl", "-sS", "-m", "10", *files[:2], f"https://{hosts[0]}/",
                             namespace="strict")  # fmt: skip
        assert without.code != 0

    def test_another_name_is_not_verified(self, modes: Mesh, stranger: App) -> None:
        """The verification above verifies."""
        with pytest.raises(DialError, match=r"ertificate.*verif|mismatch"):
            stranger.get("https://web.strict:80/", tls=credentials(modes, server_name="web.permissive"))


def no_certificate(mesh: Mesh) -> Tls:
    return Tls(roots=credentials(mesh).roots)


class TestRefusal:
    """SMI-MTLS-05, SMI-MTLS-19: who cannot show a good certificate is refused before the application hears of it."""

    @pytest.mark.parametrize("port", [80, 81, 9000, 9002])
    @pytest.mark.parametrize("mode", ["strict", "permissive"])
    @pytest.mark.parametrize("bad", [no_certificate, from_wrong_authority, expired, server_as_client])
    def test_bad_certificates(
        self, modes: Mesh, stranger: App, bad: Callable[[Mesh], Tls], mode: str, port: int
    ) -> None:
        """None, another authority's, an expired one, one that is for servers; HTTP and bytes, declared and not."""
        with unseen(modes, mode), pytest.raises(DialError):
            stranger.get(f"https://web.{mode}:{port}/", tls=bad(modes))

    @pytest.mark.parametrize("port", [80, 81, 9000, 9001, 9002, 3306, 443])
    def test_plaintext(self, modes: Mesh, stranger: App, port: int) -> None:
        """No byte comes back, not even from a server that speaks first."""
        with unseen(modes, "strict"):
            for host in ("web.strict", *modes.ips("web", "strict")):
                dialled = port if host == "web.strict" else {80: 8080, 81: 8081, 443: 9443}.get(port, port)
                with pytest.raises(DialError), stranger.connect(host, dialled) as connection:
                    connection.exchange(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n", until=b"\n", seconds=3)

    @pytest.mark.parametrize("port", [5000, 5001])
    def test_plaintext_grpc(self, modes: Mesh, stranger: App, port: int) -> None:
        with unseen(modes, "strict"):
            assert stranger.grpc(f"web.strict:{port}").error.startswith("UNAVAILABLE")


class unseen:  # noqa: N801  # reads as a statement
    """with unseen(mesh, mode): the server in that mode sees nothing at all."""

    def __init__(self, mesh: Mesh, mode: str) -> None:
        self._app = mesh.app("web", mode)

    def __enter__(self) -> None:
        self._before = self._all()

    def __exit__(self, *_: object) -> None:
        assert self._all() == self._before

    def _all(self) -> dict[int, PortSeen]:
        return {port: self._app.seen(port) for port in (8080, 8081, 9000, 9001, 9002, 3306, 9443, 5000, 5001)}


class TestServerCertificate:
    def test_names_and_purpose(self, modes: Mesh, stranger: App) -> None:
        """SMI-MTLS-06, SMI-MTLS-13: the Pod's addresses, its Services' names, nothing else; good for serving only."""
        certificate = presented(modes, stranger, "web.strict", 80)
        expected = {*modes.ips("web", "strict"), *names_of("web", "strict"), *names_of("direct", "strict")}
        assert names_in(certificate) == expected
        usage = x509.load_der_x509_certificate(certificate).extensions.get_extension_for_class(x509.ExtendedKeyUsage)
        assert list(usage.value) == [ExtendedKeyUsageOID.SERVER_AUTH]

    def test_follows_membership(self, modes: Mesh, stranger: App) -> None:
        """SMI-MTLS-06: a Service that comes and goes changes the names; nothing restarts."""
        with modes.having(service("alias", {"app": "web"}, namespace="strict")):
            host = modes.ips("web", "strict")[0]
            eventually(lambda: has_names(presented(modes, stranger, host, 8080), "alias", present=True))
            assert stranger.get("https://alias.strict:80/", tls=credentials(modes, "a.example")).version == "strict"
        eventually(lambda: has_names(presented(modes, stranger, host, 8080), "alias", present=False))
        assert modes.pod("web", "strict").restarts == 0

    def test_names_before_the_pod_is_ready(self, modes: Mesh, stranger: App) -> None:
        """SMI-MTLS-07: else the first requests after it is ready would fail."""
        server = pod("late", "http:8080", namespace="late", probe={"exec": {"command": ["false"]}})
        objects = (server, service("late", namespace="late"), mutual_tls(namespace="late"))
        modes.apply(*objects, wait=False)
        try:
            modes.wait_for(proxy_of("late", "late"))
            host = modes.ips("late", "late")[0]
            certificate = eventually(lambda: presented(modes, stranger, host, 8080))
            assert set(names_of("late", "late")) <= names_in(certificate)
            assert not modes.pod("late", "late").ready
        finally:
            modes.delete(*objects)


def has_names(certificate: bytes, service: str, *, present: bool) -> None:
    assert (set(names_of(service, "strict")) <= names_in(certificate)) is present


def presented(mesh: Mesh, stranger: App, host: str, port: int) -> bytes:
    """The certificate that a server shows (DER). Raises AssertionError while it does not listen."""
    try:
        with stranger.connect(host, port, tls=credentials(mesh, "reader.example")) as connection:
            return connection.certificate
    except DialError as error:
        raise AssertionError(str(error)) from error


def proxy_of(name: str, namespace: str) -> Callable[[Status], str]:
    """Nothing once the proxy of that Pod has all it needs."""

    def missing(status: Status) -> str:
        found = [p for p in status.pods if (p.namespace, p.name) == (namespace, name)]
        return "" if any(p.proxy is not None and p.proxy.connected and p.proxy.synced for p in found) else "the proxy"

    return missing


class TestOutbound:
    def test_plain_http_becomes_https_and_plain_http_again(self, client: App) -> None:
        """SMI-MTLS-01: said in plaintext to a server that takes nothing but mutual TLS, and heard in plaintext."""
        answer = client.get("http://web/hello", headers=[("X-Own", "Kept")])
        assert answer.head.startswith("GET /hello HTTP/1.1\r\n")
        assert "X-Own: Kept\r\n" in answer.head
        assert answer.identities == [CLIENT]

    def test_to_unmeshed_pods_traffic_stays_as_it_was(self, client: App) -> None:
        """SMI-MTLS-03: plaintext to a server without a proxy."""
        answer = client.get("http://stranger/", headers=[("X-Own", "Kept")])
        assert (answer.version, answer.identities) == ("stranger", [])
        assert "X-Own: Kept" in answer.head

    def test_without_mutual_tls_traffic_stays_as_it_was(self, modes: Mesh, stranger: App) -> None:
        """SMI-MTLS-03: a proxy alone changes nothing: the head arrives as it was sent."""
        fields = [("Host", "Web.Plain"), ("X-Own", "Kept"), ("x-forwarded-for", "1.2.3.4"), ("User-Agent", "me")]
        for caller in (stranger, modes.app("client", "strict")):
            head = caller.get("http://web.plain/path//a/../b?q=%2f", headers=fields).head
            assert head.startswith("GET /path//a/../b?q=%2f HTTP/1.1\r\n")
            lines = set(head.strip().split("\r\n")[1:])
            assert {f"{name}: {value}" for name, value in fields} <= lines
            # RFC 9110 has no objection to this one, and Envoy insists on it.
            assert {line for line in lines if not line.lower().startswith("x-forwarded-proto:")} == {
                f"{name}: {value}" for name, value in fields
            }


class TestSelection:
    """In a namespace of its own, where `app` serves and calls."""

    @pytest.fixture
    def union(self, modes: Mesh) -> Iterator[str]:
        objects = (pod("app", "http:8080", namespace="union"), service("app", namespace="union"))
        with modes.having(*objects):
            yield "union"

    def test_several_add_up(self, modes: Mesh, stranger: App, union: str) -> None:
        """SMI-MTLS-14: the union of the names, and Strict beats Permissive."""
        lax = mutual_tls("lax", {"app": "app"}, names=["b.example"], mode="Permissive", namespace=union)
        firm = mutual_tls("firm", names=["a.example"], namespace=union)
        own = f"spiffe://cluster.local/ns/{union}/sa/default"
        with modes.having(lax):
            assert stranger.get(f"http://app.{union}/").identities == []
            assert known_as(modes, union) == f"b.example,{own}"
            with modes.having(firm):
                assert known_as(modes, union) == f"a.example,b.example,{own}"
                with pytest.raises(DialError):
                    stranger.get(f"http://app.{union}/")
            assert stranger.get(f"http://app.{union}/").identities == []
            assert known_as(modes, union) == f"b.example,{own}"

    def test_it_ends_with_the_object(self, modes: Mesh, stranger: App, union: str) -> None:
        """SMI-COMMON-03: plain traffic before and after."""
        assert stranger.get(f"http://app.{union}/").identities == []
        with modes.having(mutual_tls(namespace=union)):
            with pytest.raises(DialError):
                stranger.get(f"http://app.{union}/")
            assert modes.app("client", "strict").get(f"http://app.{union}/").identities == [CLIENT]
        assert stranger.get(f"http://app.{union}/").identities == []
        eventually(lambda: is_unknown(modes.app("client", "strict"), f"http://app.{union}/"))

    def test_mode_changes_under_open_eyes(self, modes: Mesh, stranger: App, union: str) -> None:
        """SMI-MTLS-19, SMI-MTLS-20: an edit of `mode` takes effect at once."""
        modes.apply(mutual_tls(mode="Permissive", namespace=union))
        try:
            assert stranger.get(f"http://app.{union}/").identities == []
            modes.apply(mutual_tls(mode="Strict", namespace=union))
            with pytest.raises(DialError):
                stranger.get(f"http://app.{union}/")
        finally:
            modes.delete(mutual_tls(namespace=union))

    def test_names_of_others_are_not_granted(self, modes: Mesh, union: str) -> None:
        """SMI-MTLS-09, SMI-MTLS-10, SMI-MTLS-12: refused with the reason, in no certificate, and still in force."""
        taken = mutual_tls("taken", names=["client.example", "own.example"], namespace=union)
        foreign = mutual_tls(
            "foreign",
            names=["web.strict.svc.cluster.local", "spiffe://cluster.local/ns/strict/sa/default", "mine.example"],
            namespace=union,
        )
        own = f"spiffe://cluster.local/ns/{union}/sa/default"
        with modes.having(taken):
            condition = modes.condition("Accepted", "MutualTLS", "taken", union)
            assert (condition.status, condition.reason) == ("False", "Conflicted")
            assert "client.example" in condition.message
            assert "strict/client" in condition.message
            assert known_as(modes, union) == f"own.example,{own}"
            with suppress(DialError), modes.app("stranger", "strict").connect(f"app.{union}", 80) as connection:
                assert not connection.exchange(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", until=b"\n", seconds=3)
        with modes.having(foreign):
            condition = modes.condition("Accepted", "MutualTLS", "foreign", union)
            assert (condition.status, condition.reason) == ("False", "Invalid")
            assert known_as(modes, union) == f"mine.example,{own}"

    def test_service_account_is_the_default_identity(self, modes: Mesh) -> None:
        """SMI-MTLS-08: the SPIFFE id names namespace and service account."""
        with modes.having(pod("payer", namespace="union", account="payments")):
            identity = modes.app("payer", "union").get("http://web.strict/").identity
            assert identity == "spiffe://cluster.local/ns/union/sa/payments"


def known_as(mesh: Mesh, namespace: str) -> str:
    """How a server knows the Pod `app`: by its newest certificate, for a port without a Service is dialled anew."""
    return mesh.app("app", namespace).get(f"http://{mesh.ips('web', 'strict')[0]}:8082/").identity


def is_unknown(app: App, url: str) -> None:
    """A connection that is there already may be used once more."""
    assert app.get(url).identities == []


class TestProbes:
    def test_every_kind_works_under_strict(self, modes: Mesh) -> None:
        """SMI-MTLS-18: HTTP, TCP, gRPC and exec probes reach the application itself: they fail when it fails."""
        probes: dict[str, Manifest] = {
            "tcp": {"tcpSocket": {"port": 9000}},
            "grpc": {"grpc": {"port": 5000}},
            "exec": {"exec": {"command": ["python3", "-c", ""]}},
        }
        beside = [
            {
                "name": name,
                "command": ["sleep", "1000"],
                "readinessProbe": {"periodSeconds": 1, "timeoutSeconds": 30, **probe},
            }
            for name, probe in probes.items()
        ]
        probed = pod("probed", "http:8080", "tcp:9000", "grpc:5000", namespace="probed", containers=beside)
        with modes.having(mutual_tls(namespace="probed"), probed):
            assert modes.pod("probed", "probed").ready
            modes.app("probed", "probed").set_ready(False)
            modes.wait_for(lambda status: "" if not ready(status, "probed") else "it to be unready")
            modes.app("probed", "probed").set_ready(True)
            modes.wait_for(lambda status: "" if ready(status, "probed") else "it to be ready")

    @pytest.mark.parametrize("probe", [{"tcpSocket": {"port": 9999}}, {"grpc": {"port": 9999}}])
    def test_a_probe_of_nothing_fails(self, modes: Mesh, probe: Manifest) -> None:
        """SMI-MTLS-18: the proxy does not answer in the application's place."""
        deaf = pod("deaf", namespace="probed", probe=probe)
        modes.apply(mutual_tls(namespace="probed"), deaf, wait=False)
        try:
            modes.wait_for(proxy_of("deaf", "probed"))
            modes.app("deaf", "probed").wait_up()
            with pytest.raises(AssertionError):
                modes.wait_for(lambda status: "" if ready(status, "deaf") else "it to be ready", seconds=3)
        finally:
            modes.delete(mutual_tls(namespace="probed"), deaf)

    def test_metrics_are_scraped_under_strict(self, modes: Mesh) -> None:
        """SMI-MTLS-18."""
        assert f'namespace="{MODES[0]}"' in modes.metrics()


def ready(status: Status, name: str) -> bool:
    return any(p.ready for p in status.pods if p.name == name)


class TestPortsThatPassByTheProxy:
    """SMI-MTLS-24: what the proxy does not see is dialled as it was sent."""

    def test_the_proxys_own_ports_answer_meshed_clients(self, modes: Mesh, client: App) -> None:
        """A Prometheus with a proxy of its own scrapes a Pod under Strict."""
        for host in modes.ips("web", "strict"):
            for port, path in ((15090, "stats/prometheus"), (15021, "ready")):
                assert client.get(f"http://{url_host(host)}:{port}/{path}").status == 200

    def test_an_excluded_port_is_the_applications_alone(self, modes: Mesh, client: App, stranger: App) -> None:
        """By Service and by address, for clients with a proxy and without; the other port stays closed to strangers."""
        half = pod(
            "half",
            "http:8080",
            "http:8090",
            namespace="strict",
            annotations={"smeagol.dev/exclude-inbound-ports": "8090"},
        )
        both = service("half", namespace="strict", ports=[("http", 80, 8080), ("http-open", 90, 8090)])
        with modes.having(half, both):
            address = url_host(modes.ips("half", "strict")[0])
            for url in ("http://half:90/", f"http://{address}:8090/"):
                for caller in (client, stranger):
                    assert caller.get(url).identities == []
            assert client.get("http://half/").identities == [CLIENT]
            with pytest.raises(DialError):
                stranger.get("http://half/")
