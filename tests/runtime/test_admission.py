"""In which namespaces the leader keeps the roots for proxies; the rest is proved on a real cluster (tests/e2e)."""

from __future__ import annotations

from intent.builders import World, mutual_tls, pod
from smeagol.runtime.admission import MeshNamespaces


def test_only_a_label_that_says_something_else_is_news() -> None:
    """Namespaces change all the time, and each piece of news costs requests."""
    found = MeshNamespaces()
    asks = {"smi-spec.io/inject": "enabled"}
    said = [found.note_namespace("shop", labels) for labels in ({"team": "a"}, asks, asks | {"team": "b"}, {}, {})]
    assert said == [False, True, False, True, False]


def test_a_namespace_is_of_the_mesh_while_a_pod_in_it_has_a_proxy_or_may_get_one() -> None:
    """SMI-POD-01, SMI-POD-06: selected, or asked for by a label; a Pod keeps its proxy when nothing selects it."""
    world, found = World(), MeshNamespaces()
    selecting = mutual_tls("m", namespace="shop")

    def settle() -> None:
        found.note_units(world.resolver.settle().changed, world.resolver.units)

    world.put(selecting)
    settle()
    found.note_namespace("labelled", {"smi-spec.io/inject": "enabled"})
    found.note_namespace("not", {"smi-spec.io/inject": "disabled"})
    assert found.names == {"shop", "labelled"}

    world.put(pod("p", "10.0.0.1"))
    world.remove(selecting)
    settle()
    found.note_namespace("labelled", {})
    assert found.names == {"shop"}

    world.remove(pod("p", "10.0.0.1"))
    settle()
    assert found.names == frozenset()
