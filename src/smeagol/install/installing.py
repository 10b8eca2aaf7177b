"""Brings the manifests into a cluster. Applying again is upgrading: the result is the same from every beginning."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from functools import partial

from smeagol.api.documents import Json
from smeagol.api.meta import DEFAULT_CLASS_ANNOTATION
from smeagol.errors import SmeagolError
from smeagol.install import resources
from smeagol.install.adapter_manifests import ADAPTERS_COMPONENT
from smeagol.install.api_server import ApiServer, Live, RefusedError
from smeagol.install.checking import deployment_findings, injection_finding, tried_pod
from smeagol.install.differences import differences
from smeagol.install.facts import ControllerPod, Definition, Workload, condition
from smeagol.install.manifests import CLASS, CONTROLLER_COMPONENT, manifests
from smeagol.install.parts import Component
from smeagol.install.resources import (
    CREATED_ANNOTATION,
    FIELD_MANAGER,
    MANAGED_BY,
    OWN_LABELS,
    PART_LABELS,
    Manifest,
)
from smeagol.install.settings import InstallSettings
from smeagol.install.waiting import wait_for
from smeagol.refs import ObjectRef

__all__ = ["InstalledElsewhereError", "Outcome", "Step", "install", "wait_until_ready"]

_DEFINITION_SECONDS = 60.0


class InstalledElsewhereError(SmeagolError):
    """The cluster has a Smeagol already, in another namespace or by another tool."""

    code = "SMI-K117"


class Outcome(Enum):
    """What applying a manifest came to, or would have."""

    CREATED = "created"
    CHANGED = "changed"
    UNCHANGED = "unchanged"
    UNCHECKED = "not checked: what it stands on is not there yet"
    DELETED = "deleted"
    RELEASED = "given back"
    KEPT = "kept as it is"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One object, and what became of it. `changes`: fields that are, or would be, different, as people read them."""

    object: ObjectRef
    outcome: Outcome
    changes: tuple[str, ...] = ()


def install(
    server: ApiServer,
    settings: InstallSettings,
    *,
    report: Callable[[Step], None],
    force: bool = False,
    dry_run: bool = False,
) -> None:
    """Apply every manifest, in order; with `dry_run` only ask the API server what it would say.

    Raises InstalledElsewhereError, ConflictError, RefusedError, NotReadyError. What was applied stays: it can be tried
    again.
    """
    _refuse_second(server, settings.namespace, force=force)
    for manifest in manifests(settings, default_class=_may_be_default(server)):
        if manifest.resource == resources.NAMESPACE and _is_users(server, manifest):
            report(Step(object=manifest.ref, outcome=Outcome.KEPT))
            continue
        if manifest.resource == resources.PROVIDER_CLASS and not dry_run:
            _wait_for_definitions(server)
        report(_apply(server, manifest, force=force, dry_run=dry_run))


def wait_until_ready(
    server: ApiServer,
    settings: InstallSettings,
    *,
    seconds: float,
    progress: Callable[[str], None] = lambda _: None,
) -> None:
    """Return when all replicas of the present version are available and Pods get their proxies.

    Raises NotReadyError with what is not so yet.
    """
    for component in (CONTROLLER_COMPONENT, *([ADAPTERS_COMPONENT] if settings.adapters else [])):
        wait_for(
            partial(_unavailable, server, component, settings.namespace),
            where=str(ObjectRef(resources.DEPLOYMENT.kind, settings.namespace, component.name)),
            fix="See smeagol check; smeagol install can be run again",
            seconds=seconds,
            progress=progress,
        )
    # Replicas are ready before one of them leads, and has told the API server to ask them.
    wait_for(
        partial(_no_injection, server),
        where="injection",
        fix="See smeagol check; smeagol install can be run again",
        seconds=seconds,
        progress=progress,
    )


def _unavailable(server: ApiServer, component: Component, namespace: str) -> str:
    """What keeps its replicas; empty if nothing does."""
    live = server.get(resources.DEPLOYMENT, component.name, namespace)
    if live is None:
        return "it is gone"
    pods = server.list(resources.POD, namespace=namespace, labels=component.selector)
    found = deployment_findings(live.as_(Workload), [pod.as_(ControllerPod) for pod in pods])
    return next((finding.what for finding in found if finding.is_bad), "")


def _no_injection(server: ApiServer) -> str:
    """Why Pods do not get their proxies; empty if they do."""
    found = injection_finding(partial(tried_pod, server))
    return found.what if found.is_bad else ""


def _is_users(server: ApiServer, namespace: Manifest) -> bool:
    """Whether a namespace was there before: then it is used as it is, since others may live in it."""
    live = server.get(namespace.resource, namespace.name)
    return live is not None and CREATED_ANNOTATION not in live.metadata.annotations


def _refuse_second(server: ApiServer, namespace: str, *, force: bool) -> None:
    for live in server.list(resources.DEPLOYMENT, labels=PART_LABELS):
        where = live.metadata.namespace
        manager = live.metadata.labels.get(MANAGED_BY, "")
        if manager == FIELD_MANAGER and where != namespace:
            raise InstalledElsewhereError(
                f"Smeagol is installed already, in the namespace '{where}'",
                where=str(live.ref),
                fix=f"Upgrade it there (--namespace {where}), or uninstall it first",
            )
        if manager != FIELD_MANAGER and (where != namespace or not force):
            raise InstalledElsewhereError(
                f"Smeagol is installed already, by {manager or 'another tool'}, in the namespace '{where}'",
                where=str(live.ref),
                fix="Go on with that, or uninstall it with that first",
            )


def _may_be_default(server: ApiServer) -> bool:
    """Whether no other class is the default: two would be decided by their age, which nobody sees coming."""
    return not any(
        live.metadata.annotations.get(DEFAULT_CLASS_ANNOTATION) == "true"
        for live in server.list(resources.PROVIDER_CLASS)
        if live.metadata.name != CLASS
    )


def _apply(server: ApiServer, manifest: Manifest, *, force: bool, dry_run: bool) -> Step:
    before = server.get(manifest.resource, manifest.name, manifest.namespace)
    if before is None or CREATED_ANNOTATION in before.metadata.annotations:
        manifest = replace(manifest, annotations={**manifest.annotations, CREATED_ANNOTATION: "true"})
    try:
        after = server.apply(manifest, force=force, dry_run=dry_run)
    except RefusedError as error:
        # A dry run of the first installation: its namespace, or the kind itself, exists only after the real one.
        if dry_run and before is None and error.status == 404:
            return Step(object=manifest.ref, outcome=Outcome.UNCHECKED)
        raise
    if before is None:
        return Step(object=manifest.ref, outcome=Outcome.CREATED)
    changes = tuple(differences(_said(before), _said(after)))
    return Step(object=manifest.ref, outcome=Outcome.CHANGED if changes else Outcome.UNCHANGED, changes=changes)


def _said(live: Live) -> dict[str, Json]:
    """An object without what changes by itself."""
    metadata = live.body["metadata"]
    assert isinstance(metadata, dict)  # noqa: S101 - every object of Kubernetes has it
    own = {key: value for key, value in metadata.items() if key not in _BOOKKEEPING}
    return {key: value for key, value in live.body.items() if key != "status"} | {"metadata": own}


_BOOKKEEPING = ("managedFields", "resourceVersion", "generation")


def _wait_for_definitions(server: ApiServer) -> None:
    """An object of a kind is taken only once its definition is established, and served."""

    def unmet() -> str:
        for live in server.list(resources.CRD, labels=OWN_LABELS):
            found = condition(live.as_(Definition).status.conditions, "Established")
            if found is None or found.status != "True":
                return f"{live.ref} is not established"
        unserved = [resource.plural for resource in resources.OURS if not server.serves(resource)]
        return f"{', '.join(unserved)} cannot be listed" if unserved else ""

    wait_for(
        unmet,
        where="definitions of the kinds",
        fix="See kubectl describe crd",
        seconds=_DEFINITION_SECONDS,
    )
