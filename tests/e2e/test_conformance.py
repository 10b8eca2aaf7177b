"""What the conformance suite needs of a cluster, beside what kubectl does for users."""

from __future__ import annotations

import pytest

from e2e.cluster.cluster import Cluster
from smeagol.infra.kubernetes.connection import connect_blocking
from smeagol.infra.kubernetes.exec import exec_in_container
from smeagol.refs import PodRef

pytestmark = [pytest.mark.slow, pytest.mark.envoy, pytest.mark.xdist_group("cluster")]


@pytest.mark.timeout(120)
def test_exec_in_a_container(mesh: Cluster) -> None:
    """What goes in by stdin, until its end, what comes out, and the exit code: as kubectl exec -i."""
    replica = mesh.kubectl("-n", "smeagol-system", "get", "pods", "-o", "name").split()[0].removeprefix("pod/")
    program = "import sys; text = sys.stdin.read(); print(text.upper()); print(len(text), file=sys.stderr); sys.exit(7)"
    with connect_blocking(mesh.kubeconfig) as client:
        done = exec_in_container(
            client, PodRef("smeagol-system", replica), "controller", ["python3", "-c", program], stdin="hello"
        )
    assert (done.code, done.stdout, done.stderr) == (7, "HELLO\n", "5\n")
