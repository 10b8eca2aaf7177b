"""What an adapter says besides `plan`: a provider that makes the objects of another mesh, its *peer*.

Everything here is pure: facts come in as values, answers go out, and `runtime.applying` does the rest.

    detect      which peer is there, from the kinds it serves, its CRDs and its Deployments
    fitted      the adapter for that peer: `plan` may then differ by version, or by which kinds there are
    plan        the objects for one unit; each is made with `smeagol.plan.making.made`
    conflicts   which foreign objects act on the same target
    answer      what the peer itself says of an object that was made

What the runtime sees to, so that an adapter need not: objects are applied by server-side apply with a field manager for
each provider; an object that somebody else has made is never touched, whatever its name; what is no longer planned is
deleted, if need be once an adapter runs again: no finalizer holds up a user's object; within a namespace owner
references do the same while none runs; statuses are written; the kinds that the API server does not serve are not
watched, and objects of such kinds are not applied.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, Self, TypeAlias, runtime_checkable

from smeagol.intent import Unit
from smeagol.plan import JSON, Plan, Provider
from smeagol.plan.making import PROVIDER_LABEL
from smeagol.refs import ObjectRef, PodRef

__all__ = [
    "Answer",
    "Conflict",
    "DeploymentFacts",
    "JSONObject",
    "Peer",
    "PeerFacts",
    "PeerKind",
    "PeerProvider",
    "Surroundings",
    "Traces",
    "Verdict",
    "at",
    "items",
    "made_by",
    "ref_of",
]

JSONObject: TypeAlias = "Mapping[str, JSON]"
"""A Kubernetes object as it is on the API server."""


class PeerKind(NamedTuple):
    """A kind on the API server, in one version: `PeerKind("gateway.networking.k8s.io/v1", "HTTPRoute", "httproutes")`.

    `namespaced`: whether its objects are in a namespace.
    """

    group_version: str
    kind: str
    plural: str
    namespaced: bool = True

    @property
    def group(self) -> str:
        return self.group_version.rpartition("/")[0]

    @property
    def crd(self) -> str:
        """Name of the CustomResourceDefinition."""
        return f"{self.plural}.{self.group}"

    def is_kind_of(self, obj: JSONObject) -> bool:
        return obj.get("apiVersion") == self.group_version and obj.get("kind") == self.kind


# Which peer is there --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Traces:
    """Where to look for the peer: label selectors of Deployments, such as `app=istiod`. CRDs are looked up anyway."""

    deployments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentFacts:
    """A Deployment that one of the selectors found. `images`: of its containers, in order."""

    namespace: str
    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    images: tuple[str, ...] = ()
    ready: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerFacts:
    """What was found. `served`: the kinds of the adapter, made or watched, that the API server has.

    `annotations`, `labels`: of their CRDs, by the CRD's name.
    """

    served: frozenset[PeerKind] = frozenset()
    annotations: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    labels: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    deployments: tuple[DeploymentFacts, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """The peer as found. `served` are its kinds that there are.

    `problem` says why the adapter cannot work with it, and is empty if it can: it is not installed, or too old. Then
    nothing is applied, what was made before stays, and the class is not accepted. `ready` is False while its control
    plane is known not to run, and None if that cannot be known.
    """

    name: str
    version: str = ""
    served: frozenset[PeerKind] = frozenset()
    ready: bool | None = None
    problem: str = ""


# What else is there ---------------------------------------------------------------------------------------------------


class Surroundings:
    """The foreign objects among which a unit is planned: all of the adapter's kinds that it has not made itself.

    `pod_labels` has the labels of each Pod, for selectors; `pod_annotations` what else is said of it, such as which
    ports go past its proxy.
    """

    def __init__(
        self,
        objects: Iterable[JSONObject] = (),
        pod_labels: Mapping[PodRef, Mapping[str, str]] | None = None,
        pod_annotations: Mapping[PodRef, Mapping[str, str]] | None = None,
    ) -> None:
        self.pod_labels: Mapping[PodRef, Mapping[str, str]] = pod_labels or {}
        self.pod_annotations: Mapping[PodRef, Mapping[str, str]] = pod_annotations or {}
        self._by_kind: dict[tuple[str, str], list[JSONObject]] = {}
        self._by_namespace: dict[tuple[str, str, str], list[JSONObject]] = {}
        for obj in objects:
            group, kind = str(obj["apiVersion"]).rpartition("/")[0], str(obj["kind"])
            self._by_kind.setdefault((group, kind), []).append(obj)
            self._by_namespace.setdefault((group, kind, ref_of(obj).namespace), []).append(obj)

    def of(self, kind: PeerKind, namespace: str | None = None) -> Sequence[JSONObject]:
        """Those of a kind, in whichever version they are read; in one namespace, or in all."""
        if namespace is None:
            return self._by_kind.get((kind.group, kind.kind), ())
        return self._by_namespace.get((kind.group, kind.kind, namespace), ())


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """A foreign object that acts on the same target as the unit. `message` says on what, without the objects' names.

    `oldest_wins`: the peer gives the target to the older of the two, and so do we. Where it does not decide, the
    foreign object wins, since its owner did not ask for us.
    """

    foreign: ObjectRef
    created: str = ""
    """RFC 3339, as the API server writes it"""
    message: str
    oldest_wins: bool = True

    @classmethod
    def over(cls, foreign: JSONObject, message: str, *, oldest_wins: bool = True) -> Self:
        """A conflict with this object."""
        created = str(at(foreign, "metadata", "creationTimestamp") or "")
        return cls(foreign=ref_of(foreign), created=created, message=message, oldest_wins=oldest_wins)


# What the peer says ---------------------------------------------------------------------------------------------------


class Verdict(enum.Enum):
    """What the peer says of an object that was made for it. The gravest of a unit's objects counts, the last first."""

    PROGRAMMED = "it is in force"
    UNTOLD = "the peer never says anything about objects of this kind"
    PENDING = "it is being looked at, or what is said is about an older generation"
    SILENT = "nobody has said anything yet"
    REJECTED = "it is refused, or in force in part only"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """`by`: who has taken the object, as they call themselves. `message`: the peer's own words, if any."""

    verdict: Verdict
    by: tuple[str, ...] = ()
    message: str = ""


@runtime_checkable
class PeerProvider(Provider, Protocol):
    """An adapter. Every member is a constant or a pure function; a frozen dataclass with a field `peer` does well.

    A MutualTLS that the peer cannot enforce gives `Plan(unsupported=…, failed_closed=True)`: nothing is created.
    What is possible in part is planned, and the rest is in `unsupported`, field by field.
    """

    @property
    def peer(self) -> Peer:
        """The peer that it plans for. Before `fitted`, the newest that it knows with all its kinds: for `render`."""
        ...

    @property
    def kinds(self) -> tuple[PeerKind, ...]:
        """The kinds it may make for this peer, in the order of applying. No two differ in their version only."""
        ...

    @property
    def watched(self) -> tuple[PeerKind, ...]:
        """Kinds that it only reads, for `conflicts`. Foreign objects of `kinds` are seen as well."""
        ...

    @property
    def known_kinds(self) -> tuple[PeerKind, ...]:
        """All kinds of all versions that it may make or watch for any peer: which of them there are is looked up."""
        ...

    @property
    def traces(self) -> Traces: ...

    @property
    def proxy_containers(self) -> frozenset[str]:
        """Names of containers by which a Pod is known to have the peer's proxy, such as `istio-proxy`.

        Selected Pods without one are reported as PodsNotInjected. Empty where the peer puts nothing into Pods.
        """
        ...

    def detect(self, facts: PeerFacts) -> Peer: ...

    def fitted(self, peer: Peer) -> Self:
        """The same adapter, for this peer."""
        ...

    def conflicts(self, unit: Unit, around: Surroundings) -> tuple[Conflict, ...]:
        """The foreign objects that act on what the unit acts on, in order."""
        ...

    def answer(self, made: JSONObject) -> Answer:
        """What the peer says of an object that was made, as the API server has it now, status included."""
        ...

    def plan(self, unit: Unit) -> Plan: ...


# Looking into objects -------------------------------------------------------------------------------------------------


def at(value: JSON, *path: str) -> JSON:
    """What is under these keys; None where there is nothing. `at(obj, "metadata", "name")`."""
    for key in path:
        if not isinstance(value, Mapping):
            return None
        value = value.get(key)
    return value


def items(value: JSON, *path: str) -> Iterator[JSONObject]:
    """The mappings in the list under these keys; none where there is no list."""
    found = at(value, *path)
    if isinstance(found, Sequence) and not isinstance(found, str):
        yield from (item for item in found if isinstance(item, Mapping))


def ref_of(obj: JSONObject) -> ObjectRef:
    """Which object it is."""
    metadata = obj.get("metadata")
    return ObjectRef(str(obj.get("kind", "")), str(at(metadata, "namespace") or ""), str(at(metadata, "name") or ""))


def made_by(obj: JSONObject) -> str:
    """The name of the provider that has made it; empty for a foreign object."""
    return str(at(obj, "metadata", "labels", PROVIDER_LABEL) or "")
