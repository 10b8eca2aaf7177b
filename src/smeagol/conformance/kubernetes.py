"""The suite on a cluster: objects and Events of the API server, commands in its Pods, and namespaces of its own.

A cluster may run any provider. What differs from one to the next is in `Adjustments`: the image of the suite's Pods,
and what makes the provider give a Pod a proxy, or none.
"""

from __future__ import annotations

import concurrent.futures
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

import httpx2

from smeagol.conformance.driver import (
    WITHOUT_DATA_PLANE,
    Credentials,
    Event,
    Made,
    Manifest,
    Output,
    PodSeen,
    reference,
)
from smeagol.conformance.limits import Limits
from smeagol.conformance.model import ConformanceError, NotAllowedError
from smeagol.infra.kubernetes.exec import exec_in_container
from smeagol.refs import DEFAULT_CLUSTER_DOMAIN, PodRef

__all__ = ["Adjustments", "Kubernetes", "adjusted"]

FIELD_MANAGER = "smi-conformance"
IMAGE = "smi-conformance-echo"
CONTAINER = "echo"
INJECT = "smi-spec.io/inject"
VERSION_LABEL = "app.kubernetes.io/version"
BUSY, FORBIDDEN = 429, 403
NO_IMAGE = ("ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName")
AT_ONCE = 8
"""Commands of the suite that run in Pods side by side."""

_GROUPS = {
    "v1": "/api/v1",
    "apps/v1": "/apis/apps/v1",
    "discovery.k8s.io/v1": "/apis/discovery.k8s.io/v1",
    "smi-spec.io/v1beta1": "/apis/smi-spec.io/v1beta1",
}
_PLURALS = {
    "Namespace": "namespaces",
    "Pod": "pods",
    "Service": "services",
    "EndpointSlice": "endpointslices",
    "ServiceAccount": "serviceaccounts",
    "Deployment": "deployments",
    "MutualTLS": "mutualtls",
    "Canary": "canaries",
    "Sidecar": "sidecars",
    "ProviderClass": "providerclasses",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Adjustments:
    """What the suite's manifests need on this cluster.

    `meshed_*` is put on what asks for a proxy by `smi-spec.io/inject: enabled`, `unmeshed_labels` on what declines one.
    """

    image: str
    meshed_labels: Mapping[str, str] = field(default_factory=dict)
    meshed_annotations: Mapping[str, str] = field(default_factory=dict)
    unmeshed_labels: Mapping[str, str] = field(default_factory=dict)
    cluster_domain: str = DEFAULT_CLUSTER_DOMAIN
    trust_domain: str = ""
    scheduler: str = ""
    """who places the Pods, where it is not the cluster's own"""


class Kubernetes:
    """A `Driver` on the cluster that `client` reaches. Without `data_plane` its Pods are objects only (`nodeless`)."""

    def __init__(
        self, client: httpx2.Client, limits: Limits, adjustments: Adjustments, *, data_plane: bool = True
    ) -> None:
        self.data_plane = data_plane
        self.mode = "kubernetes" if data_plane else WITHOUT_DATA_PLANE
        self._client = client
        self._limits = limits
        self._adjustments = adjustments
        self._pool = concurrent.futures.ThreadPoolExecutor(AT_ONCE)

    def version(self, controller: str) -> str:
        """Of Smeagol, by the labels of its installation, for a provider of its own; which another has, no API tells."""
        platform = f"on Kubernetes {self._ask('GET', '/version').json()['gitVersion']}"
        if not controller.startswith("smeagol.dev/"):
            return platform
        query = {"labelSelector": "app.kubernetes.io/name=smeagol"}
        found = self._ask("GET", "/apis/apps/v1/deployments", params=query).json()["items"]
        versions = {each["metadata"]["labels"].get(VERSION_LABEL, "") for each in found} - {""}
        return " ".join([*sorted(versions), platform])

    def facts(self) -> Mapping[str, str]:
        domain = self._adjustments.cluster_domain
        return {"clusterDomain": domain, "trustDomain": self._adjustments.trust_domain or domain}

    def apply(self, objects: Sequence[Manifest]) -> None:
        for manifest in objects:
            kind = manifest["kind"]
            if kind in ("Namespace", "Pod") and self._there(manifest) and kind == "Pod":
                continue  # what injection has made of it cannot be applied over
            answer = self._apply(manifest)
            if answer.is_error:
                kind_of_error = NotAllowedError if answer.status_code == FORBIDDEN else ConformanceError
                raise kind_of_error(f"the API server refuses it: {_message(answer)}", where=_where(manifest))

    def delete(self, objects: Sequence[Manifest]) -> None:
        for manifest in objects:
            answer = self._send("DELETE", _path(manifest), params={"propagationPolicy": "Background"})
            if answer.is_error and answer.status_code not in (404, 409):  # 409: it is going already
                raise ConformanceError(f"it cannot be deleted: {_message(answer)}", where=_where(manifest))

    def refusal(self, manifest: Manifest) -> str:
        answer = self._apply(manifest, dryRun="All")
        return _message(answer) if answer.is_error else ""

    def get(self, kind: str, namespace: str, name: str) -> Manifest | None:
        return self._found(_at("smi-spec.io/v1beta1", kind, namespace, name))

    def default_class(self) -> str | None:
        """spec: SMI-CLASS-05"""
        found = self._ask("GET", _at("smi-spec.io/v1beta1", "ProviderClass", "")).json()["items"]
        defaults = [
            (metadata["creationTimestamp"], str(metadata["name"]))
            for metadata in (each["metadata"] for each in found)
            if metadata.get("annotations", {}).get("smi-spec.io/is-default-class") == "true"
        ]
        return min(defaults, default=("", ""))[1]

    def pod(self, namespace: str, name: str) -> PodSeen | None:
        found = self._found(_at("v1", "Pod", namespace, name))
        return _seen(found) if found is not None else None

    def pods(self, namespace: str) -> Sequence[PodSeen]:
        return [_seen(pod) for pod in self._ask("GET", _at("v1", "Pod", namespace)).json()["items"]]

    def cluster_ips(self, namespace: str, service: str) -> tuple[str, ...]:
        found = self._found(_at("v1", "Service", namespace, service))
        return tuple(ip for ip in found["spec"].get("clusterIPs", ()) if ip != "None") if found else ()

    def events(self, kind: str, namespace: str, name: str) -> Sequence[Event]:
        """Of this very object, not of one of its name that was deleted."""
        found = self.get(kind, namespace, name)
        if found is None:
            return ()
        about = {"involvedObject.kind": kind, "involvedObject.uid": found["metadata"]["uid"]}
        query = {"fieldSelector": ",".join(f"{key}={value}" for key, value in about.items())}
        items = self._ask("GET", f"/api/v1/namespaces/{namespace}/events", params=query).json()["items"]
        return [Event(type=e.get("type", ""), reason=e.get("reason", ""), message=e.get("message", "")) for e in items]

    def made_for(self, namespace: str, uid: str) -> Sequence[Made]:
        metadata_only = {"accept": "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"}
        return [
            Made(
                kind=f"{kind}.{_applied_as(item['metadata'])}",
                name=item["metadata"]["name"],
                uid=item["metadata"]["uid"],
            )
            for kind, path in self._custom
            for item in self._ask("GET", path.format(namespace), headers=metadata_only).json()["items"] or ()
            if any(owner["uid"] == uid for owner in item["metadata"].get("ownerReferences", ()))
        ]

    @cached_property
    def _custom(self) -> Sequence[tuple[str, str]]:
        """What providers make: ConfigMaps, and custom resources but for the interface's own; and where it is listed."""
        definitions = self._ask("GET", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions").json()["items"]
        found = {"/api/v1/namespaces/{}/configmaps": "ConfigMap"}
        for spec in (definition["spec"] for definition in definitions):
            served = [version["name"] for version in spec["versions"] if version["served"]]
            if served and spec["scope"] == "Namespaced" and spec["group"] != "smi-spec.io":
                path = f"/apis/{spec['group']}/{served[0]}/namespaces/{{}}/{spec['names']['plural']}"
                found[path] = spec["names"]["kind"]
        return [(kind, path) for path, kind in found.items()]

    def exec(self, namespace: str, pod: str, command: Sequence[str], *, stdin: str = "") -> Output:
        done = exec_in_container(self._client, PodRef(namespace, pod), CONTAINER, command, stdin=stdin)
        return Output(code=done.code, text=done.stdout, errors=done.stderr)

    def background(self, namespace: str, pod: str, command: Sequence[str], *, stdin: str = "") -> Callable[[], Output]:
        return self._pool.submit(self.exec, namespace, pod, command, stdin=stdin).result

    def scrape(self, url: str) -> str:
        """By the API server's way to a Service, for the URL holds inside the cluster only."""
        parts = urlsplit(url)
        service, namespace = [*(parts.hostname or "").split(".", 2), ""][:2]
        if not re.fullmatch(r"[a-z0-9-]+", service) or not namespace:
            raise ConformanceError(f"the URL to scrape is not that of a Service of the cluster: {url}")
        port = parts.port or {"https": 443}.get(parts.scheme, 80)
        name = f"{'https:' if parts.scheme == 'https' else ''}{service}:{port}"
        path = f"/api/v1/namespaces/{namespace}/services/{name}/proxy{parts.path}"
        return self._ask("GET", path + (f"?{parts.query}" if parts.query else "")).text

    def credentials(self, names: Sequence[str]) -> Credentials | None:
        """None: a cluster's authority issues to its own Pods."""

    def _apply(self, manifest: Manifest, **query: str) -> httpx2.Response:
        return self._send(
            "PATCH",
            _path(manifest),
            params={"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict", "force": "true", **query},
            headers={"content-type": "application/apply-patch+yaml"},
            json=adjusted(manifest, self._adjustments),
        )

    def _there(self, manifest: Manifest) -> bool:
        """Whether there is one that stays; one that an earlier run has deleted may still be going."""
        deadline = time.monotonic() + self._limits.delete
        while time.monotonic() < deadline:
            found = self._found(_path(manifest))
            if found is None or "deletionTimestamp" not in found["metadata"]:
                return found is not None
            time.sleep(self._limits.poll)
        raise ConformanceError("one of this name is being deleted, and does not go", where=_where(manifest))

    def _found(self, path: str) -> dict[str, Any] | None:
        answer = self._send("GET", path)
        if answer.status_code == 404:
            if not answer.headers.get("content-type", "").startswith("application/json"):  # it knows no such kind
                raise ConformanceError(
                    "the cluster does not know the kinds of the Service Mesh Interface",
                    where=path,
                    fix="Install a provider, which brings them: smeagol install",
                )
            return None
        found: dict[str, Any] = _good(answer, path).json()
        return found

    def _ask(self, method: str, path: str, **request: Any) -> httpx2.Response:
        return _good(self._send(method, path, **request), path)

    def _send(self, method: str, path: str, **request: Any) -> httpx2.Response:
        """Asked again while the server is busy (429), as it is with kinds that have just been defined."""
        deadline = time.monotonic() + self._limits.condition
        try:
            while (answer := self._client.request(method, path, **request)).status_code == BUSY:
                if time.monotonic() > deadline:
                    break
                time.sleep(self._limits.poll)
            return answer
        except httpx2.HTTPError as error:
            raise ConformanceError(
                f"the API server does not answer: {str(error) or type(error).__name__}",
                where=path,
                fix="See whether kubectl get --raw /readyz answers with the same kubeconfig",
            ) from error


def _at(api: str, kind: str, namespace: str, name: str = "") -> str:
    within = f"/namespaces/{namespace}" if namespace else ""
    return f"{_GROUPS[api]}{within}/{_PLURALS[kind]}" + (f"/{name}" if name else "")


def _path(manifest: Manifest) -> str:
    kind, namespace, name = reference(manifest)
    return _at(str(manifest["apiVersion"]), kind, namespace, name)


def _where(manifest: Manifest) -> str:
    return " ".join(part for part in reference(manifest) if part)


def adjusted(manifest: Manifest, to: Adjustments) -> Manifest:
    """The manifest as this cluster needs it: image, and what asks for a proxy or declines one."""
    made: Manifest = _placed(_with_image(manifest, to.image), to.scheduler)
    metadata = dict(made["metadata"])
    labels = dict(metadata.get("labels", {}))
    asks, declines = (labels.get(INJECT) == value for value in ("enabled", "disabled"))
    labels |= (dict(to.meshed_labels) if asks else {}) | (dict(to.unmeshed_labels) if declines else {})
    annotations = dict(metadata.get("annotations", {})) | (dict(to.meshed_annotations) if asks else {})
    metadata |= {key: value for key, value in (("labels", labels), ("annotations", annotations)) if value}
    return {**made, "metadata": metadata}


def _placed(manifest: Manifest, scheduler: str) -> Manifest:
    """A Pod, or the template of a Deployment, with the scheduler's name, if there is any."""
    if not scheduler or manifest["kind"] not in ("Pod", "Deployment"):
        return manifest
    spec = manifest["spec"]
    if manifest["kind"] == "Pod":
        return {**manifest, "spec": {**spec, "schedulerName": scheduler}}
    template = {**spec["template"], "spec": {**spec["template"]["spec"], "schedulerName": scheduler}}
    return {**manifest, "spec": {**spec, "template": template}}


def _with_image(value: Any, image: str) -> Any:
    if isinstance(value, dict):
        return {
            key: image if (key, item) == ("image", IMAGE) else _with_image(item, image) for key, item in value.items()
        }
    return [_with_image(item, image) for item in value] if isinstance(value, list) else value


def _seen(pod: Mapping[str, Any]) -> PodSeen:
    status = pod.get("status", {})
    containers = [*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())]
    waiting = [each.get("state", {}).get("waiting", {}) for each in containers]
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions", ()))
    return PodSeen(
        name=pod["metadata"]["name"],
        ips=tuple(each["ip"] for each in status.get("podIPs", ())),
        ready=ready,
        restarts=sum(each.get("restartCount", 0) for each in containers),
        no_image=next(
            (each.get("message", "") or each["reason"] for each in waiting if each.get("reason") in NO_IMAGE), ""
        ),
    )


def _good(answer: httpx2.Response, path: str) -> httpx2.Response:
    if answer.is_error:
        raise ConformanceError(f"the API server says: {_message(answer)}", where=path)
    return answer


def _applied_as(metadata: Mapping[str, Any]) -> str:
    """The group and version in which an object was written first: it may be shown in another."""
    return str(next((each["apiVersion"] for each in metadata.get("managedFields", ())), ""))


def _message(answer: httpx2.Response) -> str:
    try:
        return str(answer.json()["message"])
    except (ValueError, KeyError, TypeError):
        return f"status {answer.status_code}"
