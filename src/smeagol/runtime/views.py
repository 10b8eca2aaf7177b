"""The running mesh as the readers of the control API see it. Pure: state in, values of `smeagol.control` out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from smeagol import control
from smeagol.api import Problem, ProviderClassStatus, SmiObject, Status
from smeagol.errors import SmeagolError
from smeagol.intent import (
    CanaryIntent,
    MutualTLSIntent,
    Resolver,
    ServiceIntent,
    SidecarIntent,
    Unit,
    UnitKey,
    UnitKind,
    WorkloadIntent,
)
from smeagol.objects import EndpointSlice, Pod, Service
from smeagol.refs import NodeId, ObjectRef, PodRef
from smeagol.runtime.reporting import Happening
from smeagol.sources.cluster import Key
from smeagol.sources.workloads import TEMPLATE_HASH, has_proxy
from smeagol.status import shares
from smeagol.xds import Acks, Nack

__all__ = [
    "cluster_status",
    "event_view",
    "fault_view",
    "ignored_view",
    "object_view",
    "pod_view",
    "problem_view",
    "proxy_view",
    "service_view",
    "summary",
    "type_title",
    "why_waiting",
]


def cluster_status(
    resolver: Resolver, objects: Mapping[ObjectRef, SmiObject], acks: Acks | None, mesh: control.MeshInfo
) -> control.Status:
    """All that a control plane in a cluster knows of it, or, without `acks`, what the objects alone say.

    `objects` are the users', with their statuses as the API server has them.
    """
    units = resolver.units
    kinds = {kind.value: kind for kind in UnitKind}
    slices: dict[tuple[str, str], list[EndpointSlice]] = {}
    for (namespace, _), part in resolver.endpoint_slices.items():
        slices.setdefault((namespace, part.service_name), []).append(part)

    def unit_of(ref: ObjectRef) -> Unit | None:
        return units.get(UnitKey(kinds[ref.kind], ref.namespace, ref.name)) if ref.kind in kinds else None

    def workload(key: tuple[str, str]) -> WorkloadIntent | None:
        unit = units.get(UnitKey(UnitKind.WORKLOAD, *key))
        return unit if isinstance(unit, WorkloadIntent) else None

    def service(key: tuple[str, str]) -> ServiceIntent | None:
        unit = units.get(UnitKey(UnitKind.SERVICE, *key))
        return unit if isinstance(unit, ServiceIntent) else None

    return control.Status(
        mesh=mesh,
        problems=tuple(
            control.Problem(where=f"Service {clash.opaque}", message=clash.message) for clash in resolver.contradictions
        ),
        objects=tuple(object_view(obj, unit_of(ref), obj.status) for ref, obj in sorted(objects.items())),
        pods=tuple(pod_view(pod, workload(key), acks) for key, pod in resolver.pods.items()),
        services=tuple(
            service_view(found, slices.get(key, ()), service(key)) for key, found in resolver.services.items()
        ),
    )


def problem_view(problem: Problem) -> control.Problem:
    parts = (str(problem.place), str(problem.object) if problem.object else "", problem.field)
    return control.Problem(
        where=", ".join(part for part in parts if part), message=problem.what, code=problem.code, fix=problem.fix
    )


def ignored_view(ref: ObjectRef) -> control.Problem:
    """An object of a kind that standalone mode does not carry out: nothing is wrong, but nothing happens either."""
    return control.Problem(
        where=str(ref),
        message="standalone mode does not carry out objects of this kind",
        fix="Leave it where it is if a cluster needs it",
    )


def fault_view(ref: ObjectRef, error: Exception) -> control.Problem:
    """What keeps one object from being carried out."""
    if isinstance(error, SmeagolError):
        return control.Problem(where=error.where or str(ref), message=error.what, code=error.code, fix=error.fix)
    return control.Problem(where=str(ref), message=str(error))


def why_waiting(pod: Pod) -> str:
    """What keeps containers of the Pod from running, each with its name; empty if nothing does."""
    return "; ".join(f"{s.name}: {s.message}" for s in pod.status.container_statuses if s.message)


def pod_view(pod: Pod, workload: WorkloadIntent | None, acks: Acks | None) -> control.Pod:
    metadata = pod.metadata
    statuses = pod.status.container_statuses
    return control.Pod(
        namespace=metadata.namespace,
        name=metadata.name,
        workload=_owner(pod),
        labels={key: value for key, value in metadata.labels.items() if key != TEMPLATE_HASH},
        ips=pod.addresses,
        phase="Terminating" if metadata.deletion_timestamp else pod.status.phase,
        ready=pod.ready and not metadata.deletion_timestamp,
        restarts=sum(status.restart_count for status in statuses),
        message=why_waiting(pod),
        proxy=proxy_view(PodRef(metadata.namespace, metadata.name).node, acks) if has_proxy(pod) else None,
        mutual_tls=workload.mode.value if workload is not None and workload.mode is not None else None,
        client_names=workload.client_names if workload is not None else (),
        server_names=workload.server_names if workload is not None and workload.mode is not None else (),
    )


def _owner(pod: Pod) -> str:
    """What the user knows the Pod by: the Deployment behind a ReplicaSet, which names that after itself and a hash."""
    owner = next((o for o in pod.metadata.owner_references if o.controller), None)
    if owner is None:
        return pod.metadata.name
    hash_ = pod.metadata.labels.get("pod-template-hash")
    return owner.name.removesuffix(f"-{hash_}") if owner.kind == "ReplicaSet" and hash_ else owner.name


def proxy_view(node: NodeId, acks: Acks | None) -> control.ProxyStatus:
    if acks is None:
        return control.ProxyStatus(known=False)
    progress = acks.of_node(node)
    if progress is None:
        return control.ProxyStatus()
    return control.ProxyStatus(
        connected=True, synced=progress.settled and not progress.refused, rejected=tuple(_rejected(progress.refused))
    )


def _rejected(nacks: Iterable[Nack]) -> Iterable[control.Rejected]:
    for nack in nacks:
        yield control.Rejected(type_url=nack.type_url, names=(nack.name,), message=nack.message)


def service_view(service: Service, slices: Iterable[EndpointSlice], intent: ServiceIntent | None) -> control.Service:
    ready = _ready_endpoints(slices)
    protocols = {port.number: port.protocol.value for port in intent.ports} if intent is not None else {}
    splits = [port.split for port in intent.ports if port.split is not None] if intent is not None else []
    return control.Service(
        namespace=service.metadata.namespace,
        name=service.metadata.name,
        cluster_ips=service.cluster_ips,
        ports=tuple(
            control.ServicePort(
                port=port.port,
                name=port.name,
                protocol=protocols.get(port.port, port.app_protocol or port.protocol.lower()),
                endpoints=ready.get(port.name, 0),
            )
            for port in service.spec.ports
        ),
        canary=f"{splits[0].canary.namespace}/{splits[0].canary.name}" if splits else None,
    )


def _ready_endpoints(slices: Iterable[EndpointSlice]) -> Mapping[str, int]:
    """How many Pods are ready behind each port name; one with two addresses counts once."""
    ready: dict[str, set[Key | str]] = {}
    for part in slices:
        for port in part.ports:
            for endpoint in part.endpoints:
                if endpoint.conditions.ready is not False and endpoint.addresses:
                    target = endpoint.target_ref
                    who = (target.namespace, target.name) if target is not None else endpoint.addresses[0]
                    ready.setdefault(port.name, set()).add(who)
    return {name: len(who) for name, who in ready.items()}


TITLES = {
    "envoy.config.listener.v3.Listener": "listeners",
    "envoy.config.cluster.v3.Cluster": "clusters",
    "envoy.config.route.v3.RouteConfiguration": "routes",
    "envoy.config.endpoint.v3.ClusterLoadAssignment": "endpoints",
    "envoy.extensions.transport_sockets.tls.v3.Secret": "secrets",
}


def type_title(type_url: str) -> str:
    """How people call a type of resources."""
    name = type_url.rpartition("/")[2]
    return TITLES.get(name, name)


def object_view(obj: SmiObject, unit: Unit | None, status: Status | ProviderClassStatus) -> control.SmiObject:
    ref = obj.ref
    pods: tuple[PodRef, ...] = ()
    services: tuple[str, ...] = ()
    if isinstance(unit, CanaryIntent):
        services = tuple(str(s) for s in (unit.root, *(service for service, _ in unit.wanted)))
    elif isinstance(unit, MutualTLSIntent | SidecarIntent):
        pods = unit.selection.pods
    return control.SmiObject(
        kind=ref.kind,
        namespace=ref.namespace,
        name=ref.name,
        generation=obj.metadata.generation,
        age=obj.metadata.creation_timestamp.isoformat() if obj.metadata.creation_timestamp else "",
        status=msgspec.convert(msgspec.to_builtins(status), control.ObjectStatus),
        summary=summary(unit) if isinstance(unit, CanaryIntent | MutualTLSIntent | SidecarIntent) else "",
        spec=msgspec.Raw(msgspec.json.encode(obj.spec, enc_hook=str)),
        pods=tuple(str(pod) for pod in pods),
        services=services,
    )


def event_view(happening: Happening) -> control.Event:
    event = happening.event
    return control.Event(
        time=happening.time.isoformat(timespec="seconds"),
        type=event.type.value,
        reason=event.reason,
        message=event.message,
        object=str(happening.object),
    )


def summary(unit: CanaryIntent | MutualTLSIntent | SidecarIntent) -> str:
    """One line: what one wants to see first of an object."""
    match unit:
        case CanaryIntent():
            return f"{unit.root.name} → {shares(unit)}"
        case MutualTLSIntent():
            names = ", ".join(unit.client_names)
            return f"{unit.mode.value}, {_pods(unit.selection.pods)}" + (f", as {names}" if names else "")
        case SidecarIntent():
            labels = ", ".join(f"{key}={value}" for key, value in unit.metric_labels or ())
            return _pods(unit.selection.pods) + (f", {labels}" if labels else "")


def _pods(pods: tuple[PodRef, ...]) -> str:
    return "1 Pod" if len(pods) == 1 else f"{len(pods)} Pods"
