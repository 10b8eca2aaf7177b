"""What owns Pods, and how it gets new ones: into the mesh, out of it, or with another proxy.

A label decides whether Pods have a proxy, and a rolling restart makes it so.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import msgspec

from smeagol.api.documents import Json
from smeagol.api.names import SUBDOMAIN
from smeagol.errors import SmeagolError
from smeagol.install import resources
from smeagol.install.api_server import ApiServer, Live
from smeagol.install.resources import Manifest
from smeagol.install.waiting import wait_for
from smeagol.intent import PROXY_CONTAINER, ROOT_PROXY_OF
from smeagol.intent.selection import INJECT_LABEL
from smeagol.objects import Pod
from smeagol.refs import ObjectRef, PodRef

__all__ = [
    "OwnerError",
    "StillWithoutProxyError",
    "change",
    "find_owner",
    "find_owners",
    "find_unrestartable",
    "label_namespace",
    "needs",
    "owners_of",
    "proxy_images",
    "renewals",
    "restart",
    "wait_for_owner",
]

MANAGER = "smeagol-inject"
"""Owns the label, and nothing else of these objects (Kubernetes: server-side apply)."""

RESTART_MANAGER = "smeagol-restart"
"""Owns the annotation that a restart is: another than the label's, which would go with an apply that lacks it."""

RESTARTED = "smeagol.dev/restarted-at"

_KINDS = {
    **dict.fromkeys(("deployment", "deployments", "deploy"), resources.DEPLOYMENT),
    **dict.fromkeys(("statefulset", "statefulsets", "sts"), resources.STATEFUL_SET),
    **dict.fromkeys(("daemonset", "daemonsets", "ds"), resources.DAEMON_SET),
}

_KIND = re.compile("[A-Za-z0-9]{1,63}")
_NAME = re.compile(SUBDOMAIN)
_RESTARTABLE = frozenset(resource.kind for resource in _KINDS.values())


class OwnerError(SmeagolError):
    """What was named owns no Pods, or is not there."""

    code = "SMI-K121"


class StillWithoutProxyError(SmeagolError):
    """The Pods were made anew, and are not as they were to be."""

    code = "SMI-K122"


class _Meta(msgspec.Struct, frozen=True):
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class _Template(msgspec.Struct, frozen=True):
    metadata: _Meta = _Meta()


class _Selector(msgspec.Struct, frozen=True, rename="camel"):
    match_labels: dict[str, str] = {}


class _Spec(msgspec.Struct, frozen=True):
    template: _Template = _Template()
    selector: _Selector = _Selector()
    replicas: int = 1


class _Status(msgspec.Struct, frozen=True, rename="camel"):
    """What Deployments, StatefulSets and DaemonSets say of a rollout, each in its own words."""

    observed_generation: int = 0
    replicas: int = 0
    updated_replicas: int = 0
    available_replicas: int = 0
    desired_number_scheduled: int = 0
    updated_number_scheduled: int = 0
    number_available: int = 0


class _Owner(msgspec.Struct, frozen=True):
    spec: _Spec = _Spec()
    status: _Status = _Status()


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Something with a Pod template."""

    live: Live

    @property
    def ref(self) -> ObjectRef:
        return self.live.ref

    @property
    def label(self) -> str:
        """What its Pods say about injection: `enabled`, `disabled` or nothing."""
        return self._seen.spec.template.metadata.labels.get(INJECT_LABEL, "")

    @property
    def selector(self) -> dict[str, str]:
        return self._seen.spec.selector.match_labels

    @property
    def is_replacing(self) -> bool:
        """Whether it is about to replace Pods by new ones, however these fare."""
        wanted, new, _ = self._counts
        return self._unseen or new < wanted or bool(self._old)

    @property
    def unfinished(self) -> str:
        """What is missing until all its Pods are new, empty if nothing is."""
        if self._unseen:
            return f"{self.ref} has not been looked at yet"
        wanted, new, available = self._counts
        if available >= wanted and not self.is_replacing:
            return ""
        return f"{self.ref}: {new} of {wanted} Pods are new, {available} available" + (
            f", {self._old} old left" if self._old else ""
        )

    @property
    def _unseen(self) -> bool:
        return self._seen.status.observed_generation < self.live.metadata.generation

    @property
    def _counts(self) -> tuple[int, int, int]:
        """How many Pods are wanted, are new, and are available."""
        status = self._seen.status
        if self.live.resource == resources.DAEMON_SET:
            return status.desired_number_scheduled, status.updated_number_scheduled, status.number_available
        return self._seen.spec.replicas, status.updated_replicas, status.available_replicas

    @property
    def _old(self) -> int:
        return max(0, self._seen.status.replicas - self._seen.status.updated_replicas)

    @property
    def _seen(self) -> _Owner:
        return self.live.as_(_Owner)


def find_owner(server: ApiServer, text: str, namespace: str) -> Owner:
    """`deployment/web`, `sts/db`, `ds/agent`. Raises OwnerError."""
    kind, _, name = text.partition("/")
    resource = _KINDS.get(kind.lower())
    if resource is None or not name:
        raise OwnerError(
            f"'{text}' names no owner of Pods", fix="Write it as deployment/web, statefulset/db or daemonset/agent"
        )
    live = server.get(resource, name, namespace)
    if live is None:
        raise OwnerError(f"there is no {resource.kind} '{name}' in namespace {namespace}", fix="See -n")
    return Owner(live=live)


def find_owners(server: ApiServer, namespace: str) -> Iterator[Owner]:
    """All of a namespace, by kind and name, but for root proxies, which are nothing without a proxy."""
    for resource in (resources.DEPLOYMENT, resources.STATEFUL_SET, resources.DAEMON_SET):
        for live in server.list(resource, namespace=namespace):
            if ROOT_PROXY_OF not in live.as_(_Owner).spec.template.metadata.annotations:
                yield Owner(live=live)


def find_unrestartable(server: ApiServer, namespace: str, *, proxy: bool) -> Mapping[ObjectRef, int]:
    """Who else owns Pods of a namespace that are not as it says, and how many: bare Pods, Jobs and the like."""
    itself = "disabled" if proxy else "enabled"
    pods = [live.as_(Pod) for live in server.list(resources.POD, namespace=namespace)]
    wrong = owners_of(
        pod
        for pod in pods
        if bool(proxy_images(pod)) != proxy
        and not pod.metadata.deletion_timestamp
        and pod.metadata.labels.get(INJECT_LABEL) != itself
        and not pod.spec.host_network
        and ROOT_PROXY_OF not in pod.metadata.annotations
    )
    return {owner: number for owner, number in wrong.items() if owner.kind not in _RESTARTABLE}


def label_namespace(server: ApiServer, namespace: str, value: str, *, dry_run: bool) -> None:
    """Let the namespace decide for all Pods that do not decide themselves. Raises OwnerError if it is not there, since
    to apply it would be to make it.
    """
    if server.get(resources.NAMESPACE, namespace) is None:
        raise OwnerError(f"there is no namespace '{namespace}'", fix="See kubectl get namespaces")
    manifest = Manifest(resource=resources.NAMESPACE, name=namespace, labels={INJECT_LABEL: value})
    server.apply(manifest, manager=MANAGER, force=True, dry_run=dry_run)


def change(server: ApiServer, owner: Owner, value: str, *, dry_run: bool) -> bool:
    """Give its Pods the label `value`; that alone replaces them. False if they have it."""
    if owner.label == value:
        return False
    _apply(server, owner, {"labels": {INJECT_LABEL: value}}, manager=MANAGER, dry_run=dry_run)
    return True


def restart(server: ApiServer, owner: Owner, moment: str, *, dry_run: bool) -> None:
    """Have its Pods replaced by others of the same labels."""
    _apply(server, owner, {"annotations": {RESTARTED: moment}}, manager=RESTART_MANAGER, dry_run=dry_run)


def _apply(server: ApiServer, owner: Owner, metadata: Json, *, manager: str, dry_run: bool) -> None:
    manifest = Manifest(
        resource=owner.live.resource,
        name=owner.ref.name,
        namespace=owner.ref.namespace,
        content={"spec": {"template": {"metadata": metadata}}},
    )
    server.apply(manifest, manager=manager, force=True, dry_run=dry_run)


def wait_for_owner(
    server: ApiServer, owner: Owner, *, proxy: bool, seconds: float, progress: Callable[[str], None]
) -> None:
    """Return when its Pods are new, and have a proxy or none. Raises NotReadyError, StillWithoutProxyError."""
    resource, ref = owner.live.resource, owner.ref

    def unmet() -> str:
        live = server.get(resource, ref.name, ref.namespace)
        return Owner(live=live).unfinished if live is not None else ""

    fix = f"See kubectl describe {resource.kind.lower()} -n {ref.namespace} {ref.name}, and its Pods"
    wait_for(unmet, where=str(ref), fix=fix, seconds=seconds, progress=progress)
    wrong = [pod for pod, has in pods_of(server, owner) if has != proxy]
    if wrong:
        some = ", ".join(pod.name for pod in wrong[:5])
        raise StillWithoutProxyError(
            f"new Pods have {'no' if proxy else 'still a'} proxy: {some}",
            where=str(ref),
            fix="See smeagol check whether the webhook answers, and the Pods' own labels",
        )


def owners_of(pods: Iterable[Pod]) -> Mapping[ObjectRef, int]:
    """Who owns them, by kind and name, and how many of them; a Pod that nobody owns is its own. Those that have ended
    are left out. Pure.

    A Deployment is found by the hash that its ReplicaSets carry.
    """
    found: dict[ObjectRef, int] = defaultdict(int)
    for pod in pods:
        if pod.status.phase not in ("Succeeded", "Failed"):
            found[_owner(pod)] += 1
    return dict(sorted(found.items()))


def _owner(pod: Pod) -> ObjectRef:
    """Anyone who makes a Pod may write any text there, which others are to type: what no object is called counts as
    none."""
    namespace = pod.metadata.namespace
    owner = next((o for o in pod.metadata.owner_references if o.controller), None)
    if owner is None or not _KIND.fullmatch(owner.kind) or not _NAME.fullmatch(owner.name):
        return ObjectRef("Pod", namespace, pod.metadata.name)
    suffix = f"-{pod.metadata.labels.get('pod-template-hash', '')}"
    if owner.kind == "ReplicaSet" and owner.name.endswith(suffix):
        return ObjectRef("Deployment", namespace, owner.name.removesuffix(suffix))
    return ObjectRef(owner.kind, namespace, owner.name)


def renewals(owners: Mapping[ObjectRef, int]) -> Iterator[str]:
    """A line for each, with its number of Pods and what gives it new ones. Pure."""
    for owner, number in owners.items():
        if owner.kind in _RESTARTABLE:
            how = f"kubectl rollout restart -n {owner.namespace} {owner.kind.lower()}/{owner.name}"
        elif owner.kind == "Pod":
            how = "nobody makes it anew: delete it, and make it again"
        elif owner.kind == "Job":
            how = "let it end, or delete it and make it again"
        else:
            how = "delete its Pods, and it makes new ones"
        yield f"{owner}{f' ({number} Pods)' if number > 1 else ''}: {how}"


def proxy_images(pod: Pod) -> tuple[str, ...]:
    """The image of its proxy, if it has one."""
    containers = (*pod.spec.containers, *pod.spec.init_containers)
    return tuple(each.image for each in containers if each.name == PROXY_CONTAINER)


def pods_of(server: ApiServer, owner: Owner) -> Iterator[tuple[PodRef, bool]]:
    """Its Pods that are not on their way out, and whether each has a proxy."""
    for live in server.list(resources.POD, namespace=owner.ref.namespace, labels=owner.selector):
        pod = live.as_(Pod)
        if not pod.metadata.deletion_timestamp:
            yield PodRef(live.ref.namespace, live.ref.name), bool(proxy_images(pod))


def needs(server: ApiServer, owner: Owner, *, proxy: bool) -> bool:
    """Whether some of its Pods are not as they are to be."""
    return any(has != proxy for _, has in pods_of(server, owner))
