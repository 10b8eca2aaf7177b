"""Puts Pods into the mesh, or takes them out, by what owns them: a label decides, and a rolling restart makes it so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import msgspec

from smeagol.api.documents import Json
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
    "label_namespace",
    "needs",
    "wait_for_owner",
]

MANAGER = "smeagol-inject"
"""Owns the label, and nothing else of these objects (Kubernetes: server-side apply)."""

_KINDS = {
    **dict.fromkeys(("deployment", "deployments", "deploy"), resources.DEPLOYMENT),
    **dict.fromkeys(("statefulset", "statefulsets", "sts"), resources.STATEFUL_SET),
    **dict.fromkeys(("daemonset", "daemonsets", "ds"), resources.DAEMON_SET),
}


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
    def unfinished(self) -> str:
        """What is missing until all its Pods are new, empty if nothing is."""
        seen, status = self._seen, self._seen.status
        if status.observed_generation < self.live.metadata.generation:
            return f"{self.ref} has not been looked at yet"
        if self.live.resource == resources.DAEMON_SET:
            wanted, new, available = (
                status.desired_number_scheduled,
                status.updated_number_scheduled,
                status.number_available,
            )
        else:
            wanted, new, available = seen.spec.replicas, status.updated_replicas, status.available_replicas
        old = max(0, status.replicas - status.updated_replicas)
        if new >= wanted and available >= wanted and not old:
            return ""
        return f"{self.ref}: {new} of {wanted} Pods are new, {available} available" + (
            f", {old} old left" if old else ""
        )

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


def label_namespace(server: ApiServer, namespace: str, value: str, *, dry_run: bool) -> None:
    """Let the namespace decide for all Pods that do not decide themselves."""
    manifest = Manifest(resource=resources.NAMESPACE, name=namespace, labels={INJECT_LABEL: value})
    server.apply(manifest, manager=MANAGER, force=True, dry_run=dry_run)


def change(server: ApiServer, owner: Owner, value: str, *, dry_run: bool, restart: str = "") -> bool:
    """Give its Pods the label `value`; that alone replaces them. False if they have it.

    With `restart`, a time, they are replaced without a label of their own.
    """
    metadata: Json = (
        {"annotations": {"smeagol.dev/restarted-at": restart}} if restart else {"labels": {INJECT_LABEL: value}}
    )
    if not restart and owner.label == value:
        return False
    manifest = Manifest(
        resource=owner.live.resource,
        name=owner.ref.name,
        namespace=owner.ref.namespace,
        content={"spec": {"template": {"metadata": metadata}}},
    )
    server.apply(manifest, manager=MANAGER, force=True, dry_run=dry_run)
    return True


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


def pods_of(server: ApiServer, owner: Owner) -> Iterator[tuple[PodRef, bool]]:
    """Its Pods that are not on their way out, and whether each has a proxy."""
    for live in server.list(resources.POD, namespace=owner.ref.namespace, labels=owner.selector):
        pod = live.as_(Pod)
        if not pod.metadata.deletion_timestamp:
            containers = (*pod.spec.containers, *pod.spec.init_containers)
            yield PodRef(live.ref.namespace, live.ref.name), any(c.name == PROXY_CONTAINER for c in containers)


def needs(server: ApiServer, owner: Owner, *, proxy: bool) -> bool:
    """Whether some of its Pods are not as they are to be."""
    return any(has != proxy for _, has in pods_of(server, owner))
