"""Rules about Pods that the conformance suite cannot bring about on a cluster in use, on real Pods."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from e2e.cluster.cluster import Cluster
from e2e.cluster.commands import wait_for
from e2e.cluster.errors import ClusterError
from e2e.cluster.images import BASE
from e2e_kit.answering import CLIENT, Manifest, Said, answering, asked, manifest, pod, sleeping
from e2e_kit.apiserver import condition
from e2e_kit.commands import smeagol
from e2e_kit.shop import meshed_namespace
from smeagol.intent import EXCLUDE_INBOUND, INJECT_LABEL, PROXY_CONTAINER

pytestmark = [pytest.mark.slow, pytest.mark.envoy, pytest.mark.timeout(300), pytest.mark.xdist_group("cluster")]

GROUP = "smi-spec.io/v1beta1"
EVERYONE: Manifest = {"selector": {}}
STATUS = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=10).status)"
UNTIL_KNOWN = 'until python3 -c "$0" http://half/ 1 | grep once.example.com; do sleep 0.2; done'


def _selecting(kind: str, app: str) -> Manifest:
    """An object that selects the Pods of one application alone; a MutualTLS gives them a name of their own."""
    names = {"clientSubjectNames": [f"{app}.example.com"]} if kind == "MutualTLS" else {}
    return manifest(GROUP, kind, app, {"selector": {"matchLabels": {"app": app}}, **names})


OBJECTS = [
    manifest(GROUP, "MutualTLS", "all", EVERYONE),
    manifest(GROUP, "Sidecar", "all", EVERYONE),
    *(_selecting("MutualTLS", app) for app in ("client", "leaving", "once", "host")),
    _selecting("Sidecar", "host"),
    pod(
        "half",
        answering("half", listens="ipv4"),
        answering("half, past its proxy", listens="ipv4", port=8090, name="open"),
        labels={"app": "half"},
        annotations={EXCLUDE_INBOUND: "8090"},
    ),
    manifest(
        "v1",
        "Service",
        "half",
        {
            "selector": {"app": "half"},
            "ports": [
                {"name": "http", "port": 80, "targetPort": 8080},
                {"name": "http-open", "port": 90, "targetPort": 8090},
            ],
        },
    ),
    pod("client", sleeping(), labels={"app": "client"}),
    pod("stranger", sleeping(), labels={"app": "stranger", INJECT_LABEL: "disabled"}),
    # As a container's first process it does not end when it is told to.
    pod("leaving", answering("leaving", listens="ipv4"), labels={"app": "leaving"}),
    pod("host", sleeping(), labels={"app": "host", INJECT_LABEL: "enabled"}, hostNetwork=True),
    manifest(
        "batch/v1",
        "Job",
        "once",
        {
            "backoffLimit": 0,
            "template": {
                "metadata": {"labels": {"app": "once"}},
                "spec": {
                    "restartPolicy": "Never",
                    "containers": [{"name": "app", "image": BASE, "command": ["sh", "-c", UNTIL_KNOWN, CLIENT]}],
                },
            },
        },
    ),
]


@dataclass(frozen=True, slots=True)
class Shop:
    """The objects above, in a namespace in which every Pod gets a proxy."""

    cluster: Cluster
    namespace: str

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        return self.cluster.kubectl("-n", self.namespace, *arguments, stdin=stdin)

    def get(self, what: str, name: str) -> Manifest:
        found: Manifest = json.loads(self.kubectl("get", what, name, "-o", "json"))
        return found

    def address(self, name: str) -> str:
        found: str = self.get("pod", name)["status"]["podIP"]
        return found

    def said(self, host: str, *, by: str) -> Said:
        (answer,) = asked(self.kubectl, f"http://{host}/", by=by)
        return answer

    def selected(self, kind: str, name: str) -> set[str]:
        """The Pods that an object is about, as `smeagol status` lists them."""
        objects = json.loads(smeagol(self.cluster, "status", "-n", self.namespace, "-o", "json"))["objects"]
        (found,) = (each["pods"] for each in objects if (each["kind"], each["name"]) == (kind, name))
        return {ref.removeprefix(f"{self.namespace}/") for ref in found}

    def until_nobody_is_selected(self, kind: str, name: str) -> None:
        def told() -> bool:
            return condition(self.get(f"{kind}.smi-spec.io", name), "ResolvedRefs").get("reason") == "NoPodsSelected"

        wait_for(f"{kind} {name} selects nobody", told, within_seconds=60)

    def would_be_made(self, given: Manifest, namespace: str) -> Manifest:
        """What the API server, and all whom it asks, would make of a Pod."""
        create = ("create", "--dry-run=server", "-o", "json", "-f", "-")
        made: Manifest = json.loads(self.cluster.kubectl("-n", namespace, *create, stdin=json.dumps(given)))
        return made


def proxies(found: Manifest) -> int:
    """How many a Pod has."""
    spec = found["spec"]
    containers = [*spec.get("initContainers", ()), *spec["containers"]]
    return sum(container["name"] == PROXY_CONTAINER for container in containers)


@pytest.fixture(scope="module")
def shop(mesh: Cluster) -> Iterator[Shop]:
    with meshed_namespace(mesh) as namespace:
        made = Shop(mesh, namespace)
        made.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": OBJECTS}))
        try:
            made.kubectl("wait", "--for=condition=Ready", "pod", "-l", "app!=once", "--timeout=120s")
            for name in ("all", "client", "leaving"):
                made.kubectl("wait", f"mutualtls/{name}", "--for=condition=Programmed", "--timeout=60s")
        except ClusterError:
            print(made.kubectl("get", "pods,events,smi", "-o", "wide"))
            raise
        yield made


def test_a_port_that_is_excluded_is_under_no_mutual_tls(shop: Shop) -> None:
    """SMI-MTLS-24: by Service and by address, for clients with a proxy and without; nor is a port of the proxy itself.
    Another port of the same Pod stays closed to strangers.
    """
    address = shop.address("half")
    for by in ("client", "stranger"):
        for host in ("half:90", f"{address}:8090"):
            answer = shop.said(host, by=by)
            assert (answer["who"], answer["identity"]) == ("half, past its proxy", ""), answer
        own = f"http://{address}:15090/stats/prometheus"
        assert shop.kubectl("exec", by, "-c", "app", "--", "python3", "-c", STATUS, own) == "200\n"
    for host in ("half", f"{address}:8080"):
        answer = shop.said(host, by="client")
        assert (answer["who"], answer["identity"].split(",")[0]) == ("half", "client.example.com"), answer
        assert shop.said(host, by="stranger")["fault"]


def test_pods_of_the_host_and_of_the_cluster_stay_out(shop: Shop) -> None:
    """SMI-POD-03: whatever their labels say, and whatever would select them."""
    assert proxies(shop.get("pod", "host")) == 0
    for kind in ("MutualTLS", "Sidecar"):
        shop.until_nobody_is_selected(kind, "host")
        assert {"half", "client"} <= (everyone := shop.selected(kind, "all"))
        assert "host" not in everyone

    willing = pod("willing", sleeping(), labels={INJECT_LABEL: "enabled"})
    assert proxies(shop.would_be_made(willing, shop.namespace)) == 1
    for namespace in ("kube-system", "kube-public", "kube-node-lease"):
        assert proxies(shop.would_be_made(willing, namespace)) == 0
    system = Shop(shop.cluster, "kube-system")
    assert json.loads(system.kubectl("get", "pods", "-o", "json"))["items"]
    system.kubectl("apply", "-f", "-", stdin=json.dumps(manifest(GROUP, "MutualTLS", "all", EVERYONE)))
    try:
        system.until_nobody_is_selected("MutualTLS", "all")
    finally:
        system.kubectl("delete", "mutualtls/all")


def test_a_pod_has_one_proxy(shop: Shop) -> None:
    """SMI-POD-09: though its namespace asks for one, and two MutualTLS and a Sidecar; a copy of it has no more."""
    client = shop.get("pod", "client")
    assert proxies(client) == 1
    metadata = {
        "name": "copy",
        "labels": client["metadata"]["labels"],
        "annotations": client["metadata"]["annotations"],
    }
    assert proxies(shop.would_be_made({**client, "metadata": metadata}, shop.namespace)) == 1


def test_a_pod_that_has_finished_is_nobody(shop: Shop) -> None:
    """SMI-POD-08: a Job's Pod was known by its name, and is not selected any more, though it is still there."""
    shop.kubectl("wait", "--for=condition=Complete", "job/once", "--timeout=120s")
    assert "once.example.com" in shop.kubectl("logs", "job/once", "-c", "app")
    shop.until_nobody_is_selected("MutualTLS", "once")
    (finished,) = json.loads(shop.kubectl("get", "pods", "-l", "app=once", "-o", "json"))["items"]
    assert (finished["status"]["phase"], proxies(finished)) == ("Succeeded", 1)
    assert finished["metadata"]["name"] not in shop.selected("MutualTLS", "all")


def test_a_pod_that_is_being_deleted_is_who_it_was(shop: Shop) -> None:
    """SMI-POD-08: until it is gone; a name that it gets meanwhile is its own too, and strangers are still refused."""
    address = shop.address("leaving")
    shop.kubectl("delete", "pod", "leaving", "--grace-period=120", "--wait=false")
    assert shop.get("pod", "leaving")["metadata"]["deletionTimestamp"]
    patch = json.dumps({"spec": {"clientSubjectNames": ["left.example.com"]}})
    shop.kubectl("patch", "mutualtls", "leaving", "--type=merge", "-p", patch)
    shop.kubectl("wait", "mutualtls/leaving", "--for=jsonpath={.status.observedGeneration}=2", "--timeout=60s")
    shop.kubectl("wait", "mutualtls/leaving", "--for=condition=Programmed", "--timeout=60s")
    assert "leaving" in shop.selected("MutualTLS", "all")
    assert shop.said("half", by="leaving")["identity"].split(",")[0] == "left.example.com"
    answer = shop.said(f"{address}:8080", by="client")
    assert (answer["who"], answer["identity"].split(",")[0]) == ("leaving", "client.example.com"), answer
    assert shop.said(f"{address}:8080", by="stranger")["fault"]

    shop.cluster.kill("leaving", "app", namespace=shop.namespace)
    shop.kubectl("wait", "--for=delete", "pod/leaving", "--timeout=60s")
    shop.until_nobody_is_selected("MutualTLS", "leaving")
    assert "leaving" not in shop.selected("MutualTLS", "all")
