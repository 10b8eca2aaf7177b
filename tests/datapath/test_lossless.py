"""No request is lost by what the mesh does: 500 a second, through both sidecars and mutual TLS, while it changes.

The client tries nothing twice, so each fault that reaches it is counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from datapath.app import App, Load
from datapath.apps.clients import AT_ONCE
from datapath.apps.wire import Tally
from datapath.harness import Mesh, eventually, running
from datapath.manifests import canary, deployment, mutual_tls, pod, service
from smeagol.control import Status
from smeagol.pki.certificates import Issuer, new_intermediate, new_root
from smeagol.pki.pem import to_pem

pytestmark = [pytest.mark.netns, pytest.mark.envoy, pytest.mark.xdist_group("datapath-lossless")]

CLIENT = "client.example,spiffe://cluster.local/ns/default/sa/default"
V1 = deployment("web-v1", labels={"web": "yes"}, version="v1", replicas=2)
V2 = deployment("web-v2", labels={"web": "yes"}, version="v2", replicas=2)
HALVES = canary("web", web_v1="1", web_v2="1")


@pytest.fixture(scope="module")
def whole_mesh() -> Iterator[Mesh]:
    with running(
        V1,
        V2,
        service("web", {"web": "yes"}),
        service("web-v1"),
        service("web-v2"),
        pod("client"),
        pod("stranger", meshed=False),
        mutual_tls(),
        mutual_tls("client", {"app": "client"}, names=["client.example"]),
        HALVES,
        *(pod(f"plain-v{n}", "http:8080", labels={"plain": "yes"}, meshed=False) for n in (1, 2)),
        service("plain", {"plain": "yes"}),
        service("plain-v1"),
    ) as mesh:
        yield mesh


@pytest.fixture
def mesh(whole_mesh: Mesh) -> Mesh:
    """In the state from which each test starts."""
    whole_mesh.apply(V1, V2, HALVES)
    return whole_mesh


@pytest.fixture
def load(mesh: Mesh) -> Iterator[Load]:
    """Runs through the test; whatever was begun was answered by a version, to a client with its name."""
    with mesh.app("client").load("http://web/", rate=500) as load:
        load.wait_for(200)
        yield load
        load.wait_for(200)
    assert_none_lost(load.end())


def now() -> datetime:
    return datetime.now(UTC)


def assert_none_lost(told: Tally) -> None:
    assert told.errors == {}, f"{told.failed} of {told.begun} failed: {told.errors}"
    assert told.answered == told.begun
    assert set(told.identities) == {CLIENT}


def versions_from_now(load: Load, requests: int = 300) -> set[str]:
    """Who answers what is sent from this moment on: a burst from the same Pod, through the same proxy."""
    return set(load.app.burst("http://web/", requests).versions)


def test_weights_change(mesh: Mesh, load: Load) -> None:
    """SMI-CAN-21: each change of weights takes effect, and none fails a request."""
    for v1, v2, expected in (("1", "0m", {"v1"}), ("0m", "1", {"v2"}), ("1", "2", {"v1", "v2"}), ("0m", "1", {"v2"})):
        mesh.apply(canary("web", web_v1=v1, web_v2=v2))
        load.wait_for(100)
        assert versions_from_now(load) == expected


def test_backends_come_and_go(mesh: Mesh, load: Load) -> None:
    """SMI-CAN-21: a backend joins, is dropped, is deleted with its Service and Pods, and joins again."""
    mesh.apply(canary("web", web_v1="1"))
    assert versions_from_now(load) == {"v1"}
    mesh.apply(HALVES)
    assert versions_from_now(load) == {"v1", "v2"}
    mesh.delete(V2, service("web-v2"))
    assert versions_from_now(load) == {"v1"}
    mesh.apply(V2, service("web-v2"))
    eventually(lambda: assert_same(versions_from_now(load), {"v1", "v2"}))


def test_canary_is_deleted_and_made_again(mesh: Mesh, load: Load) -> None:
    """SMI-CAN-17, SMI-CAN-21: without the Canary the root's own endpoints serve."""
    mesh.apply(canary("web", web_v1="1", web_v2="0m"))
    assert versions_from_now(load) == {"v1"}
    mesh.delete(HALVES)
    assert versions_from_now(load) == {"v1", "v2"}
    mesh.apply(canary("web", web_v1="0m", web_v2="1"))
    assert versions_from_now(load) == {"v2"}
    mesh.delete(HALVES)
    load.wait_for(200)


def test_a_service_leaves_the_mesh(mesh: Mesh) -> None:
    """SMI-CAN-21: without the Canary its servers, none of which has a proxy, are dialled as if there were no mesh; who
    kept a connection is answered on it, and asked to make another.
    """
    mesh.apply(canary("plain", plain_v1="1"))
    client = mesh.app("client")

    def answers_plain(*versions: str) -> None:
        assert set(client.burst("http://plain/", 100).versions) == set(versions)

    eventually(lambda: answers_plain("plain-v1"))
    with client.load("http://plain/", rate=500) as load:
        load.wait_for(200)
        mesh.delete(canary("plain"))
        eventually(lambda: answers_plain("plain-v1", "plain-v2"))
        load.wait_for(2000)
    told = load.end()
    assert told.errors == {}
    assert told.answered == told.begun


def test_a_service_leaves_the_mesh_and_the_control_plane_restarts(mesh: Mesh) -> None:
    """SMI-CAN-21: who kept a connection is answered on it, although the proxy has had to connect anew since."""
    mesh.apply(canary("plain", plain_v1="1"))
    client = mesh.app("client")
    with client.connect("plain", 80) as kept:
        assert kept.http().status == 200
        mesh.delete(canary("plain"))
        mesh.ask("/v1/control-plane/restart", {"down": 0})
        mesh.wait_for(lagging)
        assert kept.http().status == 200


def test_requests_under_way_finish_where_they_are(mesh: Mesh) -> None:
    """SMI-CAN-21: an answer that takes a second comes from the backend that has since left the split."""
    mesh.apply(canary("web", web_v1="1"))
    before = requests(mesh, "web-v1")
    with mesh.app("client").connect("web", 80) as connection:
        connection.send(b"GET /slow HTTP/1.1\r\nHost: web\r\n\r\n")
        eventually(lambda: assert_same(requests(mesh, "web-v1"), before + 1))
        mesh.apply(canary("web", web_v2="1"))
        assert b'"version": "v1"' in connection.exchange(until=b'"v1"')


def test_certificates_are_renewed(mesh: Mesh, load: Load) -> None:
    """SMI-MTLS-22: every proxy gets new certificates, again and again."""
    for _ in range(4):
        mesh.ask("/v1/rotate", {"what": "certificates"})
        load.wait_for(200)
        assert load.app.burst("http://web/", 50, fresh=True).failed == 0


def test_root_is_replaced(mesh: Mesh, load: Load) -> None:
    """SMI-MTLS-22: old and new root overlap, then the old one is trusted no more."""
    old = mesh.roots()
    mesh.ask("/v1/rotate", {"what": "root"})

    def replaced() -> None:
        assert old not in mesh.roots(), "the old root is still trusted"

    eventually(replaced, seconds=90)
    mesh.wait_for(lagging)
    load.wait_for(200)
    assert load.app.burst("http://web/", 50, fresh=True).failed == 0


def test_intermediates_from_outside_are_followed(tmp_path: Path) -> None:
    """SMI-MTLS-22: a renewed intermediate, and one of another root, with the files replaced one after the other."""
    one, two = (new_root("cluster.local", now=now(), lifetime=timedelta(days=30)) for _ in range(2))

    def hand_over(root: Issuer) -> None:
        made = new_intermediate(root, "cluster.local", now=now(), lifetime=timedelta(days=3))
        (tmp_path / "ca.crt").write_bytes(to_pem([root.certificate]))
        (tmp_path / "tls.key").write_bytes(made.key_pem.reveal())
        (tmp_path / "tls.crt").write_bytes(to_pem([made.certificate]))

    hand_over(one)
    objects = (V1, service("web", {"web": "yes"}), pod("client"), mutual_tls())
    client = mutual_tls("client", {"app": "client"}, names=["client.example"])
    with running(*objects, client, options=["--ca-dir", str(tmp_path)]) as mesh:
        assert mesh.roots() == to_pem([one.certificate]).decode()
        with mesh.app("client").load("http://web/", rate=500) as load:
            load.wait_for(200)
            hand_over(one)
            mesh.ask("/v1/rotate", {"what": "certificates"})
            load.wait_for(500)
            hand_over(two)

            def replaced() -> None:
                assert mesh.roots() == to_pem([two.certificate]).decode(), "the old root is still trusted"

            eventually(replaced, seconds=90)
            mesh.wait_for(lagging)
            load.wait_for(200)
            assert load.app.burst("http://web/", 50, fresh=True).failed == 0
        assert_none_lost(load.end())


def test_control_plane_restarts(mesh: Mesh, load: Load) -> None:
    """SMI-COMMON-03: what proxies have they keep, and a new control plane that knows nothing brings no harm."""
    mesh.ask("/v1/control-plane/restart", {"down": 0})
    mesh.wait_for(lagging)
    load.wait_for(500)
    mesh.apply(canary("web", web_v2="1"))
    assert versions_from_now(load) == {"v2"}


def test_control_plane_is_away(mesh: Mesh, load: Load) -> None:
    """SMI-COMMON-03: without a control plane all goes on; what was changed meanwhile comes true when it is back."""
    away_without_loss(mesh, load, seconds=10)


@pytest.mark.slow
def test_control_plane_is_away_for_a_minute(mesh: Mesh, load: Load) -> None:
    """SMI-COMMON-03: nothing that the proxies have runs out within a minute."""
    away_without_loss(mesh, load, seconds=60)


def away_without_loss(mesh: Mesh, load: Load, *, seconds: float) -> None:
    with ThreadPoolExecutor(1) as beside:
        away = beside.submit(mesh.ask, "/v1/control-plane/restart", {"down": seconds}, seconds=seconds + 30)
        eventually(lambda: no_proxy_connected(mesh))
        mesh.apply(canary("web", web_v2="1"), wait=False)
        assert load.app.burst("http://web/", 50, fresh=True).failed == 0
        load.wait_for(500)
        assert not away.done()
        away.result()
    mesh.apply(canary("web", web_v2="1"))
    mesh.wait_for(lagging)
    assert versions_from_now(load) == {"v2"}


def no_proxy_connected(mesh: Mesh) -> None:
    assert not [pod.name for pod in mesh.status().pods if pod.proxy is not None and pod.proxy.connected]


def lagging(status: Status) -> str:
    late = [p.name for p in status.pods if p.proxy is not None and not (p.proxy.connected and p.proxy.synced)]
    return f"the proxies of {', '.join(late)}" if late else ""


def endpoints(name: str, count: int) -> Callable[[Status], str]:
    def missing(status: Status) -> str:
        found = next(port.endpoints for s in status.services if s.name == name for port in s.ports)
        return "" if found == count else f"Service {name} to have {count} endpoints, not {found}"

    return missing


def set_ready(mesh: Mesh, workload: str, ready: bool) -> None:
    for app in apps(mesh, workload):
        app.set_ready(ready)
    mesh.wait_for(endpoints(workload, 2 if ready else 0))
    mesh.wait_for(lagging)


def test_backend_loses_all_endpoints_and_gets_them_back(mesh: Mesh, load: Load) -> None:
    """SMI-CAN-11: its share goes to the others as long as none of its Pods is ready."""
    set_ready(mesh, "web-v2", False)
    assert versions_from_now(load) == {"v1"}
    assert mesh.condition("ResolvedRefs", "Canary", "web").reason == "NoReadyEndpoints"
    set_ready(mesh, "web-v2", True)
    assert versions_from_now(load) == {"v1", "v2"}


def test_only_backend_loses_all_endpoints_and_gets_them_back(mesh: Mesh, load: Load) -> None:
    """SMI-CAN-12: where none is left the root's own endpoints serve."""
    mesh.apply(canary("web", web_v2="1"))
    assert versions_from_now(load) == {"v2"}
    set_ready(mesh, "web-v2", False)
    assert versions_from_now(load) == {"v1"}
    set_ready(mesh, "web-v2", True)
    assert versions_from_now(load) == {"v2"}


def test_deployment_is_rolled(mesh: Mesh, load: Load) -> None:
    """SMI-SVC-02: Pods that go get nothing new, and have the time to finish what they have."""
    before = {pod.name for pod in mesh.pods_of("web-v1")}
    mesh.ask("/v1/restart", {"namespace": "default", "kind": "Deployment", "name": "web-v1"})

    def rolled(status: Status) -> str:
        present = {p.name for p in status.pods if p.workload == "web-v1"}
        return f"{present & before} to go" if present & before or len(present) != 2 else lagging(status)

    mesh.wait_for(rolled)
    assert versions_from_now(load) == {"v1", "v2"}


def test_deployment_is_scaled(mesh: Mesh, load: Load) -> None:
    """SMI-SVC-02: fewer Pods, then more."""
    mesh.apply(deployment("web-v1", labels={"web": "yes"}, version="v1", replicas=1))
    load.wait_for(200)
    mesh.apply(V1)


def test_application_refuses_connections(mesh: Mesh, load: Load) -> None:
    """What has reached no application is tried elsewhere: no probe of these Pods ever notices that one is deaf."""
    unwatched = deployment(
        "deaf", labels={"deaf": "yes"}, version="v1", replicas=2, probe={"exec": {"command": ["true"]}}
    )
    with mesh.having(unwatched, service("deaf")):
        deaf, other = apps(mesh, "deaf")
        for each in (deaf, other):
            each.wait_up()  # which their probe does not tell
        mesh.apply(canary("web", deaf="1"))
        load.wait_for(200)
        assert deaf.seen().requests > 0
        deaf.set_listening(False)
        load.wait_for(400)  # among these are the last on open connections
        before = deaf.seen().requests
        load.wait_for(500)
        assert deaf.seen().requests == before
        assert other.seen().requests > before
        deaf.set_listening(True)
        mesh.apply(HALVES)


def test_application_dies(mesh: Mesh) -> None:
    """Who is killed can answer nothing more, as without a mesh; but only what it had begun with is lost."""
    mesh.apply(canary("web", web_v1="1"))
    victim, other = apps(mesh, "web-v1")
    with mesh.app("client").load("http://web/", rate=500) as load:
        load.wait_for(200)
        victim.die()
        load.wait_for(500)
        assert other.seen().requests > 0
    told = load.end()
    assert told.failed <= AT_ONCE, told.errors
    assert told.failed + told.answered == told.begun
    mesh.wait_for(endpoints("web-v1", 2))


def assert_same(found: object, wanted: object) -> None:
    assert found == wanted


def requests(mesh: Mesh, workload: str) -> int:
    """How many have reached its Pods."""
    return sum(app.seen().requests for app in apps(mesh, workload))


def apps(mesh: Mesh, workload: str) -> list[App]:
    return [mesh.app(each.name) for each in mesh.pods_of(workload)]
