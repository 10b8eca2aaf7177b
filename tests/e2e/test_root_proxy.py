"""SMI-CAN-22 on real Pods: a client without a proxy, and a root whose requests are divided for it all the same."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import yaml

from datapath.chance import assert_shares
from e2e.cluster.cluster import Cluster
from e2e.cluster.commands import wait_for
from e2e_kit.installed import SYSTEM
from e2e_kit.shop import Shop
from smeagol.install.access import ROOT_PROXIES, granting

pytestmark = [pytest.mark.slow, pytest.mark.envoy, pytest.mark.timeout(600), pytest.mark.xdist_group("cluster")]

ROOT = "http://foobar/"
OWNED = "deployments,serviceaccounts,endpointslices,poddisruptionbudgets"


@pytest.fixture
def shop(mesh: Cluster, meshed: str) -> Shop:
    """Both versions under Strict mutual TLS; the client has no proxy, and the root no selector."""
    shop = Shop(mesh, meshed, rate=200, further={"rootProxy": {}})
    objects: list[Any] = [*yaml.safe_load_all(shop.rendered("")), *yaml.safe_load_all(shop.rendered("v2"))]
    for each in objects:
        if (each["kind"], each["metadata"]["name"]) == ("Service", "foobar"):
            del each["spec"]["selector"]
        if each["kind"] == "Pod":
            each["metadata"]["labels"]["smi-spec.io/inject"] = "disabled"
            each["spec"]["containers"][0]["command"].append("--reopen")  # no proxy of its own does it for this client
    shop.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(objects))
    shop.kubectl("wait", "--for=condition=Ready", "pod", "--all", "--timeout=120s")
    return shop


def said(shop: Shop, canary: str) -> str:
    query = "jsonpath={.status.conditions[?(@.type=='Programmed')]['status','message']}"
    return shop.kubectl("get", "canaries.smi-spec.io", canary, "-o", query)


def proxies(shop: Shop) -> set[str]:
    """The Pods of the root proxies, those included that are on their way out."""
    return set(shop.kubectl("get", "pods", "-l", "smeagol.dev/root-proxy", "-o", "name").split())


def served(shop: Shop) -> bool:
    """Whether the last requests of the client were answered; while nobody is led anywhere they may take their time."""
    slots = shop.slots()
    return bool(slots) and not slots[-1]["errors"]


def new_connections(shop: Shop) -> list[str]:
    """Who answers a request on each of eight connections: by chance only v1, of two versions, one time in 256."""
    get = ("exec", "client", "-c", "client", "--", "python3", "client.py", "get", ROOT)
    return [json.loads(shop.kubectl(*get))["version"] for _ in range(8)]


def owned(shop: Shop) -> list[str]:
    """What belongs to the Canary, by kind and name."""
    items = json.loads(shop.kubectl("get", OWNED, "-o", "json"))["items"]
    return sorted(
        f"{item['kind']}/{item['metadata']['name']}"
        for item in items
        if any(owner["kind"] == "Canary" for owner in item["metadata"].get("ownerReferences", ()))
        and not item["metadata"].get("deletionTimestamp")
    )


def test_a_client_without_a_proxy_is_divided_too(shop: Shop) -> None:
    """Once Smeagol may; without a failed request while weights change, under the root proxy's own identity; and nothing
    is left of it when it is no longer asked for, nor when its Canary is gone. What is somebody else's stays.
    """
    bind = granting(ROOT_PROXIES, shop.namespace, system=SYSTEM)
    shop.weigh(v1="1", v2="500m")
    wait_for("it is said what lacks", lambda: bind in said(shop, "foobar"), within_seconds=60)
    assert owned(shop) == []
    events = ("get", "events", "-o", "jsonpath={range .items[*]}{.reason} {.message}{'\\n'}{end}")
    lacks = f"RootProxyNotMade Smeagol may not make its root proxies; let it with `{bind}`"
    wait_for("so says an Event", lambda: lacks in shop.kubectl(*events), within_seconds=60)

    shop.cluster.kubectl(*bind.split()[1:])
    shop.programmed("canaries.smi-spec.io/foobar")
    assert owned(shop) == [
        "Deployment/foobar-root-proxy",
        "EndpointSlice/foobar-root-proxy-ipv4",
        "PodDisruptionBudget/foobar-root-proxy",
        "ServiceAccount/foobar-root-proxy",
    ]
    wait_for("the client is served", lambda: served(shop), within_seconds=60)
    assert_shares(shop.answers(), {"v1": 2, "v2": 1})
    spiffe = f"spiffe://cluster.local/ns/{shop.namespace}/sa/foobar-root-proxy"
    wait_for("it is the root proxies'", lambda: set(shop.slots()[-1]["identities"]) == {spiffe}, within_seconds=60)

    with shop.nothing_fails():
        shop.divide(v2="1")
        shop.until_only("v2")
        shop.divide(v1="1", v2="3")
        assert_shares(shop.answers(), {"v1": 1, "v2": 3})
        shop.kubectl("scale", "deployment/foobar-v1", "--replicas=2")
        shop.await_rollout("v1")
        old = proxies(shop)
        shop.kubectl("rollout", "restart", "deployment/foobar-root-proxy")
        shop.kubectl("rollout", "status", "deployment/foobar-root-proxy", "--timeout=240s")
        wait_for("the old ones are gone", lambda: not proxies(shop) & old, within_seconds=60)

    # A client of the mesh divides for itself, and is known as who it is.
    got = shop.kubectl("exec", "deployment/foobar-v2", "-c", "foobar", "--", "python3", "client.py", "get", ROOT)
    assert json.loads(got)["identity"].endswith("/sa/default")

    template = json.loads(shop.kubectl("get", "deployment/foobar-root-proxy", "-o", "json"))["spec"]["template"]
    del template["spec"]["serviceAccountName"]
    template["spec"].pop("serviceAccount", None)
    pod = {"apiVersion": "v1", "kind": "Pod", **template, "metadata": {"name": "as-root-proxy"}}
    restricted = ("-n", SYSTEM, "create", "--dry-run=server", "-o", "name", "-f", "-")
    assert shop.cluster.kubectl(*restricted, stdin=json.dumps(pod)) == "pod/as-root-proxy\n"

    replace(shop, further={}).divide(v1="1", v2="3")
    wait_for("what was made is taken back", lambda: owned(shop) == [], within_seconds=60)
    shop.divide(v1="1", v2="3")
    wait_for("the client is served again", lambda: served(shop), within_seconds=60)
    shop.kubectl("delete", "canaries.smi-spec.io/foobar")
    wait_for("what was made goes with it", lambda: owned(shop) == [], within_seconds=60)


def test_what_is_somebody_elses_is_not_touched(shop: Shop) -> None:
    """By the name that would be made. A root with a selector leads clients to its Pods, until it is taken over."""
    shop.cluster.kubectl(*granting(ROOT_PROXIES, shop.namespace, system=SYSTEM).split()[1:])
    shop.kubectl("create", "serviceaccount", "foobar-root-proxy")
    before = shop.kubectl("get", "serviceaccount", "foobar-root-proxy", "-o", "json")
    shop.weigh(v1="1")
    wait_for("it is said", lambda: "is not Smeagol's" in said(shop, "foobar"), within_seconds=60)
    assert shop.kubectl("get", "serviceaccount", "foobar-root-proxy", "-o", "json") == before
    assert owned(shop) == []
    shop.kubectl("delete", "serviceaccount", "foobar-root-proxy")
    shop.programmed("canaries.smi-spec.io/foobar")

    shop.kubectl("delete", "mutualtls.smi-spec.io", "--all")  # Pods under Strict answer no client without a proxy
    shop.kubectl("patch", "service", "foobar", "-p", '{"spec": {"selector": {"app": "foobar"}}}')
    wait_for("it is said", lambda: "has a selector" in said(shop, "foobar"), within_seconds=60)
    wait_for("clients are led to the Pods alone", lambda: owned(shop) == [], within_seconds=60)
    wait_for("the client is served", lambda: served(shop), within_seconds=60)

    # As docs/operations.md says it, under load.
    with shop.nothing_fails():
        removed = '[{"op": "remove", "path": "/spec/selector"}]'
        shop.kubectl("patch", "service", "foobar", "--type=json", "-p", removed)
        wait_for("root proxies are made", lambda: owned(shop) != [], within_seconds=60)
        shop.programmed("canaries.smi-spec.io/foobar")
        shop.kubectl("delete", "endpoints", "foobar")
        others = "endpointslice.kubernetes.io/managed-by!=root-proxies.smeagol.dev"
        shop.kubectl("delete", "endpointslices", "-l", f"kubernetes.io/service-name=foobar,{others}")
        # Connections that the client keeps stay where they lead, which may be to v2.
        wait_for(
            "new connections lead to root proxies", lambda: set(new_connections(shop)) == {"v1"}, within_seconds=60
        )
