"""The Kubernetes objects of a Canary's root proxies: pure, and all owned by the Canary, so that they go with it.

A ServiceAccount, whose identity servers see; a Deployment of Pods with a proxy and nothing else, which need no
capability since they redirect nothing; a PodDisruptionBudget of them; and EndpointSlices that lead the clients of the
root to those that are ready.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import ip_address
from typing import Any

from smeagol.intent import (
    INJECT_LABEL,
    ROOT_PROXY_OF,
    ROOT_READINESS_PORT,
    SLICE_MANAGER,
    SLICE_MANAGER_LABEL,
    CanaryIntent,
    listening_ports,
    pod_facts,
)
from smeagol.objects import EndpointSlice, Pod
from smeagol.plan import JSON, READINESS_PATH
from smeagol.refs import ObjectRef
from smeagol.webhook.inject import Bootstrap, proxy_container, proxy_volumes
from smeagol.webhook.settings import ANNOTATION_DOMAIN, InjectionSettings, PodOptions

__all__ = [
    "account",
    "budget",
    "deployment",
    "emptied",
    "endpoint_slices",
    "none_ready",
    "object_name",
    "root_proxy_of",
    "unfit",
]

DRAIN_SECONDS = 10
"""A Pod that is to go serves on for so long, until no node leads a client there any more. Half of it is for the clients
that are there to go elsewhere."""

_LONGEST_NAME = 52
"""So that the names of Pods, made of it and two hashes, fit into a label (Kubernetes: 63 characters)."""
_PORTS_AT_MOST = 100
"""of one EndpointSlice (discovery.k8s.io/v1)"""
_SELECTED_BY = f"{ANNOTATION_DOMAIN}/root-proxy"


def object_name(canary: ObjectRef) -> str:
    """The name of all its objects."""
    name = f"{canary.name}-root-proxy"
    if len(name) <= _LONGEST_NAME and "." not in name:
        return name
    digest = hashlib.sha256(canary.name.encode()).hexdigest()[:8]
    return f"{name[: _LONGEST_NAME - 9].replace('.', '-').rstrip('-')}-{digest}"


def account(canary: CanaryIntent, uid: str) -> dict[str, JSON]:
    """`uid`: of the Canary."""
    return {**_head("v1", "ServiceAccount", canary.ref, uid), "automountServiceAccountToken": False}


def deployment(canary: CanaryIntent, uid: str, settings: InjectionSettings, bootstrap: Bootstrap) -> dict[str, JSON]:
    """Pods that the API server takes at the Pod Security level `restricted`."""
    name = object_name(canary.ref)
    selected: dict[str, JSON] = {_SELECTED_BY: name}
    container: dict[str, Any] = {
        **proxy_container(PodOptions(settings=settings), bootstrap(())),
        "readinessProbe": {
            "httpGet": {"path": READINESS_PATH, "port": ROOT_READINESS_PORT, "scheme": "HTTP"},
            "periodSeconds": 2,
            "timeoutSeconds": 3,
            "failureThreshold": 3,
        },
        "lifecycle": {"preStop": {"sleep": {"seconds": DRAIN_SECONDS}}},
    }
    container["args"] = [*container["args"], "--drain-time-s", str(DRAIN_SECONDS // 2)]
    for field in ("restartPolicy", "startupProbe"):  # of a native sidecar
        container.pop(field, None)
    spread: JSON = {
        "topologyKey": "kubernetes.io/hostname",
        "maxSkew": 1,
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": selected},
        "matchLabelKeys": ["pod-template-hash"],  # or those that a rollout takes away would count
    }
    pod: dict[str, JSON] = {
        "serviceAccountName": name,
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": DRAIN_SECONDS + 20,
        "topologySpreadConstraints": [spread],
        "containers": [container],
        "volumes": proxy_volumes(settings),
    }
    return {
        **_head("apps/v1", "Deployment", canary.ref, uid),
        "spec": {
            "replicas": canary.root_proxies,
            "selector": {"matchLabels": selected},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "template": {
                "metadata": {
                    "labels": {**selected, INJECT_LABEL: "disabled"},
                    "annotations": {ROOT_PROXY_OF: canary.ref.name},
                },
                "spec": pod,
            },
        },
    }


def budget(canary: CanaryIntent, uid: str) -> dict[str, JSON]:
    """Who empties nodes takes one after the other. One that is not ready keeps no node."""
    selector: JSON = {"matchLabels": {_SELECTED_BY: object_name(canary.ref)}}
    return {
        **_head("policy/v1", "PodDisruptionBudget", canary.ref, uid),
        "spec": {"maxUnavailable": 1, "selector": selector, "unhealthyPodEvictionPolicy": "AlwaysAllow"},
    }


def endpoint_slices(
    canary: CanaryIntent, uid: str, addresses_of_root: Iterable[str], pods: Sequence[Pod]
) -> tuple[dict[str, JSON], ...]:
    """For each family of addresses that the root has, one for each hundred ports; `pods` are the root proxies that
    there are."""
    families = sorted({_family(address) for address in addresses_of_root})
    listening = listening_ports(number for number, _ in canary.ports)
    ports: list[JSON] = [
        {"name": name, "port": listening[number], "protocol": "TCP"}
        for (number, _), name in zip(canary.ports, canary.port_names, strict=True)
    ]
    parts = [ports[at : at + _PORTS_AT_MOST] for at in range(0, len(ports), _PORTS_AT_MOST)]
    return tuple(
        {
            **_slice_head(f"{object_name(canary.ref)}{_suffix(family, number)}", canary.ref, uid, canary.root.name),
            "addressType": family,
            "ports": part,
            "endpoints": [
                _endpoint(pod, address)
                for pod in sorted(pods, key=lambda pod: pod.metadata.name)
                for address in pod.addresses
                if _family(address) == family
            ],
        }
        for family in families
        for number, part in enumerate(parts)
    )


def emptied(found: EndpointSlice, canary: ObjectRef, uid: str) -> dict[str, JSON]:
    """One of a Canary's EndpointSlices, as it leads nobody anywhere any more."""
    return {
        **_slice_head(found.metadata.name, canary, uid, found.service_name),
        "addressType": found.address_type,
        "endpoints": [],
    }


def root_proxy_of(pod: Pod) -> ObjectRef | None:
    """Whose root proxy a Pod is. None for one with an application, or with the address of its node, whatever it says of
    itself: clients would be led to it."""
    if ROOT_PROXY_OF not in pod.metadata.annotations:
        return None  # as nearly all Pods
    facts = pod_facts(pod)
    if facts is None or not facts.root_proxy_of or facts.host_network:
        return None
    return ObjectRef("Canary", pod.metadata.namespace, facts.root_proxy_of)


def unfit(canary: CanaryIntent) -> str:
    """Why no proxy can stand before the root as it is; empty if one can."""
    if not canary.ports:
        return "it divides nothing, so there is nothing for its root proxies to do"
    if canary.root_headless:
        return f"the root {canary.root} has no address of its own, so its clients cannot be led to a root proxy"
    if canary.root_selects:
        return (
            f"the root {canary.root} has a selector, which leads clients to the Pods that it selects; take it out, "
            "and delete the EndpointSlices that it leaves behind, so that they are led to the root proxies"
        )
    return ""


def none_ready(canary: CanaryIntent) -> str:
    return f"none of its {canary.root_proxies} root proxies is ready yet"


def _endpoint(pod: Pod, address: str) -> JSON:
    """One that is to go serves on for a while, and gets nothing new where there is another."""
    meta, serving = pod.metadata, pod.ready
    terminating = bool(meta.deletion_timestamp)
    return {
        "addresses": [address],
        "conditions": {"ready": serving and not terminating, "serving": serving, "terminating": terminating},
        "targetRef": {"kind": "Pod", "namespace": meta.namespace, "name": meta.name, "uid": meta.uid},
    }


def _suffix(family: str, number: int) -> str:
    return f"-{family.lower()}" + (f"-{number + 1}" if number else "")


def _family(address: str) -> str:
    return f"IPv{ip_address(address).version}"


def _slice_head(name: str, canary: ObjectRef, uid: str, root: str) -> dict[str, JSON]:
    labels: dict[str, JSON] = {SLICE_MANAGER_LABEL: SLICE_MANAGER, "kubernetes.io/service-name": root}
    return _head("discovery.k8s.io/v1", "EndpointSlice", canary, uid, name=name, labels=labels)


def _head(
    api_version: str, kind: str, canary: ObjectRef, uid: str, *, name: str = "", labels: Mapping[str, JSON] = {}
) -> dict[str, JSON]:
    owner = {"apiVersion": "smi-spec.io/v1beta1", "kind": "Canary", "name": canary.name, "uid": uid}
    common = {"app.kubernetes.io/name": "smeagol-root-proxy", "app.kubernetes.io/managed-by": "smeagol"}
    return {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {
            "name": name or object_name(canary),
            "namespace": canary.namespace,
            "labels": {**common, **labels},
            "ownerReferences": [{**owner, "controller": True}],
        },
    }
