"""Takes an installation out of a cluster: what it made is deleted, what it found is given back, no more."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from smeagol.api.meta import GROUP
from smeagol.install import resources
from smeagol.install.access import AUTHORITY_SECRET, LEASE, TRUST_CONFIG_MAP, WEBHOOKS
from smeagol.install.adapter_access import lease_of
from smeagol.install.adapter_manifests import installed_adapters
from smeagol.install.api_server import ApiServer, Live, RefusedError
from smeagol.install.installing import Outcome, Step
from smeagol.install.manifests import CLASS
from smeagol.install.owners import owners_of, proxy_images
from smeagol.install.resources import CREATED_ANNOTATION, INSTALLED, OWN_LABELS, Manifest
from smeagol.install.waiting import wait_for
from smeagol.intent.root_proxies import ROOT_PROXY_OF
from smeagol.objects import Pod
from smeagol.refs import ObjectRef

__all__ = ["Removal", "find_removal", "release", "remove"]

REPORTER = f"{GROUP}/smeagol"
"""The `reportingController` of the control plane's Events."""

_MADE_BY_KUBERNETES = {("ConfigMap", "kube-root-ca.crt"), ("ServiceAccount", "default")}
"""In every namespace."""

_FOLLOWING = {"Event", "Endpoints"}
"""Kinds whose objects go with what they are about, though nobody owns them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """What removing would do, in that order.

    `delete` and `release` are objects of the installation: those that it made, and those that were there before it.
    `users` are objects of our kinds that go with the definitions of these. `proxied` are the owners of Pods that
    keep their proxy, and how many each has.
    """

    delete: tuple[Live, ...]
    release: tuple[Live, ...]
    users: tuple[ObjectRef, ...]
    proxied: Mapping[ObjectRef, int]

    @property
    def is_empty(self) -> bool:
        return not self.delete and not self.release


def find_removal(server: ApiServer) -> Removal:
    """Look for an installation by its label, wherever it is."""
    found = [live for resource in reversed(INSTALLED) for live in server.list(resource, labels=OWN_LABELS)]
    delete = tuple(live for live in found if CREATED_ANNOTATION in live.metadata.annotations)
    definitions = {live.metadata.name for live in delete if live.resource == resources.CRD}
    return Removal(
        delete=delete,
        release=tuple(live for live in found if CREATED_ANNOTATION not in live.metadata.annotations),
        users=tuple(_objects_of(server, definitions)),
        proxied=owners_of(_proxied(server)),
    )


def remove(server: ApiServer, removal: Removal, *, report: Callable[[Step], None], seconds: float) -> None:
    """Carry it out; each kind is gone before the next is begun. Raises NotReadyError if one does not go in time.

    First of all the API server stops asking: Pods must not wait for a control plane that has gone. Its leader puts the
    configurations back while it is there, so they are looked for once more when it is not.
    """
    _stop_asking(server, report)
    adapters = installed_adapters(server)
    homes = {live.metadata.namespace for live in (*removal.delete, *removal.release) if live.metadata.namespace}
    for resource in reversed(INSTALLED):
        if resource == resources.NAMESPACE:
            for left in _left_behind(server, homes, adapters):
                server.delete(left)
                report(Step(object=left.ref, outcome=Outcome.DELETED))
        for live in removal.release:
            if live.resource == resource:
                report(Step(object=live.ref, outcome=release(server, live)))
        ours = [live for live in removal.delete if live.resource == resource]
        going = [live for live in ours if resource != resources.NAMESPACE or not _inhabitants(server, live)]
        for live in ours:
            if live in going:
                server.delete(live, owned_first=resource == resources.DEPLOYMENT)
            else:
                release(server, live)
                report(Step(object=live.ref, outcome=Outcome.KEPT))
        _wait_until_gone(server, going, seconds)
        for live in going:
            report(Step(object=live.ref, outcome=Outcome.DELETED))
        if resource == resources.DEPLOYMENT:
            _stop_asking(server, report)


def _stop_asking(server: ApiServer, report: Callable[[Step], None]) -> None:
    for resource in (resources.MUTATING_WEBHOOKS, resources.VALIDATING_WEBHOOKS):
        live = server.get(resource, WEBHOOKS)
        if live is not None and live.is_the_leaders:
            server.delete(live)
            report(Step(object=live.ref, outcome=Outcome.DELETED))


def _objects_of(server: ApiServer, definitions: set[str]) -> Iterator[ObjectRef]:
    for resource in resources.OURS:
        for live in server.list(resource) if f"{resource.plural}.{GROUP}" in definitions else ():
            if live.ref != ObjectRef(resources.PROVIDER_CLASS.kind, "", CLASS):
                yield live.ref


def _proxied(server: ApiServer) -> Iterator[Pod]:
    for live in server.list(resources.POD):
        pod = live.as_(Pod)
        if proxy_images(pod) and ROOT_PROXY_OF not in pod.metadata.annotations:  # that goes with its Canary
            yield pod


def _left_behind(server: ApiServer, namespaces: set[str], adapters: Sequence[str]) -> Iterator[Live]:
    """What the control plane itself has made: its Leases, its keys, the roots for proxies, its Events."""
    leases = [LEASE, *([lease_of(adapters)] if adapters else [])]
    names = [*((resources.LEASE, lease) for lease in leases), (resources.SECRET, AUTHORITY_SECRET)]
    for namespace in sorted(namespaces):
        for resource, name in names:
            live = server.get(resource, name, namespace)
            if live is not None:
                yield live
    trusted = server.list(resources.CONFIG_MAP, fields=f"metadata.name={TRUST_CONFIG_MAP}")
    yield from (live for live in trusted if live.is_the_leaders)
    for reporter in (REPORTER, *(f"{REPORTER}-{adapter}" for adapter in adapters)):
        yield from server.list(resources.EVENT, fields=f"reportingComponent={reporter}")


def _inhabitants(server: ApiServer, namespace: Live) -> bool:
    """Whether somebody else keeps something in a namespace that the installation has made."""
    for resource in server.served():
        if not resource.namespaced or resource.kind in _FOLLOWING:
            continue
        try:
            found = server.list(resource, namespace=namespace.metadata.name)
        except RefusedError:
            return True  # an aggregated API that is away, or a right that is missing: rather keep than lose
        for live in found:
            if not live.metadata.owner_references and (resource.kind, live.metadata.name) not in _MADE_BY_KUBERNETES:
                return True
    return False


def release(server: ApiServer, live: Live) -> Outcome:
    """Give up all fields: those that nobody else has set go away (Kubernetes: server-side apply, transferring)."""
    nothing = Manifest(resource=live.resource, name=live.metadata.name, namespace=live.metadata.namespace)
    try:
        server.apply(nothing)
    except RefusedError as error:
        if error.status != 422:
            raise
        return Outcome.KEPT  # without our fields it would not be valid: they were taken over by force
    return Outcome.RELEASED


def _wait_until_gone(server: ApiServer, going: list[Live], seconds: float) -> None:
    def unmet() -> str:
        for live in going:
            now = server.get(live.resource, live.metadata.name, live.metadata.namespace)
            if now is not None and now.metadata.uid == live.metadata.uid:
                return f"{live.ref} is not gone"
        return ""

    if going:
        wait_for(
            unmet,
            where="removal",
            fix="Look for finalizers (kubectl get -o yaml); smeagol uninstall can be run again",
            seconds=seconds,
        )
