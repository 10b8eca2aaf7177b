"""What a Sidecar makes true of its Pods (SMI-SIDE)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from intent.builders import World, mutual_tls, pod, sidecar
from smeagol import api
from smeagol.intent import ADDED_CONTAINERS, AddedContainer, TLSMode, marks_of, marks_text
from smeagol.refs import ObjectRef, PodRef


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
    assert (unit.containers, unit.restart) == (spec.containers, True)


LOGS = api.Container(name="logs", image="example.com/logs:1")
STATS = api.Container(name="stats", image="example.com/stats:1")


class TestContainers:
    def test_what_a_new_pod_gets(self) -> None:
        """SMI-SIDE-07: the containers of all Sidecars that select it; of two of one name the oldest Sidecar's."""
        other = api.Container(name="logs", image="example.com/other:1")
        world = World(
            sidecar("newer", age=2, containers=(other, STATS)),
            sidecar("older", labels={"app": "web"}, age=1, containers=(LOGS,)),
            sidecar("elsewhere", namespace="other", containers=(STATS,)),
        )
        web = world.resolver.injection_for(pod("a", labels={"app": "web"}, proxy=False))
        assert web == (AddedContainer("older", LOGS), AddedContainer("newer", STATS))
        cart = world.resolver.injection_for(pod("b", labels={"app": "cart"}, proxy=False))
        assert cart == (AddedContainer("newer", other), AddedContainer("newer", STATS))
        assert world.resolver.injection_for(pod("c", labels={"smi-spec.io/inject": "disabled"}, proxy=False)) is None

    def test_pods_that_run_with_others(self) -> None:
        """SMI-POD-05: they are not changed, but known: also those that still have one that is asked for no more."""
        having = marks_text([AddedContainer("s", LOGS)])
        world = World(
            pod("has", "10.0.0.1", annotations={ADDED_CONTAINERS: having}),
            pod("lacks", "10.0.0.2"),
            pod("bare", "10.0.0.3", proxy=False),
            sidecar("s", containers=(LOGS,)),
            sidecar("without"),
        )
        assert world.sidecar("s").outdated == (PodRef("shop", "lacks"),)
        world.add(sidecar("s", containers=(api.Container(name="logs", image="example.com/logs:2"),)))
        assert world.sidecar("s").outdated == (PodRef("shop", "has"), PodRef("shop", "lacks"))
        world.add(sidecar("s"))
        assert world.sidecar("s").outdated == (PodRef("shop", "has"),)
        assert world.sidecar("without").outdated == ()

    def test_a_name_that_an_older_sidecar_has(self) -> None:
        """Its Pods are no longer waited for: a restart would not give them the younger one's."""
        having = marks_text([AddedContainer("older", LOGS)])
        world = World(
            pod("a", "10.0.0.1", annotations={ADDED_CONTAINERS: having}),
            sidecar("older", age=1, containers=(LOGS,)),
            sidecar("same", age=2, containers=(LOGS,)),
            sidecar("newer", age=2, containers=(api.Container(name="logs", image="example.com/other:1"),)),
        )
        assert world.sidecar("newer").yielded == (("logs", ObjectRef("Sidecar", "shop", "older")),)
        assert [world.sidecar(name).outdated for name in ("older", "same", "newer")] == [(), (), ()]
        assert world.sidecar("same").yielded == ()

    @given(text=st.text() | st.text(alphabet="ab/@,0123456789abcdef", max_size=60))
    def test_an_annotation_that_somebody_wrote(self, text: str) -> None:
        """Anyone may write it: what does not read says nothing."""
        assert all(mark.container for mark in marks_of({ADDED_CONTAINERS: text}))
