"""SMI-CAN-22 in standalone mode: what joins the objects of the folder. The suite proves that traffic is divided."""

from __future__ import annotations

import msgspec
import pytest

from intent.builders import AnyObject, World, canary, pod, port, service, slice_of
from smeagol.infra.host.desired import HttpGet
from smeagol.objects import Deployment, EndpointSlice, Metadata, Pod
from smeagol.objects.core import PodCondition
from smeagol.refs import ObjectRef
from smeagol.runtime.on_host import pod_on_host, proxy_container
from smeagol.runtime.root_proxies_here import RootProxiesHere, root_proxies
from smeagol.sources.cluster import Cluster, Manifests

ROLL = ObjectRef("Canary", "shop", "roll")
NAMED = ("shop", "roll-root-proxy")
SLICE = ("shop", "roll-root-proxy-ipv4")
PROXY = pod("roll-root-proxy-1", "10.0.0.9", root_proxy_of="roll")


def made(*pods: Pod, manifests: Manifests | None = None, selector: dict[str, str] | None = None) -> RootProxiesHere:
    root = service("web", port(80, "http"))
    spec = msgspec.structs.replace(root.spec, cluster_ips=("10.96.0.5",), selector=selector)
    root = msgspec.structs.replace(root, spec=spec)
    objects: tuple[AnyObject, ...] = (root, service("v1", port(80, "http")), slice_of("v1", "10.0.0.1"))
    world = World(*objects, canary("roll", "web", {"v1": "1"}, root_proxies=2), *pods)
    return root_proxies(
        [world.canary("roll")],
        manifests=manifests or Manifests(),
        services={("shop", "web"): root},
        pods=pods,
        uid=lambda _: "u",
    )


def ready(found: Pod) -> Pod:
    status = msgspec.structs.replace(found.status, conditions=(PodCondition(type="Ready", status="True"),))
    return msgspec.structs.replace(found, status=status)


def test_a_deployment_runs_them_and_an_endpoint_slice_leads_to_those_that_are_ready() -> None:
    """Of the root, under an account of their own; the Canary waits until one is ready."""
    found = made(PROXY)
    assert found.deployments[NAMED].spec.replicas == 2
    assert found.deployments[NAMED].spec.template.spec.service_account_name == "roll-root-proxy"
    assert found.endpoint_slices[SLICE].service_name == "web"
    assert [e.conditions.ready for e in found.endpoint_slices[SLICE].endpoints] == [False]
    assert found.waiting == {ROLL: "none of its 2 root proxies is ready yet"}
    found = made(ready(PROXY))
    assert [(e.addresses, e.conditions.ready) for e in found.endpoint_slices[SLICE].endpoints] == [
        (("10.0.0.9",), True)
    ]
    assert found.waiting == {ROLL: ""}


@pytest.mark.parametrize(
    "theirs",
    [
        Manifests(deployments={NAMED: Deployment(metadata=Metadata(name=NAMED[1], namespace="shop"))}),
        Manifests(endpoint_slices={SLICE: EndpointSlice(metadata=Metadata(name=SLICE[1], namespace="shop"))}),
    ],
    ids=["Deployment", "EndpointSlice"],
)
def test_what_the_folder_has_by_that_name_stays(theirs: Manifests) -> None:
    """And the Canary's status says so."""
    found = made(manifests=theirs)
    assert found.beside(theirs) == theirs
    assert "is there already and is not Smeagol's" in found.waiting[ROLL]


def test_a_root_with_a_selector_leads_to_its_own_pods() -> None:
    found = made(selector={"app": "web"})
    assert (found.deployments, found.endpoint_slices) == ({}, {})
    assert "has a selector" in found.waiting[ROLL]


def test_its_pods_are_a_proxy_and_nothing_else() -> None:
    """Nothing is redirected, it is ready with the root's listeners, and a Pod of the cluster's making counts as one."""
    cluster = Cluster()
    cluster.load(made().beside(Manifests()))
    cluster.settle()
    pods = tuple(cluster.pods.values())
    assert len(pods) == 2
    assert len(made(*pods).endpoint_slices[SLICE].endpoints) == 2
    spec = pod_on_host(pods[0], proxy_container(("envoy",), {}))
    (container,) = spec.containers
    assert (spec.sidecar, spec.redirect, spec.init_containers) == (None, False, ())
    assert container.command == ("envoy",)
    assert container.readiness is not None
    assert container.readiness.action == HttpGet(port=15020, path="/ready")
