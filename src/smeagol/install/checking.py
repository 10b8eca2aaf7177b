"""Says of a cluster what an installation needs and lacks, each with its cause and its cure.

The judgements are functions of what was read; `check` reads it and puts them in order.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from ipaddress import ip_address, ip_network
from itertools import pairwise
from typing import Final

import msgspec

from smeagol.api.documents import Json
from smeagol.api.meta import DEFAULT_CLASS_ANNOTATION
from smeagol.errors import SmeagolError, sentence
from smeagol.install import resources
from smeagol.install.access import AUTHORITY_SECRET, LEASE, TRUST_CONFIG_MAP, WEBHOOKS
from smeagol.install.adapter_access import ADAPTERS
from smeagol.install.adapter_manifests import ADAPTERS_COMPONENT
from smeagol.install.api_server import ApiServer, ConflictError, Live, RefusedError
from smeagol.install.facts import (
    ControllerPod,
    Definition,
    Holder,
    MachineRange,
    UserObject,
    Workload,
    condition,
)
from smeagol.install.manifests import (
    CLASS,
    CONTROLLER,
    DISCOVERY_SERVICE,
    SELECTOR,
    WEBHOOK_PORT,
    WEBHOOK_SERVICE,
    manifests,
)
from smeagol.install.resources import INSTALLED, Resource
from smeagol.install.settings import InstallSettings
from smeagol.intent.selection import INJECT_LABEL, PROXY_CONTAINER
from smeagol.objects import Container, EndpointSlice, Metadata

__all__ = ["OLDEST", "Finding", "Intermediate", "Level", "TriedPod", "check", "deployment_findings", "version_finding"]

OLDEST: Final = (1, 29)
"""Oldest minor version of Kubernetes: the first with native sidecars by default and the rules of our kinds (CEL)."""


class Level(Enum):
    """How much a finding matters. Only a problem keeps the installation from working."""

    OK = "ok"
    NOTE = "note"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What is so, and what to do about it; a finding that is OK needs no cure. `code`: of its page, if it has one."""

    level: Level
    what: str
    fix: str = ""
    code: str = ""

    @property
    def is_bad(self) -> bool:
        return self.level is Level.PROBLEM

    def __str__(self) -> str:
        return sentence(self.what, self.fix) + (f" [{self.code}]" if self.code else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Intermediate:
    """One that is handed over (`--ca-secret`). `fault`: why it cannot be used, None if it can. `signs_until`: what was
    handed over before, or this one; None if nothing signs.
    """

    fault: SmeagolError | None
    signs_until: datetime | None


def check(
    server: ApiServer, settings: InstallSettings, handed_over: Callable[[str], Intermediate]
) -> Iterator[Finding]:
    """Look at the cluster: before an installation what it needs, after it whether all of it works.

    `settings` are those of the installation that is, or is to be; replicas and images do not matter here.
    `handed_over`: what is in a Secret of its namespace.
    Raises ServerSilentError, and RefusedError for whoever may not read what is looked at.
    """
    yield version_finding(server.version())
    deployment = server.get(resources.DEPLOYMENT, CONTROLLER, settings.namespace)
    if deployment is None:
        yield Finding(level=Level.NOTE, what=f"Smeagol is not installed in the namespace '{settings.namespace}'")
        yield from rights_findings(_missing_rights(server, settings))
        yield from definitions_findings(server.list(resources.CRD), conflicts=_conflicts(server, settings))
        yield from address_findings(None, [], [live.as_(MachineRange) for live in server.list(resources.NODE)])
        return
    namespace = settings.namespace
    workload = deployment.as_(Workload)
    pods = [live.as_(ControllerPod) for live in server.list(resources.POD, namespace=namespace, labels=SELECTOR)]
    yield from definitions_findings(server.list(resources.CRD), conflicts=_conflicts(server, settings))
    yield from deployment_findings(workload, pods)
    yield from adapters_findings(server, namespace)
    service = {"kubernetes.io/service-name": DISCOVERY_SERVICE}
    slices = server.list(resources.ENDPOINT_SLICE, namespace=namespace, labels=service)
    yield discovery_finding([live.as_(EndpointSlice) for live in slices])
    lease = server.get(resources.LEASE, LEASE, namespace)
    yield leader_finding(lease.as_(Holder) if lease else None, [pod.metadata.name for pod in pods])
    yield from keys_findings(server, workload, handed_over)
    yield from class_findings(server.list(resources.PROVIDER_CLASS))
    yield from address_findings(workload, pods, [live.as_(MachineRange) for live in server.list(resources.NODE)])
    yield from object_findings(
        live for kind in resources.OURS if kind != resources.PROVIDER_CLASS for live in server.list(kind)
    )
    yield injection_finding(lambda: tried_pod(server))
    yield from security_findings(server.list(resources.NAMESPACE))
    yield from trust_findings(server.list(resources.CONFIG_MAP, fields=f"metadata.name={TRUST_CONFIG_MAP}"))


def version_finding(version: str) -> Finding:
    """Kubernetes is new enough."""
    found = re.match(r"v(\d+)\.(\d+)", version)
    if found and (int(found[1]), int(found[2])) >= OLDEST:
        return Finding(level=Level.OK, what=f"the API server answers; Kubernetes {version}")
    oldest = ".".join(map(str, OLDEST))
    return Finding(
        level=Level.PROBLEM,
        what=f"Kubernetes {version} is older than {oldest}, which lacks native sidecars and rules in definitions",
        fix=f"Upgrade the cluster to {oldest} or newer",
    )


def rights_findings(missing: Sequence[tuple[str, Resource]]) -> Iterator[Finding]:
    """Whoever asks may do what installing does."""
    if not missing:
        yield Finding(level=Level.OK, what="you may create everything that an installation consists of")
    for verb, resource in missing:
        group = f".{resource.group}" if resource.group else ""
        yield Finding(
            level=Level.PROBLEM,
            what=f"you may not {verb} {resource.plural}{group}",
            fix="Let a cluster administrator install, or have the right granted",
        )


def definitions_findings(definitions: Iterable[Live], *, conflicts: Sequence[str]) -> Iterator[Finding]:
    """The API server knows our kinds, as this version has them."""
    by_name = {live.metadata.name: live.as_(Definition) for live in definitions}
    names = [f"{kind.plural}.{kind.group}" for kind in resources.OURS]
    known = [by_name[name] for name in names if name in by_name]
    for definition in known:
        established = condition(definition.status.conditions, "Established")
        if established is None or established.status != "True":
            yield Finding(
                level=Level.PROBLEM,
                what=f"the definition {definition.metadata.name} is not established",
                fix=f"See kubectl describe crd {definition.metadata.name}",
            )
    for conflict in conflicts:
        yield Finding(
            level=Level.WARNING,
            what=conflict,
            fix="Take them over with smeagol install --force",
        )
    if known and len(known) < len(names):
        absent = ", ".join(name for name in names if name not in by_name)
        yield Finding(
            level=Level.WARNING, what=f"definitions are missing: {absent}", fix="Run smeagol install, which adds them"
        )
    elif known:
        yield Finding(level=Level.OK, what=f"the kinds of {known[0].metadata.name.partition('.')[2]} are served")


def adapters_findings(server: ApiServer, namespace: str) -> Iterator[Finding]:
    """The same of the adapters, where there are some."""
    deployment = server.get(resources.DEPLOYMENT, ADAPTERS, namespace)
    if deployment is not None:
        pods = server.list(resources.POD, namespace=namespace, labels=ADAPTERS_COMPONENT.selector)
        workload = deployment.as_(Workload)
        yield from deployment_findings(workload, [live.as_(ControllerPod) for live in pods], of=" of the adapters")


def deployment_findings(workload: Workload, pods: Sequence[ControllerPod], *, of: str = "") -> Iterator[Finding]:
    """All replicas of the present version are available; if not, what the kubelet or the scheduler says."""
    status, wanted = workload.status, workload.spec.replicas
    rolled_out = (
        status.observed_generation >= workload.metadata.generation
        and status.updated_replicas >= wanted
        and status.replicas == status.updated_replicas
    )
    available = f"{status.available_replicas} of {wanted} replicas{of} are available"
    if rolled_out and status.available_replicas >= wanted:
        yield Finding(level=Level.OK, what=available)
        return
    reasons = {pod.obstacle.reason: pod.obstacle.message for pod in pods if pod.obstacle is not None}
    said = "; ".join(f"{reason}: {message}" if message else reason for reason, message in sorted(reasons.items()))
    yield Finding(
        level=Level.PROBLEM,
        what=f"{available}, {status.updated_replicas} are up to date" + (f" ({said})" if said else ""),
        fix=_cure(reasons, workload.metadata),
    )


def _cure(reasons: Iterable[str], workload: Metadata) -> str:
    for reason in reasons:
        if reason in ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"):
            return "Name an image that the nodes can pull: smeagol install --image"
        if reason == "CrashLoopBackOff":
            return f"Read kubectl logs -n {workload.namespace} deployment/{workload.name} --previous"
        if reason == "Unschedulable":
            return "Make room on a node, or see its taints"
    return f"Wait a little; then see kubectl describe pods -n {workload.namespace}"


def discovery_finding(slices: Sequence[EndpointSlice]) -> Finding:
    """Proxies find somebody to ask."""
    ready = sum(endpoint.conditions.ready is not False for found in slices for endpoint in found.endpoints)
    if ready:
        return Finding(level=Level.OK, what=f"the Service {DISCOVERY_SERVICE} has {ready} ready endpoints")
    return Finding(
        level=Level.PROBLEM,
        what=f"the Service {DISCOVERY_SERVICE} has no ready endpoint, so no proxy can connect; those that run go on",
        fix="Mend the replicas",
    )


def injection_finding(make: Callable[[], TriedPod]) -> Finding:
    """A Pod that asks for a proxy gets one. `make` tries it, and may raise RefusedError."""
    try:
        made = make()
    except RefusedError as error:
        if "violates PodSecurity" in error.what:  # asked after the webhooks, so of the Pod with its proxy
            return Finding(level=Level.OK, what="Pods get their proxies")
        return Finding(
            level=Level.PROBLEM,
            what=f"a Pod that asks for a proxy cannot be made: {error.what}",
            fix=f"See whether the Service {WEBHOOK_SERVICE} has ready endpoints, and whether the API server reaches "
            f"port {WEBHOOK_PORT} of the nodes' Pods",
        )
    if any(container.name == PROXY_CONTAINER for container in (*made.spec.init_containers, *made.spec.containers)):
        return Finding(level=Level.OK, what="Pods get their proxies")
    return Finding(
        level=Level.PROBLEM,
        what="a Pod that asks for a proxy gets none: the API server does not ask for it",
        fix=f"The leader makes the MutatingWebhookConfiguration '{WEBHOOKS}'; read its log if it does not",
    )


def security_findings(namespaces: Sequence[Live]) -> Iterator[Finding]:
    """Where Pods ask for proxies, they may have them: the init container needs NET_ADMIN (Pod Security: privileged)."""
    for live in namespaces:
        labels = live.metadata.labels
        level = labels.get("pod-security.kubernetes.io/enforce", "privileged")
        if labels.get(INJECT_LABEL) == "enabled" and level != "privileged":
            yield Finding(
                level=Level.WARNING,
                what=f"the namespace '{live.metadata.name}' enforces the Pod Security level '{level}', which forbids "
                "NET_ADMIN, the capability that sets redirect rules: Pods with a proxy are refused there",
                fix=f"run kubectl label namespace {live.metadata.name} pod-security.kubernetes.io/enforce=privileged "
                "--overwrite, or keep it out of the mesh",
            )


def trust_findings(config_maps: Iterable[Live]) -> Iterator[Finding]:
    """Nobody else has taken the name of the ConfigMap by which proxies know the control plane."""
    for live in config_maps:
        if not live.is_the_leaders:
            namespace = live.metadata.namespace
            yield Finding(
                level=Level.WARNING,
                what=f"the namespace '{namespace}' has a ConfigMap '{TRUST_CONFIG_MAP}' of somebody else's, which "
                "stays as it is: no Pod with a proxy can start there",
                fix=f"Give it another name; then kubectl delete configmap {TRUST_CONFIG_MAP} -n {namespace}, and the "
                "leader makes its own",
            )


def leader_finding(lease: Holder | None, pods: Sequence[str]) -> Finding:
    """One replica leads, and it is one of those that there are."""
    holder = lease.spec.holder_identity if lease else ""
    if holder in pods:
        return Finding(level=Level.OK, what=f"{holder} leads")
    return Finding(
        level=Level.PROBLEM,
        what=f"the Lease is held by {holder}, which is no replica" if holder else "no replica leads: nobody writes",
        fix="Another takes over within half a minute; if none does, read the log of the replicas",
    )


def keys_findings(
    server: ApiServer, workload: Workload, handed_over: Callable[[str], Intermediate]
) -> Iterator[Finding]:
    """The mesh has its keys. Only whether they are there is looked at; if not, what they wait for."""
    namespace, words = workload.metadata.namespace, dict(pairwise(workload.arguments))
    secret, signer = words.get("--ca-secret", ""), words.get("--ca-signer", "")
    try:
        found = server.get(resources.SECRET, AUTHORITY_SECRET, namespace)
        if secret:
            server.get(resources.SECRET, secret, namespace)
    except RefusedError as error:
        yield Finding(level=Level.NOTE, what=f"you may not see whether the {error.where} is there")
        return
    data = found.body.get("data") if found is not None else None
    kept = data if isinstance(data, dict) else {}
    if is_used := bool(kept.get("supplied" if secret or signer else "authority")):
        yield Finding(level=Level.OK, what=f"the mesh's keys are in the Secret {AUTHORITY_SECRET}; keep a copy of it")
    own_signs = not is_used and bool(kept.get("authority"))  # as so far
    judged = handed_over(secret) if secret else None
    if judged is not None and judged.fault is not None:
        yield intermediate_finding(judged.fault, judged.signs_until, own_signs=own_signs)
    elif not is_used:
        no_keys = f"the Secret {AUTHORITY_SECRET} holds no keys, so no certificate can be issued"
        no_keys = "the mesh's own authority still signs" if own_signs else no_keys
        if signer:
            what = f"{no_keys}: {signer} has not signed an intermediate yet (--ca-signer)"
            fix = "See kubectl get csr whether that of smeagol-controller is approved; the replicas' log says more"
        elif secret:
            what = f"{no_keys}: what the Secret {secret} hands over (--ca-secret) has not been used"
            fix = "Wait ten seconds; then read the replicas' log"
        else:
            what, fix = no_keys, "The leader makes them; read its log if it does not"
        yield Finding(level=Level.PROBLEM, what=what, fix=fix)


def intermediate_finding(fault: SmeagolError, signs_until: datetime | None, *, own_signs: bool = False) -> Finding:
    """The one that is handed over can be used; if not, the last good one signs on, if there is one."""
    meanwhile = "the mesh's own authority still signs" if own_signs else "nothing signs"
    if signs_until is not None:
        meanwhile = f"the last good one signs until {signs_until:%Y-%m-%dT%H:%M:%SZ}"
    return Finding(
        level=Level.PROBLEM if signs_until is None else Level.WARNING,
        what=f"the intermediate that is handed over (--ca-secret) cannot be used, and {meanwhile}: {fault.where}: "
        f"{fault.what}",
        fix=fault.fix,
        code=fault.code,
    )


def class_findings(classes: Sequence[Live]) -> Iterator[Finding]:
    """Our class is accepted, and exactly one is the default."""
    ours = next((live for live in classes if live.metadata.name == CLASS), None)
    if ours is None:
        yield Finding(
            level=Level.PROBLEM, what=f"there is no ProviderClass '{CLASS}'", fix="Run smeagol install, which adds it"
        )
    else:
        accepted = condition(ours.as_(UserObject).status.conditions, "Accepted")
        if accepted is not None and accepted.status == "True":
            yield Finding(level=Level.OK, what=f"the ProviderClass '{CLASS}' is accepted")
        else:
            yield Finding(
                level=Level.PROBLEM,
                what=f"the ProviderClass '{CLASS}' is not accepted"
                + (f": {accepted.message}" if accepted and accepted.message else ""),
                fix="The leader accepts it; read its log if it does not",
            )
    defaults = [c.metadata.name for c in classes if c.metadata.annotations.get(DEFAULT_CLASS_ANNOTATION) == "true"]
    if len(defaults) > 1:
        yield Finding(
            level=Level.WARNING,
            what=f"several ProviderClasses are the default ({', '.join(defaults)}): the oldest counts",
            fix=f"Remove the annotation {DEFAULT_CLASS_ANNOTATION} from all but one",
        )
    elif not defaults:
        yield Finding(
            level=Level.WARNING,
            what="no ProviderClass is the default: objects that name none are served by nobody",
            fix=f"Make one: kubectl annotate providerclass {CLASS} {DEFAULT_CLASS_ANNOTATION}=true",
        )


def address_findings(
    workload: Workload | None, pods: Sequence[ControllerPod], nodes: Sequence[MachineRange]
) -> Iterator[Finding]:
    """The control plane is told where Pod addresses lie, which nobody can ask Kubernetes for in general; but those of
    its own `pods` lie there too, in each family that Pods have."""
    ranges = sorted({cidr for node in nodes for cidr in node.spec.pod_cidrs})
    hint = f"; the nodes have {', '.join(ranges)}" if ranges else ""
    words = workload.arguments if workload is not None else ()
    told = [ip_network(value, strict=False) for name, value in pairwise(words) if name == "--pod-cidr"]
    if told:
        addresses = {ip_address(address) for pod in pods for address in pod.addresses}
        # One for each family: replicas are many.
        outside = {ip.version: ip for ip in sorted(addresses, key=str) if not any(ip in known for known in told)}
        for version, ip in sorted(outside.items()):
            yield Finding(
                level=Level.WARNING,
                what=f"--pod-cidr does not tell of {ip}, which a Pod of Smeagol has: requests to the IPv{version} "
                "address of a Pod itself may not be recognised as such",
                fix="Give smeagol upgrade, or the chart's podCIDRs, the ranges of all Pods' addresses, of both "
                f"families{hint}",
            )
        if not outside:
            yield Finding(level=Level.OK, what="it is told where the addresses of Pods lie (--pod-cidr)")
        return
    yield Finding(
        level=Level.NOTE,
        what="without --pod-cidr, requests to the address of a Pod itself are not recognised as such",
        fix=f"Give smeagol install, or the chart's podCIDRs, the ranges of all Pods' addresses{hint}",
    )


def object_findings(objects: Iterable[Live]) -> Iterator[Finding]:
    """What has become of the users' objects: each that is not as it should be, with what its status says."""
    total, bad = 0, 0
    for live in objects:
        total += 1
        conditions = live.as_(UserObject).status.conditions
        first = next(
            (
                c
                for type_ in ("Accepted", "ResolvedRefs", "Programmed")
                if (c := condition(conditions, type_)) and c.status != "True"
            ),
            None,
        )
        if first is not None or not conditions:
            bad += 1
            said = f"is not {first.type} ({first.reason}): {first.message}" if first else "has no status yet"
            yield Finding(
                level=Level.WARNING,
                what=f"{live.ref} {said}".rstrip(": "),
                fix="" if first else "Name a ProviderClass for it, or wait for the leader",
            )
    if total:
        yield Finding(
            level=Level.NOTE if bad else Level.OK,
            what=f"{total - bad} of {total} objects of the mesh are as they should be",
            fix="See smeagol describe KIND NAME" if bad else "",
        )


class _Allowed(msgspec.Struct):
    allowed: bool = False


class _Review(msgspec.Struct):
    status: _Allowed


class TriedSpec(msgspec.Struct, rename="camel"):
    """As much of a Pod as tells whether it has a proxy."""

    containers: list[Container]
    init_containers: list[Container] = []


class TriedPod(msgspec.Struct):
    """A Pod as the API server would store it."""

    spec: TriedSpec


def tried_pod(server: ApiServer) -> TriedPod:
    """A Pod as the API server would store it, by a dry run: the webhooks are asked, and nothing is made."""
    pod: dict[str, Json] = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"generateName": "smeagol-check-", "labels": {INJECT_LABEL: "enabled"}},
        "spec": {"containers": [{"name": "app", "image": "none"}]},
    }
    return server.create(f"{resources.POD.path('default')}?dryRun=All", pod, answer=TriedPod)


def _missing_rights(server: ApiServer, settings: InstallSettings) -> list[tuple[str, Resource]]:
    """What the API server would refuse to whoever asks (authorization.k8s.io/v1 SelfSubjectAccessReview)."""
    return [
        (verb, resource)
        for resource in INSTALLED
        for verb in ("create", "patch")
        if not _may(server, verb, resource, settings.namespace)
    ]


def _may(server: ApiServer, verb: str, resource: Resource, namespace: str) -> bool:
    attributes: dict[str, Json] = {"group": resource.group, "resource": resource.plural, "verb": verb}
    if resource.namespaced:
        attributes["namespace"] = namespace
    group_version = "authorization.k8s.io/v1"
    review = server.create(
        f"/apis/{group_version}/selfsubjectaccessreviews",
        {
            "apiVersion": group_version,
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        },
        answer=_Review,
    )
    return review.status.allowed


def _conflicts(server: ApiServer, settings: InstallSettings) -> list[str]:
    """Fields of our definitions that somebody else has set differently, as a dry run finds them."""
    found = []
    for manifest in manifests(settings):
        if manifest.resource == resources.CRD:
            try:
                server.apply(manifest, dry_run=True)
            except ConflictError as conflict:
                found.append(f"{conflict.where}: {conflict.what}")
            except RefusedError:
                return found  # no right to ask; rights_findings says so
    return found
