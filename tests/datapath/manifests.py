"""Manifests as plain data: what a user would write, with the test program as container."""

from __future__ import annotations

import sysconfig
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = [
    "Manifest",
    "canary",
    "deployment",
    "mutual_tls",
    "namespace_of",
    "pod",
    "reference",
    "service",
    "sidecar",
]

Manifest = dict[str, Any]
"""One object, as in YAML."""

HTTP = ("http:8080",)


def pod(
    name: str,
    *serve: str,
    namespace: str = "default",
    labels: Mapping[str, str] | None = None,
    version: str = "",
    probe: Manifest | None = None,
    meshed: bool = True,
    account: str = "",
    ports: Mapping[str, int] | None = None,
    containers: Sequence[Manifest] = (),
    annotations: Mapping[str, str] | None = None,
) -> Manifest:
    """A Pod that runs the test program. `serve`: what it listens on, for example `http:8080`."""
    own = {"app": name, **(labels or {})}
    if not meshed:
        own["smi-spec.io/inject"] = "disabled"
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": own, "annotations": dict(annotations or {})},
        "spec": _with(containers, _spec(serve, version=version or name, probe=probe, account=account, ports=ports)),
    }


def _with(containers: Sequence[Manifest], spec: Manifest) -> Manifest:
    return {**spec, "containers": [*spec["containers"], *containers]}


def deployment(
    name: str,
    *serve: str,
    namespace: str = "default",
    labels: Mapping[str, str] | None = None,
    version: str = "",
    replicas: int = 1,
    probe: Manifest | None = None,
    note: str = "",
) -> Manifest:
    """A Deployment of the test program; another `note` makes another template, so its Pods are rolled."""
    own = {"app": name, **(labels or {})}
    template: Manifest = {
        "metadata": {"labels": own, "annotations": {"note": note}},
        "spec": _spec(serve or HTTP, version=version or name, probe=probe),
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"replicas": replicas, "selector": {"matchLabels": own}, "template": template},
    }


def _spec(
    serve: Sequence[str],
    *,
    version: str,
    probe: Manifest | None = None,
    account: str = "",
    ports: Mapping[str, int] | None = None,
) -> Manifest:
    command = ["python3", "-m", "datapath.apps.app", "--socket", "run/$(POD_NAME).$(NAMESPACE).sock", *serve]
    env: list[Manifest] = [
        {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
        {"name": "VERSION", "value": version},
        {"name": "PYTHONPATH", "value": sysconfig.get_paths()["purelib"]},  # for a Python outside of this environment
    ]
    container: Manifest = {"name": "app", "command": command, "env": env}
    if probe is None and any(each.startswith("http:") for each in serve):
        port = next(int(each.partition(":")[2]) for each in serve if each.startswith("http:"))
        probe = {"httpGet": {"path": "/ready", "port": port}}
    if probe:
        container["readinessProbe"] = {"periodSeconds": 1, "timeoutSeconds": 30, "failureThreshold": 1, **probe}
    if ports:
        container["ports"] = [{"name": key, "containerPort": number} for key, number in ports.items()]
    spec: Manifest = {"containers": [container], "terminationGracePeriodSeconds": 10}
    return {**spec, "serviceAccountName": account} if account else spec


def service(
    name: str,
    selector: Mapping[str, str] | None = None,
    ports: Sequence[tuple[str, int, int | str]] = (("http", 80, 8080),),
    *,
    namespace: str = "default",
    headless: bool = False,
) -> Manifest:
    """`ports`: (name, which declares the protocol; port; target port). Without a selector: Pods with label app=NAME."""
    spec: Manifest = {
        "selector": dict(selector if selector is not None else {"app": name}),
        "ports": [{"name": n, "port": port, "targetPort": target} for n, port, target in ports],
    }
    if headless:
        spec["clusterIP"] = "None"
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": namespace}, "spec": spec}


def mutual_tls(
    name: str = "everyone",
    selector: Mapping[str, str] | None = None,
    *,
    names: Sequence[str] = (),
    mode: str = "",
    namespace: str = "default",
) -> Manifest:
    """Without a selector: every Pod of the namespace."""
    spec: Manifest = {"selector": {"matchLabels": dict(selector)} if selector else {}}
    if names:
        spec["clientSubjectNames"] = list(names)
    if mode:
        spec["mode"] = mode
    return _smi("MutualTLS", name, namespace, spec)


def canary(root: str, /, name: str = "", *, namespace: str = "default", **weights: str) -> Manifest:
    """`weights` by backend, with `_` for `-`: canary("web", web_v1="1", web_v2="500m")."""
    backends = [{"service": backend.replace("_", "-"), "weight": weight} for backend, weight in weights.items()]
    return _smi("Canary", name or root.partition(".")[0], namespace, {"service": root, "backends": backends})


def sidecar(
    name: str = "everyone",
    selector: Mapping[str, str] | None = None,
    *,
    labels: Mapping[str, str] | None = None,
    namespace: str = "default",
    containers: Sequence[Manifest] = (),
    restart: bool = False,
) -> Manifest:
    spec: Manifest = {"selector": {"matchLabels": dict(selector)} if selector else {}}
    if containers:
        spec["containers"] = list(containers)
    if restart:
        spec["restart"] = True
    if labels is not None:
        spec["metricLabels"] = dict(labels)
    return _smi("Sidecar", name, namespace, spec)


def _smi(kind: str, name: str, namespace: str, spec: Manifest) -> Manifest:
    return {
        "apiVersion": "smi-spec.io/v1beta1",
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


def namespace_of(manifest: Manifest) -> str:
    return str(manifest["metadata"].get("namespace", "default"))


def reference(manifest: Manifest) -> tuple[str, str, str]:
    """(kind, namespace, name)"""
    return str(manifest["kind"]), namespace_of(manifest), str(manifest["metadata"]["name"])
