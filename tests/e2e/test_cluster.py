"""The test cluster is a Kubernetes: what the other end-to-end tests take for granted."""

from __future__ import annotations

import json
import os
import re
import subprocess
import urllib.request
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path

import pytest

from e2e.cluster.cluster import Cluster, running
from e2e.cluster.commands import wait_for
from e2e.cluster.errors import ClusterError
from e2e.cluster.images import BASE
from e2e.cluster.network import Network, versions_here

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("cluster")]

_ALL = "::" if 6 in versions_here() else "0.0.0.0"

_WEB = f"""
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web}}
spec:
  replicas: 2
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      terminationGracePeriodSeconds: 0
      topologySpreadConstraints:
        - maxSkew: 1
          topologyKey: kubernetes.io/hostname
          whenUnsatisfiable: ScheduleAnyway
          labelSelector: {{matchLabels: {{app: web}}}}
      containers:
        - name: web
          image: {BASE}
          command: [sh, -c, "mkdir w; echo $HOSTNAME > w/name; exec python3 -m http.server -b {_ALL} -d w 8080"]
          readinessProbe: {{httpGet: {{path: /name, port: 8080}}, periodSeconds: 1}}
---
apiVersion: v1
kind: Service
metadata: {{name: web}}
spec:
  selector: {{app: web}}
  ports: [{{port: 80, targetPort: 8080}}]
"""

_ASK = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=30).read().decode().strip())"

_SIDECAR = f"""
apiVersion: batch/v1
kind: Job
metadata: {{name: with-sidecar}}
spec:
  backoffLimit: 0
  template:
    spec:
      restartPolicy: Never
      terminationGracePeriodSeconds: 1
      initContainers:
        - name: sidecar
          image: {BASE}
          restartPolicy: Always
          command: [sh, -c, "echo ready > /shared/file; exec sleep 1000"]
          startupProbe: {{exec: {{command: [test, -f, /shared/file]}}, periodSeconds: 1}}
          volumeMounts: [{{name: shared, mountPath: /shared}}]
      containers:
        - name: main
          image: {BASE}
          command: [grep, ready, /shared/file]
          volumeMounts: [{{name: shared, mountPath: /shared}}]
      volumes: [{{name: shared, emptyDir: {{}}}}]
"""


def deploy_web(cluster: Cluster, namespace: str) -> set[str]:
    """Two Pods behind a Service; returns their names once they are ready."""
    cluster.kubectl("-n", namespace, "apply", "-f", "-", stdin=_WEB)
    cluster.kubectl("-n", namespace, "rollout", "status", "deployment/web", "--timeout=180s")
    pods = cluster.kubectl("-n", namespace, "get", "pods", "-l", "app=web", "-o", "name").split()
    return {pod.removeprefix("pod/") for pod in pods}


def ask(cluster: Cluster, namespace: str, pod: str, url: str) -> str:
    return cluster.kubectl("-n", namespace, "exec", pod, "--", "python3", "-c", _ASK, url).strip()


def wait_for_answers(cluster: Cluster, namespace: str, pod: str, url: str, *, expected: set[str]) -> None:
    """Ask until everyone expected has answered, and nobody else."""
    seen: set[str] = set()

    def all_seen() -> bool:
        # Until the node has heard of the Pods, the Service refuses; no answer but a name counts.
        with suppress(ClusterError):
            seen.add(ask(cluster, namespace, pod, url))
        return seen >= expected

    wait_for(f"{url} is answered by {expected}", all_seen, within_seconds=60)
    assert seen == expected


def cluster_ip(cluster: Cluster, namespace: str) -> str:
    return cluster.kubectl("-n", namespace, "get", "service", "web", "-o", "jsonpath={.spec.clusterIP}")


def test_service_reaches_every_pod(own_cluster: Cluster, namespace: str) -> None:
    """From a Pod, itself included, by address and by name; and from this machine by address."""
    pods = deploy_web(own_cluster, namespace)
    address = cluster_ip(own_cluster, namespace)
    client = min(pods)
    for url in (f"http://{address}/name", "http://web/name", f"http://web.{namespace}.svc.cluster.local/name"):
        wait_for_answers(own_cluster, namespace, client, url, expected=pods)

    def answers_here() -> str:
        with suppress(OSError), urllib.request.urlopen(f"http://{address}/name", timeout=30) as answer:
            return str(answer.read().decode().strip())
        return ""  # the first node, which translates for us, has not heard of the Pods yet

    assert wait_for("this machine is answered", answers_here, within_seconds=60) in pods


def test_native_sidecar(own_cluster: Cluster, namespace: str) -> None:
    """A sidecar is started before the main container, and does not keep a Job from completing."""
    own_cluster.kubectl("-n", namespace, "apply", "-f", "-", stdin=_SIDECAR)
    own_cluster.kubectl("-n", namespace, "wait", "--for=condition=Complete", "job/with-sidecar", "--timeout=180s")


@pytest.mark.usefixtures("own_cluster")  # beside which another can be up
def test_stopped_program_stays_down_until_it_is_started() -> None:
    """An outage of the API server is as long as the test wants, and what was stored is there afterwards."""
    with running(f"tests-{os.getpid()}") as cluster:
        cluster.kubectl("create", "namespace", "kept")
        cluster.stop("kube-apiserver")
        with pytest.raises(ClusterError, match="refused"):
            cluster.kubectl("get", "namespaces")
        cluster.start("kube-apiserver")
        cluster.wait_for_api()
        assert "namespace/kept" in cluster.kubectl("get", "namespaces", "-o", "name").split()


def traces(name: str) -> list[str]:
    """What this machine still knows of the cluster `name`, and of any cluster's network."""
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    groups = [str(path) for path in Path("/sys/fs/cgroup").rglob(f"smeagol-cluster-{name}")]
    commands = [path.read_bytes().replace(b"\0", b" ").decode() for path in Path("/proc").glob("[0-9]*/cmdline")]
    return [
        *(line for line in mounts if f"/{name}/" in line),
        *groups,
        *(line for line in commands if f"/{name}/" in line),
    ]


@pytest.mark.usefixtures("own_cluster")  # beside which another can be up
@pytest.mark.timeout(300)
def test_two_nodes_and_nothing_left_behind() -> None:
    """Pods on two nodes reach each other, by IPv6 too; when the cluster ends, no link, route, rule, mount or process
    stays."""

    def lines(*command: str) -> list[str]:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()

    def rules() -> list[str]:
        # Counters, times, and what other tests do on this machine meanwhile are not ours.
        return [line for line in lines("iptables-save") if "KUBE" in line or "CNI" in line] + lines(
            "sysctl", "kernel.panic"
        )

    def links(network: Network) -> list[str]:
        known = [*lines("ip", "-br", "link"), *lines("ip", "route"), *lines("ip", "-6", "route")]
        return [line for line in known if re.search(rf"\b{network.host_link}\b", line)]

    before = rules()
    name = f"tests-{os.getpid()}"
    with running(name, nodes=2) as cluster:
        assert cluster.nodes == ("node-1", "node-2")
        network = Network.of(cluster.service_cidr)
        assert links(network)
        pods = deploy_web(cluster, "default")
        found = json.loads(cluster.kubectl("get", "pods", "-l", "app=web", "-o", "json"))["items"]
        assert {pod["spec"]["nodeName"] for pod in found} == set(cluster.nodes)
        for client in found:
            for server in found:
                addresses = [each["ip"] for each in server["status"]["podIPs"]]
                assert [ip_address(ip).version for ip in addresses] == [r.pods.version for r in network.families]
                for ip in addresses:
                    url = f"http://{f'[{ip}]' if ':' in ip else ip}:8080/name"
                    assert ask(cluster, "default", client["metadata"]["name"], url) == server["metadata"]["name"]
        assert len(pods) == 2
        assert traces(name)
    assert traces(name) == []
    assert links(network) == []
    assert rules() == before
