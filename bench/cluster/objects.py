"""The made-up mesh of the xDS part, as the API server takes it. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import msgspec

from bench.xds.world import ChangeKind, Scale, WorldObject, changed_object, world
from smeagol import api, objects
from smeagol.api.convert import to_json
from smeagol.api.meta import GROUP, VERSION

__all__ = ["ADMITTED", "Body", "Change", "Write", "change", "mutual_tls", "new_pod", "writes"]

Body: TypeAlias = dict[str, Any]
"""An object or a part of one as JSON, which these modules look into as kubectl does."""

ADMITTED = "admitted"
"""The namespace of the Pods that are created at once."""

_SMI = f"apis/{GROUP}/{VERSION}"
_PLACES: dict[type[WorldObject], tuple[str, str]] = {
    objects.Pod: ("api/v1", "pods"),
    objects.Service: ("api/v1", "services"),
    objects.EndpointSlice: ("apis/discovery.k8s.io/v1", "endpointslices"),
    api.Canary: (_SMI, "canaries"),
    api.MutualTLS: (_SMI, "mutualtls"),
}
"""Where objects of a type are: the API of their group and version, and the plural."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """An object to make: POST `body` to `path`, then, if there is one, merge `status` into its status."""

    path: str
    name: str
    body: Body
    status: Body | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A merge patch of one object."""

    path: str
    name: str
    patch: Body


def writes(scale: Scale) -> Iterator[Write]:
    """All objects but the namespace, those first that others name."""
    for given in world(scale):
        if not isinstance(given, objects.Namespace):
            yield _write(given)


def change(scale: Scale, kind: ChangeKind, step: int) -> Change:
    """The change number `step` of this kind, as the xDS part makes it too."""
    given = changed_object(scale, kind, step)
    wanted = _write(given)
    field = "spec" if isinstance(given, api.Canary) else "endpoints"
    return Change(path=f"{wanted.path}/{wanted.name}", name=wanted.name, patch={field: wanted.body[field]})


def new_pod(namespace: str, number: int) -> Write:
    """A Pod as users create it, with a port, a probe and resources."""
    container: Body = {
        "name": "app",
        "image": "example.com/app:1",
        "ports": [{"name": "http", "containerPort": 8080}],
        "readinessProbe": {"httpGet": {"port": "http", "path": "/ready"}},
        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
    }
    name = f"new-{number:04}"
    body: Body = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": "new"}},
        "spec": {"containers": [container]},
    }
    return Write(path=f"/api/v1/namespaces/{namespace}/pods", name=name, body=body)


def mutual_tls(path: str) -> Write:
    """Selects all Pods of its namespace."""
    body: Body = {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "MutualTLS",
        "metadata": {"name": "all"},
        "spec": {"selector": {}},
    }
    return Write(path=path, name="all", body=body)


def _write(given: WorldObject) -> Write:
    group_version, plural = _PLACES[type(given)]
    body: Body = msgspec.json.decode(msgspec.json.encode(to_json(given)))
    status: Body | None = body.pop("status", None)
    body |= {"apiVersion": group_version.partition("/")[2], "kind": type(given).__name__}
    body["metadata"] = {key: body["metadata"][key] for key in ("name", "labels") if key in body["metadata"]}
    match given:
        case objects.Pod():
            _complete_pod(body)
        case objects.Service(spec=spec):
            # The API server chooses the address.
            body["spec"] = {"selector": dict(spec.selector or {}), "ports": [to_json(port) for port in spec.ports]}
        case objects.EndpointSlice():
            body["addressType"] = "IPv4"
    return Write(
        path=f"/{group_version}/namespaces/{given.metadata.namespace}/{plural}",
        name=given.metadata.name,
        body=body,
        status=status,
    )


def _complete_pod(body: Body) -> None:
    """What no Pod is without. Its node does not exist, so it is as ready as its status says."""
    spec = body["spec"]
    for container in (*spec["containers"], *spec["initContainers"]):
        container["image"] = "none"
    spec["nodeName"] = "nowhere"
