"""What the suite needs of a platform. Objects are plain data, as in YAML."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

__all__ = [
    "WITHOUT_DATA_PLANE",
    "Credentials",
    "Driver",
    "Event",
    "Made",
    "Manifest",
    "Output",
    "PodSeen",
    "reference",
]

WITHOUT_DATA_PLANE = "kubernetes without data plane"
"""The mode of a cluster on which the suite's Pods are objects only."""

Manifest = dict[str, Any]
"""One object, as in YAML."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodSeen:
    """A Pod as its user sees it. `restarts`: of all its containers. `no_image`: why it lacks its image."""

    name: str
    ips: tuple[str, ...]
    ready: bool
    restarts: int
    no_image: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    type: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """An object that a provider has made for one of the suite's. `kind`: `HTTPRoute.gateway.networking.k8s.io/v1`."""

    kind: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    code: int
    text: str
    errors: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """A client certificate of the mesh's own authority, for somebody outside the mesh; all PEM."""

    certificate: str
    key: str
    roots: str

    def __repr__(self) -> str:
        return "Credentials([redacted])"


class Driver(Protocol):
    """A platform with a provider on it. Methods raise ConformanceError where the platform itself fails."""

    @property
    def mode(self) -> str:
        """`standalone`, `kubernetes` or WITHOUT_DATA_PLANE, for the report."""
        ...

    @property
    def data_plane(self) -> bool:
        """Whether the Pods run and have proxies. Where not, nothing is called, and no object need come into force."""
        ...

    def version(self, controller: str) -> str:
        """Of the provider with this controllerName and of the platform, for the report, as far as they tell."""
        ...

    def apply(self, objects: Sequence[Manifest]) -> None:
        """Create or change. Does not wait for anything to come true. Raises NotAllowedError."""
        ...

    def delete(self, objects: Sequence[Manifest]) -> None:
        """Delete; objects that are not there do not matter. Does not wait."""
        ...

    def refusal(self, manifest: Manifest) -> str:
        """What the platform says against this object at admission; empty if it would take it. Nothing stays."""
        ...

    def get(self, kind: str, namespace: str, name: str) -> Manifest | None:
        """An object of the mesh with its status; None if there is none. `namespace` is empty for a ProviderClass."""
        ...

    def default_class(self) -> str | None:
        """The ProviderClass of objects that name none; empty if there is none, None if the platform does not tell."""
        ...

    def pod(self, namespace: str, name: str) -> PodSeen | None: ...

    def pods(self, namespace: str) -> Sequence[PodSeen]: ...

    def cluster_ips(self, namespace: str, service: str) -> tuple[str, ...]: ...

    def events(self, kind: str, namespace: str, name: str) -> Sequence[Event]: ...

    def made_for(self, namespace: str, uid: str) -> Sequence[Made]:
        """The custom resources and ConfigMaps in a namespace that the object of this uid owns.

        Asked only without a data plane.
        """
        ...

    def exec(self, namespace: str, pod: str, command: Sequence[str], *, stdin: str = "") -> Output: ...

    def background(self, namespace: str, pod: str, command: Sequence[str], *, stdin: str = "") -> Callable[[], Output]:
        """Start a command; what is returned waits for its end."""
        ...

    def scrape(self, url: str) -> str:
        """What a Prometheus endpoint of the mesh says."""
        ...

    def credentials(self, names: Sequence[str]) -> Credentials | None:
        """None where nobody outside the mesh can have such."""
        ...

    def facts(self) -> Mapping[str, str]:
        """What an answer may depend on: `clusterDomain`, `trustDomain`."""
        ...


def reference(manifest: Manifest) -> tuple[str, str, str]:
    """(kind, namespace, name)"""
    metadata = manifest["metadata"]
    return str(manifest["kind"]), str(metadata.get("namespace", "")), str(metadata["name"])
