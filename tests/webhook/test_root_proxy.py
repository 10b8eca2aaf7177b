"""SMI-CAN-22: the objects of a Canary's root proxies.

That an API server takes them at the Pod Security level `restricted`, and that Pods come up, is proved in
`tests/e2e/test_root_proxy.py`.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from smeagol.intent import (
    INJECT_LABEL,
    ROOT_PROXY_OF,
    SLICE_MANAGER,
    SLICE_MANAGER_LABEL,
    CanaryIntent,
    Protocol,
)
from smeagol.objects import Metadata, Pod, PodStatus
from smeagol.objects.core import PodCondition, PodIP
from smeagol.plan.proxy_size import ProxySize
from smeagol.refs import ObjectRef, ServiceRef
from smeagol.webhook.root_proxy import account, budget, deployment, endpoint_slices, object_name
from webhook.pods import SETTINGS, bootstrap

CANARY = CanaryIntent(
    ref=ObjectRef("Canary", "shop", "roll"),
    generation=1,
    root=ServiceRef("shop", "web"),
    wanted=((ServiceRef("shop", "web-v1"), 1000),),
    ports=((80, Protocol.HTTP), (5432, Protocol.TCP)),
    port_names=("http", "db"),
    left_out=(),
    conditions=(),
    root_proxies=2,
)


def proxy(name: str, *addresses: str, ready: bool = True, ending: bool = False) -> Pod:
    metadata = Metadata(name=name, namespace="shop", uid=f"u-{name}", deletion_timestamp="2026-01-01" if ending else "")
    status = PodStatus(
        pod_ips=tuple(PodIP(ip=address) for address in addresses),
        conditions=(PodCondition(type="Ready", status=str(ready)),),
    )
    return Pod(metadata=metadata, status=status)


def test_they_are_as_big_as_the_installation_has_proxies() -> None:
    """Nobody annotates their Pods."""
    settings = replace(SETTINGS, size=ProxySize(cpu_request="150m", memory_limit="2Gi", concurrency=3))
    made: Any = deployment(CANARY, "u", settings, bootstrap)
    (container,) = made["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["requests"]["cpu"] == "150m"
    assert container["resources"]["limits"]["memory"] == "2Gi"
    assert container["args"][2:4] == ["--concurrency", "3"]


def slices(addresses: tuple[str, ...], *pods: Pod) -> Any:
    return endpoint_slices(CANARY, "u", addresses, pods)


def test_all_are_the_canarys_and_go_with_it() -> None:
    """By the name of the Canary, and controlled by just this one; of its EndpointSlices it is said who keeps them."""
    made: Any = (
        account(CANARY, "u"),
        budget(CANARY, "u"),
        deployment(CANARY, "u", SETTINGS, bootstrap),
        *slices(("10.96.0.1", "fd00::1")),
    )
    assert [each["metadata"]["name"] for each in made] == [
        "roll-root-proxy",
        "roll-root-proxy",
        "roll-root-proxy",
        "roll-root-proxy-ipv4",
        "roll-root-proxy-ipv6",
    ]
    owner = {"apiVersion": "smi-spec.io/v1beta1", "kind": "Canary", "name": "roll", "uid": "u", "controller": True}
    assert all(each["metadata"]["ownerReferences"] == [owner] for each in made)
    assert {each["metadata"]["labels"].get(SLICE_MANAGER_LABEL) for each in made[3:]} == {SLICE_MANAGER}
    assert {each["metadata"]["labels"]["kubernetes.io/service-name"] for each in made[3:]} == {"web"}


def test_a_root_of_many_ports_has_several_endpoint_slices() -> None:
    """discovery.k8s.io/v1: of one, at most a hundred."""
    many = tuple((number, Protocol.HTTP) for number in range(2000, 2101))
    wide = replace(CANARY, ports=many, port_names=tuple(f"p{number}" for number, _ in many))
    made: Any = endpoint_slices(wide, "u", ("10.96.0.1",), ())
    assert [(each["metadata"]["name"], len(each["ports"])) for each in made] == [
        ("roll-root-proxy-ipv4", 100),
        ("roll-root-proxy-ipv4-2", 1),
    ]


def test_its_pods_have_a_proxy_and_nothing_else() -> None:
    """The one that every Pod of the mesh gets; no webhook adds another, and it is ready with the root's listeners."""
    made: Any = deployment(CANARY, "u", SETTINGS, bootstrap)
    template = made["spec"]["template"]
    (container,) = template["spec"]["containers"]
    assert (container["name"], container["image"], "initContainers" in template["spec"]) == (
        "smeagol-proxy",
        "proxy:1",
        False,
    )
    assert container["readinessProbe"]["httpGet"]["port"] == 15020
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert template["metadata"]["labels"][INJECT_LABEL] == "disabled"
    assert template["metadata"]["annotations"] == {ROOT_PROXY_OF: "roll"}
    assert made["spec"]["selector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
    assert template["spec"]["serviceAccountName"] == "roll-root-proxy"


def test_clients_are_led_to_those_that_are_ready() -> None:
    """At the port where they listen for that of the root; one that ends still serves, while no other is there."""
    pods = proxy("b", "10.0.0.2", ready=False), proxy("a", "10.0.0.1"), proxy("c", "10.0.0.3", ending=True)
    (found,) = slices(("10.96.0.1",), *pods)
    assert [(port["name"], port["port"]) for port in found["ports"]] == [("http", 20080), ("db", 5432)]
    assert [(each["addresses"], *each["conditions"].values()) for each in found["endpoints"]] == [
        (["10.0.0.1"], True, True, False),
        (["10.0.0.2"], False, False, False),
        (["10.0.0.3"], False, True, True),
    ]


def test_a_root_of_both_families_has_a_slice_for_each() -> None:
    found = slices(("10.96.0.1", "fd00:96::1"), proxy("a", "10.0.0.1", "fd00::1"))
    assert [(each["addressType"], each["endpoints"][0]["addresses"]) for each in found] == [
        ("IPv4", ["10.0.0.1"]),
        ("IPv6", ["fd00::1"]),
    ]


@given(st.from_regex(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?", fullmatch=True))
def test_any_canary_gives_a_name_that_all_its_objects_can_have(name: str) -> None:
    """A label's value, and Pods' names made of it (Kubernetes: at most 63 characters)."""
    made = object_name(ObjectRef("Canary", "shop", name))
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", made)
    assert len(made) <= 52
