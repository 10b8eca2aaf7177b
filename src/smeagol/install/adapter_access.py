"""What a control plane with adapters may do: no more than to make, read and delete the kinds of these adapters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from smeagol.api.documents import Json
from smeagol.install.access import COMMON_RULES, AccessRule
from smeagol.plan.peer import PeerKind, PeerProvider

__all__ = ["ADAPTERS", "adapter_access", "adapter_home_rules", "adapter_rules", "adapters_lease", "lease_of"]

ADAPTERS = "smeagol-adapters"
"""Name of the service account, and of all that gives it its rights."""

_API = "rbac.authorization.k8s.io"


def adapters_lease(providers: Sequence[PeerProvider]) -> str:
    """By which the replicas that serve the same adapters elect one that writes."""
    return lease_of(provider.name for provider in providers)


def lease_of(names: Iterable[str]) -> str:
    """The same, by the adapters' names."""
    return "-".join(("smeagol", *sorted(names)))


def adapter_rules(providers: Sequence[PeerProvider]) -> tuple[AccessRule, ...]:
    """What it may do everywhere, for whichever version of the peers is there."""
    return (*COMMON_RULES, *_kinds(providers), *_detection(providers))


def _kinds(providers: Sequence[PeerProvider]) -> Iterator[AccessRule]:
    """Kinds that are made for some peer, and kinds that are only read."""
    known = {(kind.group, kind.plural) for provider in providers for kind in provider.known_kinds}
    made = {(kind.group, kind.plural) for provider in providers for kind in _made(provider)}
    for found, verbs in ((made, ("list", "watch", "create", "patch", "delete")), (known - made, ("list", "watch"))):
        for group in sorted({group for group, _ in found}):
            plurals = tuple(sorted(plural for of, plural in found if of == group))
            yield AccessRule(group=group, resources=plurals, verbs=verbs)


def _made(provider: PeerProvider) -> set[PeerKind]:
    """What it makes where all its kinds are served, where one is missing, and where there is only one."""
    known = frozenset(provider.known_kinds)
    served = (known, *(known - {kind} for kind in known), *(frozenset({kind}) for kind in known))
    fits = (provider.fitted(replace(provider.peer, served=kinds)) for kinds in served)
    return {kind for fitted in (provider, *fits) for kind in fitted.kinds}


def _detection(providers: Sequence[PeerProvider]) -> Iterator[AccessRule]:
    """sources/kubernetes/peers.py: the labels of CRDs, by name, and Deployments where a peer is known by them."""
    crds = tuple(sorted({kind.crd for provider in providers for kind in provider.known_kinds if kind.group}))
    if crds:  # without names, the rule would be about all of them
        yield AccessRule(
            group="apiextensions.k8s.io", resources=("customresourcedefinitions",), verbs=("get",), names=crds
        )
    if any(provider.traces.deployments for provider in providers):
        yield AccessRule(group="apps", resources=("deployments",), verbs=("list",))


def adapter_home_rules(providers: Sequence[PeerProvider]) -> tuple[AccessRule, ...]:
    """What it may do in its own namespace besides."""
    leases = "coordination.k8s.io"
    return (
        AccessRule(group=leases, resources=("leases",), verbs=("create",)),
        AccessRule(group=leases, resources=("leases",), verbs=("get", "update"), names=(adapters_lease(providers),)),
    )


def adapter_access(providers: Sequence[PeerProvider], *, namespace: str) -> tuple[dict[str, Json], ...]:
    """The objects to apply, for a control plane that runs in `namespace` under the service account `ADAPTERS`."""
    return (
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": ADAPTERS, "namespace": namespace}},
        *_role("ClusterRole", adapter_rules(providers), namespace),
        *_role("Role", adapter_home_rules(providers), namespace),
    )


def _role(kind: str, rules: tuple[AccessRule, ...], namespace: str) -> Iterator[dict[str, Json]]:
    """The role and what binds the account to it."""
    metadata: dict[str, Json] = {"name": ADAPTERS}
    if kind == "Role":
        metadata["namespace"] = namespace
    yield {
        "apiVersion": f"{_API}/v1",
        "kind": kind,
        "metadata": metadata,
        "rules": [rule.to_json() for rule in rules],
    }
    yield {
        "apiVersion": f"{_API}/v1",
        "kind": f"{kind}Binding",
        "metadata": metadata,
        "roleRef": {"apiGroup": _API, "kind": kind, "name": ADAPTERS},
        "subjects": [{"kind": "ServiceAccount", "name": ADAPTERS, "namespace": namespace}],
    }
