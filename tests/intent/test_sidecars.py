"""What a Sidecar makes true of its Pods (SMI-SIDE)."""

from __future__ import annotations

from intent.builders import World, mutual_tls, pod, sidecar
from smeagol import api
from smeagol.intent import TLSMode
from smeagol.refs import ObjectRef


def test_explicit_labels() -> None:
    """SMI-SIDE-03: `metricLabels` are put on the series of the selected Pods."""
    world = World(pod("a", "10.0.0.1", labels={"app": "web"}), sidecar("s", {"team": "red"}))
    assert world.workload("a").monitored
    assert world.workload("a").metric_labels == (("team", "red"),)


def test_own_labels() -> None:
    """SMI-SIDE-03: without them the Pod's own labels are, made legal."""
    world = World(pod("a", "10.0.0.1", labels={"app.kubernetes.io/name": "web"}), sidecar("s"))
    assert world.workload("a").metric_labels == (("app_kubernetes_io_name", "web"),)
    assert world.sidecar("s").metric_labels is None


def test_not_selected() -> None:
    """SMI-SIDE-03: a Pod that no Sidecar selects has none of it."""
    world = World(pod("a", "10.0.0.1", labels={"app": "web"}), sidecar("s", {"team": "red"}, labels={"app": "cart"}))
    assert not world.workload("a").monitored
    assert world.workload("a").metric_labels == ()


def test_several() -> None:
    """SMI-SIDE-05: the labels of several Sidecars add up; of two values for one label the oldest Sidecar's stands."""
    world = World(
        pod("a", "10.0.0.1", labels={"app": "web", "team": "pod"}),
        sidecar("a-newest", {"team": "newest", "tier": "1"}, age=3),
        sidecar("b-own", age=2),
        sidecar("c-oldest", {"team": "oldest"}, age=1),
    )
    assert world.workload("a").metric_labels == (("app", "web"), ("team", "oldest"), ("tier", "1"))


def test_who_comes_first() -> None:
    """SMI-SIDE-05, for peers that cannot add up: a Sidecar knows the older ones that select some of its Pods."""
    world = World(
        pod("a", "10.0.0.1", labels={"app": "web"}),
        sidecar("newer", age=2),
        sidecar("older", labels={"app": "web"}, age=1),
        sidecar("elsewhere", labels={"app": "cart"}, age=0),
    )
    assert world.sidecar("newer").older == (ObjectRef("Sidecar", "shop", "older"),)
    assert world.sidecar("older").older == ()


def test_one_proxy() -> None:
    """SMI-POD-09: whichever kinds select a Pod, it is one workload to which all of them apply."""
    world = World(pod("a", "10.0.0.1"), sidecar("s", {"team": "red"}), mutual_tls("m"))
    workload = world.workload("a")
    assert (workload.monitored, workload.mode) == (True, TLSMode.STRICT)


def test_object_as_resolved() -> None:
    """Adapters translate the object itself: its labels and further containers."""
    given = sidecar("s", {"b": "2", "a": "1"})
    spec = api.SidecarSpec(
        selector=given.spec.selector,
        metric_labels=given.spec.metric_labels,
        containers=(api.Container(name="shipper", image="example.com/shipper"),),
        restart=True,
    )
    unit = World(api.Sidecar(metadata=given.metadata, spec=spec)).sidecar("s")
    assert unit.metric_labels == (("a", "1"), ("b", "2"))
    assert (unit.containers, unit.restart) == (("shipper",), True)
