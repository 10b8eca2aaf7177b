"""Clusters whose Pods, nodes and Services have addresses of both families, or IPv6 alone: all is as over IPv4."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

import pytest

from datapath.chance import assert_shares
from e2e.cluster.cluster import Cluster, running
from e2e.cluster.commands import wait_for
from e2e.cluster.network import versions_here
from e2e.images import Images
from e2e_kit.answering import Manifest, Said, answering, asked, manifest, pod, sleeping
from e2e_kit.commands import smeagol
from e2e_kit.installed import SYSTEM
from e2e_kit.shop import meshed_namespace
from smeagol.install.access import ROOT_PROXIES, granting

pytestmark = [pytest.mark.slow, pytest.mark.envoy, pytest.mark.timeout(600), pytest.mark.xdist_group("cluster")]

REQUESTS = 600
"""So many answers a split is judged by."""


def _pod(name: str, *, listens: str, labels: Mapping[str, str], probe: object = None) -> Manifest:
    return pod(name, answering(name, listens=listens, probe=probe), labels=labels)


def _service(name: str, selector: Mapping[str, str] | None, protocol: str = "http", **further: Any) -> Manifest:
    spec = {"ports": [{"name": protocol, "port": 80, "targetPort": 8080}], **further}
    return manifest("v1", "Service", name, {**spec, "selector": selector} if selector else spec)


def _canary(name: str, **further: Any) -> Manifest:
    backends = [{"service": "web-v1", "weight": "2"}, {"service": "web-v2", "weight": "1"}]
    return manifest("smi-spec.io/v1beta1", "Canary", name, {"service": name, "backends": backends, **further})


BOTH = {"ipFamilyPolicy": "RequireDualStack"}
EXEC = {"exec": {"command": ["python3", "-c", "import socket; socket.create_connection(('::1', 8080))"]}}
"""For who listens to IPv6 only: the kubelet asks at the Pod's primary address, which is of IPv4."""

OBJECTS = [
    _pod("v1", listens="both", labels={"app": "web", "version": "v1"}),
    _pod("v2", listens="both", labels={"app": "web", "version": "v2"}),
    _pod("four", listens="ipv4", labels={"app": "four"}),
    _pod("six", listens="ipv6", labels={"app": "six"}, probe={**EXEC, "periodSeconds": 1}),
    pod("client", sleeping(), labels={"app": "client"}),
    pod("stranger", sleeping(), labels={"app": "stranger", "smi-spec.io/inject": "disabled"}),
    _service("web", {"app": "web"}, **BOTH),
    _service("web-v1", {"version": "v1"}, **BOTH),
    _service("web-v2", {"version": "v2"}, **BOTH),
    # As bytes: a connection that an application refuses is lost, where a request would be tried again.
    _service("four", {"app": "four"}, "tcp", **BOTH),
    _service("six", {"app": "six"}, "tcp", **BOTH),
    _service("only-six", {"app": "six"}, "tcp", ipFamilies=["IPv6"], ipFamilyPolicy="SingleStack"),
    _service("peers", {"app": "web"}, clusterIP="None", **BOTH),
    _service("front", None, **BOTH),
    manifest(
        "smi-spec.io/v1beta1",
        "MutualTLS",
        "servers",
        {
            "mode": "Strict",
            "selector": {"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["client"]}]},
        },
    ),
    manifest(
        "smi-spec.io/v1beta1",
        "MutualTLS",
        "client",
        {"clientSubjectNames": ["client.example.com"], "selector": {"matchLabels": {"app": "client"}}},
    ),
    _canary("web"),
    _canary("front", rootProxy={"replicas": 1}),
]


def _alone(each: Manifest) -> Manifest:
    """An object as it is where there is one family: a Service asks for none, and the kubelet asks whoever listens."""
    spec = {field: value for field, value in each["spec"].items() if not field.startswith("ipFamil")}
    return {**each, "spec": spec}


ALONE = [
    *(_alone(each) for each in OBJECTS if each["metadata"]["name"] not in ("four", "six")),
    _pod("six", listens="ipv6", labels={"app": "six"}),
    _service("six", {"app": "six"}, "tcp"),
]


@dataclass(frozen=True, slots=True)
class Shop:
    """The objects above, in a namespace of their own."""

    cluster: Cluster
    namespace: str

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        return self.cluster.kubectl("-n", self.namespace, *arguments, stdin=stdin)

    def addresses(self, kind: str, name: str) -> tuple[str, str]:
        """Of IPv4 and of IPv6."""
        field = "{.spec.clusterIPs[*]}" if kind == "service" else "{.status.podIPs[*].ip}"
        ipv4, ipv6 = self.kubectl("get", kind, name, "-o", f"jsonpath={field}").split()
        assert (ip_address(ipv4).version, ip_address(ipv6).version) == (4, 6)
        return ipv4, ipv6

    def said(self, host: str, *, to: str = "client", port: int = 80, times: int = 1) -> list[Said]:
        """What so many requests of a Pod are answered."""
        url = f"http://{f'[{host}]' if ':' in host else host}:{port}/"
        return asked(self.kubectl, url, by=to, times=times)

    def until_served(self, host: str) -> None:
        """Return when a client without a proxy is led to somebody there."""
        wait_for(
            f"who has no proxy is served at {host}",
            lambda: not self.said(host, to="stranger")[0]["fault"],
            within_seconds=60,
        )

    def shares(self, host: str, *, to: str = "client") -> dict[str, int]:
        """Who answers. Fails for any request that nobody answers."""
        said = self.said(host, to=to, times=REQUESTS)
        assert not [each for each in said if each["fault"]]
        return {who: sum(s["times"] for s in said if s["who"] == who) for who in {s["who"] for s in said}}


@contextmanager
def deployed(cluster: Cluster, objects: Sequence[Manifest]) -> Iterator[Shop]:
    """The objects in a namespace of their own, in force."""
    with meshed_namespace(cluster) as namespace:
        shop = Shop(cluster, namespace)
        cluster.kubectl(*granting(ROOT_PROXIES, namespace, system=SYSTEM).split()[1:])
        shop.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))
        shop.kubectl("wait", "--for=condition=Ready", "pod", "--all", "--timeout=120s")
        for what in ("canaries.smi-spec.io/web", "canaries.smi-spec.io/front", "mutualtls/servers", "mutualtls/client"):
            shop.kubectl("wait", what, "--for=condition=Programmed", "--timeout=60s")
        yield shop


@pytest.fixture(scope="module")
def shop(mesh: Cluster) -> Iterator[Shop]:
    if 6 not in versions_here():
        pytest.skip("this machine has no IPv6")
    with deployed(mesh, OBJECTS) as shop:
        yield shop


def test_a_canary_is_divided_whichever_address_is_dialled(shop: Shop) -> None:
    """SMI-CAN-06: both ClusterIPs of the root, in the same shares; answered by endpoints of the dialled family."""
    for host in shop.addresses("service", "web"):
        assert_shares(shop.shares(host), {"v1": 2, "v2": 1})


def test_mutual_tls_and_identity(shop: Shop) -> None:
    """SMI-MTLS: over each family a meshed client is known by its name, and whoever has no proxy is refused."""
    for kind, name, port in (("service", "web", 80), ("pod", "v1", 8080)):
        for host in shop.addresses(kind, name):
            (answer,) = shop.said(host, port=port)
            assert answer["identity"].split(",")[0] == "client.example.com", answer
            (refused,) = shop.said(host, to="stranger", port=port)
            assert "reset" in refused["fault"].lower() or "closed" in refused["fault"], refused


def test_who_listens_to_one_family_only(shop: Shop) -> None:
    """SMI-SVC-07: is reached at that family's ClusterIP, each time, as without a mesh; and its probes work."""
    four, _ = shop.addresses("service", "four")
    _, six = shop.addresses("service", "six")
    only = shop.kubectl("get", "service", "only-six", "-o", "jsonpath={.spec.clusterIPs[*]}")
    assert ip_address(only).version == 6
    for host, who in ((four, "four"), (six, "six"), (only, "six"), ("only-six", "six")):
        assert {(s["who"], s["fault"], s["times"]) for s in shop.said(host, times=20)} == {(who, "", 20)}, host


def test_headless_service_and_pod_address(shop: Shop) -> None:
    """SMI-SVC-05: who dials a Pod's address, over IPv6 as over IPv4, reaches that Pod at that address."""
    for who in ("v1", "v2"):
        for host in shop.addresses("pod", who):
            (answer,) = shop.said(host, port=8080)
            assert answer["who"] == who
            assert ip_address(answer["at"].removeprefix("::ffff:")) == ip_address(host)
    (answer,) = shop.said("peers", port=8080)
    assert answer["who"] in ("v1", "v2")


def test_root_proxy(shop: Shop) -> None:
    """SMI-CAN-22: a client without a proxy is divided too, whichever address of the root it dials."""
    for host in shop.addresses("service", "front"):
        shop.until_served(host)
        assert_shares(shop.shares(host, to="stranger"), {"v1": 2, "v2": 1})


def test_ipv6_alone(images: Images) -> None:
    """A Canary, mutual TLS, probes, headless Services and root proxies, in a cluster without any IPv4."""
    if 6 not in versions_here():
        pytest.skip("this machine has no IPv6")
    with running(f"six-{os.getpid()}", nodes=1, versions=(6,)) as cluster:
        images.load_into(cluster)
        options = ["--image", images.controller.reference, "--proxy-image", images.proxy.reference]
        smeagol(cluster, "install", *options, "--pod-cidr", *cluster.pod_cidrs, "--wait")
        assert "it is told where the addresses of Pods lie" in smeagol(cluster, "check")
        with deployed(cluster, ALONE) as shop:
            assert_shares(shop.shares("web"), {"v1": 2, "v2": 1})
            for host in ("web", "six", "peers", shop.kubectl("get", "pod", "v1", "-o", "jsonpath={.status.podIP}")):
                port = 80 if host in ("web", "six") else 8080
                (answer,) = shop.said(host, port=port)
                assert ip_address(answer["at"]).version == 6, answer
                (refused,) = shop.said(host, port=port, to="stranger")
                assert refused["fault"], refused
            shop.until_served("front")
            assert_shares(shop.shares("front", to="stranger"), {"v1": 2, "v2": 1})
