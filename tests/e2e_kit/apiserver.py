"""A real API server of the test's own, without nodes: it may be killed, and a Pod is ready when the test says so."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest
from lightkube.config.client_adapter import AsyncClient, ConnectionParams
from lightkube.config.kubeconfig import KubeConfig
from typer.testing import CliRunner

from e2e.cluster.cluster import Cluster, running
from e2e.cluster.commands import wait_for
from e2e.cluster.errors import ClusterError
from e2e.cluster.places import cache_folder
from smeagol.cli import build
from smeagol.intent import PROXY_CONTAINER

Json = dict[str, Any]
"""An object as kubectl prints it: these tests are about Kubernetes' own words, so they look into them untyped."""

NODE = "nowhere"
"""An object only: Pods without a node are in no EndpointSlice."""

CLASS = """
apiVersion: smi-spec.io/v1beta1
kind: ProviderClass
metadata:
  name: smeagol
  annotations: {smi-spec.io/is-default-class: "true"}
spec: {controllerName: smeagol.dev/envoy}
"""


@dataclass(frozen=True)
class ApiServer:
    """One API server with Smeagol's kinds and its default class."""

    cluster: Cluster

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        return self.cluster.kubectl(*arguments, stdin=stdin)

    def apply(self, manifest: str, namespace: str = "default") -> None:
        self.kubectl("-n", namespace, "apply", "-f", "-", stdin=manifest)

    def refused(self, manifest: str, namespace: str) -> str:
        """What kubectl says to a manifest that the API server does not take."""
        with pytest.raises(ClusterError) as refusal:
            self.apply(manifest, namespace)
        return str(refusal.value)

    def get(self, what: str, name: str, namespace: str = "default") -> Json:
        found: Json = json.loads(self.kubectl("-n", namespace, "get", what, name, "-o", "json"))
        return found

    def items(self, what: str, namespace: str = "default", *options: str) -> list[Json]:
        found: list[Json] = json.loads(self.kubectl("-n", namespace, "get", what, *options, "-o", "json"))["items"]
        return found

    def namespace(self) -> str:
        """A new one, ready for Pods."""
        name = f"test-{secrets.token_hex(4)}"
        self.kubectl("create", "namespace", name)
        wait_for(
            "the namespace's service account",
            lambda: "default" in self.kubectl("-n", name, "get", "serviceaccounts", "-o", "name"),
            within_seconds=60,
        )
        return name

    def pod(self, name: str, address: str, namespace: str, *, proxy: bool = True) -> None:
        """A Pod that runs and is ready, as far as the API server knows; its labels are `app: NAME`."""
        sidecar = f"initContainers: [{{name: {PROXY_CONTAINER}, image: none, restartPolicy: Always}}]" if proxy else ""
        self.apply(
            f"""
            apiVersion: v1
            kind: Pod
            metadata: {{name: {name}, labels: {{app: {name}}}}}
            spec:
              nodeName: {NODE}
              terminationGracePeriodSeconds: 0
              containers: [{{name: app, image: none, ports: [{{containerPort: 8080}}]}}]
              {sidecar}
            """,
            namespace,
        )
        status = {
            "phase": "Running",
            "podIP": address,
            "podIPs": [{"ip": address}],
            "conditions": [{"type": "Ready", "status": "True"}],
        }
        patch = json.dumps({"status": status})
        self.kubectl("-n", namespace, "patch", "pod", name, "--subresource=status", "--type=merge", "-p", patch)

    def service(self, name: str, namespace: str, *, app: str = "") -> None:
        self.apply(
            f"""
            apiVersion: v1
            kind: Service
            metadata: {{name: {name}}}
            spec:
              selector: {{app: {app or name}}}
              ports: [{{name: http, port: 80, targetPort: 8080}}]
            """,
            namespace,
        )

    def token(self, pod: str, namespace: str, *, audience: str = "smeagol") -> str:
        """A token bound to a Pod, as the kubelet would project it."""
        bound = ("--bound-object-kind=Pod", f"--bound-object-name={pod}")
        return self.kubectl("-n", namespace, "create", "token", "default", f"--audience={audience}", *bound).strip()

    def stop(self) -> None:
        """End the API server; everything else goes on."""
        self.cluster.stop("kube-apiserver")

    def start(self) -> None:
        """Undo `stop`; return when it is ready. The controllers start anew too: they would look again late."""
        self.cluster.start("kube-apiserver")
        self.cluster.wait_for_api()
        self.cluster.stop("kube-controller-manager")
        self.cluster.start("kube-controller-manager")

    def restart(self) -> None:
        self.stop()
        self.start()


def canary(name: str, root: str, **weights: str) -> str:
    """A Canary; a backend `v1` is the Service `ROOT-v1`."""
    backends = ", ".join(f"{{service: {root}-{version}, weight: {weight}}}" for version, weight in weights.items())
    return f"""
    apiVersion: smi-spec.io/v1beta1
    kind: Canary
    metadata: {{name: {name}}}
    spec: {{service: {root}, backends: [{backends}]}}
    """


def condition(obj: Json, name: str) -> Json:
    """One condition of an object; empty if it has none of that type."""
    found = (c for c in obj.get("status", {}).get("conditions", []) if c["type"] == name)
    return next(found, {})


@contextmanager
def api_server() -> Iterator[ApiServer]:
    """An API server that ends with the block. Skips where the tests on Kubernetes are not asked for."""
    if not os.environ.get("SMEAGOL_E2E"):
        pytest.skip("tests on a real API server run in `make e2e` (SMEAGOL_E2E is not set)")
    if not any(cache_folder().glob("kubernetes-*")) or not any(cache_folder().glob("etcd-*")):
        pytest.skip("no cluster programs are cached: `make cluster` builds them")
    with running(f"api-{secrets.token_hex(4)}") as cluster:
        server = ApiServer(cluster)
        server.kubectl("apply", "--server-side", "--validate=strict", "-f", "-", stdin=smeagol("crds"))
        server.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
        server.apply(CLASS)
        server.apply(f"{{apiVersion: v1, kind: Node, metadata: {{name: {NODE}}}}}")
        yield server


def client_of(api: ApiServer, server: str) -> httpx2.AsyncClient:
    """The administrator, by another way to the API server."""
    config = KubeConfig.from_file(api.cluster.kubeconfig).get()
    assert config is not None
    made = AsyncClient(config, ConnectionParams(timeout=httpx2.Timeout(10), trust_env=False))
    made.base_url = httpx2.URL(server)
    return made


def smeagol(*arguments: str, stdin: str | None = None) -> str:
    """What the command prints."""
    return CliRunner().invoke(build(), arguments, input=stdin).output
