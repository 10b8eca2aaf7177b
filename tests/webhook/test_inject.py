"""What a Pod becomes when it gets its proxy."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from smeagol import api
from smeagol.api.sidecar import ContainerPort, EnvVar, VolumeMount
from smeagol.intent import AddedContainer
from smeagol.plan import ADMIN_SOCKET, AppProbe
from smeagol.plan.proxy_size import ProxySize
from smeagol.webhook import InjectionRefusedError, inject, injected, is_injected, uninjected
from webhook.pods import SETTINGS, bootstrap, container, containers_of, named, pod, pods, result

INIT, PROXY = "smeagol-init", "smeagol-proxy"


def names(of: dict[str, Any], field: str) -> list[str]:
    return [one["name"] for one in of["spec"].get(field) or []]


def refusal(before: dict[str, Any]) -> str:
    with pytest.raises(InjectionRefusedError) as refused:
        inject(before, SETTINGS, bootstrap, wanted=True)
    return str(refused.value)


class TestOrder:
    """Redirect rules first, then the proxy, then all that the Pod brings."""

    def test_the_proxy_is_a_native_sidecar_before_the_pods_own_init_containers(self) -> None:
        """So init containers have the mesh too, and a Job ends when its own containers have ended."""
        after = result(pod(initContainers=[container("migrate")]))
        assert names(after, "initContainers") == [INIT, PROXY, "migrate"]
        assert names(after, "containers") == ["app"]
        assert named(after, PROXY)["restartPolicy"] == "Always"
        assert "restartPolicy" not in named(after, INIT)

    def test_the_application_starts_once_the_proxy_is_ready(self) -> None:
        probe = named(result(pod()), PROXY)["startupProbe"]
        assert probe["httpGet"] == {"path": "/ready", "port": 15021, "scheme": "HTTP"}
        assert named(result(pod()), PROXY)["readinessProbe"]["httpGet"] == probe["httpGet"]

    def test_a_cluster_without_native_sidecars_gets_an_ordinary_container(self) -> None:
        """After the Pod's own, so that `kubectl logs` and `exec` mean the application as before."""
        after = result(pod(initContainers=[container("migrate")]), replace(SETTINGS, native_sidecar=False))
        assert names(after, "initContainers") == [INIT, "migrate"]
        assert names(after, "containers") == ["app", PROXY]
        assert "restartPolicy" not in named(after, PROXY)
        assert "startupProbe" not in named(after, PROXY)


class TestPrivileges:
    """Each container may do what it is there for, and nothing else."""

    def test_the_proxy_has_no_privilege_at_all(self) -> None:
        assert named(result(pod()), PROXY)["securityContext"] == {
            "runAsUser": 1337,
            "runAsGroup": 1337,
            "runAsNonRoot": True,
            "privileged": False,
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        }

    def test_only_the_init_container_may_set_rules(self) -> None:
        """One capability, in a container that ends before the application starts."""
        context = named(result(pod()), INIT)["securityContext"]
        assert context["capabilities"] == {"drop": ["ALL"], "add": ["NET_ADMIN"]}
        assert context["readOnlyRootFilesystem"]
        assert not context["allowPrivilegeEscalation"]
        assert named(result(pod()), INIT)["args"] == ["--uid", "1337"]

    def test_a_pod_that_demands_non_root_gets_its_rules_all_the_same(self) -> None:
        after = result(pod(securityContext={"runAsNonRoot": True, "runAsUser": 1000}))
        assert named(after, INIT)["securityContext"]["runAsNonRoot"] is False
        assert named(after, INIT)["securityContext"]["runAsUser"] == 0

    def test_neither_gets_a_token_for_the_api_server(self) -> None:
        """Our volume is mounted where that token would be, so Kubernetes adds none there."""
        after = result(pod())
        for name in (INIT, PROXY):
            mount = named(after, name)["volumeMounts"][0]
            assert mount == {
                "name": "smeagol",
                "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount",
                "readOnly": True,
            }

    def test_the_token_is_for_the_control_plane_alone(self) -> None:
        """Bound to the Pod, for our audience, and short-lived."""
        volume = result(pod())["spec"]["volumes"][0]
        token, trust = volume["projected"]["sources"]
        assert token == {"serviceAccountToken": {"audience": "smeagol", "expirationSeconds": 3600, "path": "token"}}
        assert trust == {
            "configMap": {"name": "smeagol-ca", "items": [{"key": "control-plane.crt", "path": "control-plane.crt"}]}
        }

    def test_nobody_else_sees_the_admin_socket(self) -> None:
        """Its folder is mounted in the proxy's container alone; what the Pod brings may not have its name."""
        after = result(pod(container("app"), initContainers=[container("setup")]))
        seen_by = {
            (one["name"], mount["mountPath"])
            for one in containers_of(after)
            for mount in one.get("volumeMounts", [])
            if mount["name"] == "smeagol-admin"
        }
        assert seen_by == {(PROXY, str(Path(ADMIN_SOCKET).parent))}
        assert "SMI-I003" in refusal(pod(volumes=[{"name": "smeagol-admin", "emptyDir": {}}]))


DRAIN = ("--drain-strategy", "immediate")
"""Connections whose listener has gone end with the next answer, while what they need is still there."""


class TestSettings:
    """What the installation decides, and what a Pod may say of its own proxy."""

    def test_images_resources_and_arguments_come_from_the_settings(self) -> None:
        size = ProxySize(cpu_request="1m", cpu_limit="", memory_request="2Mi", memory_limit="3Mi", concurrency=7)
        settings = replace(SETTINGS, size=size, image_pull_policy="Never", log_level="debug")
        proxy = named(result(pod(), settings), PROXY)
        assert proxy["image"] == "proxy:1"
        assert proxy["imagePullPolicy"] == "Never"
        assert proxy["resources"] == {"requests": {"cpu": "1m", "memory": "2Mi"}, "limits": {"memory": "3Mi"}}
        assert proxy["command"] == ["envoy"]
        assert proxy["args"][:2] == ["--config-yaml", "bootstrap with 0 probes"]
        assert proxy["args"][2:] == ["--concurrency", "7", "--log-level", "debug", "--disable-hot-restart", *DRAIN]
        assert named(result(pod(), settings), INIT)["image"] == "smeagol:1"

    def test_annotations_of_the_pod_override_them(self) -> None:
        after = result(
            pod(
                annotations={
                    "smeagol.dev/proxy-image": "registry.example.com:5000/envoy@sha256:abc",
                    "smeagol.dev/proxy-cpu-request": "250m",
                    "smeagol.dev/proxy-cpu-limit": "4",
                    "smeagol.dev/proxy-memory-request": "1Gi",
                    "smeagol.dev/proxy-memory-limit": "2Gi",
                    "smeagol.dev/proxy-concurrency": "4",
                    "smeagol.dev/proxy-log-level": "info",
                    "smeagol.dev/exclude-inbound-ports": "9090, 22",
                    "smeagol.dev/exclude-outbound-ports": "5432",
                    "example.com/else": "kept",
                }
            )
        )
        proxy = named(after, PROXY)
        assert proxy["image"] == "registry.example.com:5000/envoy@sha256:abc"
        assert proxy["resources"] == {
            "requests": {"cpu": "250m", "memory": "1Gi"},
            "limits": {"cpu": "4", "memory": "2Gi"},
        }
        assert proxy["args"][2:6] == ["--concurrency", "4", "--log-level", "info"]
        assert named(after, INIT)["args"][2:] == ["--inbound-passed", "22,9090", "--outbound-passed", "5432"]
        assert after["metadata"]["annotations"]["example.com/else"] == "kept"

    def test_what_a_pod_does_not_say_is_as_the_installation_has_it(self) -> None:
        """An annotation before the installation's setting, that before what is usual."""
        settings = replace(SETTINGS, size=ProxySize(cpu_request="50m", concurrency=7))
        proxy = named(result(pod(annotations={"smeagol.dev/proxy-concurrency": "1"}), settings), PROXY)
        assert proxy["resources"]["requests"] == {"cpu": "50m", "memory": "64Mi"}
        assert proxy["args"][2:4] == ["--concurrency", "1"]

    def test_a_request_above_the_limit_names_both_sides(self) -> None:
        """The API server would refuse it by the path of a container that the user has not written."""
        assert refusal(pod(annotations={"smeagol.dev/proxy-memory-limit": "32Mi"})) == (
            "metadata.annotations[smeagol.dev/proxy-memory-limit]: a proxy would ask for more memory (64Mi) than it "
            "may use (32Mi). Give smeagol.dev/proxy-memory-request and smeagol.dev/proxy-memory-limit. [SMI-I001]"
        )

    @pytest.mark.parametrize(
        ("annotation", "value"),
        [
            ("proxy-image", "two words"),
            ("proxy-image", ""),
            ("proxy-cpu-request", "much"),
            ("proxy-cpu-limit", "-1"),
            ("proxy-memory-limit", "0"),
            ("proxy-memory-request", "1GB"),
            ("proxy-concurrency", "0"),
            ("proxy-concurrency", "two"),
            ("proxy-log-level", "loud"),
            ("exclude-inbound-ports", "80,http"),
            ("exclude-outbound-ports", "65536"),
        ],
    )
    def test_an_annotation_that_cannot_be_is_refused_with_its_cure(self, annotation: str, value: str) -> None:
        """Guessing would give the Pod something other than its user asked for."""
        text = refusal(pod(annotations={f"smeagol.dev/{annotation}": value}))
        assert text.startswith(f"metadata.annotations[smeagol.dev/{annotation}]: ")
        assert "Write" in text
        assert text.endswith("[SMI-I001]")

    def test_all_problems_are_told_at_once(self) -> None:
        text = refusal(
            pod(
                container(securityContext={"runAsUser": 1337}, ports=[{"containerPort": 15001}]),
                annotations={"smeagol.dev/proxy-concurrency": "x", "smeagol.dev/proxy-log-level": "x"},
            )
        )
        assert text.count("SMI-I001") == 2
        assert "SMI-I004" in text
        assert "SMI-I005" in text


class TestRefusals:
    """A Pod that is to have a proxy and cannot is not made: without it, it would be open."""

    @pytest.mark.parametrize("name", [INIT, PROXY])
    @pytest.mark.parametrize("field", ["containers", "initContainers"])
    def test_a_users_container_of_our_name(self, name: str, field: str) -> None:
        before = pod()
        before["spec"][field] = [container(name)]
        assert "Rename it, or take the Pod out of the mesh" in refusal(before)

    def test_a_users_volume_of_our_name(self) -> None:
        assert "spec.volumes[0].name" in refusal(pod(volumes=[{"name": "smeagol", "emptyDir": {}}]))

    @pytest.mark.parametrize(
        "before",
        [
            pod(container(securityContext={"runAsUser": 1337})),
            pod(container(), securityContext={"runAsUser": 1337}),
            pod(initContainers=[container("setup", securityContext={"runAsUser": 1337})]),
        ],
    )
    def test_a_container_that_runs_as_the_proxys_user(self, before: dict[str, Any]) -> None:
        """The rules would take its traffic for the proxy's."""
        assert "SMI-I004" in refusal(before)

    def test_a_container_with_a_user_of_its_own_is_none(self) -> None:
        before = pod(container(securityContext={"runAsUser": 1}), securityContext={"runAsUser": 1337})
        assert is_injected(result(before))

    @pytest.mark.parametrize("port", [15001, 15006, 15021, 15090])
    def test_a_port_of_the_proxys(self, port: int) -> None:
        assert f"port {port}" in refusal(pod(container(ports=[{"containerPort": port}])))

    def test_a_udp_port_of_that_number_is_none(self) -> None:
        assert is_injected(result(pod(container(ports=[{"containerPort": 15001, "protocol": "UDP"}]))))

    def test_what_is_not_wanted_is_not_judged(self) -> None:
        """A Pod outside of the mesh may call its containers as it likes."""
        assert inject(pod(container(PROXY)), SETTINGS, bootstrap, wanted=False) == ()


class TestAgain:
    """A webhook is called again when another has changed the Pod after it; a Pod may be a copy of an injected one."""

    @given(pods)
    def test_injecting_twice_is_as_once(self, before: dict[str, Any]) -> None:
        once = result(before)
        assert inject(once, SETTINGS, bootstrap, wanted=True) == ()

    @given(pods)
    def test_taking_the_proxy_out_gives_back_the_pod(self, before: dict[str, Any]) -> None:
        """Probes, annotations, volumes: what the user wrote, exactly."""
        assert uninjected(injected(before, SETTINGS, bootstrap)) == before

    @given(pods)
    def test_the_pod_that_is_asked_about_is_not_changed(self, before: dict[str, Any]) -> None:
        copy = json.loads(json.dumps(before))
        injected(before, SETTINGS, bootstrap)
        assert before == copy

    @given(pods)
    def test_there_is_one_proxy_whatever_the_pod(self, before: dict[str, Any]) -> None:
        after = result(result(before))
        everything = [one["name"] for one in containers_of(after)]
        assert everything.count(INIT) == everything.count(PROXY) == 1
        theirs = [one["name"] for one in containers_of(before)]
        assert [name for name in everything if name not in {INIT, PROXY}] == theirs

    def test_a_container_that_came_later_gets_its_probes_rewritten_too(self) -> None:
        once = result(pod(container(readinessProbe={"httpGet": {"port": 80}})))
        once["spec"]["containers"].append(container("late", livenessProbe={"httpGet": {"port": 81}}))
        twice = result(once)
        for name, probe, path in (("app", "readinessProbe", "readiness"), ("late", "livenessProbe", "liveness")):
            assert named(twice, name)[probe]["httpGet"]["path"] == f"/probes/{name}/{path}"
        assert named(twice, PROXY)["args"][1] == "bootstrap with 2 probes"

    def test_what_others_made_of_our_containers_stays(self) -> None:
        """A webhook that sends all images through a registry, or the server's own defaults."""
        once = result(pod())
        proxy = named(once, PROXY)
        proxy["image"] = "mirror.example.com/proxy:1"
        proxy["terminationMessagePath"] = "/dev/termination-log"
        assert inject(once, SETTINGS, bootstrap, wanted=True) == ()

    def test_a_pod_made_by_other_settings_gets_those_of_now(self) -> None:
        """As a copy of a Pod that was made before an upgrade."""
        old = result(pod(), replace(SETTINGS, proxy_image="proxy:0", audience="old"))
        assert result(old) == result(pod())

    def test_a_container_put_before_ours_goes_behind(self) -> None:
        once = result(pod())
        once["spec"]["initContainers"].insert(0, container("other-mesh"))
        assert names(result(once), "initContainers") == [INIT, PROXY, "other-mesh"]

    @pytest.mark.parametrize("text", ["", "{", "[]", '{"app": 1}'])
    def test_an_annotation_that_somebody_broke_does_no_harm(self, text: str) -> None:
        once = result(pod(container(readinessProbe={"httpGet": {"port": 80}})))
        once["metadata"]["annotations"]["smeagol.dev/original-probes"] = text
        assert is_injected(result(once))


SHIPPER = api.Container(
    name="shipper",
    image="shipper:1",
    env=(EnvVar(name="LEVEL", value="info"),),
    volume_mounts=(VolumeMount(name="logs", mount_path="/logs", read_only=True),),
)
ADDED = (AddedContainer("monitor", SHIPPER), AddedContainer("monitor", api.Container(name="stats", image="stats:1")))
LOGS: dict[str, Any] = {"volumes": [{"name": "logs", "emptyDir": {}}]}


class TestContainersOfSidecars:
    """SMI-SIDE-07: they run from before the application starts until after it has ended."""

    def test_native_sidecars_behind_the_proxy(self) -> None:
        after = result(pod(initContainers=[container("migrate")], **LOGS), added=ADDED)
        assert names(after, "initContainers") == [INIT, PROXY, "shipper", "stats", "migrate"]
        assert named(after, "shipper") == {
            "name": "shipper",
            "image": "shipper:1",
            "env": [{"name": "LEVEL", "value": "info"}],
            "volumeMounts": [{"name": "logs", "mountPath": "/logs", "readOnly": True}],
            "restartPolicy": "Always",
        }

    def test_a_cluster_without_native_sidecars(self) -> None:
        after = result(pod(**LOGS), replace(SETTINGS, native_sidecar=False), ADDED)
        assert names(after, "containers") == ["app", PROXY, "shipper", "stats"]
        assert "restartPolicy" not in named(after, "shipper")

    @given(pods)
    def test_again_and_back(self, before: dict[str, Any]) -> None:
        """A second call changes nothing, without them the Pod is as the user wrote it, and it comes to that again."""
        added = ADDED[1:]
        once = result(before, added=added)
        assert inject(once, SETTINGS, bootstrap, wanted=True, added=added) == ()
        assert uninjected(injected(before, SETTINGS, bootstrap, added)) == before
        assert result(once) == result(before)

    def test_what_others_made_of_them_stays_until_the_sidecar_changes(self) -> None:
        once = result(pod(), added=ADDED[1:])
        named(once, "stats")["image"] = "mirror.example.com/stats:1"
        assert inject(once, SETTINGS, bootstrap, wanted=True, added=ADDED[1:]) == ()
        newer = (AddedContainer("monitor", api.Container(name="stats", image="stats:2")),)
        assert named(result(once, added=newer), "stats")["image"] == "stats:2"

    @pytest.mark.parametrize("field", ["containers", "initContainers"])
    def test_a_name_of_the_pods_own(self, field: str) -> None:
        before = pod(**LOGS)
        before["spec"][field] = [container("shipper")]
        with pytest.raises(InjectionRefusedError, match=r"'shipper' of Sidecar monitor.*\[SMI-I007\]"):
            inject(before, SETTINGS, bootstrap, wanted=True, added=ADDED)

    def test_a_volume_that_the_pod_lacks(self) -> None:
        """The proxy's own, with its token, are none of them."""
        with pytest.raises(InjectionRefusedError, match="no volume 'logs'"):
            inject(pod(), SETTINGS, bootstrap, wanted=True, added=ADDED)
        mounts = (VolumeMount(name="smeagol", mount_path="/token"),)
        spy = AddedContainer("spy", api.Container(name="spy", image="spy", volume_mounts=mounts))
        with pytest.raises(InjectionRefusedError, match="no volume 'smeagol'"):
            inject(result(pod()), SETTINGS, bootstrap, wanted=True, added=(spy,))

    def test_a_port_of_the_proxys(self) -> None:
        greedy = api.Container(name="greedy", image="greedy", ports=(ContainerPort(container_port=15021),))
        with pytest.raises(InjectionRefusedError, match="SMI-I005"):
            inject(pod(), SETTINGS, bootstrap, wanted=True, added=(AddedContainer("monitor", greedy),))


class TestShapes:
    """Pods as the API server lets them be."""

    @pytest.mark.parametrize(
        "empty", [{"initContainers": None, "volumes": None}, {"initContainers": [], "volumes": []}, {}]
    )
    def test_absent_empty_and_null_lists_are_the_same(self, empty: dict[str, Any]) -> None:
        after = result(pod(**empty))
        assert names(after, "initContainers") == [INIT, PROXY]
        assert [volume["name"] for volume in after["spec"]["volumes"]] == ["smeagol", "smeagol-admin"]

    def test_a_pod_without_metadata_worth_mentioning(self) -> None:
        before = pod()
        before["metadata"] = {"generateName": "web-", "annotations": None}
        assert is_injected(result(before))

    def test_a_large_pod_costs_a_small_patch(self) -> None:
        """A hundred containers with long environments are not sent back."""
        env = [{"name": f"V{n}", "value": "x" * 100} for n in range(100)]
        before = pod(*(container(f"c{n}", env=env) for n in range(100)))
        patch = inject(before, SETTINGS, bootstrap, wanted=True)
        assert {operation.op for operation in patch} == {"add"}
        assert len(str(patch)) < 10_000

    def test_the_name_of_the_bootstraps_node_is_left_to_the_kubelet(self) -> None:
        """The name of a Pod of a ReplicaSet is made after admission, its address still later."""
        env = named(result(pod()), PROXY)["env"]
        assert {one["name"]: one["valueFrom"]["fieldRef"]["fieldPath"] for one in env} == {
            "POD_NAME": "metadata.name",
            "POD_NAMESPACE": "metadata.namespace",
            "POD_IP": "status.podIP",
        }

    def test_probes_are_given_to_the_bootstrap(self) -> None:
        seen: list[tuple[AppProbe, ...]] = []

        def remember(probes: tuple[AppProbe, ...]) -> str:
            seen.append(probes)
            return ""

        injected(pod(container(readinessProbe={"tcpSocket": {"port": 80}})), SETTINGS, remember)
        assert [probe.port for probes in seen for probe in probes] == [80]
