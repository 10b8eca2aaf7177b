"""Sidecar: further containers beside those of the selected Pods, with real processes and real proxies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from datapath.harness import Mesh, eventually, running
from datapath.manifests import Manifest, deployment, pod, service, sidecar

pytestmark = [pytest.mark.netns, pytest.mark.envoy, pytest.mark.xdist_group("datapath-sidecar-containers")]

SHIP = (
    "echo begun $NAME >> run/shipper; trap 'echo ended $NAME >> run/shipper; exit' TERM; while :; do sleep 0.05; done"
)
SHIPPER: dict[str, Any] = {
    "name": "shipper",
    "image": "example.com/shipper:1",
    "command": ["sh", "-c", SHIP],
    "env": [{"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
}
MONITORED = {"monitored": "yes"}


@pytest.fixture(scope="module")
def mesh() -> Iterator[Mesh]:
    with running(pod("client")) as mesh:
        mesh.apply(sidecar("monitor", MONITORED, containers=[SHIPPER]), wait=False)
        yield mesh


def shipped(mesh: Mesh, pod: str) -> list[str]:
    """What the shipper beside a Pod has done."""
    path = mesh.folder / "run" / "shipper"
    lines = path.read_text().splitlines() if path.exists() else []
    return [word for word, name in (line.split() for line in lines) if name == pod]


def test_it_runs_for_as_long_as_the_pod(mesh: Mesh) -> None:
    """SMI-SIDE-07: from before the application, which is served meanwhile, until after it."""
    web = pod("web", "http:8080", labels=MONITORED)
    with mesh.having(web, service("web")):
        eventually(lambda: _is(shipped(mesh, "web"), ["begun"]))
        assert mesh.app("client").get("http://web/").version == "web"
        eventually(lambda: _is(mesh.condition("FullySupported", "Sidecar", "monitor").status, "True"))
        eventually(lambda: _is(mesh.condition("Programmed", "Sidecar", "monitor").status, "True"))
    assert shipped(mesh, "web") == ["begun", "ended"]


def test_a_pod_that_ends_is_not_kept_by_it(mesh: Mesh) -> None:
    """SMI-SIDE-07: as of a Job, whose Pod is done when its own containers are."""
    job: Manifest = pod("job", labels=MONITORED)
    job["spec"] = {"restartPolicy": "Never", "containers": [{"name": "work", "command": ["true"]}]}
    mesh.apply(job, wait=False)
    mesh.wait_for(lambda s: "" if any(p.name == "job" and p.phase == "Succeeded" for p in s.pods) else "the job")
    eventually(lambda: _is(shipped(mesh, "job"), ["begun", "ended"]))
    mesh.delete(job)


def test_a_change_reaches_pods_by_a_restart(mesh: Mesh) -> None:
    """SMI-POD-05: Pods that run are not changed, but named; `restart: true` rolls their owner, once."""
    mesh.apply(deployment("shop", labels=MONITORED), service("shop"))
    (before,) = mesh.pods_of("shop")
    changed = {**SHIPPER, "name": "exporter"}
    mesh.apply(sidecar("monitor", MONITORED, containers=[changed]), wait=False)
    eventually(
        lambda: _is(mesh.condition("Programmed", "Sidecar", "monitor").reason, "PodsNotInjected"),
    )
    assert before.name in mesh.condition("Programmed", "Sidecar", "monitor").message
    assert [p.name for p in mesh.pods_of("shop")] == [before.name]
    mesh.apply(sidecar("monitor", MONITORED, containers=[changed], restart=True))
    (after,) = mesh.pods_of("shop")
    assert after.name != before.name
    eventually(lambda: _is(shipped(mesh, before.name), ["begun", "ended"]))
    eventually(lambda: _is(shipped(mesh, after.name), ["begun"]))


def test_a_name_of_the_pods_own(mesh: Mesh) -> None:
    """The Pod is not made, and the mesh says why."""
    clash = pod("clash", labels=MONITORED, containers=[{"name": "exporter", "command": ["true"]}])
    clash["spec"]["containers"].append({"name": "shipper", "command": ["true"]})
    mesh.apply(clash, wait=False)
    mesh.wait_for(lambda s: "" if any("'exporter' of Sidecar monitor" in p.message for p in s.problems) else "it")
    assert not any(p.name == "clash" for p in mesh.status().pods)


def _is(found: object, wanted: object) -> None:
    assert found == wanted
