"""More than one machine: replicas apart, and traffic between nodes as within one."""

from __future__ import annotations

import json

import pytest

from e2e.cluster.cluster import Cluster
from e2e.cluster.commands import wait_for
from e2e_kit.installed import CONTROL_PLANE, DEPLOYMENT, Installed
from e2e_kit.shop import Shop

pytestmark = [pytest.mark.slow, pytest.mark.envoy, pytest.mark.timeout(600), pytest.mark.xdist_group("cluster")]


@pytest.fixture
def mesh(mesh: Cluster) -> Cluster:
    if len(mesh.nodes) < 2:
        pytest.skip("the cluster has one node: make cluster ARGS='--nodes 2'")
    return mesh


def test_the_replicas_are_on_different_nodes(mesh: Cluster) -> None:
    """So that none takes both with it; after a rollout too."""
    plane = Installed(mesh)
    for _ in range(2):
        found = json.loads(plane.kubectl("get", "pods", *CONTROL_PLANE, "-o", "json"))["items"]
        assert len({pod["spec"]["nodeName"] for pod in found}) == len(found) == 2
        plane.kubectl("rollout", "restart", DEPLOYMENT)
        plane.until_rolled()


def test_a_pod_is_served_by_those_of_another_node(mesh: Cluster, meshed: str) -> None:
    """SMI-MTLS-01, SMI-MTLS-02: under Strict, and known by its name, from wherever it calls."""
    shop = Shop(mesh, meshed, rate=20)
    shop.apply("")
    spread = {"topologyKey": "kubernetes.io/hostname", "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule"}
    spread |= {"labelSelector": {"matchLabels": {"version": "v1"}}, "matchLabelKeys": ["pod-template-hash"]}
    pods = {"template": {"spec": {"topologySpreadConstraints": [spread]}}, "replicas": 2}
    shop.kubectl("patch", "deployment/foobar-v1", "-p", json.dumps({"spec": pods}))
    shop.await_rollout("v1")
    shop.kubectl("wait", "--for=condition=Ready", "pod/client", "--timeout=120s")
    shop.programmed("mutualtls/everyone")
    servers = json.loads(shop.kubectl("get", "pods", "-l", "version=v1", "-o", "json"))["items"]
    placed = {
        pod["metadata"]["name"]: pod["spec"]["nodeName"]
        for pod in servers
        if "deletionTimestamp" not in pod["metadata"]
    }
    assert sorted(placed.values()) == sorted(mesh.nodes[:2])
    known: set[str] = set()

    def all_know_it() -> bool:
        said = shop.kubectl("exec", "client", "-c", "client", "--", "python3", "client.py", "get", "http://foobar/")
        answer = json.loads(said)
        if answer["identity"].startswith("client.foobar.example,"):
            known.add(answer["pod"])
        return known >= placed.keys()

    wait_for("those of both nodes answer, and know who asks", all_know_it, within_seconds=120)
