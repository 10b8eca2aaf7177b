"""The few controllers of Kubernetes that standalone mode plays itself, as pure functions.

In a cluster the Deployment, EndpointSlice and Service controllers do this work; on one machine these functions do:
a Deployment becomes Pods, a Service gets its addresses, and Pods that match a selector become EndpointSlices. They
look at whole states and say what should change, so a missed event changes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

import msgspec

from smeagol.intent import ADDED_CONTAINERS, PROXY_CONTAINER, AddedContainer, marks_of, marks_text, taken_names
from smeagol.objects import (
    Container,
    Deployment,
    Endpoint,
    EndpointPort,
    EndpointSlice,
    Metadata,
    OwnerReference,
    Pod,
    PodSpec,
    Service,
    ServicePort,
)
from smeagol.objects.core import EndpointConditions, TargetRef

__all__ = [
    "TEMPLATE_HASH",
    "Rollout",
    "as_written",
    "endpoint_slices",
    "has_proxy",
    "pod_terminating",
    "roll_out",
    "service_families",
    "template_hash",
    "with_containers",
    "with_proxy",
]

TEMPLATE_HASH = "pod-template-hash"
"""The label that tells which version of a Deployment's template a Pod was made from (as Kubernetes names it)."""

_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"  # Kubernetes' own: no vowels, so no words


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """What a Deployment needs now: Pods to make, and names of Pods to take away."""

    create: tuple[Pod, ...]
    delete: tuple[str, ...]


def template_hash(deployment: Deployment) -> str:
    """Eight characters that change when, and only when, the Pod template does."""
    return _letters(msgspec.json.encode(deployment.spec.template, order="deterministic"), 8)


def roll_out(deployment: Deployment, owned: Iterable[Pod]) -> Rollout:
    """The next step of a rolling update: all new Pods first, the old ones go once the new are ready.

    `owned` are the Pods this Deployment made, of any version. Terminating ones are on their way out already and count
    for nothing. Names are stable: the same template and ordinal give the same name, so repeating a step is harmless.
    """
    version = template_hash(deployment)
    present = [pod for pod in owned if not pod_terminating(pod)]
    current = {pod.metadata.name: pod for pod in present if pod.metadata.labels.get(TEMPLATE_HASH) == version}
    wanted = [_pod_of(deployment, version, ordinal) for ordinal in range(max(0, deployment.spec.replicas))]
    names = {pod.metadata.name for pod in wanted}
    surplus = [name for name in current if name not in names]
    complete = all(name in current and current[name].ready for name in names)
    old = [pod.metadata.name for pod in present if pod.metadata.name not in current] if complete else []
    create = tuple(pod for pod in wanted if pod.metadata.name not in current)
    return Rollout(create=create, delete=tuple(sorted(surplus + old)))


def has_proxy(pod: Pod) -> bool:
    """Was it made with a proxy?"""
    return any(c.name == PROXY_CONTAINER for c in (*pod.spec.init_containers, *pod.spec.containers))


def with_proxy(pod: Pod) -> Pod:
    """The Pod with its proxy as first init container, a native sidecar; unchanged if it has one."""
    if has_proxy(pod):
        return pod
    proxy = Container(name=PROXY_CONTAINER, restart_policy="Always")
    return msgspec.structs.replace(
        pod, spec=msgspec.structs.replace(pod.spec, init_containers=(proxy, *pod.spec.init_containers))
    )


def with_containers(pod: Pod, added: Sequence[AddedContainer]) -> Pod:
    """A Pod that has its proxy, with the containers of Sidecars behind it, as native sidecars too.

    Raises AdditionError for one whose name the Pod has already.
    """
    names = (c.name for c in (*pod.spec.init_containers, *pod.spec.containers))
    if problems := taken_names(added, names, f"Pod {pod.metadata.namespace}/{pod.metadata.name}"):
        raise problems[0]
    further = (msgspec.convert(msgspec.to_builtins(each.container), Container) for each in added)
    further = (msgspec.structs.replace(container, restart_policy="Always") for container in further)
    proxy, *own = pod.spec.init_containers
    annotations = {**pod.metadata.annotations, **({ADDED_CONTAINERS: marks_text(added)} if added else {})}
    return msgspec.structs.replace(
        pod,
        metadata=msgspec.structs.replace(pod.metadata, annotations=annotations),
        spec=msgspec.structs.replace(pod.spec, init_containers=(proxy, *further, *own)),
    )


def as_written(pod: Pod) -> Pod:
    """A Pod as its manifest says it: without its proxy and what Sidecars gave it."""
    ours = {PROXY_CONTAINER, *(mark.container for mark in marks_of(pod.metadata.annotations))}
    own = tuple(c for c in pod.spec.init_containers if c.name not in ours)
    annotations = {key: value for key, value in pod.metadata.annotations.items() if key != ADDED_CONTAINERS}
    return msgspec.structs.replace(
        pod,
        metadata=msgspec.structs.replace(pod.metadata, annotations=annotations),
        spec=msgspec.structs.replace(pod.spec, init_containers=own),
    )


def pod_terminating(pod: Pod) -> bool:
    return bool(pod.metadata.deletion_timestamp)


def endpoint_slices(service: Service, pods: Sequence[Pod]) -> tuple[EndpointSlice, ...]:
    """The EndpointSlices of a Service with a selector: one for each of its address families and set of target ports.

    `pods` are those of the Service's namespace that its selector picks; one that is but a name (ExternalName) has none
    of them. A Service port whose named target a Pod does not have leaves that Pod out of that port
    (discovery.k8s.io/v1).
    """
    groups: dict[tuple[str, tuple[EndpointPort, ...]], list[Endpoint]] = {}
    pods = () if service.spec.type == "ExternalName" else pods
    for pod in sorted(pods, key=lambda p: p.metadata.name):
        if pod.finished or not pod.addresses:
            continue
        ports = tuple(
            EndpointPort(name=port.name, port=number, protocol=port.protocol, app_protocol=port.app_protocol)
            for port in service.spec.ports
            if (number := target_port(port, pod.spec)) is not None
        )
        ready = pod.ready
        terminating = pod_terminating(pod)
        conditions = EndpointConditions(
            ready=(ready or service.spec.publish_not_ready_addresses) and not terminating,
            serving=ready,
            terminating=terminating,
        )
        target = TargetRef(kind="Pod", namespace=pod.metadata.namespace, name=pod.metadata.name, uid=pod.metadata.uid)
        by_family = {f"IPv{ip_address(address).version}": address for address in pod.addresses}
        for family in service_families(service, tuple(by_family)):
            address = by_family[family]
            groups.setdefault((family, ports), []).append(
                Endpoint(addresses=(address,), conditions=conditions, target_ref=target)
            )
    return tuple(
        EndpointSlice(
            metadata=Metadata(
                name=f"{service.metadata.name}-{_letters(repr((family, ports)).encode(), 5)}",
                namespace=service.metadata.namespace,
                labels={"kubernetes.io/service-name": service.metadata.name},
            ),
            address_type=family,
            endpoints=tuple(endpoints),
            ports=ports,
        )
        for (family, ports), endpoints in groups.items()
    )


def service_families(service: Service, available: tuple[str, ...]) -> tuple[str, ...]:
    """Which of the `available` address families (`IPv4`, `IPv6`; the primary first) a Service has, in its order.

    One, unless the Service asks for two: many applications listen on IPv4 only (core/v1 Service, ipFamilyPolicy).
    """
    spec = service.spec
    asked = spec.ip_families or tuple(f"IPv{ip_address(address).version}" for address in service.cluster_ips)
    wanted = (*(family for family in asked if family in available), *(f for f in available if f not in asked))
    two = len(asked) > 1 or spec.ip_family_policy in ("PreferDualStack", "RequireDualStack")
    return wanted if two else wanted[:1]


def target_port(port: ServicePort, spec: PodSpec) -> int | None:
    """Where a Pod listens for a Service port; None if the named port is not among its containers' ports."""
    target = port.target_port if port.target_port not in (None, "", 0) else port.port
    if isinstance(target, int):
        return target
    for container in (*spec.containers, *spec.init_containers):
        for declared in container.ports:
            if declared.name == target and declared.protocol == port.protocol:
                return declared.container_port
    return None


def selects(selector: Mapping[str, str] | None, labels: Mapping[str, str]) -> bool:
    """A Service's selector: all pairs must be there. Without a selector a Service picks nothing by itself."""
    return bool(selector) and all(labels.get(key) == value for key, value in (selector or {}).items())


def _pod_of(deployment: Deployment, version: str, ordinal: int) -> Pod:
    template = deployment.spec.template
    owner = f"{deployment.metadata.name}-{version}"
    return Pod(
        metadata=Metadata(
            name=f"{owner}-{_letters(f'{owner}/{ordinal}'.encode(), 5)}",
            namespace=deployment.metadata.namespace,
            labels={**template.metadata.labels, TEMPLATE_HASH: version},
            annotations=template.metadata.annotations,
            owner_references=(
                OwnerReference(
                    api_version="apps/v1", kind="Deployment", name=deployment.metadata.name, controller=True
                ),
            ),
        ),
        spec=template.spec,
    )


def _letters(data: bytes, length: int) -> str:
    digest = hashlib.sha256(data).digest()
    return "".join(_ALPHABET[byte % len(_ALPHABET)] for byte in digest[:length])
