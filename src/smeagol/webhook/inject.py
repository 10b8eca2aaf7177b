"""A Pod, to the same Pod with its proxy: pure, and the same whether it is done once or twice.

What is added, in the order in which the kubelet starts it, before all that the Pod brings:

    smeagol-init    init container: sets the redirect rules; the only one with a capability (NET_ADMIN)
    smeagol-proxy   native sidecar: runs before the application and ends after it, so that Jobs end
    …               native sidecars too: the containers of the Sidecars that select the Pod
    volume smeagol  the Pod's token for the control plane, and the roots by which the proxy knows that one
    volume smeagol-admin  the folder of the proxy's admin socket, in the proxy's container alone

Everything a proxy starts with stands in its arguments: nothing has to exist in the Pod's namespace but the ConfigMap
`smeagol-ca`, and a Pod keeps running on what it was made with. The trust roots are not among them, because they
change within the life of a Pod and of the objects that Pods are made from.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import PurePosixPath
from typing import Any

import msgspec

from smeagol.errors import SmeagolError
from smeagol.intent import (
    ADDED_CONTAINERS,
    INBOUND_PASSED,
    INIT_CONTAINER,
    PROXY_CONTAINER,
    AddedContainer,
    AdditionError,
    marks_of,
    marks_text,
    taken_names,
)
from smeagol.plan import ADMIN_SOCKET, METRICS_PORT, READINESS_PATH, READINESS_PORT, AppProbe
from smeagol.webhook.json_patch import Operation, diff
from smeagol.webhook.probes import JsonObject, Originals, Rewritten, restored, rewritten
from smeagol.webhook.settings import ANNOTATION_DOMAIN, PROXY_UID, InjectionSettings, PodOptions, pod_options

__all__ = [
    "INIT_CONTAINER",
    "RESERVED_PORTS",
    "ROOTS_KEY",
    "TOKEN_PATH",
    "TRUST_CONFIG_MAP",
    "TRUST_KEY",
    "TRUST_PATH",
    "Bootstrap",
    "InjectionRefusedError",
    "inject",
    "injected",
    "is_injected",
    "proxy_container",
    "proxy_volumes",
    "uninjected",
]

TRUST_CONFIG_MAP = "smeagol-ca"
"""ConfigMap in every namespace that has injected Pods; a Pod that comes before it waits for it."""
TRUST_KEY = "control-plane.crt"
"""Its entry with the roots by which proxies know their control plane; PEM."""
ROOTS_KEY = "ca.crt"
"""Its entry with the roots of the mesh's certificates, for whoever verifies them without a proxy; PEM."""

Bootstrap = Callable[[tuple[AppProbe, ...]], str]
"""What a proxy starts with, given the probes that it passes on; may use `$(POD_NAME)`, `$(POD_NAMESPACE)`, `$(POD_IP)`,
so a `$` that is meant as such is doubled."""

_VOLUME = "smeagol"
_ADMIN_VOLUME = "smeagol-admin"
_MOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
"""Where containers would get a token for the API server: what is mounted there already keeps that one away, and neither
the proxy nor its init container has any use for it (Kubernetes: admission controller ServiceAccount)."""
TOKEN_PATH = f"{_MOUNT}/token"
TRUST_PATH = f"{_MOUNT}/{TRUST_KEY}"
_TOKEN_SECONDS = 3600

_INJECTED = f"{ANNOTATION_DOMAIN}/injected"
"""Annotation: what the containers were made of, as a digest. Tells ours from a user's of the same name."""
_ORIGINALS = f"{ANNOTATION_DOMAIN}/original-probes"
_ANNOTATIONS = frozenset({_INJECTED, _ORIGINALS, ADDED_CONTAINERS})

RESERVED_PORTS = frozenset({15001, 15006, READINESS_PORT, METRICS_PORT})
"""Where the proxy listens in every Pod."""


class InjectionRefusedError(SmeagolError):
    """A Pod that is to have a proxy cannot have one as it is; `problems` are all the reasons."""

    code = "SMI-I002"

    def __init__(self, problems: tuple[SmeagolError, ...]) -> None:
        super().__init__(" ".join(map(str, problems)))
        self.problems = problems

    def __str__(self) -> str:
        return self.what


class NameTakenError(SmeagolError):
    """A name in the Pod that the proxy needs."""

    code = "SMI-I003"


class UserTakenError(SmeagolError):
    """A container runs as the proxy's user, so its traffic would pass by the proxy."""

    code = "SMI-I004"


class PortTakenError(SmeagolError):
    """A container declares a port of the proxy's."""

    code = "SMI-I005"


def inject(
    pod: JsonObject,
    settings: InjectionSettings,
    bootstrap: Bootstrap,
    *,
    wanted: bool,
    added: Sequence[AddedContainer] = (),
) -> tuple[Operation, ...]:
    """The patch for a Pod that is about to be made; empty if it shall have no proxy, or has it as it should be.

    `added`: what it gets beside the proxy.

    Raises InjectionRefusedError.
    """
    return diff(pod, injected(pod, settings, bootstrap, added)) if wanted else ()


def is_injected(pod: JsonObject) -> bool:
    """Whether the proxy in the Pod, if there is one, is ours."""
    return _INJECTED in _annotations(pod)


def injected(
    pod: JsonObject, settings: InjectionSettings, bootstrap: Bootstrap, added: Sequence[AddedContainer] = ()
) -> JsonObject:
    """The Pod with its proxy, and `added` beside it. `pod` is an object as the API server sends it; it is not changed.

    One that has the proxy already, since webhooks are called again after others, gets it anew: containers and probes
    may have come since. What others changed of our containers stays, unless they were made by other settings.

    Raises InjectionRefusedError.
    """
    bare = uninjected(pod) if is_injected(pod) else pod
    options, bad_annotations = pod_options(_annotations(bare), settings)
    problems = (*bad_annotations, *_problems(bare), *_additions_problems(bare, added))
    if problems:
        raise InjectionRefusedError(problems)
    spec = bare["spec"]
    own_init = spec.get("initContainers") or []
    containers = spec.get("containers") or []
    taken = frozenset(_declared_ports((*own_init, *containers)))
    # Of the init containers only sidecars have probes, so all are read alike.
    probes = rewritten((*own_init, *containers), passed=options.inbound_passed, taken=taken)
    ours = _containers(options, probes, bootstrap)
    volumes = proxy_volumes(settings)
    digest = _digest(_containers(options, Rewritten(containers=[], probes=(), originals={}), bootstrap), volumes)
    if _annotations(pod).get(_INJECTED) == digest:
        ours = [{**container, **_existing(container, pod), "args": container["args"]} for container in ours]
    init, proxy = ours
    further = _further_containers(pod, added, settings)
    new_init, new_containers = probes.containers[: len(own_init)], probes.containers[len(own_init) :]
    if settings.native_sidecar:
        new_init = [init, proxy, *further, *new_init]
    else:
        new_init, new_containers = [init, *new_init], [*new_containers, proxy, *further]
    annotations = {**_annotations(bare), _INJECTED: digest}
    if added:
        annotations[ADDED_CONTAINERS] = marks_text(added)
    if probes.originals:
        annotations[_ORIGINALS] = json.dumps(probes.originals, separators=(",", ":"), sort_keys=True)
    new_spec = {**spec, "volumes": [*(spec.get("volumes") or []), *volumes], "initContainers": new_init}
    new_spec["containers"] = new_containers
    return {**bare, "metadata": {**(bare.get("metadata") or {}), "annotations": annotations}, "spec": new_spec}


def uninjected(pod: JsonObject) -> JsonObject:
    """The Pod without its proxy, its probes as they were; what is not injected comes back as it is."""
    if not is_injected(pod):
        return pod
    originals = _originals(pod)
    metadata, spec = pod["metadata"], pod["spec"]
    annotations = {key: value for key, value in metadata["annotations"].items() if key not in _ANNOTATIONS}
    ours = {INIT_CONTAINER, PROXY_CONTAINER, *(mark.container for mark in marks_of(metadata["annotations"]))}
    new_spec = dict(spec)
    for field in ("initContainers", "containers"):
        theirs = [c for c in spec.get(field) or [] if c.get("name") not in ours]
        new_spec[field] = [restored(c, originals.get(c.get("name", ""), {})) for c in theirs]
    new_spec["volumes"] = [volume for volume in spec.get("volumes") or [] if volume.get("name") not in _VOLUMES]
    for field in ("initContainers", "volumes"):
        if not new_spec[field]:
            del new_spec[field]
    new_metadata = {**metadata, "annotations": annotations}
    if not annotations:
        del new_metadata["annotations"]
    return {**pod, "metadata": new_metadata, "spec": new_spec}


def warnings_of(pod: JsonObject, settings: InjectionSettings) -> tuple[str, ...]:
    """What the user should know although the Pod may be made."""
    options, _ = pod_options(_annotations(pod), settings)
    return options.warnings


# What is in the way ---------------------------------------------------------------------------------------------------


def _problems(pod: JsonObject) -> Iterable[SmeagolError]:
    spec = pod["spec"]
    for field in ("initContainers", "containers"):
        for index, container in enumerate(spec.get(field) or []):
            yield from _container_problems(container, f"spec.{field}[{index}]", spec.get("securityContext") or {})
    for index, volume in enumerate(spec.get("volumes") or []):
        if (name := volume.get("name")) in _VOLUMES:
            yield NameTakenError(
                f"a volume may not be called '{name}' in a Pod with a proxy",
                where=f"spec.volumes[{index}].name",
                fix=f"Rename it, or {_OPT_OUT}",
            )


_OPT_OUT = "take the Pod out of the mesh with the label smi-spec.io/inject: disabled"


def _container_problems(container: JsonObject, where: str, of_pod: JsonObject) -> Iterable[SmeagolError]:
    name = container.get("name")
    if name in {INIT_CONTAINER, PROXY_CONTAINER}:
        yield NameTakenError(
            f"a container may not be called '{name}' in a Pod with a proxy",
            where=f"{where}.name",
            fix=f"Rename it, or {_OPT_OUT}",
        )
    user = (container.get("securityContext") or {}).get("runAsUser", of_pod.get("runAsUser"))
    if user == PROXY_UID:
        yield UserTakenError(
            f"container '{name}' runs as user {PROXY_UID}, which is the proxy's: its traffic would pass by the proxy",
            where=f"{where}.securityContext.runAsUser",
            fix=f"Let it run as another user, or {_OPT_OUT}",
        )
    for port in container.get("ports") or []:
        if port.get("containerPort") in RESERVED_PORTS and port.get("protocol", "TCP") == "TCP":
            yield PortTakenError(
                f"container '{name}' listens on port {port['containerPort']}, which is the proxy's",
                where=f"{where}.ports",
                fix=f"Let it listen on another port, or {_OPT_OUT}",
            )


def _additions_problems(pod: JsonObject, added: Sequence[AddedContainer]) -> Iterable[SmeagolError]:
    spec = pod["spec"]
    own = (*(spec.get("initContainers") or []), *(spec.get("containers") or []))
    names = (*(container.get("name", "") for container in own), INIT_CONTAINER, PROXY_CONTAINER)
    yield from taken_names(added, names, "spec.containers")
    volumes = {volume.get("name") for volume in spec.get("volumes") or []}
    for each in added:
        where = f"Sidecar {each.sidecar}, spec.containers[{each.container.name}]"
        for mount in each.container.volume_mounts:
            if mount.name not in volumes:
                yield AdditionError(
                    f"the Pod has no volume '{mount.name}', which the container mounts",
                    where=f"{where}.volumeMounts",
                    fix="Give the Pod such a volume, or let the Sidecar select other Pods",
                )
        for port in each.container.ports:
            if port.container_port in RESERVED_PORTS and port.protocol.value == "TCP":
                yield PortTakenError(
                    f"the container listens on port {port.container_port}, which is the proxy's",
                    where=f"{where}.ports",
                    fix="Let it listen on another port",
                )


# What is added --------------------------------------------------------------------------------------------------------


def _containers(options: PodOptions, probes: Rewritten, bootstrap: Bootstrap) -> list[JsonObject]:
    return [_init_container(options, probes), proxy_container(options, bootstrap(probes.probes))]


def _init_container(options: PodOptions, probes: Rewritten) -> JsonObject:
    asked_at = {probe.asked_at for probe in probes.probes} - {READINESS_PORT}
    arguments = ["--uid", str(PROXY_UID)]
    for flag, ports in (
        (INBOUND_PASSED, asked_at | set(options.inbound_passed)),
        ("--outbound-passed", set(options.outbound_passed)),
    ):
        if ports:
            arguments += [flag, ",".join(map(str, sorted(ports)))]
    return {
        "name": INIT_CONTAINER,
        "image": options.settings.init_image,
        **_pull_policy(options.settings),
        "command": ["python3", "-m", "smeagol.infra.host.redirect_pod"],
        "args": arguments,
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"cpu": "1", "memory": "128Mi"}},
        # Rules are set by root with one capability; nothing else of root's is left to it.
        "securityContext": _confined(user=0, capabilities={"drop": ["ALL"], "add": ["NET_ADMIN"]}),
        "volumeMounts": [_MOUNTED],
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }


def proxy_container(options: PodOptions, bootstrap: str) -> JsonObject:
    """The container of a proxy, whatever else is in its Pod."""
    settings = options.settings
    container: JsonObject = {
        "name": PROXY_CONTAINER,
        "image": settings.proxy_image,
        **_pull_policy(settings),
        "command": ["envoy"],
        "args": [
            "--config-yaml",
            bootstrap,
            "--concurrency",
            str(settings.size.concurrency),
            "--log-level",
            settings.log_level,
            "--disable-hot-restart",
            "--drain-strategy",
            "immediate",  # who speaks on a connection whose listener has gone is asked to come back at once
        ],
        "env": [
            {"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}}
            for name, path in (
                ("POD_NAME", "metadata.name"),
                ("POD_NAMESPACE", "metadata.namespace"),
                ("POD_IP", "status.podIP"),
            )
        ],
        "ports": [{"name": "smi-metrics", "containerPort": METRICS_PORT, "protocol": "TCP"}],
        "readinessProbe": _ready(period_seconds=5, failure_threshold=3),
        "resources": settings.size.resources(),
        "securityContext": _confined(user=PROXY_UID, capabilities={"drop": ["ALL"]}),
        "volumeMounts": [_MOUNTED, _ADMIN_MOUNTED],
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    if settings.native_sidecar:
        # The application starts once the proxy has its configuration, however long the control plane is away.
        container |= {"restartPolicy": "Always", "startupProbe": _ready(period_seconds=1, failure_threshold=600)}
    return container


def _further_containers(
    pod: JsonObject, added: Sequence[AddedContainer], settings: InjectionSettings
) -> list[JsonObject]:
    """The containers of Sidecars. What others made of one stays, unless its Sidecar says something else since."""
    held = marks_of(_annotations(pod))
    made = []
    for each in added:
        container = msgspec.to_builtins(each.container)
        if settings.native_sidecar:
            container["restartPolicy"] = "Always"
        made.append({**container, **(_existing(container, pod) if each.mark in held else {})})
    return made


_MOUNTED = {"name": _VOLUME, "mountPath": _MOUNT, "readOnly": True}
_ADMIN_MOUNTED = {"name": _ADMIN_VOLUME, "mountPath": str(PurePosixPath(ADMIN_SOCKET).parent)}
_ADMIN_FOLDER = {"name": _ADMIN_VOLUME, "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}
_VOLUMES = frozenset({_VOLUME, _ADMIN_VOLUME})


def _pull_policy(settings: InjectionSettings) -> JsonObject:
    return {"imagePullPolicy": settings.image_pull_policy} if settings.image_pull_policy else {}


def _ready(*, period_seconds: int, failure_threshold: int) -> JsonObject:
    get = {"path": READINESS_PATH, "port": READINESS_PORT, "scheme": "HTTP"}
    return {
        "httpGet": get,
        "periodSeconds": period_seconds,
        "timeoutSeconds": 3,
        "successThreshold": 1,
        "failureThreshold": failure_threshold,
    }


def _confined(*, user: int, capabilities: JsonObject) -> JsonObject:
    return {
        "runAsUser": user,
        "runAsGroup": user,
        "runAsNonRoot": user != 0,
        "privileged": False,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": capabilities,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def proxy_volumes(settings: InjectionSettings) -> list[JsonObject]:
    """What the proxy's container mounts."""
    return [_volume(settings), _ADMIN_FOLDER]


def _volume(settings: InjectionSettings) -> JsonObject:
    token = {"audience": settings.audience, "expirationSeconds": _TOKEN_SECONDS, "path": "token"}
    trust = {"name": TRUST_CONFIG_MAP, "items": [{"key": TRUST_KEY, "path": TRUST_KEY}]}
    return {
        "name": _VOLUME,
        "projected": {"defaultMode": 0o644, "sources": [{"serviceAccountToken": token}, {"configMap": trust}]},
    }


# What is there already ------------------------------------------------------------------------------------------------


def _annotations(pod: JsonObject) -> dict[str, str]:
    return (pod.get("metadata") or {}).get("annotations") or {}


def _declared_ports(containers: Iterable[JsonObject]) -> Iterable[int]:
    for container in containers:
        for port in container.get("ports") or []:
            if isinstance(port.get("containerPort"), int):
                yield port["containerPort"]


def _digest(containers: list[JsonObject], volumes: list[JsonObject]) -> str:
    """What is the same for all Pods with these settings and annotations, whatever their probes."""
    return hashlib.sha256(msgspec.json.encode([containers, volumes], order="deterministic")).hexdigest()[:16]


def _existing(container: JsonObject, pod: JsonObject) -> JsonObject:
    """What others made of a container of ours: another registry, limits, mounts. Empty if it is not there yet."""
    existing = (*(pod["spec"].get("initContainers") or []), *(pod["spec"].get("containers") or []))
    return next((c for c in existing if c.get("name") == container["name"]), {})


def _originals(pod: JsonObject) -> Originals:
    """Anyone may write an annotation: one that does not read restores nothing."""
    try:
        return msgspec.json.decode(_annotations(pod).get(_ORIGINALS, "{}"), type=dict[str, dict[str, dict[str, Any]]])
    except msgspec.MsgspecError:
        return {}
