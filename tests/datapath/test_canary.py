"""Canary: who answers, counted. Bounds are exact: a correct split fails one run in a million."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from datapath.app import App
from datapath.chance import assert_shares
from datapath.harness import Mesh, eventually, running
from datapath.manifests import Manifest, canary, deployment, mutual_tls, pod, service
from smeagol.control import Status

pytestmark = [pytest.mark.netns, pytest.mark.envoy, pytest.mark.xdist_group("datapath-canary")]

ENOUGH = 3000
PORTS = (("http", 80, 8080), ("tcp-echo", 9000, 9000))
VERSIONS = ("v1", "v2", "v3")
NAMES = ("web", "web.default", "web.default.svc", "web.default.svc.cluster.local")


def version(name: str) -> tuple[Manifest, ...]:
    """One version of `web`, behind the root and behind a Service of its own."""
    return (
        pod(f"web-{name}", "http:8080", "tcp:9000", labels={"web": "yes"}, version=name),
        service(f"web-{name}", ports=PORTS),
    )


@pytest.fixture(scope="module")
def whole_mesh() -> Iterator[Mesh]:
    """Three versions behind the root `web`, mutual TLS everywhere but for one client that is not meshed."""
    with running(
        *(manifest for name in VERSIONS for manifest in version(name)),
        service("web", {"web": "yes"}, ports=PORTS),
        pod("client"),
        pod("other"),
        pod("stranger", meshed=False),
        mutual_tls(mode="Permissive"),
    ) as mesh:
        yield mesh


@pytest.fixture
def mesh(whole_mesh: Mesh) -> Iterator[Mesh]:
    """Without a Canary before and after."""
    yield whole_mesh
    whole_mesh.delete_all("Canary")


@pytest.fixture
def client(mesh: Mesh) -> App:
    return mesh.app("client")


def judged(name: str) -> Callable[[Status], str]:
    """Nothing once conditions of that Canary are told."""

    def missing(status: Status) -> str:
        return "" if any(o.name == name and o.status.conditions for o in status.objects) else f"Canary {name}"

    return missing


def answering(app: App, url: str = "http://web/", requests: int = 200) -> set[str]:
    """The versions that answer, all of them well."""
    told = app.burst(url, requests)
    assert told.errors == {}
    return set(told.versions)


class TestShares:
    """SMI-CAN-07: only the ratio counts."""

    def test_thousandths(self, mesh: Mesh, client: App) -> None:
        """10m, 100m and 1500m are 0.62 %, 6.21 % and 93.17 %."""
        mesh.apply(canary("web", web_v1="10m", web_v2="100m", web_v3="1500m"))
        told = client.burst("http://web/", 2 * ENOUGH)
        assert told.errors == {}
        assert_shares(told.versions, {"v1": 10, "v2": 100, "v3": 1500})

    def test_two_to_one(self, mesh: Mesh, client: App) -> None:
        """1 against 500m; and again 2k against 1e3, which is the same."""
        mesh.apply(canary("web", web_v1="1", web_v2="500m"))
        told = client.burst("http://web/", ENOUGH)
        assert told.errors == {}
        assert_shares(told.versions, {"v1": 2, "v2": 1, "v3": 0})
        mesh.apply(canary("web", web_v1="2k", web_v2="1e3"))
        told = client.burst("http://web/", ENOUGH)
        assert_shares(told.versions, {"v1": 2, "v2": 1, "v3": 0})

    def test_zero_gets_nothing_at_all(self, mesh: Mesh, client: App) -> None:
        """SMI-CAN-08: not one request, as its own server counts them."""
        before = mesh.app("web-v2").seen().requests
        mesh.apply(canary("web", web_v1="1", web_v2="0m"))
        told = client.burst("http://web/", ENOUGH)
        assert (told.errors, told.versions) == ({}, {"v1": ENOUGH})
        assert mesh.app("web-v2").seen().requests == before

    def test_single_gets_everything(self, mesh: Mesh, client: App) -> None:
        """SMI-CAN-08: any positive weight."""
        mesh.apply(canary("web", web_v3="1m"))
        told = client.burst("http://web/", ENOUGH)
        assert (told.errors, told.versions) == ({}, {"v3": ENOUGH})

    def test_connections_are_divided_where_the_port_is_not_http(self, mesh: Mesh, client: App) -> None:
        """SMI-CAN-20: endpoint weights are honoured in turn, so the shares are closer than chance."""
        mesh.apply(canary("web", web_v1="3", web_v2="1", web_v3="0m"))
        told = client.burst("http://web:9000/", 400, line=True)
        assert told.errors == {}
        assert_shares(told.versions, {"v1": 3, "v2": 1, "v3": 0})
        assert {"v1", "v2"} == set(told.versions)

    def test_each_client_divides_its_own(self, mesh: Mesh, client: App) -> None:
        """SMI-CAN-19."""
        mesh.apply(canary("web", web_v1="1", web_v2="1"))
        for app in (client, mesh.app("other")):
            told = app.burst("http://web/", 1000)
            assert_shares(told.versions, {"v1": 1, "v2": 1, "v3": 0})


class TestWhatIsDialled:
    """SMI-CAN-06, SMI-CAN-15: the address decides, and nothing else. `web-v1` alone takes part here."""

    @pytest.fixture(autouse=True)
    def only_v1(self, mesh: Mesh) -> None:
        mesh.apply(canary("web", web_v1="1", web_v2="0m"))

    def test_every_name_of_the_root(self, mesh: Mesh, client: App) -> None:
        for name in (
            "web",
            "web.default",
            "web.default.svc",
            "web.default.svc.cluster.local",
            *mesh.cluster_ips("web"),
        ):
            host = f"[{name}]" if ":" in name else name
            assert answering(client, f"http://{host}/", 60) == {"v1"}

    def test_whatever_the_host_header_says(self, client: App) -> None:
        for host in ("WEB", "web.", "web:80", "web-v2", "web-v2.default.svc.cluster.local", "example.com", "10.0.0.1"):
            told = client.burst("http://web/", 60, headers=[("Host", host)])
            assert (told.errors, set(told.versions)) == ({}, {"v1"}), host

    def test_backend_by_its_own_name(self, client: App) -> None:
        for name in ("v2", "v3"):
            assert answering(client, f"http://web-{name}/", 60) == {name}
            told = client.burst(f"http://web-{name}/", 60, headers=[("Host", "web")])
            assert set(told.versions) == {name}

    def test_pod_by_its_own_address(self, mesh: Mesh, client: App) -> None:
        for ip in mesh.ips("web-v2"):
            host = f"[{ip}]" if ":" in ip else ip
            assert answering(client, f"http://{host}:8080/", 60) == {"v2"}

    def test_client_without_a_proxy(self, mesh: Mesh) -> None:
        """SMI-CAN-19: the plain behaviour of a Service: all its Pods."""
        told = mesh.app("stranger").burst("http://web/", 300, fresh=True)
        assert (told.errors, set(told.versions)) == ({}, set(VERSIONS))


class TestNamesOfTheRoot:
    """SMI-CAN-01."""

    @pytest.mark.parametrize(
        "root",
        ["web", "web.default", "web.default.svc", "web.default.svc.cluster.local", "web.default.svc.cluster.local."],
    )
    def test_all_forms(self, mesh: Mesh, client: App, root: str) -> None:
        mesh.apply(canary(root, web_v2="1"))
        assert answering(client, requests=50) == {"v2"}


class TestLeftOut:
    def test_backend_that_does_not_exist_yet(self, mesh: Mesh, client: App) -> None:
        """SMI-CAN-11, SMI-COMMON-02: the others keep their ratio; it takes part once it is there."""
        mesh.apply(canary("web", web_v1="2", web_v2="1", web_v4="7"))
        told = client.burst("http://web/", ENOUGH)
        assert told.errors == {}
        assert_shares(told.versions, {"v1": 2, "v2": 1})
        condition = mesh.condition("ResolvedRefs", "Canary", "web")
        assert (condition.status, condition.reason) == ("False", "BackendNotFound")
        assert "web-v4" in condition.message
        with mesh.having(*version("v4")):
            told = client.burst("http://web/", 1000)
            assert_shares(told.versions, {"v1": 2, "v2": 1, "v4": 7})
            assert mesh.condition("ResolvedRefs", "Canary", "web").status == "True"
        assert answering(client) == {"v1", "v2"}

    def test_backend_without_endpoints(self, mesh: Mesh, client: App) -> None:
        """SMI-CAN-11: named in the status, which is no complaint."""
        with mesh.having(service("web-empty", {"nobody": "here"}, ports=PORTS)):
            mesh.apply(canary("web", web_v1="1", web_empty="9"))
            assert answering(client) == {"v1"}
            condition = mesh.condition("ResolvedRefs", "Canary", "web")
            assert (condition.status, condition.reason) == ("True", "NoReadyEndpoints")

    def test_backend_without_the_port(self, mesh: Mesh, client: App) -> None:
        """SMI-CAN-13: left out on that port, taking part on the other."""
        with mesh.having(service("web-http", {"app": "web-v2"}, ports=PORTS[:1])):
            mesh.apply(canary("web", web_v1="1", web_http="1"))
            assert answering(client) == {"v1", "v2"}
            told = client.burst("http://web:9000/", 50, line=True)
            assert (told.errors, set(told.versions)) == ({}, {"v1"})
            condition = mesh.condition("ResolvedRefs", "Canary", "web")
            assert (condition.status, condition.reason) == ("False", "PortMismatch")

    def test_backend_with_another_target_port(self, mesh: Mesh, client: App) -> None:
        """SMI-CAN-10: a backend is answered at its own target port."""
        objects = (pod("moved", "http:7777", version="moved"), service("moved", ports=[("http", 80, 7777)]))
        with mesh.having(*objects):
            mesh.apply(canary("web", moved="1"))
            assert answering(client) == {"moved"}

    def test_none_left(self, mesh: Mesh, client: App) -> None:
        """SMI-CAN-12: the root's own endpoints serve."""
        mesh.apply(canary("web", web_v4="1"))
        assert answering(client) == set(VERSIONS)

    def test_only_zero_left(self, mesh: Mesh, client: App) -> None:
        """SMI-CAN-12: a weight of zero is not woken by the absence of others."""
        mesh.apply(canary("web", web_v4="1", web_v1="0m"))
        assert answering(client) == set(VERSIONS)


class TestRoot:
    def test_needs_no_selector_or_endpoints(self, mesh: Mesh, client: App) -> None:
        """SMI-CAN-04."""
        root: Manifest = service("shop", {}, ports=PORTS)
        del root["spec"]["selector"]
        with mesh.having(root):
            mesh.apply(canary("shop", web_v1="1", web_v2="1"))
            assert answering(client, "http://shop/") == {"v1", "v2"}

    def test_created_later(self, mesh: Mesh, client: App) -> None:
        """SMI-CAN-03, SMI-COMMON-02."""
        mesh.apply(canary("later", web_v2="1"), wait=False)
        mesh.wait_for(judged("later"))
        assert mesh.condition("ResolvedRefs", "Canary", "later").reason == "BackendNotFound"
        with mesh.having(service("later", {"web": "yes"}, ports=PORTS)):
            assert answering(client, "http://later/") == {"v2"}

    def test_new_version_gets_nothing_before_its_weight_says_so(self, mesh: Mesh, client: App) -> None:
        """SMI-CAN-04: though the root's selector covers its Pods."""
        mesh.apply(canary("web", web_v1="1"))
        with mesh.having(*version("v4")):
            assert answering(client, requests=500) == {"v1"}
            assert mesh.app("web-v4").seen().requests == 0

    def test_headless(self, mesh: Mesh, client: App) -> None:
        """SMI-CAN-06: its endpoints' addresses mean the root."""
        with mesh.having(service("bare", {"app": "web-v3"}, ports=[("http", 8080, 8080)], headless=True)):
            with mesh.having(service("web-v1-alt", {"app": "web-v1"}, ports=[("http", 8080, 8080)])):
                mesh.apply(canary("bare", web_v1_alt="1"))
                assert answering(client, "http://bare:8080/") == {"v1"}
                mesh.delete(canary("bare", web_v1_alt="1"))
            assert answering(client, "http://bare:8080/") == {"v3"}

    def test_of_type_external_name_is_invalid(self, mesh: Mesh) -> None:
        """SMI-CAN-05: a name has no traffic to divide."""
        elsewhere = service("elsewhere")
        elsewhere["spec"] |= {"type": "ExternalName", "externalName": "web.example.com"}
        del elsewhere["spec"]["selector"]
        with mesh.having(elsewhere):
            mesh.apply(canary("elsewhere", web_v1="1"))
            condition = mesh.condition("Accepted", "Canary", "elsewhere")
            assert (condition.status, condition.reason) == ("False", "Invalid")

    def test_of_another_namespace_is_not_divided(self, mesh: Mesh, client: App) -> None:
        """SMI-CAN-02."""
        mesh.apply(canary("web.default", "stolen", namespace="thief", web_v1="1"), wait=False)
        mesh.wait_for(judged("stolen"))
        assert mesh.condition("ResolvedRefs", "Canary", "stolen", "thief").reason == "RefNotPermitted"
        assert answering(client) == set(VERSIONS)


class TestLife:
    def test_deletion_ends_it(self, mesh: Mesh, client: App) -> None:
        """SMI-CAN-17."""
        mesh.apply(canary("web", web_v1="1"))
        assert answering(client) == {"v1"}
        mesh.delete(canary("web", web_v1="1"))
        assert answering(client) == set(VERSIONS)

    def test_second_canary_for_a_root_is_conflicted(self, mesh: Mesh, client: App) -> None:
        """SMI-CAN-16, SMI-COMMON-04: the older one counts; when it goes the other takes over."""
        mesh.apply(canary("web", "elder", web_v1="1"))
        mesh.apply(canary("web", "younger", web_v2="1"))
        condition = mesh.condition("Accepted", "Canary", "younger")
        assert (condition.status, condition.reason) == ("False", "Conflicted")
        assert "elder" in condition.message
        assert answering(client) == {"v1"}
        mesh.delete(canary("web", "elder", web_v1="1"))
        assert answering(client) == {"v2"}
        assert mesh.condition("Accepted", "Canary", "younger").status == "True"

    def test_backend_that_is_a_root_is_not_followed(self, mesh: Mesh, client: App) -> None:
        """SMI-CAN-14."""
        mesh.apply(canary("web", web_v1="1"), canary("web-v1", web_v3="1"))
        assert answering(client) == {"v1"}
        assert answering(client, "http://web-v1/") == {"v3"}

    def test_long_connections_survive(self, mesh: Mesh, client: App) -> None:
        """SMI-CAN-21: an open TCP connection stays where it is through every change, deletion included."""
        mesh.apply(canary("web", web_v1="1"))
        with client.connect("web", 9000) as connection:
            assert connection.line("a") == "v1 a"
            for weights in ({"web_v1": "1", "web_v2": "1"}, {"web_v1": "0m", "web_v2": "1"}, {"web_v2": "1"}):
                mesh.apply(canary("web", **weights))
                assert connection.line("b") == "v1 b"
            told = client.burst("http://web:9000/", 30, line=True)
            assert set(told.versions) == {"v2"}
            mesh.delete(canary("web", web_v2="1"))
            assert connection.line("c") == "v1 c"

    def test_bad_edit_changes_nothing(self, mesh: Mesh, client: App) -> None:
        """SMI-CAN-09: what the API server would refuse, and what nobody can read: the last good one stands."""
        mesh.apply(canary("web", web_v1="1"))
        for bad in (canary("web", web_v1="0m"), canary("web", web="1"), canary("web", web_v1="-1"), canary("web")):
            mesh.apply(bad, wait=False)
            status = mesh.wait_for(lambda status: "" if status.problems else "the problem to be told")
            assert "canary.default.web.yaml" in status.problems[0].where
            assert answering(client, requests=50) == {"v1"}
        mesh.write("canary.default.web.yaml", "spec: [")
        assert answering(client, requests=50) == {"v1"}
        mesh.apply(canary("web", web_v2="1"))
        eventually(lambda: is_answered_by(client, {"v2"}))
        assert not mesh.status().problems


def is_answered_by(client: App, versions: set[str]) -> None:
    assert answering(client, requests=50) == versions


class TestRollout:
    def test_documented_rollout(self, mesh: Mesh) -> None:
        """SMI-CAN-18: word for word, under constant load; not one request fails."""
        app = {"foobar": "yes"}
        v1, v2 = (deployment(f"foobar-{name}", labels=app, version=name) for name in ("v1", "v2"))
        root, one, two = service("foobar", app), service("foobar-v1"), service("foobar-v2")
        mesh.apply(v1, root, one)
        client = mesh.app("client")
        with client.load("http://foobar/", rate=200) as load:
            load.wait_for(50)
            mesh.apply(canary("foobar", foobar_v1="1", foobar_v2="0m"))
            mesh.apply(v2, two)
            assert answering(client, "http://foobar/") == {"v1"}
            assert answering(client, "http://foobar-v2/") == {"v2"}
            mesh.apply(canary("foobar", foobar_v1="1", foobar_v2="500m"))
            told = client.burst("http://foobar/", 1000)
            assert_shares(told.versions, {"v1": 2, "v2": 1})
            mesh.apply(canary("foobar", foobar_v2="1"))
            assert answering(client, "http://foobar/") == {"v2"}
            mesh.delete(v1, one)
            mesh.delete(canary("foobar"))
            assert answering(client, "http://foobar/") == {"v2"}
            load.wait_for(50)
        assert load.end().errors == {}
        mesh.delete(v2, two, root)
