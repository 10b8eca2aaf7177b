"""Adapters on a real API server with the real CRDs of the Gateway API; the mesh's answers are written by the test."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.cluster.commands import wait_for
from e2e_kit.adapters import Replica
from e2e_kit.apiserver import ApiServer, Json, api_server, canary, condition, smeagol
from peers_kit.judge import load
from smeagol.infra.kubernetes.connection import connect
from smeagol.runtime.adapters import AdapterController, adapters_named
from smeagol.runtime.controller import ControllerSettings
from smeagol.sources.kubernetes import Reflector
from smeagol.sources.kubernetes.peers import kind_of

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("api-adapters")]

ADAPTERS = ("gateway-api", "smi")
CLASSES = """
apiVersion: smi-spec.io/v1beta1
kind: ProviderClass
metadata: {name: gateway-api}
spec: {controllerName: smeagol.dev/gateway-api}
---
apiVersion: smi-spec.io/v1beta1
kind: ProviderClass
metadata: {name: smi}
spec: {controllerName: smeagol.dev/smi}
"""


@pytest.fixture(scope="module")
def api() -> Iterator[ApiServer]:
    with api_server() as server:
        load(server.cluster, "gateway-api/standard")
        server.apply(CLASSES)
        yield server


@pytest.fixture(scope="module")
def control(api: ApiServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One replica that runs; the namespace that it is in."""
    namespace = api.namespace()
    replica = Replica(api, namespace, tmp_path_factory.mktemp("steady"), *ADAPTERS)
    try:
        yield namespace
        assert replica.stop() in {0, -signal.SIGTERM}
    finally:
        replica.end()


@pytest.fixture
def shop(api: ApiServer) -> str:
    """A namespace of the class `gateway-api` with a root and two versions of it."""
    namespace = api.namespace()
    api.kubectl("label", "namespace", namespace, "smi-spec.io/provider-class=gateway-api")
    for number, version in enumerate(("v1", "v2"), 1):
        api.pod(f"web-{version}", f"10.244.1.{number}", namespace, proxy=False)
        api.service(f"web-{version}", namespace)
    api.service("web", namespace, app="web-v1")
    return namespace


def routes(api: ApiServer, namespace: str) -> dict[str, Json]:
    return {route["metadata"]["name"]: route for route in api.items("httproutes.gateway.networking.k8s.io", namespace)}


def weights(api: ApiServer, namespace: str) -> dict[str, dict[str, int]]:
    """Backend and weight, by route."""
    return {
        name: {ref["name"]: ref["weight"] for rule in route["spec"]["rules"] for ref in rule["backendRefs"]}
        for name, route in routes(api, namespace).items()
        if name.startswith("smi-")
    }


def becomes(api: ApiServer, namespace: str, wanted: dict[str, dict[str, int]]) -> None:
    wait_for(f"the routes are {wanted}", lambda: weights(api, namespace) == wanted, within_seconds=120)


def told(api: ApiServer, what: str, name: str, namespace: str, **wanted: str) -> Json:
    """The object, once its conditions are as wanted: `Accepted="True/Accepted"`."""

    def found() -> Json | None:
        obj = api.get(what, name, namespace)
        has = {kind: condition(obj, kind) for kind in wanted}
        is_there = all(f"{has[kind].get('status')}/{has[kind].get('reason')}" == wanted[kind] for kind in wanted)
        return obj if is_there else None

    return wait_for(f"{what} {name}: {wanted}", found, within_seconds=150)


def answer(api: ApiServer, route: Json, *, accepted: str = "True", reason: str = "Accepted") -> None:
    """What a mesh's control plane writes into a route's status."""
    moment = "2026-01-01T00:00:00Z"
    conditions = [
        {
            "type": kind,
            "status": status,
            "reason": why,
            "message": f"{why}.",
            "lastTransitionTime": moment,
            "observedGeneration": route["metadata"]["generation"],
        }
        for kind, status, why in (("Accepted", accepted, reason), ("ResolvedRefs", "True", "ResolvedRefs"))
    ]
    parents = [
        {
            "parentRef": route["spec"]["parentRefs"][0],
            "controllerName": "mesh.example/control",
            "conditions": conditions,
        }
    ]
    api.kubectl(
        "-n",
        route["metadata"]["namespace"],
        "patch",
        "httproute",
        route["metadata"]["name"],
        "--subresource=status",
        "--type=merge",
        "-p",
        json.dumps({"status": {"parents": parents}}),
    )


FOREIGN = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: {name}}}
spec:
  parentRefs: [{{group: "", kind: Service, name: {service}, port: 80}}]
  rules: [{{backendRefs: [{{name: web-v2, port: 80}}]}}]
"""


def test_what_became_superfluous_while_nobody_ran_is_deleted(api: ApiServer, shop: str, tmp_path: Path) -> None:
    """What is made follows from what is there, and not from what a process has seen; and it goes with its owner even
    where nobody runs any more. The first test, since in those
    below a replica runs all the time.
    """
    namespace = api.namespace()
    replicas = []
    try:
        (tmp_path / "first").mkdir()
        replicas.append(Replica(api, namespace, tmp_path / "first", *ADAPTERS))
        api.apply(canary("web", "web", v1="1"), shop)
        becomes(api, shop, {"smi-web-80": {"web-v1": 1}})
        assert replicas[0].stop() in {0, -signal.SIGTERM}
        api.kubectl("label", "namespace", shop, "--overwrite", "smi-spec.io/provider-class=smeagol")
        assert weights(api, shop)
        (tmp_path / "second").mkdir()
        replicas.append(Replica(api, namespace, tmp_path / "second", *ADAPTERS))
        becomes(api, shop, {})
        api.kubectl("label", "namespace", shop, "--overwrite", "smi-spec.io/provider-class=gateway-api")
        becomes(api, shop, {"smi-web-80": {"web-v1": 1}})
        assert replicas[1].stop() in {0, -signal.SIGTERM}
        # As an uninstallation does it, which takes the users' objects along.
        api.kubectl("-n", shop, "delete", "canary.smi-spec.io", "web")
        becomes(api, shop, {})
    finally:
        for replica in replicas:
            replica.end()


@pytest.mark.usefixtures("control")
class TestCanary:
    def test_created_changed_and_deleted(self, api: ApiServer, shop: str) -> None:
        """SMI-CAN-17, SMI-STATUS-11: the route follows the Canary, and Programmed follows the mesh."""
        api.apply(canary("web", "web", v1="1", v2="500m"), shop)
        becomes(api, shop, {"smi-web-80": {"web-v1": 2, "web-v2": 1}})
        route = routes(api, shop)["smi-web-80"]
        assert route["metadata"]["ownerReferences"][0]["kind"] == "Canary"
        obj = told(api, "canary", "web", shop, Accepted="True/Accepted", Programmed="False/Pending")
        assert obj["status"]["providers"][0]["controllerName"] == "smeagol.dev/gateway-api"

        answer(api, route)
        obj = told(api, "canary", "web", shop, Programmed="True/Programmed", FullySupported="True/FullySupported")
        assert "mesh.example/control" in condition(obj, "Programmed")["message"]

        api.apply(canary("web", "web", v1="0", v2="1"), shop)
        becomes(api, shop, {"smi-web-80": {"web-v1": 0, "web-v2": 1}})
        told(api, "canary", "web", shop, Programmed="False/Pending")
        answer(api, routes(api, shop)["smi-web-80"], accepted="False", reason="NotAllowedByListeners")
        obj = told(api, "canary", "web", shop, Programmed="False/Rejected")
        assert "NotAllowedByListeners" in condition(obj, "Programmed")["message"]

        api.kubectl("-n", shop, "delete", "canary.smi-spec.io", "web")
        becomes(api, shop, {})

    def test_nobody_answers(self, api: ApiServer, shop: str) -> None:
        """SMI-STATUS-11: silence is told, and does not last for ever."""
        api.apply(canary("web", "web", v1="1"), shop)
        told(api, "canary", "web", shop, Programmed="False/NoController")

    def test_what_others_change_in_our_object_is_changed_back(self, api: ApiServer, shop: str) -> None:
        """SMI-COMMON-03, and an object deleted behind our back is made again."""
        api.apply(canary("web", "web", v1="1", v2="1"), shop)
        becomes(api, shop, {"smi-web-80": {"web-v1": 1, "web-v2": 1}})
        patch = json.dumps([{"op": "replace", "path": "/spec/rules/0/backendRefs/0/weight", "value": 7}])
        api.kubectl("-n", shop, "patch", "httproute", "smi-web-80", "--type=json", "-p", patch)
        becomes(api, shop, {"smi-web-80": {"web-v1": 1, "web-v2": 1}})
        made_for = routes(api, shop)["smi-web-80"]["metadata"]["annotations"]
        api.kubectl("-n", shop, "annotate", "httproute", "smi-web-80", "smi-spec.io/made-for-")  # no other generation
        wait_for(
            "the annotation is there again",
            lambda: routes(api, shop)["smi-web-80"]["metadata"].get("annotations") == made_for,
            within_seconds=60,
        )
        uid = routes(api, shop)["smi-web-80"]["metadata"]["uid"]
        api.kubectl("-n", shop, "delete", "httproute", "smi-web-80")
        becomes(api, shop, {"smi-web-80": {"web-v1": 1, "web-v2": 1}})
        assert routes(api, shop)["smi-web-80"]["metadata"]["uid"] != uid

    def test_an_older_foreign_route_wins(self, api: ApiServer, shop: str) -> None:
        """SMI-COMMON-04, SMI-STATUS-12: nothing is made beside it, until it goes."""
        api.apply(FOREIGN.format(name="theirs", service="web"), shop)
        before = routes(api, shop)["theirs"]
        api.apply(canary("web", "web", v1="1"), shop)
        obj = told(api, "canary", "web", shop, Accepted="False/Conflicted")
        assert f"HTTPRoute {shop}/theirs" in condition(obj, "Accepted")["message"]
        assert routes(api, shop) == {"theirs": before}
        api.kubectl("-n", shop, "delete", "httproute", "theirs")
        becomes(api, shop, {"smi-web-80": {"web-v1": 1}})
        told(api, "canary", "web", shop, Accepted="True/Accepted")

    def test_a_foreign_object_of_our_name_is_not_adopted(self, api: ApiServer, shop: str) -> None:
        """SMI-STATUS-12: not one byte of it changes, even if it carries our labels."""
        foreign = FOREIGN.format(name="smi-web-80", service="other").replace(
            "smi-web-80}", "smi-web-80, labels: {smi-spec.io/made-by: gateway-api}}"
        )
        api.apply(foreign, shop)
        before = routes(api, shop)
        api.apply(canary("web", "web", v1="1"), shop)
        told(api, "canary", "web", shop, Accepted="False/Conflicted")
        api.kubectl("-n", shop, "delete", "canary.smi-spec.io", "web")
        api.apply(canary("next", "web", v1="1"), shop)
        becomes(api, shop, {"smi-web-80": {"web-v2": 1}, "smi-next-80": {"web-v1": 1}})
        assert routes(api, shop)["smi-web-80"] == before["smi-web-80"]

    def test_a_change_of_class_cleans_up(self, api: ApiServer, shop: str) -> None:
        """SMI-CLASS-04: what was made for the old class goes, and so does what was said."""
        api.apply(canary("web", "web", v1="1"), shop)
        becomes(api, shop, {"smi-web-80": {"web-v1": 1}})
        told(api, "canary", "web", shop, Accepted="True/Accepted")
        api.apply(canary("web", "web", v1="1").replace("spec: {", "spec: {providerClassName: smeagol, "), shop)
        becomes(api, shop, {})
        wait_for("our part is taken back", lambda: not api.get("canary", "web", shop).get("status"), within_seconds=60)


@pytest.mark.usefixtures("control")
class TestWhatCannotBe:
    def test_mutual_tls_fails_closed(self, api: ApiServer, shop: str) -> None:
        """SMI-MTLS-23: nothing is created, and status says so."""
        api.apply(
            "{apiVersion: smi-spec.io/v1beta1, kind: MutualTLS, metadata: {name: all}, spec: {selector: {}}}", shop
        )
        obj = told(api, "mutualtls", "all", shop, Programmed="False/Unsupported", FullySupported="False/Unsupported")
        (unsupported,) = obj["status"]["providers"][0]["unsupported"]
        assert (unsupported["field"], unsupported["feature"]) == ("spec", "MutualTLS")

    def test_providers_lists_what_the_cluster_has(self, api: ApiServer) -> None:
        """Read from the API server: the mesh's kinds and version, and the features that follow."""
        shown = json.loads(smeagol("providers", "--kubeconfig", str(api.cluster.kubeconfig), "-o", "json"))
        found = {one["name"]: one for one in shown}["gateway-api"]
        assert found["features"] == ["Canary", "CanaryTCP"]
        assert found["mesh"]["version"].endswith("(standard)")
        assert "HTTPRoute.gateway.networking.k8s.io/v1" in found["mesh"]["kinds"]

    def test_the_class_says_whether_the_peer_is_there(self, api: ApiServer) -> None:
        """SMI-CLASS-08; and when its CRD comes, it is noticed."""
        obj = told(api, "providerclass", "gateway-api", "default", Accepted="True/Accepted")
        assert obj["status"]["supportedFeatures"] == ["Canary", "CanaryTCP"]
        told(api, "providerclass", "smi", "default", Accepted="False/UnsupportedPeer")
        load(api.cluster, "smi")
        told(api, "providerclass", "smi", "default", Accepted="True/Accepted")

    def test_a_mesh_that_says_nothing(self, api: ApiServer, shop: str) -> None:
        """SMI-STATUS-11: a TrafficSplit has no status, so Programmed is unknown."""
        load(api.cluster, "smi")
        api.apply(canary("web", "web", v1="1").replace("spec: {", "spec: {providerClassName: smi, "), shop)
        told(api, "canary", "web", shop, Programmed="Unknown/Unacknowledged")
        (split,) = api.items("trafficsplits.split.smi-spec.io", shop)
        assert split["spec"] == {"service": "web", "backends": [{"service": "web-v1", "weight": 1}]}


@pytest.mark.usefixtures("control")
async def test_what_the_leader_before_has_made_is_not_taken_for_somebody_elses(api: ApiServer, shop: str) -> None:
    """The watch of one that has just come to lead may be behind what the last one did. A TrafficSplit may be empty: one
    that is given up loses all it has.
    """
    load(api.cluster, "smi")
    api.apply(canary("web", "web", v1="1").replace("spec: {", "spec: {providerClassName: smi, "), shop)
    before = wait_for("the split", lambda: api.items("trafficsplits.split.smi-spec.io", shop), within_seconds=60)
    async with connect(api.cluster.kubeconfig) as client:
        late = AdapterController(ControllerSettings(identity="late"), client=client, providers=adapters_named(["smi"]))
        (adapter,) = late.adapters
        reading = [asyncio.create_task(reflector.run()) for reflector in late.watches]
        await asyncio.gather(*(reflector.synced.wait() for reflector in late.watches))
        await late._look_for(adapter)
        never = asyncio.create_task(asyncio.sleep(0))
        for kind in adapter.provider.peer.served:
            late._peer_reflectors[kind] = (Reflector(client, kind_of(kind), lambda _: None), never)
        assert not await late._serve(adapter)
        for task in reading:
            task.cancel()
        await asyncio.wait(reading)
    assert api.items("trafficsplits.split.smi-spec.io", shop) == before
