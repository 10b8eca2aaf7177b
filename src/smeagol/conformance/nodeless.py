"""Pods that nobody runs: they have an address and are ready because somebody says so, as a kubelet would.

For runs without a data plane. The Pods are bound to a Node that is an object only, past every scheduler, so a cluster
needs no nodes, and those that it has are left alone. All else is the cluster's own: admission, EndpointSlices,
ReplicaSets, and the end of what was made for something that is deleted.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import httpx2

from smeagol.conformance.model import ConformanceError

__all__ = ["SCHEDULER", "nodeless"]

SCHEDULER = "smi-conformance"
"""`spec.schedulerName` of the Pods that are spoken for here."""
NODE = "smi-conformance"
LOOK_SECONDS = 0.2
BEAT_SECONDS = 10.0
"""A Node that is silent for longer than some 40 s counts as lost, and its Pods as not ready."""
MERGE = {"content-type": "application/merge-patch+json"}


@contextlib.contextmanager
def nodeless(client: httpx2.Client) -> Iterator[None]:
    """As long as the block runs. Raises ConformanceError if it may not make its Node."""
    node = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": NODE},
        "spec": {"taints": [{"key": "smi-spec.io/conformance", "effect": "NoSchedule"}]},
    }
    made = client.post("/api/v1/nodes", json=node)
    if made.is_error and made.status_code != 409:  # 409: one that an earlier run has left
        raise ConformanceError(
            f"the Node of the suite's Pods cannot be made: status {made.status_code}",
            where=f"Node {NODE}",
            fix="Without a data plane the suite makes a Node, binds its Pods to it and writes their status: "
            "run it as somebody who may, such as the administrator of a cluster for tests",
        )
    ended = threading.Event()
    speaker = threading.Thread(target=_speak, args=(client, ended), name="nodeless", daemon=True)
    speaker.start()
    try:
        yield
    finally:
        ended.set()
        speaker.join()
        with contextlib.suppress(httpx2.HTTPError):
            client.delete(f"/api/v1/nodes/{NODE}")


def _speak(client: httpx2.Client, ended: threading.Event) -> None:
    """Look again and again. What fails is tried at the next look; who waits for a Pod says that it is not ready."""
    addresses = _addresses()
    beat = 0.0
    while not ended.is_set():
        with contextlib.suppress(httpx2.HTTPError):
            if time.monotonic() - beat >= BEAT_SECONDS:
                client.patch(f"/api/v1/nodes/{NODE}/status", json={"status": _node_status()}, headers=MERGE)
                beat = time.monotonic()
            found = client.get("/api/v1/pods", params={"fieldSelector": f"spec.schedulerName={SCHEDULER}"})
            for pod in found.json()["items"] if found.is_success else ():
                _say(client, pod, addresses)
        ended.wait(LOOK_SECONDS)


def _say(client: httpx2.Client, pod: Mapping[str, Any], addresses: Iterator[str]) -> None:
    """The next step of a Pod's life, if there is one to take."""
    metadata = pod["metadata"]
    path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"
    if "deletionTimestamp" in metadata:
        client.delete(path, params={"gracePeriodSeconds": 0})
    elif not pod["spec"].get("nodeName"):
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": metadata["name"]},
            "target": {"apiVersion": "v1", "kind": "Node", "name": NODE},
        }
        client.post(f"{path}/binding", json=binding)
    elif not pod.get("status", {}).get("podIP"):
        client.patch(f"{path}/status", json={"status": _pod_status(pod, next(addresses))}, headers=MERGE)


def _pod_status(pod: Mapping[str, Any], address: str) -> Mapping[str, Any]:
    """It runs, and is ready unless its probe is the command `false`, by which the suite keeps a Pod from being so."""
    probes = [container.get("readinessProbe", {}) for container in pod["spec"]["containers"]]
    ready = all(probe.get("exec", {}).get("command") != ["false"] for probe in probes)
    return {
        "phase": "Running",
        "podIP": address,
        "podIPs": [{"ip": address}],
        "conditions": [{"type": "Ready", "status": str(ready)}],
    }


def _node_status() -> Mapping[str, Any]:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": now, "lastTransitionTime": now}]}


def _addresses() -> Iterator[str]:
    """Of the network for benchmarks (RFC 2544), which nobody routes."""
    for number in itertools.count(1):
        yield f"198.18.{number // 250 % 256}.{number % 250 + 1}"
