"""Objects of other meshes, read as they are, and what can be found out about the meshes themselves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeAlias

import httpx2
import msgspec

from smeagol.objects import Metadata
from smeagol.objects.appliers import appliers_of
from smeagol.plan import JSON
from smeagol.plan.peer import DeploymentFacts, JSONObject, PeerFacts, PeerKind, PeerProvider
from smeagol.sources.kubernetes.collection import Kind

__all__ = ["PeerObject", "find_peer", "kind_of"]

_METADATA_ONLY = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"
_DEPLOYMENTS_AT_MOST = "50"

_Labels: TypeAlias = dict[str, str]


@dataclass(frozen=True, slots=True)
class PeerObject:
    """An object without its `managedFields`; `appliers` are those who have applied it on the server side, each with the
    fields that are still as it said."""

    metadata: Metadata
    body: JSONObject = field(repr=False)
    appliers: Mapping[str, bytes] = field(default_factory=lambda: MappingProxyType({}), repr=False)


class _WithMetadata(msgspec.Struct, frozen=True):
    metadata: Metadata


def kind_of(kind: PeerKind) -> Kind[PeerObject]:
    """How objects of a kind are watched."""

    def decode(body: bytes) -> PeerObject:
        found: dict[str, JSON] = msgspec.json.decode(body)
        metadata = found.get("metadata")
        if isinstance(metadata, dict):
            metadata.pop("managedFields", None)
        # Items of a listing lack them (meta/v1 List).
        found |= {"apiVersion": kind.group_version, "kind": kind.kind}
        return PeerObject(
            metadata=msgspec.json.decode(body, type=_WithMetadata).metadata,
            body=found,
            appliers=appliers_of(body),
        )

    return Kind(group_version=kind.group_version, plural=kind.plural, decode=decode)


class _Resource(msgspec.Struct, frozen=True):
    name: str = ""
    kind: str = ""


class _Resources(msgspec.Struct, frozen=True):
    resources: tuple[_Resource, ...] = ()


class _Marks(msgspec.Struct, frozen=True):
    labels: _Labels = {}
    annotations: _Labels = {}


class _Marked(msgspec.Struct, frozen=True):
    metadata: _Marks = _Marks()


class _Image(msgspec.Struct, frozen=True):
    image: str = ""


class _PodSpec(msgspec.Struct, frozen=True):
    containers: tuple[_Image, ...] = ()


class _Template(msgspec.Struct, frozen=True):
    spec: _PodSpec = _PodSpec()


class _DeploymentSpec(msgspec.Struct, frozen=True):
    template: _Template = _Template()


class _DeploymentStatus(msgspec.Struct, frozen=True, rename="camel"):
    ready_replicas: int = 0


class _NamedMarks(_Marks, frozen=True):
    name: str = ""
    namespace: str = ""


class _Deployment(msgspec.Struct, frozen=True):
    metadata: _NamedMarks = _NamedMarks()
    spec: _DeploymentSpec = _DeploymentSpec()
    status: _DeploymentStatus = _DeploymentStatus()


class _Deployments(msgspec.Struct, frozen=True):
    items: tuple[_Deployment, ...] = ()


async def find_peer(client: httpx2.AsyncClient, provider: PeerProvider) -> PeerFacts:
    """Look for a provider's peer. Raises httpx2.HTTPError if the API server does not answer, or not to us."""
    served = await _served(client, provider.known_kinds)
    marks = {crd: await _marks(client, crd) for crd in sorted({kind.crd for kind in served if kind.group})}
    found: dict[tuple[str, str], DeploymentFacts] = {}
    for selector in provider.traces.deployments:
        found |= {(d.namespace, d.name): d for d in await _deployments(client, selector)}
    return PeerFacts(
        served=served,
        annotations={crd: found.annotations for crd, found in marks.items()},
        labels={crd: found.labels for crd, found in marks.items()},
        deployments=tuple(found[key] for key in sorted(found)),
    )


async def _served(client: httpx2.AsyncClient, kinds: Iterable[PeerKind]) -> frozenset[PeerKind]:
    known: dict[str, list[PeerKind]] = {}
    for kind in kinds:
        known.setdefault(kind.group_version, []).append(kind)
    served: set[PeerKind] = set()
    for group_version, of_version in known.items():
        prefix = "apis" if "/" in group_version else "api"
        answer = await client.get(f"/{prefix}/{group_version}")
        if answer.status_code == 404:
            continue
        answer.raise_for_status()
        there = {(r.kind, r.name) for r in msgspec.json.decode(answer.content, type=_Resources).resources}
        served |= {kind for kind in of_version if (kind.kind, kind.plural) in there}
    return frozenset(served)


async def _marks(client: httpx2.AsyncClient, crd: str) -> _Marks:
    """Labels and annotations of a definition; the definition itself may be a megabyte."""
    path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{crd}"
    answer = await client.get(path, headers={"accept": _METADATA_ONLY})
    if answer.status_code in (403, 404):  # a kind that is served otherwise, or one we may not look at
        return _Marks()
    answer.raise_for_status()
    return msgspec.json.decode(answer.content, type=_Marked).metadata


async def _deployments(client: httpx2.AsyncClient, selector: str) -> list[DeploymentFacts]:
    params: Mapping[str, str] = {"labelSelector": selector, "limit": _DEPLOYMENTS_AT_MOST}
    answer = await client.get("/apis/apps/v1/deployments", params=params)
    answer.raise_for_status()
    return [
        DeploymentFacts(
            namespace=d.metadata.namespace,
            name=d.metadata.name,
            labels=d.metadata.labels,
            annotations=d.metadata.annotations,
            images=tuple(c.image for c in d.spec.template.spec.containers),
            ready=d.status.ready_replicas > 0,
        )
        for d in msgspec.json.decode(answer.content, type=_Deployments).items
    ]
