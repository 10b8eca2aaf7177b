"""What should run on this host: Pods and Services as plain values, in Kubernetes' words.

Whoever calls has parsed manifests, chosen addresses and resolved named ports. Seconds are seconds; order is as in the
manifest; equal values mean that nothing has to be done.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address

from smeagol.refs import PodRef, ServiceRef

__all__ = [
    "ContainerOnHost",
    "Endpoint",
    "EnvVar",
    "Exec",
    "FileOnHost",
    "Grpc",
    "HttpGet",
    "PodSpecOnHost",
    "Probe",
    "ProbeAction",
    "RestartPolicy",
    "ServiceOnHost",
    "ServicePort",
    "Sleep",
    "TcpSocket",
    "Transport",
]

IPAddress = IPv4Address | IPv6Address


class Transport(enum.StrEnum):
    """`protocol` of a Service port; SCTP is not supported."""

    TCP = "TCP"
    UDP = "UDP"


class RestartPolicy(enum.StrEnum):
    """`restartPolicy` of a Pod."""

    ALWAYS = "Always"
    ON_FAILURE = "OnFailure"
    NEVER = "Never"


@dataclass(frozen=True, slots=True)
class Exec:
    """Run a command in the container; exit code 0 is success."""

    command: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpGet:
    """Ask by HTTP; 200 to 399 is success. `host` is the Pod's address unless given."""

    port: int
    path: str = "/"
    host: str = ""
    https: bool = False
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpSocket:
    """Open a connection; being accepted is success. `host` is the Pod's address unless given."""

    port: int
    host: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grpc:
    """Ask grpc.health.v1.Health/Check; SERVING is success."""

    port: int
    service: str = ""


@dataclass(frozen=True, slots=True)
class Sleep:
    """Wait (preStop only)."""

    seconds: float


ProbeAction = Exec | HttpGet | TcpSocket | Grpc
Hook = Exec | HttpGet | Sleep


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A question asked again and again, with Kubernetes' defaults."""

    action: ProbeAction
    initial_delay_seconds: float = 0
    period_seconds: float = 10
    timeout_seconds: float = 1
    success_threshold: int = 1
    failure_threshold: int = 3


@dataclass(frozen=True, slots=True)
class EnvVar:
    """One environment variable: a value, in which `$(OTHER)` is expanded, or the path of a field of the Pod."""

    name: str
    value: str = ""
    field_path: str = ""


@dataclass(frozen=True, slots=True)
class FileOnHost:
    """A file that a container sees, beneath /run or /tmp; its content is never shown in logs."""

    path: str
    content: bytes = field(repr=False)
    mode: int = 0o600


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerOnHost:
    """One container: a command of this machine. `image` is only for the message when there is no command.

    `command` and `args` are the manifest's, in which `$(VAR)` is expanded. `restart_always` among the init containers
    makes a native sidecar. `net_admin` lets it mark its sockets; it has no other capability, others have none.
    """

    name: str
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    image: str = ""
    env: tuple[EnvVar, ...] = ()
    working_dir: str = ""
    files: tuple[FileOnHost, ...] = ()
    startup: Probe | None = None
    readiness: Probe | None = None
    liveness: Probe | None = None
    pre_stop: Hook | None = None
    restart_always: bool = False
    net_admin: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PodSpecOnHost:
    """One Pod. `sidecar` starts before everything else and ends after it, as the first native sidecar.

    `ips` holds at most one address of each family. `files` are seen by all containers but the sidecar. `redirect` may
    change while the Pod runs; any other change needs a Pod of another name, as in Kubernetes. `inbound_passed` and
    `outbound_passed` are ports that are never redirected.
    """

    ref: PodRef
    uid: str
    ips: tuple[IPAddress, ...]
    hostname: str
    containers: tuple[ContainerOnHost, ...]
    init_containers: tuple[ContainerOnHost, ...] = ()
    sidecar: ContainerOnHost | None = None
    redirect: bool = False
    inbound_passed: tuple[int, ...] = ()
    outbound_passed: tuple[int, ...] = ()
    grace_seconds: float = 30
    restart_policy: RestartPolicy = RestartPolicy.ALWAYS
    service_account: str = "default"
    labels: tuple[tuple[str, str], ...] = ()
    annotations: tuple[tuple[str, str], ...] = ()
    files: tuple[FileOnHost, ...] = ()


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where one ready Pod serves a Service's port. `hostname` gives it a DNS name of its own in a headless Service."""

    ip: IPAddress
    port: int
    hostname: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServicePort:
    """One port of a Service with its ready endpoints, of both address families."""

    port: int
    name: str = ""
    protocol: Transport = Transport.TCP
    endpoints: tuple[Endpoint, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceOnHost:
    """One Service; without `cluster_ips` it is headless, or another name for `external_name`."""

    ref: ServiceRef
    cluster_ips: tuple[IPAddress, ...] = ()
    ports: tuple[ServicePort, ...] = ()
    external_name: str = ""
