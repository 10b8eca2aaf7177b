"""The kinds of objects that an installation consists of, and their addresses on the API server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from smeagol.api.documents import Json
from smeagol.api.kinds import KINDS
from smeagol.api.meta import GROUP, VERSION
from smeagol.refs import ObjectRef

__all__ = [
    "CLUSTER_ROLE",
    "CLUSTER_ROLE_BINDING",
    "CONFIG_MAP",
    "CRD",
    "CREATED_ANNOTATION",
    "DAEMON_SET",
    "DEPLOYMENT",
    "ENDPOINT_SLICE",
    "EVENT",
    "FIELD_MANAGER",
    "INSTALLED",
    "LEASE",
    "MANAGED_BY",
    "MUTATING_WEBHOOKS",
    "NAMESPACE",
    "NETWORK_POLICY",
    "NODE",
    "OURS",
    "OWN_LABELS",
    "PART_LABELS",
    "POD",
    "POD_DISRUPTION_BUDGET",
    "PROVIDER_CLASS",
    "ROLE",
    "ROLE_BINDING",
    "SECRET",
    "SERVICE",
    "SERVICE_ACCOUNT",
    "STATEFUL_SET",
    "VALIDATING_WEBHOOKS",
    "Manifest",
    "Resource",
]

FIELD_MANAGER = "smeagol-install"
"""Owns the fields that an installation sets (Kubernetes: server-side apply)."""

MANAGED_BY = "app.kubernetes.io/managed-by"
"""The label that says who applied an object: `smeagol install`, or Helm."""

PART_LABELS: Mapping[str, str] = {"app.kubernetes.io/part-of": "smeagol"}
"""On every object of an installation, whoever applied it."""

OWN_LABELS: Mapping[str, str] = {**PART_LABELS, MANAGED_BY: FIELD_MANAGER}
"""On every object of an installation by `smeagol install`, and on no other."""

CREATED_ANNOTATION = "smeagol.dev/created-by-install"
"""On objects that were not there before: those are deleted, the others are only given back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """A kind as the API server serves it."""

    group_version: str
    kind: str
    plural: str
    namespaced: bool = True

    @property
    def group(self) -> str:
        """Empty for the core group."""
        return self.group_version.rpartition("/")[0]

    def path(self, namespace: str = "", name: str = "") -> str:
        """Of one object; without `name` of all in the namespace, without either of all there are."""
        root = f"/apis/{self.group_version}" if self.group else f"/api/{self.group_version}"
        within = f"/namespaces/{namespace}" if self.namespaced and namespace else ""
        return f"{root}{within}/{self.plural}" + (f"/{name}" if name else "")


NAMESPACE = Resource(group_version="v1", kind="Namespace", plural="namespaces", namespaced=False)
CRD = Resource(
    group_version="apiextensions.k8s.io/v1",
    kind="CustomResourceDefinition",
    plural="customresourcedefinitions",
    namespaced=False,
)
SERVICE_ACCOUNT = Resource(group_version="v1", kind="ServiceAccount", plural="serviceaccounts")
_RBAC = "rbac.authorization.k8s.io/v1"
CLUSTER_ROLE = Resource(group_version=_RBAC, kind="ClusterRole", plural="clusterroles", namespaced=False)
CLUSTER_ROLE_BINDING = Resource(
    group_version=_RBAC, kind="ClusterRoleBinding", plural="clusterrolebindings", namespaced=False
)
ROLE = Resource(group_version=_RBAC, kind="Role", plural="roles")
ROLE_BINDING = Resource(group_version=_RBAC, kind="RoleBinding", plural="rolebindings")
PROVIDER_CLASS = Resource(
    group_version=f"{GROUP}/{VERSION}", kind="ProviderClass", plural="providerclasses", namespaced=False
)
SERVICE = Resource(group_version="v1", kind="Service", plural="services")
POD_DISRUPTION_BUDGET = Resource(group_version="policy/v1", kind="PodDisruptionBudget", plural="poddisruptionbudgets")
NETWORK_POLICY = Resource(group_version="networking.k8s.io/v1", kind="NetworkPolicy", plural="networkpolicies")
DEPLOYMENT = Resource(group_version="apps/v1", kind="Deployment", plural="deployments")

# Not installed, but looked at.
STATEFUL_SET = Resource(group_version="apps/v1", kind="StatefulSet", plural="statefulsets")
DAEMON_SET = Resource(group_version="apps/v1", kind="DaemonSet", plural="daemonsets")
POD = Resource(group_version="v1", kind="Pod", plural="pods")
NODE = Resource(group_version="v1", kind="Node", plural="nodes", namespaced=False)
SECRET = Resource(group_version="v1", kind="Secret", plural="secrets")
EVENT = Resource(group_version="v1", kind="Event", plural="events")
LEASE = Resource(group_version="coordination.k8s.io/v1", kind="Lease", plural="leases")
CONFIG_MAP = Resource(group_version="v1", kind="ConfigMap", plural="configmaps")
_ADMISSION = "admissionregistration.k8s.io/v1"
MUTATING_WEBHOOKS = Resource(
    group_version=_ADMISSION,
    kind="MutatingWebhookConfiguration",
    plural="mutatingwebhookconfigurations",
    namespaced=False,
)
VALIDATING_WEBHOOKS = Resource(
    group_version=_ADMISSION,
    kind="ValidatingWebhookConfiguration",
    plural="validatingwebhookconfigurations",
    namespaced=False,
)
ENDPOINT_SLICE = Resource(group_version="discovery.k8s.io/v1", kind="EndpointSlice", plural="endpointslices")
OURS: tuple[Resource, ...] = tuple(
    Resource(group_version=f"{GROUP}/{VERSION}", kind=kind.name, plural=kind.plural, namespaced=kind.namespaced)
    for kind in KINDS
)
"""The kinds that users write."""

INSTALLED: tuple[Resource, ...] = (
    NAMESPACE,
    CRD,
    SERVICE_ACCOUNT,
    CLUSTER_ROLE,
    CLUSTER_ROLE_BINDING,
    ROLE,
    ROLE_BINDING,
    PROVIDER_CLASS,
    SERVICE,
    NETWORK_POLICY,
    POD_DISRUPTION_BUDGET,
    DEPLOYMENT,
    # Webhook configurations are the control plane's own to make: the API server must not ask a Pod that is not there.
)
"""The kinds of an installation, in the order in which they are applied."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """One object of an installation. `content` is all but apiVersion, kind and metadata."""

    resource: Resource
    name: str
    namespace: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    content: Mapping[str, Json] = field(default_factory=dict)

    @property
    def ref(self) -> ObjectRef:
        return ObjectRef(self.resource.kind, self.namespace, self.name)

    @property
    def path(self) -> str:
        return self.resource.path(self.namespace, self.name)

    def to_json(self) -> dict[str, Json]:
        """The object as `kubectl apply` takes it."""
        metadata: dict[str, Json] = {"name": self.name}
        if self.namespace:
            metadata["namespace"] = self.namespace
        if self.labels:
            metadata["labels"] = dict(self.labels)
        if self.annotations:
            metadata["annotations"] = dict(self.annotations)
        return {
            "apiVersion": self.resource.group_version,
            "kind": self.resource.kind,
            "metadata": metadata,
            **self.content,
        }
