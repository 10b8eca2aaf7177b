"""SMI-CAN-22: Pods that stand before a Canary's root, for clients without a proxy."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intent.builders import AnyObject, World, canary, mutual_tls, pod, port, service, slice_of
from smeagol import objects
from smeagol.intent import (
    PROXY_PORTS,
    ROOT_PROXY_OF,
    SLICE_MANAGER,
    SLICE_MANAGER_LABEL,
    Fronted,
    FrontedPort,
    Protocol,
    TLSMode,
    listening_ports,
)
from smeagol.refs import ServiceRef

PROXY = pod("web-root-proxy-1", "10.0.0.9", root_proxy_of="roll")


def version(name: str, address: str) -> tuple[AnyObject, ...]:
    return service(name, port(80, "http")), slice_of(name, address, ports={"http": 8080})


def led_there(*addresses: str, ours: bool = True) -> objects.EndpointSlice:
    """What leads the root's clients to root proxies: the EndpointSlice that Smeagol keeps, or somebody's by hand."""
    made = slice_of("web", *addresses, ports={"http": 20080, "db": 5432}, name="web-root-proxy")
    labels = {**made.metadata.labels, **({SLICE_MANAGER_LABEL: SLICE_MANAGER} if ours else {})}
    metadata = objects.Metadata(name=made.metadata.name, namespace="shop", labels=labels)
    return objects.EndpointSlice(metadata=metadata, endpoints=made.endpoints, ports=made.ports)


def shop(*more: AnyObject) -> World:
    """Root `web`, which has no Pods of its own, two versions of it, and a root proxy."""
    return World(
        service("web", port(80, "http"), port(5432, "db", app="tcp")),
        *version("web-v1", "10.0.0.1"),
        *version("web-v2", "10.0.0.2"),
        canary("roll", "web", {"web-v1": "1", "web-v2": "1"}, root_proxies=2),
        PROXY,
        *more,
    )


class TestWhatItStandsBefore:
    def test_the_ports_of_the_root_of_its_canary(self) -> None:
        """As the root declares them; it listens where it needs no privilege."""
        assert shop().workload(PROXY.metadata.name).fronted == Fronted(
            root=ServiceRef("shop", "web"),
            fqdn="web.shop.svc.cluster.local",
            ports=(FrontedPort(80, Protocol.HTTP, 20080), FrontedPort(5432, Protocol.TCP, 5432)),
        )

    def test_nothing_when_its_canary_divides_nothing(self) -> None:
        """It is gone, it is another namespace's, its root is missing, or an older Canary holds the root."""
        world = shop()
        older = canary("before", "web", {"web-v1": "1"}, age=-1)
        world.add(older)
        assert world.workload(PROXY.metadata.name).fronted is None
        world.take(older)
        assert world.workload(PROXY.metadata.name).fronted is not None
        world.take(service("web"))
        assert world.workload(PROXY.metadata.name).fronted is None
        stranger = pod("web-root-proxy-1", "10.1.0.9", namespace="other", root_proxy_of="roll")
        assert shop(stranger).workload("web-root-proxy-1", "other").fronted is None

    def test_one_that_is_on_its_way_out_sends_its_clients_elsewhere(self) -> None:
        ending = pod("web-root-proxy-1", "10.0.0.9", root_proxy_of="roll", terminating=True)
        fronted = shop(ending).workload("web-root-proxy-1").fronted
        assert fronted is not None
        assert fronted.ending

    def test_a_pod_with_an_application_is_none(self) -> None:
        """Whatever it says of itself: it would get past the MutualTLS that selects it."""
        app = pod("app-1", "10.0.0.8", annotations={ROOT_PROXY_OF: "roll"})
        world = shop(app, mutual_tls("all"))
        assert (world.workload("app-1").fronted, world.workload("app-1").mode) == (None, TLSMode.STRICT)


class TestWhoSeesIt:
    def test_no_selector_reaches_it(self) -> None:
        """It has no application to protect; to servers it shows the identity of its own service account."""
        world = shop(mutual_tls("all", "www.example.com"), pod("app-1", "10.0.0.8"))
        assert [str(found) for found in world.mutual_tls("all").selection.pods] == ["shop/app-1"]
        found = world.workload(PROXY.metadata.name)
        assert (found.mode, found.client_names) == (None, ("spiffe://cluster.local/ns/shop/sa/default",))
        assert world.workload("app-1").mode is TLSMode.STRICT

    @pytest.mark.parametrize("ours", [True, False])
    def test_as_an_endpoint_the_mesh_does_not_see_it(self, ours: bool) -> None:
        """Nothing that a proxy sends, a root proxy's own included, comes back to one, even where no version is left."""
        world = shop(led_there("10.0.0.9", ours=ours))
        assert world.service_port("web").endpoints == ()
        world.take(*version("web-v1", "10.0.0.1"), *version("web-v2", "10.0.0.2"))
        assert (world.service_port("web").split, world.service_port("web").endpoints) == (None, ())

    def test_as_a_version_it_takes_no_part(self) -> None:
        """A Service that selects root proxies would make them ask themselves."""
        world = shop(service("web-v3", port(80, "http")), slice_of("web-v3", "10.0.0.9", ports={"http": 20080}))
        world.add(canary("roll", "web", {"web-v1": "1", "web-v3": "1"}, root_proxies=2))
        assert world.weights("web") == {"web-v1": 1000}


@given(st.sets(st.integers(min_value=1, max_value=65535), max_size=50))
def test_it_listens_once_for_each_port_and_never_where_it_must_not(numbers: set[int]) -> None:
    """Below 1024 takes privileges, and a proxy has ports of its own. What can stay the same does."""
    found = listening_ports(numbers)
    assert found.keys() == numbers
    assert len(set(found.values())) == len(numbers)
    assert all(1024 <= at < 65536 and at not in PROXY_PORTS | {15001, 15006, 15020} for at in found.values())
    assert all(at == number for number, at in found.items() if 1024 <= number < 15000 or number >= 15100)
