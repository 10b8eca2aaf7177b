"""Objects of Kubernetes, as the host's values: which processes a Pod is, where a Service leads. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from ipaddress import ip_address
from pathlib import PurePosixPath
from typing import ClassVar

from smeagol import objects
from smeagol.errors import SmeagolError
from smeagol.infra.host.desired import (
    ContainerOnHost,
    Endpoint,
    EnvVar,
    Exec,
    FileOnHost,
    Grpc,
    HttpGet,
    PodSpecOnHost,
    Probe,
    ProbeAction,
    RestartPolicy,
    ServiceOnHost,
    ServicePort,
    Sleep,
    TcpSocket,
    Transport,
)
from smeagol.infra.host.status import ContainerStatus, PodStatus, Terminated, Waiting
from smeagol.intent import EXCLUDE_INBOUND, EXCLUDE_OUTBOUND, PROXY_CONTAINER, ROOT_READINESS_PORT, excluded_ports
from smeagol.objects import Container, EndpointSlice, Pod, Service
from smeagol.objects import Probe as KubernetesProbe
from smeagol.objects import ServicePort as KubernetesServicePort
from smeagol.objects.core import ContainerStatus as KubernetesContainerStatus
from smeagol.objects.core import PodCondition
from smeagol.plan import ADMIN_SOCKET, READINESS_PATH, READINESS_PORT
from smeagol.refs import PodRef, ServiceRef

__all__ = ["PROXY_FILES", "pod_on_host", "pod_status", "proxy_container", "service_on_host"]

PROXY_FILES = str(PurePosixPath(ADMIN_SOCKET).parent)
"""A proxy's bootstrap, token and admin socket, and the control plane's root; no other container sees them."""

HOSTNAME_BYTES = 63
"""Longer names of Pods are cut for their hostname, as the kubelet does."""


def pod_on_host(pod: Pod, proxy: ContainerOnHost | None) -> PodSpecOnHost:
    """The processes of a Pod. `proxy` stands in for its injected container; without one nothing is redirected.

    A root proxy redirects nothing either: its proxy is all that it has.
    """
    spec, metadata = pod.spec, pod.metadata
    own = tuple(_container(c) for c in spec.containers if c.name != PROXY_CONTAINER)
    alone = proxy if not own else None
    return PodSpecOnHost(
        ref=PodRef(metadata.namespace, metadata.name),
        uid=metadata.uid,
        ips=tuple(ip_address(address) for address in pod.addresses),
        hostname=(spec.hostname or metadata.name)[:HOSTNAME_BYTES].rstrip("-."),
        containers=own if alone is None else (_root_proxy(alone),),
        init_containers=tuple(_container(c) for c in spec.init_containers if c.name != PROXY_CONTAINER),
        sidecar=proxy if alone is None else None,
        redirect=proxy is not None and alone is None,
        inbound_passed=excluded_ports(metadata.annotations, EXCLUDE_INBOUND),
        outbound_passed=excluded_ports(metadata.annotations, EXCLUDE_OUTBOUND),
        grace_seconds=spec.termination_grace_period_seconds,
        restart_policy=RestartPolicy(spec.restart_policy),
        service_account=spec.service_account_name or "default",
        labels=tuple(sorted(metadata.labels.items())),
        annotations=tuple(sorted(metadata.annotations.items())),
    )


def proxy_container(command: Sequence[str], files: Mapping[str, bytes]) -> ContainerOnHost:
    """The proxy as the first native sidecar of a Pod: the application starts once it answers, and ends before it."""
    ready = HttpGet(port=READINESS_PORT, path=READINESS_PATH)
    return ContainerOnHost(
        name=PROXY_CONTAINER,
        command=tuple(command),
        files=tuple(FileOnHost(f"{PROXY_FILES}/{name}", content, 0o600) for name, content in files.items()),
        startup=Probe(action=ready, period_seconds=0.1, failure_threshold=600),
        readiness=Probe(action=ready, period_seconds=5, failure_threshold=3),
        restart_always=True,
        net_admin=True,
    )


def _root_proxy(proxy: ContainerOnHost) -> ContainerOnHost:
    """Ready once it has the listeners of its root."""
    ready = HttpGet(port=ROOT_READINESS_PORT, path=READINESS_PATH)
    return replace(proxy, startup=None, readiness=Probe(action=ready, period_seconds=0.5), restart_always=False)


def service_on_host(service: Service, slices: Iterable[EndpointSlice]) -> ServiceOnHost:
    """Where each port of a Service leads for Pods without a proxy, as kube-proxy has it, and what DNS says of it."""
    slices = tuple(slices)
    return ServiceOnHost(
        ref=ServiceRef(service.metadata.namespace, service.metadata.name),
        cluster_ips=tuple(ip_address(address) for address in service.cluster_ips),
        ports=tuple(
            ServicePort(
                port=port.port,
                name=port.name,
                protocol=Transport(port.protocol),
                endpoints=tuple(sorted(_endpoints(service, slices, port), key=str)),
            )
            for port in service.spec.ports
            if port.protocol in Transport.__members__
        ),
        external_name=service.spec.external_name if service.spec.type == "ExternalName" else "",
    )


def pod_status(status: PodStatus) -> objects.PodStatus:
    """What the host says of a Pod, as Kubernetes does; addresses are not the host's to say."""
    return objects.PodStatus(
        phase=status.phase.value,
        conditions=(PodCondition(type="Ready", status="True" if status.ready else "False"),),
        container_statuses=tuple(
            KubernetesContainerStatus(
                name=c.name, ready=c.ready, restart_count=c.restarts, message=status.message or _message(c)
            )
            for c in (*status.init_containers, *status.containers)
        ),
    )


def _message(container: ContainerStatus) -> str:
    """Why a container does not run; empty if it does, is about to, or ended as it should."""
    match container.state:
        case Waiting(reason, message) if message:
            return f"{reason}: {message}"
        case Terminated(exit_code, reason, message) if exit_code:
            return f"{reason} (exit code {exit_code})" + (f": {message}" if message else "")
        case _:
            return ""


def _endpoints(service: Service, slices: Iterable[EndpointSlice], wanted: KubernetesServicePort) -> list[Endpoint]:
    """Those that are ready. Where none is, those that still serve on their way out; DNS, by which alone a headless
    Service is reached, does not name these."""
    every = [
        (endpoint.conditions, Endpoint(ip_address(address), port.port, endpoint.hostname))
        for part in slices
        for port in part.ports
        if (port.name, port.protocol) == (wanted.name, wanted.protocol) and port.port is not None
        for endpoint in part.endpoints
        for address in endpoint.addresses
    ]
    ready = [endpoint for conditions, endpoint in every if conditions.ready is not False]
    if ready or service.headless:
        return ready
    return [endpoint for conditions, endpoint in every if conditions.terminating and conditions.serving]


def _container(container: Container) -> ContainerOnHost:
    return ContainerOnHost(
        name=container.name,
        image=container.image,
        command=container.command,
        args=container.args,
        env=tuple(_variable(e, container) for e in container.env),
        working_dir=container.working_dir,
        startup=_probe(container.startup_probe, container),
        readiness=_probe(container.readiness_probe, container),
        liveness=_probe(container.liveness_probe, container),
        pre_stop=_hook(container),
        restart_always=container.restart_policy == "Always",
    )


class NoSuchValueError(SmeagolError):
    """An environment variable whose value comes from something that this machine does not have."""

    code: ClassVar[str] = "SMI-R006"


def _variable(variable: objects.EnvVar, container: Container) -> EnvVar:
    if variable.value_from is None:
        return EnvVar(variable.name, variable.value)
    if variable.value_from.field_ref is None:
        raise NoSuchValueError(
            f"the variable '{variable.name}' of container '{container.name}' comes from a ConfigMap, a Secret or a "
            "resource, which standalone mode does not have",
            fix="give it a value, or take it from a field of the Pod by fieldRef",
        )
    return EnvVar(variable.name, "", variable.value_from.field_ref.field_path)


def _hook(container: Container) -> Exec | HttpGet | Sleep | None:
    """What is done before a container is told to end (core/v1 Lifecycle)."""
    handler = container.lifecycle.pre_stop if container.lifecycle is not None else None
    if handler is None:
        return None
    if handler.exec is not None:
        return Exec(handler.exec.command)
    if handler.sleep is not None:
        return Sleep(handler.sleep.seconds)
    return _http_get(handler.http_get, container) if handler.http_get is not None else None


def _probe(probe: KubernetesProbe | None, container: Container) -> Probe | None:
    action = _action(probe, container) if probe is not None else None
    if probe is None or action is None:
        return None
    return Probe(
        action=action,
        initial_delay_seconds=probe.initial_delay_seconds,
        period_seconds=probe.period_seconds,
        timeout_seconds=probe.timeout_seconds,
        success_threshold=probe.success_threshold,
        failure_threshold=probe.failure_threshold,
    )


def _action(probe: KubernetesProbe, container: Container) -> ProbeAction | None:
    if probe.http_get is not None:
        return _http_get(probe.http_get, container)
    if probe.tcp_socket is not None:
        return TcpSocket(port=_port(probe.tcp_socket.port, container), host=probe.tcp_socket.host)
    if probe.grpc is not None:
        return Grpc(port=probe.grpc.port, service=probe.grpc.service)
    return Exec(probe.exec.command) if probe.exec is not None else None


def _http_get(get: objects.HTTPGetAction, container: Container) -> HttpGet:
    return HttpGet(
        port=_port(get.port, container),
        path=get.path or "/",
        host=get.host,
        https=get.scheme == "HTTPS",
        headers=tuple((h.name, h.value) for h in get.http_headers),
    )


def _port(port: int | str, container: Container) -> int:
    """A named port is one of the container's own; an unknown name gives 0, which no probe ever reaches."""
    if isinstance(port, int):
        return port
    return next((p.container_port for p in container.ports if p.name == port), 0)
