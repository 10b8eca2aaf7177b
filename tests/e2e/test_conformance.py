"""Every rule of the specification on real Pods: the whole conformance suite against the installed mesh."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

from e2e.cluster.cluster import Cluster
from e2e.images import Images
from e2e_kit.installed import SYSTEM
from smeagol.infra.kubernetes.connection import connect_blocking
from smeagol.infra.kubernetes.exec import exec_in_container
from smeagol.install.access import CONTROLLER, ROOT_PROXIES
from smeagol.refs import PodRef

pytestmark = [pytest.mark.slow, pytest.mark.envoy, pytest.mark.xdist_group("cluster")]


@pytest.fixture
def allowed(mesh: Cluster) -> Iterator[None]:
    """Root proxies may be made in the namespaces of the suite, which it makes itself."""
    account = f"--serviceaccount={SYSTEM}:{CONTROLLER}"
    mesh.kubectl("create", "clusterrolebinding", "smi-conformance", f"--clusterrole={ROOT_PROXIES}", account)
    yield
    mesh.kubectl("delete", "clusterrolebinding", "smi-conformance")


@pytest.mark.timeout(900)
@pytest.mark.usefixtures("allowed")
def test_envoy_conforms_on_a_cluster(mesh: Cluster, images: Images, tmp_path: Path) -> None:
    """Core and extended features of all profiles succeed, the report says of what, and no namespace stays."""
    output = tmp_path / "report.yaml"
    options = ["--kubeconfig", str(mesh.kubeconfig), "--image", images.controller.reference, "-j", "3"]
    child = subprocess.run(
        [sys.executable, "-c", "from smeagol.cli import main; main()", "conformance", *options, "-o", str(output)],
        capture_output=True,
        text=True,
    )
    assert child.returncode == 0, child.stdout + child.stderr
    found = yaml.safe_load(output.read_text())
    halves = {(p["name"], half): p[half]["result"] for p in found["profiles"] for half in ("core", "extended")}
    assert set(halves.values()) == {"success"}, child.stdout
    assert found["implementation"]["version"].startswith(f"{version('smeagol')} on Kubernetes v")
    left = mesh.kubectl(
        "get", "namespaces", "-o", "jsonpath={range .items[*]}{.metadata.name} {.status.phase}{'\\n'}{end}"
    )
    assert not [line for line in left.splitlines() if line.startswith("smi-") and line.endswith("Active")]


def test_exec_in_a_container(mesh: Cluster) -> None:
    """What goes in by stdin, until its end, what comes out, and the exit code: as kubectl exec -i."""
    replica = mesh.kubectl("-n", "smeagol-system", "get", "pods", "-o", "name").split()[0].removeprefix("pod/")
    program = "import sys; text = sys.stdin.read(); print(text.upper()); print(len(text), file=sys.stderr); sys.exit(7)"
    with connect_blocking(mesh.kubeconfig) as client:
        done = exec_in_container(
            client, PodRef("smeagol-system", replica), "controller", ["python3", "-c", program], stdin="hello"
        )
    assert (done.code, done.stdout, done.stderr) == (7, "HELLO\n", "5\n")
