"""In which namespaces the leader keeps the roots for proxies; the rest is proved on a real cluster (tests/e2e)."""

from __future__ import annotations

import msgspec

from intent.builders import World, mutual_tls, namespace, pod
from smeagol.intent import INJECT_LABEL
from smeagol.runtime.admission import MeshNamespaces


def test_only_a_label_that_says_something_else_is_news() -> None:
    """Namespaces change all the time, and each piece of news costs requests."""
    found = MeshNamespaces()
    asks = {"smi-spec.io/inject": "enabled"}
    labels: tuple[dict[str, str], ...] = ({"team": "a"}, asks, asks | {"team": "b"}, {}, {})
    said = [found.note_namespace("shop", namespace("shop", **each)) for each in labels]
    assert said == [False, True, False, True, False]


def test_a_namespace_is_of_the_mesh_while_a_pod_in_it_has_a_proxy_or_may_get_one() -> None:
    """SMI-POD-01, SMI-POD-06: selected, or asked for by a label; a Pod keeps its proxy when nothing selects it."""
    world, found = World(), MeshNamespaces()
    selecting = mutual_tls("m", namespace="shop")

    def settle() -> None:
        found.note_units(world.resolver.settle().changed, world.resolver.units)

    world.put(selecting)
    settle()
    found.note_namespace("labelled", namespace("labelled", **{INJECT_LABEL: "enabled"}))
    found.note_namespace("not", namespace("not", **{INJECT_LABEL: "disabled"}))
    assert found.names == {"shop", "labelled"}

    world.put(pod("p", "10.0.0.1"))
    world.remove(selecting)
    settle()
    found.note_namespace("labelled", None)
    assert found.names == {"shop"}

    world.remove(pod("p", "10.0.0.1"))
    settle()
    assert found.names == frozenset()


def test_a_namespace_that_ends_is_let_be() -> None:
    """Nothing can be made in it any more, and what is there serves its Pods until the end."""
    found = MeshNamespaces()
    labelled = namespace("shop", **{INJECT_LABEL: "enabled"})
    found.note_namespace("shop", labelled)
    metadata = msgspec.structs.replace(labelled.metadata, deletion_timestamp="2026-01-01T00:00:00Z")
    assert found.note_namespace("shop", msgspec.structs.replace(labelled, metadata=metadata))
    assert (found.names, found.ending) == (frozenset(), {"shop"})
    assert found.note_namespace("shop", None)
    assert (found.names, found.ending) == (frozenset(), set())
