"""What Kuma's policies have in common: the kinds, the mesh they are in, and their targets."""

from __future__ import annotations

from collections.abc import Mapping

from smeagol.intent import Selection
from smeagol.plan import JSON
from smeagol.plan.making import digest_of, made, made_name
from smeagol.plan.peer import JSONObject, PeerKind, Surroundings, at
from smeagol.providers.selecting import alternatives, labels_of, reaches
from smeagol.refs import ObjectRef

__all__ = [
    "MESH",
    "MESH_HTTP_ROUTE",
    "MESH_IDENTITY",
    "MESH_KIND",
    "MESH_LABEL",
    "MESH_METRIC",
    "MESH_TCP_ROUTE",
    "MESH_TLS",
    "NAMESPACE_LABEL",
    "policies",
    "policy",
    "same_target",
]

MESH_TLS = PeerKind("kuma.io/v1alpha1", "MeshTLS", "meshtlses")
MESH_HTTP_ROUTE = PeerKind("kuma.io/v1alpha1", "MeshHTTPRoute", "meshhttproutes")
MESH_TCP_ROUTE = PeerKind("kuma.io/v1alpha1", "MeshTCPRoute", "meshtcproutes")
MESH_METRIC = PeerKind("kuma.io/v1alpha1", "MeshMetric", "meshmetrics")
MESH_IDENTITY = PeerKind("kuma.io/v1alpha1", "MeshIdentity", "meshidentities")
MESH_KIND = PeerKind("kuma.io/v1alpha1", "Mesh", "meshes", namespaced=False)

MESH = "default"
"""The mesh whose Pods the adapter serves."""
MESH_LABEL = "kuma.io/mesh"
NAMESPACE_LABEL = "k8s.kuma.io/namespace"


def policies(
    kind: PeerKind, owner: ObjectRef, provider: str, selection: Selection, spec: Mapping[str, JSON]
) -> tuple[JSONObject, ...]:
    """A policy for the proxies of the selected Pods, or several where the selector has alternatives; none where Kuma
    cannot select them. A policy in a namespace reaches those of the namespace.
    """
    found = []
    for labels in alternatives(selection):
        apart = [digest_of(labels)] if selection.match_expressions else []
        target: JSON = {"kind": "Dataplane", **({"labels": labels} if labels else {})}
        found.append(policy(kind, owner, provider, {"targetRef": target, **spec}, *apart))
    return tuple(found)


def policy(kind: PeerKind, owner: ObjectRef, provider: str, spec: JSON, *apart: str) -> JSONObject:
    """A policy in the owner's namespace. Kuma copies its name into a label, so it has 63 characters at most."""
    obj = made(
        kind.group_version,
        kind.kind,
        name=made_name(owner.name, *apart, limit=63),
        namespace=owner.namespace,
        owner=owner,
        provider=provider,
        spec=spec,
    )
    metadata = obj["metadata"]
    if not isinstance(metadata, Mapping):  # `made` makes one
        raise TypeError
    labels = labels_of(metadata["labels"]) | {MESH_LABEL: MESH}
    return {**obj, "metadata": {**metadata, "labels": labels}}


def same_target(foreign: JSONObject, selection: Selection, around: Surroundings) -> bool:
    """Has a policy of the same namespace the same rank as ours on some of the Pods?

    One for the whole mesh has less to say than one for proxies, one of the system's namespace less than the workloads'.
    """
    found = at(foreign, "spec", "targetRef")
    if at(found, "kind") != "Dataplane":
        return False
    return reaches({"matchLabels": labels_of(at(found, "labels"))}, selection, around)
