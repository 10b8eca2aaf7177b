"""Services and their ports, as Kubernetes has them: what a proxy in between must not change, and must not believe."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from datapath.app import App
from datapath.harness import Mesh
from datapath.manifests import Manifest, pod, service
from datapath.three_modes import CLIENT

pytestmark = [pytest.mark.netns, pytest.mark.envoy, pytest.mark.xdist_group("datapath-modes")]

FORGERY = [("x-sme-identity", "admin.example")]


@pytest.fixture(scope="module")
def client(modes: Mesh) -> App:
    return modes.app("client", "strict")


def endpoint_slice(of: str, namespace: str, address: str, ports: dict[str, int]) -> Manifest:
    """Endpoints written by hand, for a Service without a selector."""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": of, "namespace": namespace, "labels": {"kubernetes.io/service-name": of}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [address]}],
        "ports": [{"name": name, "port": port} for name, port in ports.items()],
    }


def without_selector(name: str, namespace: str, ports: list[tuple[str, int, int | str]]) -> Manifest:
    made = service(name, {}, ports, namespace=namespace)
    del made["spec"]["selector"]
    return made


class TestWhoDeclaresAPort:
    """What a port speaks decides whether a forged identity is removed."""

    def test_http_wins_over_bytes(self, modes: Mesh, client: App) -> None:
        """SMI-PORT-03: two Services contradict each other about port 8081."""
        http = service("says-http", {"app": "web"}, [("http", 80, 8081)], namespace="strict")
        tcp = service("says-tcp", {"app": "web"}, [("tcp", 80, 8081)], namespace="strict")
        with modes.having(http, tcp):
            for name in ("says-http", "says-tcp"):
                assert client.get(f"http://{name}/", headers=FORGERY).identities == [CLIENT]

    def test_services_of_other_namespaces_have_no_say(self, modes: Mesh, client: App) -> None:
        """SMI-PORT-04: else anybody could have the header of any Pod's HTTP port taken for bytes."""
        address = modes.ips("web", "strict")[0]
        objects = (
            without_selector("bytes", "thief", [("tcp", 80, 8080)]),
            endpoint_slice("bytes", "thief", address, {"tcp": 8080}),
            pod("caller", namespace="thief"),
        )
        with modes.having(*objects):
            identity = "spiffe://cluster.local/ns/thief/sa/default"
            answer = modes.app("caller", "thief").get("http://bytes/", headers=FORGERY)
            assert (answer.version, answer.identities) == ("strict", [identity])
            assert client.get("http://bytes.thief/", headers=FORGERY).identities == [CLIENT]

    def test_unknown_declarations_are_none(self, modes: Mesh, client: App) -> None:
        """SMI-PORT-01, SMI-PORT-02: an unknown appProtocol counts for more than a known name, and declares nothing."""
        odd = service("odd", {"app": "web"}, [("tcp-really", 80, 8081)], namespace="strict")
        odd["spec"]["ports"][0]["appProtocol"] = "example.com/own"
        with modes.having(odd):
            assert client.get("http://odd/", headers=FORGERY).identities == [CLIENT]


class TestEndpoints:
    @pytest.fixture
    def pair(self, modes: Mesh) -> Iterator[str]:
        """Two Pods that call different ports by one name."""
        labels = {"pair": "yes"}
        objects = (
            pod("left", "http:7001", namespace="svc", labels=labels, ports={"web": 7001}),
            pod("right", "http:7002", namespace="svc", labels=labels, ports={"web": 7002}),
            service("pair", labels, [("http", 80, "web")], namespace="svc"),
        )
        with modes.having(*objects):
            yield "pair.svc"

    def test_named_target_ports(self, client: App, pair: str) -> None:
        """SMI-PORT-05: resolved for each Pod."""
        told = client.burst(f"http://{pair}/", 60)
        assert (told.errors, set(told.versions)) == ({}, {"left", "right"})

    def test_pods_that_are_not_ready(self, modes: Mesh, client: App) -> None:
        """SMI-SVC-02, SMI-SVC-03: they get nothing, unless the Service publishes them all the same."""
        shy = pod("shy", "http:8080", namespace="svc", probe={"exec": {"command": ["false"]}})
        plain = service("shy", namespace="svc")
        open_ = service("open", {"app": "shy"}, namespace="svc")
        open_["spec"]["publishNotReadyAddresses"] = True
        modes.apply(shy, plain, open_, wait=False)
        try:
            modes.wait_for(lambda status: "" if any(s.name == "open" for s in status.services) else "the Services")
            modes.app("shy", "svc").wait_up()
            assert client.get("http://open.svc/").version == "shy"
            assert client.get("http://shy.svc/").status == 503
        finally:
            modes.delete(shy, plain, open_)

    def test_hand_made_endpoints(self, modes: Mesh, client: App) -> None:
        """SMI-SVC-02: a Service without a selector is served by whatever its slices say, meshed or not."""
        ports: list[tuple[str, int, int | str]] = [("http", 80, 8080)]
        for name in ("web", "stranger"):
            manual = without_selector("manual", "strict", ports)
            slice_ = endpoint_slice("manual", "strict", modes.ips(name, "strict")[0], {"http": 8080})
            with modes.having(manual, slice_):
                answer = client.get("http://manual/")
                assert (answer.version, bool(answer.identities)) == (
                    ("strict", True) if name == "web" else (name, False)
                )

    def test_udp_is_left_alone(self, modes: Mesh) -> None:
        """SMI-PORT-06: out of a meshed Pod and into one that is Strict."""
        listen = (
            "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('', 5353))\n"
            "while True: data, peer = s.recvfrom(99); s.sendto(b'got ' + data, peer)"
        )
        send = (
            "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(0.5)\n"
            "for _ in range(120):\n"
            "    s.sendto(b'it', ('names.svc.svc.cluster.local', 53))\n"
            "    try: print(s.recv(99).decode()); break\n"
            "    except OSError: pass"
        )
        echo = {"name": "echo", "command": ["python3", "-c", listen]}
        names = service("names", namespace="svc", ports=[("dns", 53, 5353)])
        names["spec"]["ports"][0]["protocol"] = "UDP"
        with modes.having(pod("names", namespace="svc", containers=[echo]), names):
            assert modes.exec("client", "python3", "-c", send, namespace="strict").text == "got it\n"
