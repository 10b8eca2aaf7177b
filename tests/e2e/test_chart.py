"""The Helm chart with the real Helm: the same objects as `smeagol install`, installed, upgraded and removed."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from e2e.cluster.binaries import helm as helm_program
from e2e.cluster.cluster import Cluster
from e2e.cluster.commands import wait_for
from e2e.images import Images
from smeagol import __version__
from smeagol.cli import build
from smeagol.install import InstallSettings, manifests
from smeagol.install.resources import FIELD_MANAGER, NAMESPACE

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900), pytest.mark.xdist_group("cluster")]

CHART = Path(__file__).parents[2] / "deploy" / "helm" / "smeagol"
SYSTEM = "smeagol-system"
WEBHOOKS = "mutatingwebhookconfigurations,validatingwebhookconfigurations"


@pytest.fixture(scope="module")
def helm() -> Path:
    if not os.environ.get("SMEAGOL_E2E"):
        pytest.skip("Helm is built for `make e2e` (SMEAGOL_E2E is not set)")
    return helm_program()


def run(program: Path, *arguments: str | Path, cluster: Cluster | None = None) -> str:
    """What it prints; AssertionError with what it complains of."""
    where = ["--kubeconfig", str(cluster.kubeconfig)] if cluster else []
    done = subprocess.run([program, *map(str, arguments), *where], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def templated(helm: Path, *arguments: str, namespace: str = SYSTEM) -> dict[str, Any]:
    """The objects that Helm makes, by kind and name, definitions included."""
    text = run(helm, "template", "smeagol", CHART, "--include-crds", "--namespace", namespace, *arguments)
    return {f"{found['kind']} {found['metadata']['name']}": found for found in yaml.safe_load_all(text) if found}


def installed(**settings: Any) -> dict[str, Any]:
    """Those of `smeagol install`, less the namespace, and as if they were Helm's."""
    wanted = manifests(InstallSettings(**{"version": __version__, "image": f"smeagol:{__version__}"} | settings))
    objects = json.loads(
        json.dumps([m.to_json() for m in wanted if m.resource != NAMESPACE]).replace(FIELD_MANAGER, "Helm")
    )
    for found in objects:
        if found["kind"] == "CustomResourceDefinition":
            del found["metadata"]["labels"]["app.kubernetes.io/managed-by"]
    return {f"{found['kind']} {found['metadata']['name']}": found for found in objects}


def test_lint_has_nothing_to_say(helm: Path) -> None:
    """Warnings are failures."""
    assert "0 chart(s) failed" in run(helm, "lint", "--strict", CHART)


def test_it_makes_the_objects_of_smeagol_install(helm: Path) -> None:
    """All of them, each the same, by default."""
    assert templated(helm) == installed()


def test_it_makes_them_for_other_values_too(helm: Path) -> None:
    """Every value reaches each place that its option reaches."""
    values = ["--set", "image=r.example/s:2,proxyImage=r.example/e:3,replicas=3,clusterDomain=k8s.example"]
    values += ["--set", "caSigner=example.com/mesh,caRoots=mesh-roots"]
    values += ["--set", "proxyCPURequest=50m,proxyCPULimit=1,proxyMemoryRequest=96Mi,proxyMemoryLimit=2Gi"]
    values += ["--set", "proxyConcurrency=4"]
    values += ["--set", "trustDomain=mesh.example,caSecret=mesh-ca,podCIDRs={10.1.0.0/16,fd00::/48}"]
    assert templated(helm, *values, namespace="mesh") == installed(
        namespace="mesh",
        image="r.example/s:2",
        proxy_image="r.example/e:3",
        replicas=3,
        cluster_domain="k8s.example",
        trust_domain="mesh.example",
        ca_secret="mesh-ca",
        ca_signer="example.com/mesh",
        ca_roots="mesh-roots",
        proxy_cpu_request="50m",
        proxy_cpu_limit="1",
        proxy_memory_request="96Mi",
        proxy_memory_limit="2Gi",
        proxy_concurrency="4",
        pod_cidrs=("10.1.0.0/16", "fd00::/48"),
    )


def test_what_only_the_chart_has_reaches_the_pods(helm: Path) -> None:
    """Where they run, and how their image is got."""
    values = {"nodeSelector": {"a": "b"}, "imagePullSecrets": [{"name": "c"}], "priorityClassName": "high"}
    values |= {
        "resources": {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"memory": "1Gi"}},
        "tolerations": [{"operator": "Exists"}],
    }
    arguments = [f"--set-json={name}={json.dumps(value)}" for name, value in values.items()]
    pod = templated(helm, *arguments)["Deployment smeagol-controller"]["spec"]["template"]["spec"]
    assert pod["containers"][0]["resources"] == values.pop("resources")
    assert {name: pod[name] for name in values} == values


def test_a_misspelt_value_is_refused(helm: Path) -> None:
    """Rather than left without effect."""
    with pytest.raises(AssertionError, match="replica"):
        templated(helm, "--set", "replica=3")


@contextmanager
def removed_after(helm: Path, cluster: Cluster) -> Iterator[None]:
    try:
        yield
    finally:
        subprocess.run([helm, "uninstall", "smeagol", "-n", SYSTEM, "--kubeconfig", cluster.kubeconfig, "--wait"])
        cluster.kubectl("delete", WEBHOOKS, "smeagol", "--ignore-not-found")
        cluster.kubectl("delete", "namespace", SYSTEM, "--ignore-not-found")
        cluster.kubectl("delete", "crd", "-l", "app.kubernetes.io/part-of=smeagol")


def test_install_upgrade_uninstall(helm: Path, own_cluster: Cluster, images: Images) -> None:
    """A replica runs and leads, an upgrade changes what it is about, and at the end the users' objects are there."""
    given = ["smeagol", str(CHART), "--namespace", SYSTEM, "--wait", "--timeout", "3m"]
    given += ["--set", f"image={images.controller.reference},proxyImage={images.proxy.reference}"]

    def smeagol(*arguments: str) -> Result:
        return CliRunner().invoke(build(), [*arguments, "--kubeconfig", str(own_cluster.kubeconfig)])

    def content() -> str:
        """What `smeagol check` prints, once it finds no problem: after an upgrade another replica has to lead."""
        done = smeagol("check")
        return done.output if done.exit_code == 0 else ""

    with removed_after(helm, own_cluster):
        notes = run(helm, "install", *given, "--create-namespace", "--set", "replicas=1", cluster=own_cluster)
        assert "podCIDRs is empty" in notes
        assert "warning" not in wait_for("check is content", content, within_seconds=60)
        own_cluster.kubectl("apply", "-f", "-", stdin=json.dumps(SIDECAR))
        two = f"replicas=2,podCIDRs={{{','.join(own_cluster.pod_cidrs)}}}"
        notes = run(helm, "upgrade", *given, "--set", two, cluster=own_cluster)
        assert "podCIDRs is empty" not in notes
        found = wait_for("check is content again", content, within_seconds=60)
        assert "2 of 2 replicas are available" in found
        assert "it is told where the addresses of Pods lie" in found
        for command in ("install", "upgrade", "uninstall"):
            assert "installed" in str(smeagol(command).exception)
            assert "by Helm" in str(smeagol(command).exception)
        assert "the root is being replaced" in smeagol("ca", "rotate", "--root").output
        run(helm, "uninstall", "smeagol", "--namespace", SYSTEM, "--wait", cluster=own_cluster)
        assert own_cluster.kubectl("-n", SYSTEM, "get", "deployments,services", "-o", "name") == ""
        # The leader's and not the chart's; they go with the ClusterRole, or no Pod of the mesh could be made.
        wait_for(
            "the API server asks nobody",
            lambda: not own_cluster.kubectl("get", WEBHOOKS, "-o", "name"),
            within_seconds=60,
        )
        wait_for(
            "who is installed next waits for no leader",
            lambda: not own_cluster.kubectl("-n", SYSTEM, "get", "leases", "-o", "name"),
            within_seconds=60,
        )
        assert "watched" in own_cluster.kubectl("-n", "default", "get", "sidecars.smi-spec.io", "-o", "name")


SIDECAR = {
    "apiVersion": "smi-spec.io/v1beta1",
    "kind": "Sidecar",
    "metadata": {"name": "watched", "namespace": "default"},
    "spec": {"selector": {"matchLabels": {"app": "nobody"}}},
}
