"""Narrow Kubernetes types. Each Struct decodes the object as the API server sends it, minus what we never read."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

__all__ = [
    "Container",
    "ContainerPort",
    "ContainerStatus",
    "Deployment",
    "Endpoint",
    "EndpointPort",
    "EndpointSlice",
    "EnvVar",
    "ExecAction",
    "HTTPGetAction",
    "Metadata",
    "Namespace",
    "OwnerReference",
    "Pod",
    "PodCondition",
    "PodSpec",
    "PodStatus",
    "Probe",
    "Service",
    "ServiceAccount",
    "ServicePort",
    "TCPSocketAction",
]


Port: TypeAlias = Annotated[int, Meta(ge=1, le=65535)]
Count: TypeAlias = Annotated[int, Meta(ge=0)]
Protocol: TypeAlias = Literal["TCP", "UDP", "SCTP"]
Label: TypeAlias = Annotated[str, Meta(pattern="^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")]
"""RFC 1123 label: what containers are called."""


class _Narrow(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Base of all narrow types: immutable, compared by value, unknown fields ignored."""


class OwnerReference(_Narrow, frozen=True, kw_only=True):
    api_version: str = ""
    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: bool = False


class Metadata(_Narrow, frozen=True, kw_only=True):
    """ObjectMeta. `creation_timestamp` and `deletion_timestamp` are RFC 3339 strings and sort as text (always UTC)."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    creation_timestamp: str = ""
    deletion_timestamp: str = ""
    owner_references: tuple[OwnerReference, ...] = ()


class Namespace(_Narrow, frozen=True, kw_only=True):
    metadata: Metadata


class ServiceAccount(_Narrow, frozen=True, kw_only=True):
    metadata: Metadata


class FieldRef(_Narrow, frozen=True, kw_only=True):
    field_path: str


class EnvVarSource(_Narrow, frozen=True, kw_only=True):
    field_ref: FieldRef | None = None


class EnvVar(_Narrow, frozen=True, kw_only=True):
    name: str
    value: str = ""
    value_from: EnvVarSource | None = None


class ContainerPort(_Narrow, frozen=True, kw_only=True):
    container_port: Port
    name: str = ""
    protocol: Protocol = "TCP"


class HTTPHeader(_Narrow, frozen=True, kw_only=True):
    name: str
    value: str


class HTTPGetAction(_Narrow, frozen=True, kw_only=True):
    port: Port | str
    path: str = "/"
    host: str = ""
    scheme: str = "HTTP"
    http_headers: tuple[HTTPHeader, ...] = ()


class TCPSocketAction(_Narrow, frozen=True, kw_only=True):
    port: Port | str
    host: str = ""


class ExecAction(_Narrow, frozen=True, kw_only=True):
    command: tuple[str, ...] = ()


class GRPCAction(_Narrow, frozen=True, kw_only=True):
    port: Port
    service: str = ""


class Probe(_Narrow, frozen=True, kw_only=True):
    """core/v1 Probe with Kubernetes' defaults."""

    http_get: HTTPGetAction | None = None
    tcp_socket: TCPSocketAction | None = None
    exec: ExecAction | None = None
    grpc: GRPCAction | None = None
    initial_delay_seconds: Count = 0
    period_seconds: Annotated[int, Meta(ge=1)] = 10
    timeout_seconds: Annotated[int, Meta(ge=1)] = 1
    success_threshold: Annotated[int, Meta(ge=1)] = 1
    failure_threshold: Annotated[int, Meta(ge=1)] = 3


class SleepAction(_Narrow, frozen=True, kw_only=True):
    seconds: Count = 0


class LifecycleHandler(_Narrow, frozen=True, kw_only=True):
    exec: ExecAction | None = None
    http_get: HTTPGetAction | None = None
    sleep: SleepAction | None = None


class Lifecycle(_Narrow, frozen=True, kw_only=True):
    pre_stop: LifecycleHandler | None = None


class Container(_Narrow, frozen=True, kw_only=True):
    name: Label
    image: str = ""
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    working_dir: str = ""
    env: tuple[EnvVar, ...] = ()
    ports: tuple[ContainerPort, ...] = ()
    readiness_probe: Probe | None = None
    liveness_probe: Probe | None = None
    startup_probe: Probe | None = None
    lifecycle: Lifecycle | None = None
    restart_policy: Literal["", "Always", "OnFailure", "Never"] = ""
    """`Always` on an init container makes it a native sidecar. Other values are a cluster's to act on."""


class PodSpec(_Narrow, frozen=True, kw_only=True):
    containers: tuple[Container, ...] = ()
    init_containers: tuple[Container, ...] = ()
    service_account_name: str = ""
    host_network: bool = False
    hostname: str = ""
    termination_grace_period_seconds: Count = 30
    restart_policy: Literal["Always", "OnFailure", "Never"] = "Always"


class PodIP(_Narrow, frozen=True, kw_only=True):
    ip: str


class PodCondition(_Narrow, frozen=True, kw_only=True):
    type: str
    status: str


class ContainerStatus(_Narrow, frozen=True, kw_only=True):
    name: str
    ready: bool = False
    restart_count: int = 0
    message: str = ""


class PodStatus(_Narrow, frozen=True, kw_only=True):
    phase: str = "Pending"
    pod_ip: str = msgspec.field(default="", name="podIP")
    pod_ips: tuple[PodIP, ...] = msgspec.field(default=(), name="podIPs")
    conditions: tuple[PodCondition, ...] = ()
    container_statuses: tuple[ContainerStatus, ...] = ()


class Pod(_Narrow, frozen=True, kw_only=True):
    metadata: Metadata
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()

    @property
    def addresses(self) -> tuple[str, ...]:
        """All addresses of the Pod, the primary first; empty until it has one."""
        listed = tuple(entry.ip for entry in self.status.pod_ips)
        return listed or ((self.status.pod_ip,) if self.status.pod_ip else ())

    @property
    def finished(self) -> bool:
        """A Pod that will never run again keeps its address in its status, but that may belong to another by now."""
        return self.status.phase in ("Succeeded", "Failed")

    @property
    def ready(self) -> bool:
        """Whether it is ready to serve, as its kubelet says."""
        return any(c.type == "Ready" and c.status == "True" for c in self.status.conditions)


class ServicePort(_Narrow, frozen=True, kw_only=True):
    port: Port
    name: str = ""
    protocol: Protocol = "TCP"
    target_port: Annotated[int, Meta(ge=0, le=65535)] | str | None = None
    app_protocol: str = ""


class ServiceSpec(_Narrow, frozen=True, kw_only=True):
    type: str = "ClusterIP"
    cluster_ip: str = msgspec.field(default="", name="clusterIP")
    cluster_ips: tuple[str, ...] = msgspec.field(default=(), name="clusterIPs")
    ports: tuple[ServicePort, ...] = ()
    selector: dict[str, str] | None = None
    external_name: str = ""
    publish_not_ready_addresses: bool = False
    ip_families: tuple[str, ...] = ()
    ip_family_policy: str = ""


class Service(_Narrow, frozen=True, kw_only=True):
    metadata: Metadata
    spec: ServiceSpec = ServiceSpec()

    @property
    def headless(self) -> bool:
        return self.spec.cluster_ip == "None"

    @property
    def cluster_ips(self) -> tuple[str, ...]:
        """The addresses clients dial; empty for a headless Service and for one not yet given an address."""
        listed = self.spec.cluster_ips or ((self.spec.cluster_ip,) if self.spec.cluster_ip else ())
        return () if self.headless else listed


class EndpointConditions(_Narrow, frozen=True, kw_only=True):
    """`None` means unknown and is read as ready (discovery.k8s.io/v1)."""

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class TargetRef(_Narrow, frozen=True, kw_only=True):
    kind: str = ""
    namespace: str = ""
    name: str = ""
    uid: str = ""


class Endpoint(_Narrow, frozen=True, kw_only=True):
    addresses: tuple[str, ...] = ()
    conditions: EndpointConditions = EndpointConditions()
    target_ref: TargetRef | None = None
    hostname: str = ""


class EndpointPort(_Narrow, frozen=True, kw_only=True):
    """`name` is that of the ServicePort; `port` is where the Pods listen. `None` in a selector-less slice means all."""

    name: str = ""
    port: Port | None = None
    protocol: Protocol = "TCP"
    app_protocol: str = ""


class EndpointSlice(_Narrow, frozen=True, kw_only=True):
    """The label `kubernetes.io/service-name` says whose endpoints these are."""

    metadata: Metadata
    address_type: str = "IPv4"
    endpoints: tuple[Endpoint, ...] = ()
    ports: tuple[EndpointPort, ...] = ()

    @property
    def service_name(self) -> str:
        return self.metadata.labels.get("kubernetes.io/service-name", "")


class PodTemplate(_Narrow, frozen=True, kw_only=True):
    metadata: Metadata = Metadata()
    spec: PodSpec = PodSpec()


class LabelSelectorNarrow(_Narrow, frozen=True, kw_only=True):
    match_labels: dict[str, str] = {}


class DeploymentSpec(_Narrow, frozen=True, kw_only=True):
    replicas: Count = 1
    selector: LabelSelectorNarrow = LabelSelectorNarrow()
    template: PodTemplate = PodTemplate()


class Deployment(_Narrow, frozen=True, kw_only=True):
    """Only standalone mode reads Deployments: it makes their Pods itself."""

    metadata: Metadata
    spec: DeploymentSpec = DeploymentSpec()
