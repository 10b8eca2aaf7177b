"""The provider's contract: a provider is a pure function from one unit of the intent to a Plan, which is data.

A provider opens no socket and reads no clock. The runtime carries plans out: it applies the objects, publishes the
proxy resources, issues the certificates and reports what the provider could not do. Work is proportional to what
changed, because a unit is planned anew only when the unit itself changed.

There are three sorts of providers. The smallest only plans objects (`Provider`; see `providers/recorder`). One whose
proxies take their configuration from us is a `ProxyProvider`. One that makes another mesh's objects, an adapter, is a
`smeagol.plan.peer.PeerProvider`.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias, runtime_checkable

from smeagol.errors import SmeagolError
from smeagol.intent import METRICS_PORT, READINESS_PORT, MeshIntent, Unit, WorkloadIntent
from smeagol.refs import NodeId, SubjectName

__all__ = [
    "ADMIN_SOCKET",
    "JSON",
    "METRICS_PORT",
    "READINESS_PATH",
    "READINESS_PORT",
    "AppProbe",
    "CertificateRequest",
    "Feature",
    "NotPlannedYetError",
    "Plan",
    "ProbeKind",
    "Provider",
    "ProxyConnection",
    "ProxyProvider",
    "ProxyResource",
    "Purpose",
    "Unsupported",
]

JSON: TypeAlias = "bool | int | float | str | Sequence[JSON] | Mapping[str, JSON] | None"

READINESS_PATH = "/ready"
"""What to ask at READINESS_PORT."""
ADMIN_SOCKET = "/run/smeagol/admin.sock"
"""Where a proxy takes orders: a Unix socket, in a folder that no container but the proxy's sees."""


class Feature(enum.Enum):
    """What a provider may claim; conformance holds it to exactly this (`ProviderClass.status.supportedFeatures`)."""

    MUTUAL_TLS = "MutualTLS"
    MUTUAL_TLS_SERVER_NAMES = "MutualTLSServerNames"
    MUTUAL_TLS_CLIENT_NAMES = "MutualTLSClientNames"
    MUTUAL_TLS_IDENTITY_HEADER = "MutualTLSIdentityHeader"
    MUTUAL_TLS_PERMISSIVE = "MutualTLSPermissive"
    CANARY = "Canary"
    CANARY_TCP = "CanaryTCP"
    CANARY_HEADLESS = "CanaryHeadless"
    CANARY_ROOT_PROXY = "CanaryRootProxy"
    SIDECAR_METRICS = "SidecarMetrics"
    SIDECAR_METRIC_LABELS = "SidecarMetricLabels"
    SIDECAR_CONTAINERS = "SidecarContainers"


class Purpose(enum.Enum):
    """What a certificate is good for; never both, so that a client name can never serve (spec: MutualTLS)."""

    CLIENT = "client"
    SERVER = "server"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyResource:
    """One xDS resource. `node`: None when all proxies share it. `on_demand`: only for proxies that name it."""

    type_url: str
    name: str
    body: bytes = field(repr=False)  # may hold a private key
    node: NodeId | None = None
    on_demand: bool = False


@dataclass(frozen=True, slots=True, order=True)
class CertificateRequest:
    """A certificate the proxy `node` needs, delivered by SDS under `secret`."""

    node: NodeId
    secret: str
    purpose: Purpose
    names: tuple[SubjectName, ...]


@dataclass(frozen=True, slots=True, order=True)
class Unsupported:
    """One field of a user's object that this provider cannot make true (condition FullySupported=False)."""

    field: str
    feature: Feature
    message: str


class NotPlannedYetError(SmeagolError):
    """The plan is being made elsewhere (`runtime.remote`): what was planned before holds until it is there."""

    code = "SMI-A002"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What must exist for one unit. `objects` are Kubernetes objects to apply, as plain JSON.

    `failed_closed`: the object asks for a protection that the provider cannot enforce, and so nothing is created for
    it (spec: SMI-MTLS-23); `unsupported` says why. It is never Programmed.
    """

    objects: tuple[Mapping[str, JSON], ...] = ()
    resources: tuple[ProxyResource, ...] = ()
    certificates: tuple[CertificateRequest, ...] = ()
    unsupported: tuple[Unsupported, ...] = ()
    failed_closed: bool = False

    def __post_init__(self) -> None:
        if self.failed_closed and (self.objects or self.resources or not self.unsupported):
            msg = "a plan that fails closed creates nothing, and says why in `unsupported`"
            raise ValueError(msg)

    @property
    def planned(self) -> bool:
        """Is there anything in it at all?"""
        return bool(self.objects or self.resources or self.certificates or self.unsupported)


@runtime_checkable
class Provider(Protocol):
    """The whole contract of a provider that only applies objects. See `providers/recorder` for the smallest one."""

    @property
    def name(self) -> str: ...

    @property
    def controller_name(self) -> str:
        """What a ProviderClass writes in `spec.controllerName` to mean this provider, as `domain/path`."""
        ...

    @property
    def features(self) -> frozenset[Feature]: ...

    def plan(self, unit: Unit) -> Plan:
        """Translate one unit. Pure: equal units give equal Plans. Raises SmeagolError for what cannot be planned."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyConnection:
    """How a proxy reaches the control plane, and how its own sockets are told apart from the application's.

    `address`: `host:port` of the xDS server. `token_file`, `ca_file`: paths the proxy reads, or None for plaintext
    (loopback, standalone). `socket_mark`: SO_MARK put on the proxy's own sockets, where the platform's redirect rules
    match the mark; None where they match its user id. `admin_socket`: where the proxy takes orders.
    """

    address: str
    token_file: str | None = None
    ca_file: str | None = None
    server_name: str | None = None
    socket_mark: int | None = None
    admin_socket: str = ADMIN_SOCKET


class ProbeKind(enum.Enum):
    """How an application is asked whether it is well (core/v1 Probe)."""

    HTTP = "http"
    HTTPS = "https"
    GRPC = "grpc"
    TCP = "tcp"


@dataclass(frozen=True, slots=True, kw_only=True)
class AppProbe:
    """A question to the application that its proxy passes on, since the kubelet has no certificate of the mesh.

    `asked_at`: the proxy's port that is asked. `port`: the application's. `path`: what is asked for, and `target`: what
    the application is asked for instead, with its query; a gRPC probe has neither, it asks for the health service. TCP
    is asked for by HTTP too: 200 if the application took a connection lately, tried every `period_seconds`.
    """

    kind: ProbeKind
    port: int
    asked_at: int = READINESS_PORT
    path: str = ""
    target: str = ""
    period_seconds: int = 10


@runtime_checkable
class ProxyProvider(Provider, Protocol):
    """A provider whose proxies take their configuration from our xDS server."""

    def bootstrap(self, workload: WorkloadIntent, mesh: MeshIntent, connection: ProxyConnection) -> bytes:
        """The file the proxy starts with."""
        ...

    def injected_bootstrap(
        self, node: NodeId, address: str, mesh: MeshIntent, connection: ProxyConnection, probes: Sequence[AppProbe]
    ) -> bytes:
        """What the proxy of a Pod starts with that is yet to be made.

        `node` and `address` (the Pod's first one) may be texts that the platform replaces once it knows them.
        """
        ...

    def certificate(self, request: CertificateRequest, chain_pem: bytes, key_pem: bytes) -> ProxyResource:
        """The SDS resource that hands an issued certificate to its proxy."""
        ...

    def trust_bundle(self, bundle_pem: bytes) -> ProxyResource:
        """The SDS resource with the roots all proxies trust."""
        ...

    def on_demand(
        self, type_url: str, name: str, mesh: MeshIntent, meshed: Callable[[str, int], bool]
    ) -> ProxyResource | None:
        """Answer a proxy that asks for a resource no unit has planned; None if there is no such thing.

        `meshed` tells whether a proxy at an address ends mutual TLS at a port.
        """
        ...

    def explain(self, resource: ProxyResource) -> JSON:
        """The resource as readable JSON with private keys redacted, for `render` and `proxy config`."""
        ...
