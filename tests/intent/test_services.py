"""Which Services the mesh touches, and where they are answered (SMI-SVC)."""

from __future__ import annotations

from intent.builders import World, canary, endpoint, mutual_tls, pod, port, service, sidecar, slice_of
from smeagol.intent import Endpoint, Protocol


class TestWhichServices:
    def test_meshed_endpoint(self) -> None:
        """SMI-SVC-01: a Service one of whose Pods has a proxy."""
        world = World(
            pod("a", "10.0.0.1"),
            pod("b", "10.0.0.2", proxy=False),
            service("web"),
            service("db"),
            slice_of("web", "10.0.0.1", "10.0.0.2"),
            slice_of("db", "10.0.0.2"),
        )
        assert world.find_service("web") is not None
        assert world.find_service("db") is None

    def test_before_it_is_ready(self) -> None:
        """SMI-SVC-01: already while that Pod is not ready, so that its clients know of it before its first request."""
        world = World(pod("a", "10.0.0.1"), service("web"), slice_of("web", endpoint("10.0.0.1", ready=False)))
        assert world.service_port("web").endpoints == ()

    def test_root_and_backends(self) -> None:
        """SMI-SVC-01: and the root and the backends of a Canary, with or without proxies."""
        world = World(service("web"), service("web-v1"), service("other"), canary("roll", "web", {"web-v1": "1"}))
        assert world.find_service("web") is not None
        assert world.find_service("web-v1") is not None
        assert world.find_service("other") is None

    def test_addresses(self) -> None:
        """SMI-SVC-01: a Service is dialled by its cluster addresses, and its servers are known by its longest name."""
        world = World(pod("a", "10.0.0.1"), service("web", ip="10.96.0.7"), slice_of("web", "10.0.0.1"))
        web = world.service("web")
        assert (web.cluster_ips, web.headless, web.fqdn) == (("10.96.0.7",), False, "web.shop.svc.cluster.local")

    def test_ports(self) -> None:
        """SMI-SVC-01: each TCP port, in order of numbers, with its declaration and its own endpoints."""
        world = World(
            pod("a", "10.0.0.1"),
            service("web", port(443, "tls"), port(80, "http")),
            slice_of("web", "10.0.0.1", ports={"http": 8080, "tls": 8443}),
        )
        assert [(p.number, p.name, p.protocol, p.endpoints) for p in world.service("web").ports] == [
            (80, "http", Protocol.HTTP, (Endpoint("10.0.0.1", 8080),)),
            (443, "tls", Protocol.TLS, (Endpoint("10.0.0.1", 8443),)),
        ]

    def test_external_name(self) -> None:
        """SMI-SVC-06: a Service of type ExternalName is a name, not something that is dialled, whoever makes slices."""
        world = World(pod("a", "10.0.0.1"), service("web", type="ExternalName"), slice_of("web", "10.0.0.1"))
        assert world.find_service("web") is None
        assert world.workload("a").inbound_ports == ()


class TestEndpoints:
    def test_mutual_tls_only_where_it_is_spoken(self) -> None:
        """SMI-MTLS-03: an endpoint is dialled by mutual TLS if its Pod has a proxy and a MutualTLS selects it."""
        world = World(
            pod("both", "10.0.0.1", labels={"app": "x"}),
            pod("no-proxy", "10.0.0.2", labels={"app": "x"}, proxy=False),
            pod("not-selected", "10.0.0.3"),
            mutual_tls("m", labels={"app": "x"}),
            service("web"),
            slice_of("web", "10.0.0.1", "10.0.0.2", "10.0.0.3", "203.0.113.9"),
        )
        assert world.service_port("web").endpoints == (
            Endpoint("10.0.0.1", 8080, mutual_tls=True),
            Endpoint("10.0.0.2", 8080),
            Endpoint("10.0.0.3", 8080),
            Endpoint("203.0.113.9", 8080),
        )

    def test_sidecar_is_no_mutual_tls(self) -> None:
        """SMI-MTLS-03: a proxy that only measures does not make its Pod a server of mutual TLS."""
        world = World(pod("a", "10.0.0.1"), sidecar("s"), service("web"), slice_of("web", "10.0.0.1"))
        assert world.service_port("web").endpoints == (Endpoint("10.0.0.1", 8080),)

    def test_readiness(self) -> None:
        """SMI-SVC-02: ready endpoints serve; unknown is read as ready; those on their way out do not."""
        world = World(
            pod("a", "10.0.0.1"),
            service("web"),
            slice_of(
                "web",
                endpoint("10.0.0.1"),
                endpoint("10.0.0.2", ready=None),
                endpoint("10.0.0.3", ready=False),
                endpoint("10.0.0.4", ready=False, terminating=True, serving=True),
                endpoint("10.0.0.5", ready=True, terminating=True),
            ),
        )
        assert [e.address for e in world.service_port("web").endpoints] == ["10.0.0.1", "10.0.0.2"]

    def test_last_resort(self) -> None:
        """SMI-SVC-04: where none is ready, those serve that are on their way out but still can, as in kube-proxy."""
        world = World(
            pod("a", "10.0.0.1"),
            service("web"),
            slice_of(
                "web",
                endpoint("10.0.0.1", ready=False, terminating=True, serving=True),
                endpoint("10.0.0.2", ready=False, terminating=True, serving=False),
                endpoint("10.0.0.3", ready=False),
            ),
        )
        assert [e.address for e in world.service_port("web").endpoints] == ["10.0.0.1"]

    def test_publish_not_ready(self) -> None:
        """SMI-SVC-03: a Service that publishes addresses that are not ready has them all."""
        world = World(
            pod("a", "10.0.0.1"),
            service("web", publish_not_ready=True),
            slice_of(
                "web",
                endpoint("10.0.0.1", ready=False),
                endpoint("10.0.0.2", ready=False, terminating=True),
                endpoint("10.0.0.3", ready=False, terminating=True, serving=True),
            ),
        )
        assert [e.address for e in world.service_port("web").endpoints] == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]

    def test_several_slices(self) -> None:
        """SMI-SVC-02: the endpoints of all slices together, each once, in order; both address families."""
        world = World(
            pod("a", "10.0.0.1"),
            service("web"),
            slice_of("web", "10.0.0.2", "10.0.0.1"),
            slice_of("web", "10.0.0.2", name="web-2"),
            slice_of("web", "fd00::1", name="web-6", family="IPv6"),
            slice_of("web", "web.example.com", name="web-f", family="FQDN"),
        )
        assert [e.address for e in world.service_port("web").endpoints] == ["10.0.0.1", "10.0.0.2", "fd00::1"]

    def test_port_without_number(self) -> None:
        """SMI-SVC-02: a slice's port without a number is not for Services."""
        world = World(pod("a", "10.0.0.1"), service("web"), slice_of("web", "10.0.0.1", ports={"": None}))
        assert world.service_port("web").endpoints == ()


class TestHeadless:
    def test_dialled_by_endpoints(self) -> None:
        """SMI-SVC-05: a headless Service has no address of its own; its endpoints' addresses mean it."""
        world = World(pod("a", "10.0.0.1"), service("web", ip="None"), slice_of("web", "10.0.0.1"))
        web = world.service("web")
        assert (web.cluster_ips, web.headless) == ((), True)
        assert web.ports[0].dialled == (Endpoint("10.0.0.1", 8080),)

    def test_shared_endpoint(self) -> None:
        """SMI-SVC-05: where two share an endpoint its address means the first by name."""
        world = World(
            pod("a", "10.0.0.1"),
            service("b", ip="None"),
            service("a", ip="None"),
            slice_of("a", "10.0.0.1"),
            slice_of("b", "10.0.0.1"),
        )
        assert world.service_port("a").dialled == (Endpoint("10.0.0.1", 8080),)
        assert world.service_port("b").dialled == ()
        assert world.service_port("b").endpoints == (Endpoint("10.0.0.1", 8080),)

    def test_root_before_others(self) -> None:
        """SMI-SVC-05: but a Canary's root before any other, or its own backend would undo the split."""
        world = World(
            pod("a", "10.0.0.1"),
            service("web", ip="None"),
            service("a-web", ip="None"),
            slice_of("web", "10.0.0.1"),
            slice_of("a-web", "10.0.0.1"),
            canary("roll", "web", {"a-web": "1"}),
        )
        assert world.service_port("web").dialled == (Endpoint("10.0.0.1", 8080),)
        assert world.service_port("a-web").dialled == ()

    def test_two_ports_of_one_target(self) -> None:
        """SMI-SVC-05: of two ports that end at the same target the lower one has its address."""
        world = World(
            pod("a", "10.0.0.1"),
            service("web", port(81, "y"), port(80, "x"), ip="None"),
            slice_of("web", "10.0.0.1", ports={"x": 8080, "y": 8080}),
        )
        assert [len(p.dialled) for p in world.service("web").ports] == [1, 0]

    def test_cluster_address_has_nothing_to_do_with_it(self) -> None:
        """SMI-SVC-05: a Service with a cluster address never takes the address of an endpoint."""
        world = World(pod("a", "10.0.0.1"), service("web"), slice_of("web", "10.0.0.1"))
        assert world.service_port("web").dialled == ()
