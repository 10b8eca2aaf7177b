"""The objects of standalone mode over time: what a user of Kubernetes would expect, without Kubernetes."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest

from smeagol import api
from smeagol.intent import PROXY_CONTAINER, AddedContainer, marks_of
from smeagol.objects import Container, Deployment, Metadata, Namespace, Pod, PodSpec, PodStatus, Service, ServicePort
from smeagol.objects.core import DeploymentSpec, PodCondition, PodTemplate, ServiceSpec
from smeagol.sources.addresses import AddressPool, PoolExhaustedError
from smeagol.sources.cluster import Cluster, Key, Manifests

RUNNING = PodStatus(phase="Running", conditions=(PodCondition(type="Ready", status="True"),))


def deployment(
    name: str = "web", command: str = "serve", replicas: int = 1, labels: dict[str, str] | None = None
) -> dict[Key, Deployment]:
    template = PodTemplate(
        metadata=Metadata(labels={"app": name, **(labels or {})}),
        spec=PodSpec(containers=(Container(name="app", command=(command,)),)),
    )
    made = Deployment(
        metadata=Metadata(name=name, namespace="shop"), spec=DeploymentSpec(replicas=replicas, template=template)
    )
    return {("shop", name): made}


def service(name: str = "web", cluster_ip: str = "", app: str = "web", **asked: Any) -> dict[Key, Service]:
    spec = ServiceSpec(cluster_ip=cluster_ip, selector={"app": app}, ports=(ServicePort(port=80),), **asked)
    return {("shop", name): Service(metadata=Metadata(name=name, namespace="shop"), spec=spec)}


def running(cluster: Cluster) -> None:
    for key in list(cluster.pods):
        cluster.observe(key, RUNNING)


class TestPods:
    def test_a_pod_has_address_identity_and_proxy(self) -> None:
        cluster = Cluster()
        cluster.load(Manifests(deployments=deployment()))
        (pod,) = cluster.settle().pods.values()
        assert pod is not None
        assert pod.addresses
        assert pod.metadata.uid
        assert pod.spec.service_account_name == "default"
        assert [c.name for c in pod.spec.init_containers] == [PROXY_CONTAINER]

    @pytest.mark.parametrize(
        ("namespace_says", "pod_says", "proxied"),
        [("", "", True), ("disabled", "", False), ("disabled", "enabled", True), ("", "disabled", False)],
    )
    def test_the_label_keeps_the_proxy_out(self, namespace_says: str, pod_says: str, proxied: bool) -> None:
        """`smi-spec.io/inject`: what the Pod says goes before what its namespace says."""
        labels = {"smi-spec.io/inject": pod_says} if pod_says else {}
        namespace = Namespace(metadata=Metadata(name="shop", labels={"smi-spec.io/inject": namespace_says}))
        cluster = Cluster()
        cluster.load(Manifests(deployments=deployment(labels=labels), namespaces={"shop": namespace}))
        cluster.settle()
        (pod,) = cluster.pods.values()
        assert bool(pod.spec.init_containers) is proxied

    def test_a_pod_that_runs_is_left_alone(self) -> None:
        """SMI-POD-05, SMI-POD-06: it takes edited labels, and neither gets nor loses a proxy."""
        spec = PodSpec(containers=(Container(name="app", command=("run",)),))
        pods = {("shop", name): Pod(metadata=Metadata(name=name, namespace="shop"), spec=spec) for name in ("a", "b")}
        wanted = {"a"}
        cluster = Cluster(wants_proxy=lambda pod: pod.metadata.name in wanted)
        cluster.load(Manifests(pods=pods))
        cluster.settle()
        running(cluster)
        cluster.settle()
        before = dict(cluster.pods)
        wanted ^= {"a", "b"}
        relabelled = Pod(metadata=Metadata(name="a", namespace="shop", labels={"new": "yes"}), spec=spec)
        cluster.load(Manifests(pods={**pods, ("shop", "a"): relabelled}))
        assert set(cluster.settle().pods) == {("shop", "a")}
        assert cluster.pods["shop", "a"].metadata.labels == {"new": "yes"}
        assert {key: pod.spec for key, pod in cluster.pods.items()} == {key: pod.spec for key, pod in before.items()}
        assert not any(pod.metadata.deletion_timestamp for pod in cluster.pods.values())

    def test_nothing_changes_when_nothing_changed(self) -> None:
        cluster = Cluster()
        cluster.load(Manifests(deployments=deployment(), services=service()))
        assert cluster.settle()
        assert not cluster.settle()

    def test_an_edited_template_rolls_without_a_gap(self) -> None:
        """New Pods come first; the old one leaves its Service only when they are ready."""
        cluster = Cluster()
        cluster.load(Manifests(deployments=deployment(command="v1"), services=service()))
        cluster.settle()
        running(cluster)
        cluster.settle()
        (old,) = cluster.pods
        cluster.load(Manifests(deployments=deployment(command="v2"), services=service()))
        cluster.settle()
        assert len(cluster.pods) == 2
        assert not cluster.pods[old].metadata.deletion_timestamp
        running(cluster)
        cluster.settle()
        assert cluster.pods[old].metadata.deletion_timestamp
        ready = [
            e.target_ref.name
            for s in cluster.endpoint_slices.values()
            for e in s.endpoints
            if e.conditions.ready and e.target_ref
        ]
        assert ready == [name for _, name in cluster.pods if name != old[1]]
        cluster.gone(old)
        assert cluster.settle().pods == {old: None}

    def test_a_restart_rolls_the_same_template(self) -> None:
        cluster = Cluster()
        cluster.load(Manifests(deployments=deployment()))
        cluster.settle()
        assert cluster.restart(("shop", "web"))
        cluster.settle()
        assert len(cluster.pods) == 2
        assert not cluster.restart(("shop", "nope"))

    def test_the_owner_of_a_pod_is_rolled_once(self) -> None:
        """A Pod of an old version is on its way out already: rolling its owner again would never end."""
        cluster = Cluster()
        cluster.load(Manifests(deployments=deployment()))
        cluster.settle()
        (old,) = cluster.pods
        assert cluster.restart_owner(old)
        assert not cluster.restart_owner(old)
        cluster.settle()
        assert not cluster.restart_owner(old)
        assert not cluster.restart_owner(("shop", "nobody"))

    def test_a_changed_pod_of_its_own_is_made_anew_under_its_name(self) -> None:
        def pod(command: str) -> dict[Key, Pod]:
            spec = PodSpec(containers=(Container(name="app", command=(command,)),))
            return {("shop", "one"): Pod(metadata=Metadata(name="one", namespace="shop"), spec=spec)}

        cluster = Cluster()
        cluster.load(Manifests(pods=pod("v1")))
        cluster.settle()
        first = cluster.pods["shop", "one"]
        cluster.load(Manifests(pods=pod("v2")))
        cluster.settle()
        assert cluster.pods["shop", "one"].metadata.deletion_timestamp
        cluster.gone(("shop", "one"))
        cluster.settle()
        second = cluster.pods["shop", "one"]
        assert (second.metadata.uid, second.addresses) != (first.metadata.uid, first.addresses)
        assert second.spec.containers[0].command == ("v2",)


class TestEndpoints:
    def test_a_pod_that_is_relabelled_changes_services(self) -> None:
        """It leaves those that selected its old labels, and joins those that select the new ones."""

        def pod(app: str) -> dict[Key, Pod]:
            spec = PodSpec(containers=(Container(name="app", command=("run",)),))
            return {
                ("shop", "one"): Pod(metadata=Metadata(name="one", namespace="shop", labels={"app": app}), spec=spec)
            }

        services = service("old", app="old") | service("new", app="new")
        cluster = Cluster()
        cluster.load(Manifests(pods=pod("old"), services=services))
        cluster.settle()
        assert [bool(cluster.slices_of(("shop", name))) for name in ("old", "new")] == [True, False]
        cluster.load(Manifests(pods=pod("new"), services=services))
        assert cluster.settle().routed == {("shop", "old"), ("shop", "new")}
        assert [bool(cluster.slices_of(("shop", name))) for name in ("old", "new")] == [False, True]


class TestContainersOfSidecars:
    ADDED = (AddedContainer("monitor", api.Container(name="logs", image="logs", command=("ship",))),)

    def test_a_pod_that_runs_keeps_those_it_was_made_with(self) -> None:
        """SMI-SIDE-07, SMI-POD-05: behind the proxy; neither new labels nor a changed Sidecar replace the Pod."""
        added = list(self.ADDED)
        spec = PodSpec(containers=(Container(name="app", command=("run",)),))
        manifest = Pod(metadata=Metadata(name="a", namespace="shop"), spec=spec)
        cluster = Cluster(containers_for=lambda _: added)
        cluster.load(Manifests(pods={("shop", "a"): manifest}))
        cluster.settle()
        made = cluster.pods["shop", "a"]
        assert [(c.name, c.command) for c in made.spec.init_containers] == [(PROXY_CONTAINER, ()), ("logs", ("ship",))]
        assert made.spec.init_containers[1].restart_policy == "Always"
        assert marks_of(made.metadata.annotations) == {self.ADDED[0].mark}
        added.clear()
        relabelled = Pod(metadata=Metadata(name="a", namespace="shop", labels={"new": "yes"}), spec=spec)
        cluster.load(Manifests(pods={("shop", "a"): relabelled}))
        cluster.settle()
        kept = cluster.pods["shop", "a"]
        assert (kept.metadata.uid, kept.spec, kept.metadata.labels) == (made.metadata.uid, made.spec, {"new": "yes"})
        assert marks_of(kept.metadata.annotations) == {self.ADDED[0].mark}

    def test_a_name_of_the_pods_own(self) -> None:
        """The Pod is not made, and why is said under its name."""
        spec = PodSpec(containers=(Container(name="logs", command=("run",)),))
        cluster = Cluster(containers_for=lambda _: self.ADDED)
        cluster.load(Manifests(pods={("shop", "a"): Pod(metadata=Metadata(name="a", namespace="shop"), spec=spec)}))
        cluster.settle()
        assert cluster.pods == {}
        assert "SMI-I007" in str(cluster.problems["shop", "a"])


class TestServices:
    def test_an_address_stays_for_life(self) -> None:
        cluster = Cluster()
        cluster.load(Manifests(services=service()))
        cluster.settle()
        before = cluster.services["shop", "web"].cluster_ips
        cluster.load(Manifests(services=service() | service("other")))
        cluster.settle()
        assert cluster.services["shop", "web"].cluster_ips == before

    def test_a_wanted_address_is_given(self) -> None:
        cluster = Cluster()
        cluster.load(Manifests(services=service(cluster_ip="10.96.0.77")))
        cluster.settle()
        assert cluster.services["shop", "web"].cluster_ips == ("10.96.0.77",)

    @pytest.mark.parametrize("wanted", ["10.244.0.1", "127.0.0.1", "10.96.0.10", "10.97.0.1"])
    def test_an_address_that_services_cannot_have_is_refused(self, wanted: str) -> None:
        """The API server refuses it; here it would take away the node's, a Pod's or the name server's traffic."""
        cluster = Cluster()
        cluster.load(Manifests(services=service(cluster_ip=wanted)))
        cluster.settle()
        assert cluster.services == {}
        assert wanted in str(cluster.problems["shop", "web"])

    def test_an_address_that_another_has_is_refused(self) -> None:
        cluster = Cluster()
        given = service("a") | service("b", cluster_ip="10.96.0.100")  # who asks for it comes first
        cluster.load(Manifests(services=given | service("c", cluster_ip="10.96.0.100")))
        cluster.settle()
        assert cluster.services["shop", "b"].cluster_ips == ("10.96.0.100",)
        assert set(cluster.services) == {("shop", "a"), ("shop", "b")}
        assert "belongs to shop/b" in str(cluster.problems["shop", "c"])

    def test_an_address_is_free_again_when_a_service_becomes_headless(self) -> None:
        cluster = Cluster()
        for asked, other in (("10.96.0.77", {}), ("None", service("other", cluster_ip="10.96.0.77"))):
            cluster.load(Manifests(services=service(cluster_ip=asked) | other))
            cluster.settle()
        cluster.settle()
        assert cluster.services["shop", "other"].cluster_ips == ("10.96.0.77",)

    def test_an_external_name_takes_no_address_along(self) -> None:
        cluster = Cluster()
        external = service("external", cluster_ip="10.96.0.77", type="ExternalName")
        cluster.load(Manifests(services=service(cluster_ip="10.96.0.77") | external))
        cluster.settle()
        assert cluster.services["shop", "external"].cluster_ips == ()
        cluster.load(Manifests(services=service(cluster_ip="10.96.0.77")))
        cluster.settle()
        cluster.load(Manifests(services=service() | service("late", cluster_ip="10.96.0.77")))
        cluster.settle()
        assert "belongs to shop/web" in str(cluster.problems["shop", "late"])

    def test_a_headless_service_has_none(self) -> None:
        cluster = Cluster()
        cluster.load(Manifests(services=service(cluster_ip="None")))
        cluster.settle()
        assert cluster.services["shop", "web"].cluster_ips == ()

    @pytest.mark.parametrize(
        ("asked", "is_ipv6"),
        [
            ({}, [False]),
            ({"ip_family_policy": "SingleStack"}, [False]),
            ({"ip_families": ("IPv6",)}, [True]),
            ({"ip_family_policy": "PreferDualStack"}, [False, True]),
            ({"ip_family_policy": "RequireDualStack", "ip_families": ("IPv6",)}, [True, False]),
        ],
    )
    def test_one_family_unless_two_are_asked_for(self, asked: dict[str, Any], is_ipv6: list[bool]) -> None:
        """core/v1 Service, ipFamilyPolicy: SingleStack is the default, since many applications listen on one only."""
        cluster = Cluster(service_networks=("10.96.0.0/16", "fd00:96::/112"))
        cluster.load(Manifests(services=service(**asked)))
        cluster.settle()
        assert [":" in a for a in cluster.services["shop", "web"].cluster_ips] == is_ipv6

    def test_two_families_are_one_where_the_host_has_one(self) -> None:
        cluster = Cluster(service_networks=("10.96.0.0/16",))
        cluster.load(Manifests(services=service(ip_family_policy="PreferDualStack")))
        cluster.settle()
        assert len(cluster.services["shop", "web"].cluster_ips) == 1


class TestAddressPool:
    def test_a_freed_address_rests(self) -> None:
        """A proxy may for a moment still know the old owner, so a freed address is the last to be given again."""
        pool = AddressPool(ip_network("10.0.0.0/28"), first=1)
        first = pool.take(("a", "a"))
        pool.free(first, ("a", "a"))
        others = [pool.take(("b", str(i))) for i in range(14)]
        assert first not in others[:13]
        assert others[13] == first
        with pytest.raises(PoolExhaustedError, match="no address is left"):
            pool.take(("c", "c"))

    def test_exhaustion_stops_no_other_object(self) -> None:
        cluster = Cluster(pod_networks=("10.0.0.0/28",))
        cluster.load(Manifests(deployments=deployment(replicas=9), services=service()))
        cluster.settle()
        assert len(cluster.pods) < 9
        assert cluster.problems
        assert cluster.services["shop", "web"].cluster_ips
