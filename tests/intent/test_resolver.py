"""The whole way from objects to units."""

from __future__ import annotations

from intent.builders import World, canary, mutual_tls, pod, service, slice_of
from smeagol.intent import Endpoint, TLSMode


def test_a_small_shop() -> None:
    """A meshed Service, its workload and a Canary come out of the objects that ask for them."""
    world = World(
        pod("v1", "10.0.0.1"),
        pod("v2", "10.0.0.2"),
        service("web"),
        service("web-v1", ip="10.96.0.2"),
        service("web-v2", ip="10.96.0.3"),
        slice_of("web", "10.0.0.1", "10.0.0.2"),
        slice_of("web-v1", "10.0.0.1"),
        slice_of("web-v2", "10.0.0.2"),
        mutual_tls("all", "cart.example.com"),
        canary("roll", "web", {"web-v1": "1", "web-v2": "500m"}),
    )
    assert world.workload("v1").mode is TLSMode.STRICT
    assert world.weights("web") == {"web-v1": 1000, "web-v2": 500}
    assert world.service_port("web").endpoints == (
        Endpoint("10.0.0.1", 8080, mutual_tls=True),
        Endpoint("10.0.0.2", 8080, mutual_tls=True),
    )
    assert world.canary("roll").accepted
