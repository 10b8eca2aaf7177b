"""What the control plane may do in a cluster: no more than what its code asks for.

Each rule stands beside the code that needs it, so that a rule goes when its code goes. There is no wildcard, and
nothing outside its own namespace that could change a workload or read a Secret. What would need more is a ClusterRole
of its own, which nobody has until somebody binds it, in a namespace or everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from smeagol.api.documents import Json
from smeagol.api.kinds import KINDS
from smeagol.api.meta import GROUP

__all__ = [
    "AUTHORITY_SECRET",
    "CLUSTER_RULES",
    "COMMON_RULES",
    "CONTROLLER",
    "LEASE",
    "NAMESPACE_RULES",
    "RESTARTER",
    "RESTARTER_RULES",
    "ROOT_PROXIES",
    "ROOT_PROXIES_RULES",
    "TRUST_CONFIG_MAP",
    "WEBHOOKS",
    "AccessRule",
    "granting",
    "handed_over",
    "is_the_leaders",
    "signing",
    "trusted",
]

CONTROLLER = "smeagol-controller"
"""Name of the control plane's Deployment and of all that belongs to it."""

LEASE = "smeagol"
"""By which the replicas elect the one that writes."""

AUTHORITY_SECRET = "smeagol-authority"  # noqa: S105 - its name
"""Holds the keys of the mesh's certificate authority."""

WEBHOOKS = "smeagol"
"""Name of both webhook configurations, which the leader keeps."""

TRUST_CONFIG_MAP = "smeagol-ca"
"""In each namespace of the mesh: the roots by which proxies know the control plane. The leader keeps them."""

RESTARTER = "smeagol-restarter"
"""ClusterRole of who restarts workloads for Sidecars. It comes with an installation, and bound to nobody: whoever may
patch a Deployment may have its Pods run anything."""

ROOT_PROXIES = "smeagol-root-proxies"
"""ClusterRole of who runs root proxies for Canaries; bound to nobody too: whoever may make a Deployment may run
anything, under any account of the namespace."""

_OURS = tuple(kind.plural for kind in KINDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessRule:
    """A PolicyRule (rbac.authorization.k8s.io/v1) for one API group. `names` empty: objects of every name."""

    group: str
    resources: tuple[str, ...]
    verbs: tuple[str, ...]
    names: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Json]:
        rule: dict[str, Json] = {
            "apiGroups": [self.group],
            "resources": list(self.resources),
            "verbs": list(self.verbs),
        }
        return rule | ({"resourceNames": list(self.names)} if self.names else {})


COMMON_RULES: tuple[AccessRule, ...] = (
    # sources/kubernetes: what the mesh is made of.
    AccessRule(group="", resources=("namespaces", "pods", "services"), verbs=("list", "watch")),
    AccessRule(group="discovery.k8s.io", resources=("endpointslices",), verbs=("list", "watch")),
    AccessRule(group=GROUP, resources=_OURS, verbs=("list", "watch")),
    # infra/kubernetes/writer.py: statuses by server-side apply; Events in the namespace of what they are about, and
    # counted there when they repeat.
    AccessRule(group=GROUP, resources=tuple(f"{plural}/status" for plural in _OURS), verbs=("patch",)),
    AccessRule(group="events.k8s.io", resources=("events",), verbs=("create", "patch")),
)
"""What every control plane of ours may do everywhere, whatever its provider."""

CLUSTER_RULES: tuple[AccessRule, ...] = (
    *COMMON_RULES,
    # infra/kubernetes/tokens.py: who a proxy is.
    AccessRule(group="authentication.k8s.io", resources=("tokenreviews",), verbs=("create",)),
    # runtime/admission.py. Applying makes what is not there, and is then judged as creating, by name too; listing
    # with a field selector for one name is judged by that name.
    AccessRule(
        group="",
        resources=("configmaps",),
        verbs=("list", "create", "patch", "delete"),
        names=(TRUST_CONFIG_MAP,),
    ),
    AccessRule(
        group="admissionregistration.k8s.io",
        resources=("mutatingwebhookconfigurations", "validatingwebhookconfigurations"),
        verbs=("create", "patch"),
        names=(WEBHOOKS,),
    ),
    # Of these configurations it is the owner: whoever takes it away stops the API server from asking.
    AccessRule(group="rbac.authorization.k8s.io", resources=("clusterroles",), verbs=("get",), names=(CONTROLLER,)),
)
"""What it may do everywhere."""

NAMESPACE_RULES: tuple[AccessRule, ...] = (
    # infra/kubernetes/lease.py. What is created has no name yet when access is judged, so names cannot be given there.
    AccessRule(group="coordination.k8s.io", resources=("leases",), verbs=("create",)),
    AccessRule(group="coordination.k8s.io", resources=("leases",), verbs=("get", "update"), names=(LEASE,)),
    # runtime/secret_store.py
    AccessRule(group="", resources=("secrets",), verbs=("create",)),
    AccessRule(group="", resources=("secrets",), verbs=("get", "patch"), names=(AUTHORITY_SECRET,)),
)
"""What it may do in the namespace that it runs in."""


RESTARTER_RULES: tuple[AccessRule, ...] = (
    # infra/kubernetes/restarter.py: an annotation of the template, where a Sidecar asks for restarts.
    AccessRule(group="apps", resources=("deployments", "statefulsets", "daemonsets"), verbs=("patch",)),
)
"""What it may do where RESTARTER is bound to it."""


ROOT_PROXIES_RULES: tuple[AccessRule, ...] = (
    # runtime/root_proxies.py
    AccessRule(group="", resources=("serviceaccounts",), verbs=("get", "create", "patch", "delete")),
    AccessRule(group="apps", resources=("deployments",), verbs=("get", "create", "patch", "delete")),
    AccessRule(group="discovery.k8s.io", resources=("endpointslices",), verbs=("get", "create", "patch", "delete")),
    AccessRule(group="policy", resources=("poddisruptionbudgets",), verbs=("get", "create", "patch", "delete")),
)
"""What it may do where ROOT_PROXIES is bound to it."""


def granting(role: str, namespace: str, *, system: str) -> str:
    """The command that lets the control plane, which runs in `system`, do in a namespace what a ClusterRole says."""
    account = f"{system}:{CONTROLLER}"
    return f"kubectl create rolebinding {role} -n {namespace} --clusterrole={role} --serviceaccount={account}"


def handed_over(secret: str) -> tuple[AccessRule, ...]:
    """What it may do there besides, to sign with the intermediate in this Secret if one is named."""
    # runtime/secret_store.py, SecretSupply
    return (AccessRule(group="", resources=("secrets",), verbs=("get",), names=(secret,)),) if secret else ()


def signing(signer: str) -> tuple[AccessRule, ...]:
    """What it may do everywhere besides, to have its intermediate signed if there is a signer: ask and read the answer,
    and neither approve nor sign."""
    # runtime/signing.py. What is created has no name yet, and the name of a request is never the same.
    group, resources = "certificates.k8s.io", ("certificatesigningrequests",)
    return (AccessRule(group=group, resources=resources, verbs=("create", "get")),) if signer else ()


def trusted(config_map: str) -> tuple[AccessRule, ...]:
    """What it may do at home besides, to know the signer's roots."""
    # runtime/signing.py
    return (AccessRule(group="", resources=("configmaps",), verbs=("get",), names=(config_map,)),) if config_map else ()


def is_the_leaders(labels: Mapping[str, str]) -> bool:
    """Whether the leader keeps the object with these labels. Whoever takes the label off has taken the object over."""
    return labels.get("app.kubernetes.io/managed-by") == "smeagol"
