"""Which Pods have a proxy, and whose an address is (SMI-POD)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intent.builders import AnyObject, World, condition, mutual_tls, namespace, pod, service, sidecar, slice_of
from smeagol import api
from smeagol.intent import ConditionType, Endpoint, TLSMode
from smeagol.refs import PodRef

ENABLED = {"smi-spec.io/inject": "enabled"}
DISABLED = {"smi-spec.io/inject": "disabled"}


class TestWhoGetsAProxy:
    def test_selected(self) -> None:
        """SMI-POD-01: a Pod that a MutualTLS or a Sidecar selects gets a proxy; one that nothing selects does not."""
        world = World(mutual_tls("m", labels={"app": "a"}), sidecar("s", labels={"app": "b"}))
        assert world.resolver.wants_proxy(pod("a", labels={"app": "a"}))
        assert world.resolver.wants_proxy(pod("b", labels={"app": "b"}))
        assert not world.resolver.wants_proxy(pod("c", labels={"app": "c"}))

    def test_opted_in(self) -> None:
        """SMI-POD-01: so does one whose own label, or its namespace's, says `enabled`."""
        world = World(namespace("shop", **ENABLED))
        assert world.resolver.wants_proxy(pod("a"))
        assert world.resolver.wants_proxy(pod("a", namespace="elsewhere", labels=ENABLED))
        assert not world.resolver.wants_proxy(pod("a", namespace="elsewhere"))

    def test_opted_out(self) -> None:
        """SMI-POD-02: `disabled` on the Pod wins over its namespace and over any selector."""
        world = World(namespace("shop", **ENABLED), mutual_tls("all"))
        assert not world.resolver.wants_proxy(pod("a", labels=DISABLED))

    def test_namespace_opted_out(self) -> None:
        """SMI-POD-02: `disabled` on the namespace holds for its Pods, but for those that say `enabled` themselves."""
        world = World(namespace("shop", **DISABLED), mutual_tls("all"))
        assert not world.resolver.wants_proxy(pod("a"))
        assert world.resolver.wants_proxy(pod("b", labels=ENABLED))

    def test_other_words(self) -> None:
        """SMI-POD-02: any other value of the label says nothing."""
        world = World(mutual_tls("all"))
        assert world.resolver.wants_proxy(pod("a", labels={"smi-spec.io/inject": "no"}))

    def test_never(self) -> None:
        """SMI-POD-03: never a Pod of the host's network, never one of the cluster's own namespaces."""
        world = World(mutual_tls("all"), mutual_tls("all", namespace="kube-system"))
        assert not world.resolver.wants_proxy(pod("a", host_network=True, labels=ENABLED))
        assert not world.resolver.wants_proxy(pod("a", namespace="kube-system", labels=ENABLED))


keys, values = st.sampled_from(["a", "b", "c"]), st.sampled_from(["", "x", "y"])
pod_labels = st.dictionaries(keys, values)
with_values = st.builds(
    api.Requirement,
    key=keys,
    operator=st.sampled_from([api.Operator.IN, api.Operator.NOT_IN]),
    values=st.lists(values, min_size=1, max_size=3).map(tuple),
)
without_values = st.builds(
    api.Requirement, key=keys, operator=st.sampled_from([api.Operator.EXISTS, api.Operator.DOES_NOT_EXIST])
)
selectors = st.builds(
    api.LabelSelector,
    match_labels=st.one_of(st.just({}), pod_labels),
    match_expressions=st.lists(with_values | without_values, max_size=2).map(tuple),
)


class TestSelection:
    def test_empty_selector(self) -> None:
        """SMI-POD-04: an empty selector takes every Pod of the object's namespace, and none of another."""
        world = World(pod("a", "10.0.0.1"), pod("b", "10.0.0.2"), pod("c", "10.0.0.3", namespace="other"))
        world.add(mutual_tls("all"))
        assert world.mutual_tls("all").selection.pods == (PodRef("shop", "a"), PodRef("shop", "b"))
        assert world.workload("c", "other").mode is None

    def test_all_of_a_selector(self) -> None:
        """SMI-POD-04: matchLabels and matchExpressions must all be met."""
        expressions = (api.Requirement(key="tier", operator=api.Operator.NOT_IN, values=("db",)),)
        world = World(
            pod("a", "10.0.0.1", labels={"app": "web"}),
            pod("b", "10.0.0.2", labels={"app": "web", "tier": "db"}),
            pod("c", "10.0.0.3", labels={"app": "cart"}),
            mutual_tls("m", labels={"app": "web"}, expressions=expressions),
        )
        selection = world.mutual_tls("m").selection
        assert selection.pods == (PodRef("shop", "a"),)
        assert selection.match_labels == (("app", "web"),)
        assert selection.match_expressions == (("tier", "NotIn", ("db",)),)

    @given(st.lists(selectors, max_size=4), st.lists(pod_labels, max_size=4), st.data())
    def test_as_each_selector_says(
        self, selectors: list[api.LabelSelector], labels: list[dict[str, str]], data: st.DataObject
    ) -> None:
        """SMI-POD-04: whatever is looked at for it, and in whatever order things come."""
        pods = [pod(f"p{i}", f"10.0.0.{i + 1}", labels=given) for i, given in enumerate(labels)]
        policies = [
            mutual_tls(f"m{i}", labels=each.match_labels, expressions=each.match_expressions)
            for i, each in enumerate(selectors)
        ]
        world, coming = World(), list[AnyObject]([*pods, *policies])
        for one in data.draw(st.permutations(coming)):
            world.add(one)
        for policy in policies:
            wanted = {each.metadata.name for each in pods if policy.spec.selector.matches(each.metadata.labels)}
            assert {found.name for found in world.mutual_tls(policy.metadata.name).selection.pods} == wanted

    def test_nothing_selected(self) -> None:
        """SMI-POD-04: a selector that reaches no Pod is told: ResolvedRefs=False/NoPodsSelected."""
        world = World(pod("a", "10.0.0.1"), mutual_tls("m", labels={"app": "x"}), sidecar("s", labels={"app": "x"}))
        for unit in (world.mutual_tls("m"), world.sidecar("s")):
            said = condition(unit, ConditionType.RESOLVED_REFS)
            assert (said.status, said.reason) == (False, "NoPodsSelected")
            assert unit.accepted

    def test_label_changes(self) -> None:
        """SMI-COMMON-03: a Pod whose labels change is selected, or no longer, at once."""
        world = World(pod("a", "10.0.0.1"), mutual_tls("m", labels={"app": "web"}))
        assert world.workload("a").mode is None
        world.add(pod("a", "10.0.0.1", labels={"app": "web"}))
        assert world.workload("a").mode is TLSMode.STRICT
        world.add(pod("a", "10.0.0.1", labels={"app": "cart"}))
        assert world.workload("a").mode is None

    def test_without_proxy(self) -> None:
        """SMI-POD-05: a Pod that runs without a proxy is selected and counted as such; it is no workload."""
        world = World(pod("a", "10.0.0.1", proxy=False), pod("b", "10.0.0.2"), mutual_tls("all"))
        assert world.mutual_tls("all").selection.uninjected == (PodRef("shop", "a"),)
        assert world.find_workload("a") is None

    def test_opted_out_is_not_selected(self) -> None:
        """SMI-POD-02: one that opted out and has no proxy is not counted among the selected."""
        world = World(pod("a", "10.0.0.1", proxy=False, labels=DISABLED), mutual_tls("all"))
        assert world.mutual_tls("all").selection.pods == ()

    def test_opted_out_too_late(self) -> None:
        """SMI-POD-02: the label does not switch off a proxy that is there: mutual TLS stays in force for its Pod."""
        world = World(pod("a", "10.0.0.1", labels=DISABLED), mutual_tls("all"))
        assert world.workload("a").mode is TLSMode.STRICT


class TestWorkloads:
    def test_proxy_that_nothing_asks_for(self) -> None:
        """SMI-POD-06: a Pod keeps its proxy until it is replaced; it passes plain traffic, under its own identity."""
        workload = World(pod("a", "10.0.0.1")).workload("a")
        assert workload.mode is None
        assert workload.client_names == ("spiffe://cluster.local/ns/shop/sa/default",)
        assert workload.server_names == ()
        assert not workload.monitored

    def test_without_address(self) -> None:
        """A Pod is no workload before it has an address: its certificate could not name it."""
        assert World(pod("a")).find_workload("a") is None

    @pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
    def test_finished(self, phase: str) -> None:
        """SMI-POD-08: a finished Pod is no workload, is not selected, and has no address."""
        world = World(pod("a", "10.0.0.1", phase=phase), mutual_tls("all"))
        assert world.find_workload("a") is None
        assert world.mutual_tls("all").selection.pods == ()

    def test_host_network(self) -> None:
        """SMI-POD-08: a Pod of the host's network has no identity of its own, since others share its address."""
        world = World(
            pod("a", "192.0.2.1", host_network=True),
            mutual_tls("all"),
            service("web"),
            slice_of("web", "192.0.2.1"),
        )
        assert world.find_workload("a") is None
        assert world.find_service("web") is None
        assert world.mutual_tls("all").selection.pods == ()

    def test_terminating(self) -> None:
        """SMI-POD-08: a Pod on its way out is a workload until it is gone: its last requests are served alike."""
        assert World(pod("a", "10.0.0.1", terminating=True)).workload("a").addresses == ("10.0.0.1",)

    def test_dual_stack(self) -> None:
        """A workload has all addresses of its Pod, the primary first."""
        world = World(pod("a", "10.0.0.1", more_ips=["fd00:0::1"]), mutual_tls("all"))
        assert world.workload("a").addresses == ("10.0.0.1", "fd00::1")
        assert world.workload("a").server_names == ("10.0.0.1", "fd00::1")


class TestAddresses:
    def test_reuse(self) -> None:
        """SMI-POD-07: an address that was given out again is the living Pod's, whatever the old one still lists."""
        world = World(
            pod("old", "10.0.0.1", terminating=True),
            pod("new", "10.0.0.1", age=5, proxy=False),
            mutual_tls("all"),
            service("web"),
            service("old"),
            slice_of("web", "10.0.0.1"),
        )
        assert world.find_workload("old") is None
        assert world.find_service("web") is None

    def test_younger_pod(self) -> None:
        """SMI-POD-07: of two that list an address the younger has it."""
        world = World(pod("b-old", "10.0.0.1", age=1), pod("a-new", "10.0.0.1", age=2))
        assert world.find_workload("b-old") is None
        assert world.workload("a-new").addresses == ("10.0.0.1",)

    def test_leaving_pod(self) -> None:
        """SMI-POD-07: but a Pod that is being deleted yields even to an older one."""
        world = World(pod("leaving", "10.0.0.1", age=9, terminating=True), pod("staying", "10.0.0.1", age=1))
        assert world.find_workload("leaving") is None
        assert world.workload("staying").addresses == ("10.0.0.1",)

    def test_given_back(self) -> None:
        """SMI-POD-07: what a Pod lost to another it has again when that is gone."""
        other = pod("b", "10.0.0.1", age=2)
        world = World(pod("a", "10.0.0.1", age=1), other)
        world.take(other)
        assert world.workload("a").addresses == ("10.0.0.1",)

    def test_spelling(self) -> None:
        """SMI-POD-07: an address is the same however a hand-made EndpointSlice writes it."""
        world = World(
            pod("a", "fd00::1"), mutual_tls("all"), service("web"), slice_of("web", "FD00:0:0::0001", family="IPv6")
        )
        assert world.service_port("web").endpoints == (Endpoint("fd00::1", 8080, mutual_tls=True),)
