"""Names of things: which object, which Service, which Pod. Values, compared and sorted by what they name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NewType

__all__ = ["DEFAULT_CLUSTER_DOMAIN", "NodeId", "ObjectRef", "PodRef", "ServiceRef", "SubjectName"]

DEFAULT_CLUSTER_DOMAIN = "cluster.local"

SubjectName = NewType("SubjectName", str)
"""A name a certificate carries: a DNS name, an IP address or a URI (it holds `://`)."""

NodeId = NewType("NodeId", str)
"""The id a proxy gives in `core.v3.Node.id`: the name of its Pod, as `namespace/name`."""


@dataclass(frozen=True, slots=True, order=True)
class ObjectRef:
    """One Kubernetes object. `namespace` is empty for cluster-scoped kinds."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


@dataclass(frozen=True, slots=True, order=True)
class ServiceRef:
    """A Kubernetes Service, whether it exists or not."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"

    def fqdn(self, cluster_domain: str = DEFAULT_CLUSTER_DOMAIN) -> str:
        return f"{self.name}.{self.namespace}.svc.{cluster_domain}"

    def names(self, cluster_domain: str = DEFAULT_CLUSTER_DOMAIN) -> tuple[str, ...]:
        """The four forms under which clients know a Service, shortest first (spec: MutualTLS, Server certificate)."""
        return (
            self.name,
            f"{self.name}.{self.namespace}",
            f"{self.name}.{self.namespace}.svc",
            self.fqdn(cluster_domain),
        )


@dataclass(frozen=True, slots=True, order=True)
class PodRef:
    """A Pod, by name."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"

    @property
    def node(self) -> NodeId:
        return NodeId(f"{self.namespace}/{self.name}")
