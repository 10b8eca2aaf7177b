"""The webhooks under a real API server: its defaults, its validation, its order of things."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import yaml

from e2e.cluster.commands import wait_for
from e2e.cluster.errors import ClusterError
from e2e_kit.apiserver import api_server, canary
from intent.builders import mutual_tls, sidecar
from smeagol import api
from smeagol.api.sidecar import ContainerPort, EnvVar, EnvVarSource, FieldRef, Resources
from smeagol.infra.kubernetes.connection import connect
from smeagol.webhook import (
    is_injected,
    trust_config_map,
)
from webhook.pods import SETTINGS, container, containers_of, named
from webhook.under_api_server import INIT, INJECT, PROXY, Json, Webhooks

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300), pytest.mark.xdist_group("webhook")]


@pytest.fixture(scope="module")
def webhooks() -> Iterator[Webhooks]:
    with api_server() as api:
        made = Webhooks(api)
        made.configure()
        yield made


def pod(*containers: Json, name: str = "web", labels: Mapping[str, str] | None = None, **spec: Any) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": dict(labels or {})},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": list(containers) or [container()], **spec},
    }


ALL_PROBES = container(
    ports=[{"name": "web", "containerPort": 8080}],
    startupProbe={"httpGet": {"path": "/start", "port": "web", "httpHeaders": [{"name": "Host", "value": "x"}]}},
    readinessProbe={"tcpSocket": {"port": "web"}, "periodSeconds": 3},
    livenessProbe={"grpc": {"port": 9000, "service": "cart"}},
    lifecycle={"preStop": {"httpGet": {"path": "/drain", "port": 8080, "scheme": "HTTPS"}}},
)
SHAPES = {
    "plain": pod(),
    "probes": pod(ALL_PROBES, container("exec", livenessProbe={"exec": {"command": ["true"]}})),
    "init containers": pod(
        initContainers=[
            container("setup"),
            container("own-sidecar", restartPolicy="Always", startupProbe={"httpGet": {"port": 1234}}),
        ]
    ),
    "non-root": pod(securityContext={"runAsNonRoot": True, "runAsUser": 1000, "fsGroup": 2000}),
    "volumes": pod(volumes=[{"name": "data", "emptyDir": {}}], automountServiceAccountToken=False),
    "many containers": pod(*(container(f"c{n}", env=[{"name": "X", "value": "y" * 1000}]) for n in range(60))),
    "user namespace": pod(hostUsers=False),
    "own restart rules": pod(container(restartPolicy="Never"), restartPolicy="Never"),
}


class TestInjection:
    @pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
    def test_the_api_server_takes_what_becomes_of_a_pod(self, webhooks: Webhooks, shape: Json) -> None:
        """Its validation finds nothing wrong with our containers, whatever they stand beside."""
        with webhooks.running():
            stored = webhooks.make(webhooks.namespace(inject="enabled"), shape)
        assert is_injected(stored)
        assert [one["name"] for one in stored["spec"]["initContainers"][:2]] == [INIT, PROXY]
        theirs = [one["name"] for one in containers_of(shape)]
        assert [one["name"] for one in containers_of(stored)[2:]] == theirs

    def test_probes_are_the_proxys_to_answer(self, webhooks: Webhooks) -> None:
        with webhooks.running():
            stored = webhooks.make(webhooks.namespace(inject="enabled"), pod(ALL_PROBES))
        app = named(stored, "app")
        assert app["startupProbe"]["httpGet"]["port"] == app["readinessProbe"]["httpGet"]["port"] == 15021
        assert app["readinessProbe"]["periodSeconds"] == 3
        assert app["livenessProbe"]["grpc"] == {"port": 15030, "service": "cart"}
        assert app["lifecycle"]["preStop"]["httpGet"]["path"] == "/probes/app/pre-stop"

    def test_our_containers_get_no_token_for_the_api_server(self, webhooks: Webhooks) -> None:
        """The application has it as before."""
        with webhooks.running():
            stored = webhooks.make(webhooks.namespace(inject="enabled"), pod())
        for name in (INIT, PROXY):
            mounts = [mount["name"] for mount in named(stored, name)["volumeMounts"]]
            assert "smeagol" in mounts
            assert not any(mount.startswith("kube-api-access") for mount in mounts)
        assert [mount["name"].startswith("kube-api-access") for mount in named(stored, "app")["volumeMounts"]] == [True]

    def test_selected_by_an_object(self, webhooks: Webhooks) -> None:
        namespace = webhooks.namespace()
        webhooks.world.add(mutual_tls("m", labels={"app": "cart"}, namespace=namespace))
        with webhooks.running():
            assert is_injected(webhooks.make(namespace, pod(name="cart", labels={"app": "cart"})))
            assert not is_injected(webhooks.make(namespace, pod(name="web", labels={"app": "web"})))
            out = pod(name="out", labels={"app": "cart", INJECT: "disabled"})
            assert not is_injected(webhooks.make(namespace, out))

    @pytest.mark.parametrize("kind", ["Deployment", "Job", "StatefulSet"])
    def test_pods_of_controllers(self, webhooks: Webhooks, kind: str) -> None:
        """They come without a name, and from inside the cluster."""
        namespace = webhooks.namespace(inject="enabled")
        template: Json = {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [container()]}}
        spec: Json = {"selector": {"matchLabels": {"app": "x"}}, "template": template}
        if kind == "Job":
            template["spec"]["restartPolicy"] = "Never"
            spec = {"template": template}
        given = {"apiVersion": "batch/v1" if kind == "Job" else "apps/v1", "kind": kind, "metadata": {"name": "x"}}
        with webhooks.running():
            webhooks.api.apply(json.dumps({**given, "spec": spec}), namespace)
            wait_for("a Pod", lambda: webhooks.api.items("pods", namespace), within_seconds=60)
        (stored,) = webhooks.api.items("pods", namespace)
        assert is_injected(stored)

    def test_a_webhook_after_ours_makes_ours_be_asked_again(self, webhooks: Webhooks) -> None:
        """What it adds has its probes rewritten; what it changed stays; there is one proxy."""
        with webhooks.running():
            stored = webhooks.make(webhooks.namespace(inject="enabled"), pod(labels={"late": "yes"}))
        assert [one["name"] for one in containers_of(stored)] == [INIT, PROXY, "app", "late"]
        assert named(stored, "late")["livenessProbe"]["httpGet"]["path"] == "/probes/late/liveness"
        assert named(stored, PROXY)["image"] == f"mirror.example.com/{SETTINGS.proxy_image}"
        assert "probe-http-81" in named(stored, PROXY)["args"][1]

    def test_a_pod_that_was_copied_has_one_proxy(self, webhooks: Webhooks) -> None:
        """`kubectl get pod -o yaml`, a new name, `kubectl create`."""
        namespace = webhooks.namespace(inject="enabled")
        with webhooks.running():
            first = webhooks.make(namespace, pod(ALL_PROBES))
            copy = {**first, "metadata": {**first["metadata"], "name": "copy"}}
            for field in ("resourceVersion", "uid", "creationTimestamp"):
                del copy["metadata"][field]
            second = webhooks.make(namespace, copy)
        assert second["spec"] == first["spec"]
        assert second["metadata"]["annotations"] == first["metadata"]["annotations"]

    def test_the_containers_of_a_sidecar(self, webhooks: Webhooks) -> None:
        """SMI-SIDE-07: native sidecars behind the proxy, which a copy of the Pod has once, and as they are by then."""
        namespace = webhooks.namespace()
        stats = api.Container(
            name="stats",
            image="stats:1",
            env=(EnvVar(name="POD", value_from=EnvVarSource(field_ref=FieldRef(field_path="metadata.name"))),),
            ports=(ContainerPort(container_port=9102),),
            resources=Resources(limits={"cpu": 1, "memory": "64Mi"}),
        )
        webhooks.world.add(sidecar("s", namespace=namespace, containers=(stats,)))
        with webhooks.running():
            first = webhooks.make(namespace, pod(labels={"late": "yes"}))
            assert [one["name"] for one in containers_of(first)] == [INIT, PROXY, "stats", "app", "late"]
            made = named(first, "stats")
            assert (made["restartPolicy"], made["resources"]["limits"]["cpu"]) == ("Always", "1")
            assert made["image"] == "mirror.example.com/stats:1"
            newer = api.Container(name="stats", image="stats:2")
            webhooks.world.add(sidecar("s", namespace=namespace, containers=(newer,)))
            copy = {**first, "metadata": {"name": "copy", "annotations": first["metadata"]["annotations"]}}
            second = webhooks.make(namespace, copy)
        assert [one["name"] for one in containers_of(second)] == [INIT, PROXY, "stats", "app", "late"]
        assert named(second, "stats")["image"] == "stats:2"

    def test_a_refusal_reaches_the_user(self, webhooks: Webhooks) -> None:
        namespace = webhooks.namespace(inject="enabled")
        with webhooks.running(), pytest.raises(ClusterError) as refused:
            webhooks.make(namespace, pod(container(PROXY)))
        assert "a container may not be called 'smeagol-proxy' in a Pod with a proxy. Rename it" in str(refused.value)
        assert "[SMI-I003]" in str(refused.value)

    def test_the_roots_are_where_the_pods_look(self, webhooks: Webhooks) -> None:
        """The ConfigMap that is published is the one that the volume names."""
        namespace = webhooks.namespace(inject="enabled")
        bundle = webhooks.authority.trust_bundle_pem
        webhooks.api.apply(json.dumps(trust_config_map(namespace, own=bundle, mesh=b"")), namespace)
        with webhooks.running():
            stored = webhooks.make(namespace, pod())
        (volume,) = [v for v in stored["spec"]["volumes"] if v["name"] == "smeagol"]
        (source,) = [s["configMap"] for s in volume["projected"]["sources"] if "configMap" in s]
        published = webhooks.api.get("configmap", source["name"], namespace)
        assert published["data"][source["items"][0]["key"]] == bundle.decode()

    async def test_five_hundred_at_once(self, webhooks: Webhooks) -> None:
        """All made, all with their proxies, none after a timeout."""
        namespace = webhooks.namespace(inject="enabled")
        with webhooks.running():
            async with connect(webhooks.api.cluster.kubeconfig) as client:
                client.timeout = 120
                path = f"/api/v1/namespaces/{namespace}/pods"
                made = await asyncio.gather(*(client.post(path, json=pod(name=f"p{n}")) for n in range(500)))
                assert {answer.status_code for answer in made} == {201}
                assert all(is_injected(answer.json()) for answer in made)
        # Nothing runs them; as objects they would slow down the tests that follow.
        webhooks.api.kubectl("delete", "namespace", namespace, "--wait=false")


class TestNobodyAnswers:
    """The control plane is away: no test here starts the server."""

    def test_who_asked_for_a_proxy_waits(self, webhooks: Webhooks) -> None:
        """The message names the webhook, and the Pod is not made without its proxy."""
        with pytest.raises(ClusterError, match=r"namespace\.inject\.smi-spec\.io"):
            webhooks.make(webhooks.namespace(inject="enabled"), pod())
        with pytest.raises(ClusterError, match=r"pod\.inject\.smi-spec\.io"):
            webhooks.make(webhooks.namespace(), pod(labels={INJECT: "enabled"}))

    def test_everyone_else_does_not(self, webhooks: Webhooks) -> None:
        assert not is_injected(webhooks.make(webhooks.namespace(), pod()))
        assert not is_injected(webhooks.make(webhooks.namespace(inject="enabled"), pod(labels={INJECT: "disabled"})))

    def test_the_cluster_and_smeagol_itself_can_come_back(self, webhooks: Webhooks) -> None:
        """Whatever the labels say."""
        enabled = {INJECT: "enabled"}
        for namespace in ("kube-system", webhooks.place.namespace):
            webhooks.api.kubectl("label", "--overwrite", "namespace", namespace, f"{INJECT}=enabled")
            wait_for(
                "a service account",
                lambda namespace=namespace: webhooks.api.items("serviceaccounts", namespace),  # type: ignore[misc]  # a default makes it this turn's
                within_seconds=60,
            )
            assert not is_injected(webhooks.make(namespace, pod(labels=enabled)))
        own_network = pod(hostNetwork=True, labels=enabled)
        assert not is_injected(webhooks.make(webhooks.namespace(inject="enabled"), own_network))

    def test_users_objects_are_taken(self, webhooks: Webhooks) -> None:
        webhooks.api.apply(canary("web", "web", v1="1"), webhooks.namespace())


class TestValidation:
    def test_warnings_are_shown_by_kubectl(self, webhooks: Webhooks) -> None:
        """The object is made; what its status will say is heard at once."""
        namespace = webhooks.namespace()
        with webhooks.running():
            said = webhooks.warnings(namespace, canary("web", "web", v1="1"))
        assert said.startswith(f"Warning: spec.service: the root Service {namespace}/web does not exist. ")
        assert webhooks.api.get("canary", "web", namespace)["spec"]["service"] == "web"

    def test_an_update_is_foreseen_too(self, webhooks: Webhooks) -> None:
        namespace = webhooks.namespace()
        given = yaml.safe_load(
            """
            apiVersion: smi-spec.io/v1beta1
            kind: MutualTLS
            metadata: {name: m}
            spec: {selector: {}}
            """
        )
        with webhooks.running():
            webhooks.warnings(namespace, yaml.safe_dump(given))
            given["spec"]["clientSubjectNames"] = ["db.elsewhere.svc.cluster.local"]
            assert "belongs to namespace 'elsewhere'" in webhooks.warnings(namespace, yaml.safe_dump(given))
