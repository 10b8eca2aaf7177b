"""What each adapter does that can be seen without its mesh: the conformance suite on a real API server with the mesh's
own CRDs, where nothing runs.

`make conformance-adapters` runs it for all adapters and writes their reports into conformance/reports.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from e2e_kit.adapters import Replica
from e2e_kit.apiserver import ApiServer, api_server
from peers_kit.crds import crds
from peers_kit.judge import load

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.xdist_group("api-adapters")]

REPORTS = Path(__file__).parents[2] / "conformance" / "reports"
WRITE = os.environ.get("SMEAGOL_REPORTS") == "write"


class Mesh(NamedTuple):
    """`crds`: folders of definitions. `besides`: what a user of this mesh has set up."""

    definitions: str
    crds: tuple[str, ...]
    besides: str = ""


MESHES = {
    "gateway-api": Mesh("Gateway API 1.6", ("gateway-api/standard",)),
    "istio": Mesh("Istio 1.31 and Gateway API 1.6", ("istio", "gateway-api/standard")),
    "kuma": Mesh(
        "Kuma 3.0-dev and Gateway API 1.6",
        ("kuma", "gateway-api/standard"),
        """
        apiVersion: kuma.io/v1alpha1
        kind: MeshIdentity
        metadata: {name: everybody}
        spec: {selector: {dataplane: {}}, provider: {type: Bundled}}
        """,
    ),
    "linkerd": Mesh("Linkerd 2.20 and Gateway API 1.6", ("linkerd", "gateway-api/standard")),
    "smi": Mesh("TrafficSplit v1alpha4", ("smi",)),
}


TRIED = list(MESHES) if WRITE else ["istio", "linkerd"]
"""All of them take minutes."""


@pytest.mark.parametrize("adapter", TRIED)
def test_what_can_be_seen_without_the_mesh(adapter: str, tmp_path: Path) -> None:
    """No case fails, what was not run has not passed, and objects were made that the mesh's own CRDs allow."""
    mesh = MESHES[adapter]
    crds(*mesh.crds)  # skips where they are not, before anything is started
    with api_server() as api:
        load(api.cluster, *mesh.crds)
        api.kubectl("delete", "providerclass", "smeagol")  # the adapter's is to be the default
        if mesh.besides:
            api.apply(mesh.besides)
        replica = Replica(api, api.namespace(), tmp_path, adapter)
        try:
            found = _report(api, adapter, mesh, REPORTS if WRITE else tmp_path)
        finally:
            replica.end()
    results = {case["name"]: case["result"] for case in found["cases"]}
    assert {results["canary-refused-at-admission"], results["canary-events"]} == {"passed"}
    assert (results["canary-weights"], results["canary-backend-by-name"]) == ("partly", "partly")
    assert {p["core"]["result"] for p in found["profiles"]} <= {"partial", "unsupported"}
    assert found["made"]


def _report(api: ApiServer, adapter: str, mesh: Mesh, folder: Path) -> dict[str, Any]:
    output = folder / f"{adapter}-without-data-plane.yaml"
    platform = json.loads(api.kubectl("version", "-o", "json"))["serverVersion"]["gitVersion"]
    told = f"{version('smeagol')} with the CRDs of {mesh.definitions} on Kubernetes {platform}"
    options = f"-p {adapter} --controller smeagol.dev/{adapter} --no-data-plane -j 3".split()
    options += ["--kubeconfig", str(api.cluster.kubeconfig), "-o", str(output), "--implementation-version", told]
    child = subprocess.run(
        [sys.executable, "-c", "from smeagol.cli import main; main()", "conformance", *options],
        capture_output=True,
        text=True,
    )
    print(child.stdout)
    assert child.returncode == 0, child.stdout + child.stderr
    found: dict[str, Any] = yaml.safe_load(output.read_text())
    return found
