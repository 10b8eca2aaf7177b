"""Programmed is true only when the data plane has acknowledged (spec: Common to all kinds, Status)."""

from __future__ import annotations

from smeagol.intent import UnitKey, UnitKind
from smeagol.runtime.planner import ResourceKey
from smeagol.runtime.reporting import observe
from smeagol.xds import Cache, Resource
from smeagol.xds.type_urls import CLUSTER

WEB = UnitKey(UnitKind.SERVICE, "shop", "web")
CART = UnitKey(UnitKind.WORKLOAD, "shop", "cart")


def test_a_workload_without_a_connected_proxy_lags() -> None:
    """A proxy that nobody has heard of has acknowledged nothing."""
    seen = observe([CART], lambda _: (), Cache().acks)
    assert (seen.proxies, seen.lagging, seen.programmed) == (1, ("shop/cart",), 0)


def test_nobody_who_asks_means_nobody_who_has_it() -> None:
    cache = Cache()
    cache.update(shared=[Resource(CLUSTER, "web", b"x")])
    seen = observe([WEB], lambda _: [ResourceKey(None, CLUSTER, "web")], cache.acks)
    assert seen.proxies == 0
