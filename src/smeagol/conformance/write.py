"""The manifests of the suite: those of its stages, as files, and the objects of the mesh that cases apply."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

import yaml

from smeagol.conformance.driver import Manifest

__all__ = [
    "canary",
    "deployment",
    "endpoint_slice",
    "mutual_tls",
    "namespace",
    "pod",
    "provider_class",
    "root_proxied",
    "service",
    "sidecar",
    "stage",
]


def stage(name: str) -> list[Manifest]:
    """The objects of `manifests/NAME.yaml`."""
    text = (files("smeagol.conformance") / "manifests" / f"{name}.yaml").read_text(encoding="utf-8")
    return [each for each in yaml.safe_load_all(text) if each]


def canary(root: str, weights: Mapping[str, str | int], *, name: str = "", namespace: str = "smi-canary") -> Manifest:
    backends = [{"service": backend, "weight": weight} for backend, weight in weights.items()]
    return _smi("Canary", namespace, name or root.partition(".")[0], {"service": root, "backends": backends})


def root_proxied(split: Manifest) -> Manifest:
    """The Canary, with a root proxy."""
    return {**split, "spec": {**split["spec"], "rootProxy": {}}}


def mutual_tls(
    namespace: str,
    name: str = "everyone",
    labels: Mapping[str, str] | None = None,
    *,
    mode: str = "",
    names: Sequence[str] = (),
) -> Manifest:
    spec: dict[str, Any] = {"selector": {"matchLabels": dict(labels)} if labels else {}}
    if mode:
        spec["mode"] = mode
    if names:
        spec["clientSubjectNames"] = list(names)
    return _smi("MutualTLS", namespace, name, spec)


def sidecar(
    namespace: str, name: str, labels: Mapping[str, str] | None = None, *, metrics: Mapping[str, str] | None = None
) -> Manifest:
    spec: dict[str, Any] = {"selector": {"matchLabels": dict(labels)} if labels else {}}
    if metrics is not None:
        spec["metricLabels"] = dict(metrics)
    return _smi("Sidecar", namespace, name, spec)


def provider_class(name: str, controller: str, *, default: bool = False) -> Manifest:
    metadata: dict[str, Any] = {"name": name}
    if default:
        metadata["annotations"] = {"smi-spec.io/is-default-class": "true"}
    return {
        "apiVersion": "smi-spec.io/v1beta1",
        "kind": "ProviderClass",
        "metadata": metadata,
        "spec": {"controllerName": controller},
    }


def service(
    namespace: str,
    name: str,
    selector: Mapping[str, str] | None,
    ports: Sequence[tuple[str, int, int | str]] = (("http", 80, 8080),),
    **fields: Any,
) -> Manifest:
    """`ports`: (name, port, target port). Without a selector if that is None."""
    spec: dict[str, Any] = {"ports": [{"name": n, "port": p, "targetPort": t} for n, p, t in ports], **fields}
    if selector is not None:
        spec["selector"] = dict(selector)
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": namespace}, "spec": spec}


def endpoint_slice(namespace: str, of: str, address: str, port: tuple[str, int]) -> Manifest:
    """Where a Service without a selector leads; `port`: the name that the Service's has, and the target port."""
    name, number = port
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{of}-by-hand",
            "namespace": namespace,
            "labels": {"kubernetes.io/service-name": of},
        },
        "addressType": "IPv6" if ":" in address else "IPv4",
        "endpoints": [{"addresses": [address]}],
        "ports": [{"name": name, "port": number, "protocol": "TCP"}],
    }


def pod(
    namespace: str, name: str, *serve: str, version: str = "", labels: Mapping[str, str] | None = None, **fields: Any
) -> Manifest:
    """The echo application; `serve`: what it listens on, HTTP first. `fields` are further ones of the Pod's spec."""
    port = int(serve[0].removeprefix("http:"))
    container = {
        "name": "echo",
        "image": "smi-conformance-echo",
        "command": ["python3", "-m", "smeagol.conformance.echo", *serve],
        "env": [{"name": "VERSION", "value": version or name}],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": port}, "periodSeconds": 1},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": name, **(labels or {})}},
        "spec": {"terminationGracePeriodSeconds": 10, "containers": [container], **fields},
    }


def deployment(namespace: str, name: str, *serve: str, version: str = "", labels: Mapping[str, str]) -> Manifest:
    """One Pod, as `pod` makes it; `labels` are further ones of that."""
    made = pod(namespace, name, *serve, version=version, labels=labels)
    template = {"metadata": {"labels": made["metadata"]["labels"]}, "spec": made["spec"]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": name}}, "template": template},
    }


def namespace(name: str, inject: str = "") -> Manifest:
    """`inject`: what the label of injection says."""
    metadata: dict[str, Any] = {"name": name}
    if inject:
        metadata["labels"] = {"smi-spec.io/inject": inject}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}


def _smi(kind: str, namespace: str, name: str, spec: Mapping[str, Any]) -> Manifest:
    return {
        "apiVersion": "smi-spec.io/v1beta1",
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": dict(spec),
    }
