"""The intent: what should be true in the mesh, in no provider's words.

An intent is a set of *units*, each self-contained: a provider translates a unit without looking at any other, so a
change of one unit costs the work of one unit. All sequences are sorted, so that equal intents compare equal.

    ServiceIntent    one Service that needs the mesh: its ports, endpoints, and how its traffic is split
    WorkloadIntent   one Pod that has a proxy: who it is, what it accepts, under which names
    CanaryIntent, MutualTLSIntent, SidecarIntent   one object of a user, resolved: what adapters translate
    MeshIntent       what holds for all proxies alike
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from smeagol import api
from smeagol.refs import DEFAULT_CLUSTER_DOMAIN, NodeId, ObjectRef, PodRef, ServiceRef, SubjectName

__all__ = [
    "Backend",
    "CanaryIntent",
    "Condition",
    "ConditionType",
    "Endpoint",
    "Fronted",
    "FrontedPort",
    "InboundPort",
    "LeftOut",
    "MeshIntent",
    "MutualTLSIntent",
    "Protocol",
    "Selection",
    "ServiceIntent",
    "ServicePort",
    "SidecarIntent",
    "Split",
    "TLSMode",
    "Unit",
    "WorkloadIntent",
]


class TLSMode(enum.Enum):
    """What a server accepts (spec: MutualTLS, mode). `STRICT` beats `PERMISSIVE` where several select one Pod."""

    STRICT = "Strict"
    PERMISSIVE = "Permissive"


class Protocol(enum.Enum):
    """What a port speaks, as its Service declares it (`appProtocol`, else the prefix of the port's name).

    `AUTO` is undeclared: the proxy looks at the first bytes. `TLS` is an application that encrypts by itself: opaque.
    """

    HTTP = "http"
    HTTP2 = "http2"
    GRPC = "grpc"
    TCP = "tcp"
    TLS = "tls"
    AUTO = "auto"

    @property
    def is_http(self) -> bool:
        return self in (Protocol.HTTP, Protocol.HTTP2, Protocol.GRPC)

    @property
    def is_opaque(self) -> bool:
        return self in (Protocol.TCP, Protocol.TLS)


@dataclass(frozen=True, slots=True, order=True)
class Endpoint:
    """One ready address of a Service port. `mutual_tls`: a proxy there terminates mutual TLS."""

    address: str
    port: int
    mutual_tls: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """One version's part in a split on one port. `endpoints` is never empty: a backend without any is left out."""

    service: ServiceRef
    weight_milli: int
    endpoints: tuple[Endpoint, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """How one client divides what it sends to a root port (spec: Canary).

    `backends` take part: they exist, have the port, have a ready endpoint; in name order; a zero weight stays listed
    (weight 0 sends nothing). Never empty, and at least one weight is positive; where that cannot be held there is no
    split and the root's own endpoints serve.
    """

    canary: ObjectRef
    backends: tuple[Backend, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServicePort:
    """`number` is the port clients dial; each endpoint has its own target port.

    `dialled`: for a headless Service, those of its endpoints by whose address clients mean this very port. No address
    and port is listed twice in the whole intent: where headless Services share an endpoint one of them has it, the
    root of a Canary before others, then the first by namespace and name.
    """

    number: int
    name: str
    protocol: Protocol
    endpoints: tuple[Endpoint, ...]
    split: Split | None = None
    dialled: tuple[Endpoint, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceIntent:
    """One Service whose traffic the mesh must touch: it has meshed endpoints, or is root or backend of a Canary.

    `cluster_ips` is empty for a headless Service: its endpoints are dialled by their own addresses.
    `fqdn` is the name that its servers' certificates carry.
    """

    ref: ServiceRef
    fqdn: str
    cluster_ips: tuple[str, ...]
    headless: bool
    ports: tuple[ServicePort, ...]
    cluster_domain: str


@dataclass(frozen=True, slots=True, order=True)
class InboundPort:
    """A port of a Pod and what is spoken there, by declaration of the Services that target it."""

    number: int
    protocol: Protocol


@dataclass(frozen=True, slots=True, order=True)
class FrontedPort:
    """A port of a Canary's root, and where a root proxy listens for it."""

    number: int
    protocol: Protocol
    listens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Fronted:
    """The root before which a root proxy stands (spec: SMI-CAN-22). `fqdn` as in its ServiceIntent.

    `ending`: the proxy is on its way out, so its clients are to go elsewhere.
    """

    root: ServiceRef
    fqdn: str
    ports: tuple[FrontedPort, ...]
    ending: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadIntent:
    """One Pod with a proxy.

    `mode` is None when no MutualTLS selects it: its proxy then accepts plain traffic only, but still speaks mutual
    TLS to servers that need it, under `client_names` (which always end with the SPIFFE id).
    `server_names`: Pod IPs and the names of every Service whose endpoints include the Pod.
    `metric_labels`: legal Prometheus label names with their values, put on every series of the Pod.
    """

    pod: PodRef
    uid: str
    node: NodeId
    addresses: tuple[str, ...]
    service_account: str
    mode: TLSMode | None
    client_names: tuple[SubjectName, ...]
    server_names: tuple[SubjectName, ...]
    inbound_ports: tuple[InboundPort, ...]
    passed_ports: tuple[int, ...] = ()
    """ports that its proxy does not see, so clients dial them in plaintext"""
    monitored: bool = False
    metric_labels: tuple[tuple[str, str], ...] = ()
    fronted: Fronted | None = None
    """of a root proxy: what it stands before, while that is in force; it has no application"""


class ConditionType(enum.Enum):
    ACCEPTED = "Accepted"
    RESOLVED_REFS = "ResolvedRefs"
    PROGRAMMED = "Programmed"
    FULLY_SUPPORTED = "FullySupported"


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One condition of a status (spec: Common to all kinds), without its time: that belongs to who writes it.

    `status` is None where nobody can tell.
    """

    type: ConditionType
    status: bool | None
    reason: str
    message: str


@dataclass(frozen=True, slots=True, order=True)
class LeftOut:
    """A backend that takes no part on a port, and why: `BackendNotFound`, `PortMismatch` or `NoReadyEndpoints`."""

    service: ServiceRef
    port: int
    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryIntent:
    """A Canary as resolved. `wanted` is what the user asked for, `left_out` what cannot be had just now."""

    ref: ObjectRef
    generation: int
    root: ServiceRef
    wanted: tuple[tuple[ServiceRef, int], ...]
    """(backend, weight in milliunits), in name order"""
    ports: tuple[tuple[int, Protocol], ...]
    """the root's ports, empty while the root is missing"""
    left_out: tuple[LeftOut, ...]
    conditions: tuple[Condition, ...]
    port_names: tuple[str, ...] = ()
    """those of `ports`, in the same order; empty texts where a port has none"""
    root_headless: bool = False
    """the root has no address of its own: clients dial its endpoints"""
    root_selects: bool = False
    """the root has a selector, so its endpoints are the Pods that this one reaches"""
    root_proxies: int = 0
    """so many root proxies are asked for"""
    cluster_domain: str = DEFAULT_CLUSTER_DOMAIN
    provider_class: str = ""
    """the ProviderClass through which it is served; empty where none is used"""

    @property
    def accepted(self) -> bool:
        return _accepted(self.conditions)


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """A label selector with what it selects now. `match_expressions`: (key, operator, values)."""

    match_labels: tuple[tuple[str, str], ...] = ()
    match_expressions: tuple[tuple[str, str, tuple[str, ...]], ...] = ()
    pods: tuple[PodRef, ...] = ()
    uninjected: tuple[PodRef, ...] = ()
    """those of `pods` that run without a proxy, so nothing holds for them yet (PodsNotInjected)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class MutualTLSIntent:
    """A MutualTLS as resolved. `client_names` are those granted to this namespace; refused ones are in `conditions`."""

    ref: ObjectRef
    generation: int
    selection: Selection
    mode: TLSMode
    client_names: tuple[SubjectName, ...]
    conditions: tuple[Condition, ...]
    ports: tuple[InboundPort, ...] = ()
    """the TCP ports of the selected Pods, as far as their containers or a Service declare them"""
    stricter: tuple[ObjectRef, ...] = ()
    """of a Permissive one: those Strict ones that select some of the same Pods, and have more to say there"""
    provider_class: str = ""
    """the ProviderClass through which it is served; empty where none is used"""

    @property
    def accepted(self) -> bool:
        return _accepted(self.conditions)

    @property
    def enforced(self) -> bool:
        """Whether the Pods are to hold it: also while it is not accepted because some of its names were refused.

        Else whoever claims a name first could switch off the mutual TLS of others.
        """
        return not any(c.reason == "NoMatchingProvider" for c in self.conditions)


@dataclass(frozen=True, slots=True, kw_only=True)
class SidecarIntent:
    """A Sidecar as resolved. `metric_labels` is None when the Pods' own labels are to be used."""

    ref: ObjectRef
    generation: int
    selection: Selection
    metric_labels: tuple[tuple[str, str], ...] | None
    containers: tuple[api.Container, ...] = ()
    """the further containers to put into the Pods"""
    outdated: tuple[PodRef, ...] = ()
    """Pods with a proxy that run with other containers of this Sidecar's than these"""
    yielded: tuple[tuple[str, ObjectRef], ...] = ()
    """names of `containers` that an older Sidecar has given to some of the same Pods, whose containers those are"""
    restart: bool = False
    conditions: tuple[Condition, ...] = ()
    older: tuple[ObjectRef, ...] = ()
    """those Sidecars that select some of the same Pods, and whose labels come first (spec: SMI-SIDE-05)"""
    provider_class: str = ""
    """the ProviderClass through which it is served; empty where none is used"""

    @property
    def accepted(self) -> bool:
        return _accepted(self.conditions)


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshIntent:
    """What holds for every proxy. `pod_cidrs`: where Pod addresses lie, so that a dialled Pod IP is recognised.

    `pods_have_ipv6`: whatever `pod_cidrs` say, which may name the other family only.
    """

    cluster_domain: str
    trust_domain: str
    pod_cidrs: tuple[str, ...] = field(default=())
    pods_have_ipv6: bool = False

    @property
    def families_of(self) -> tuple[str, ...]:
        """Networks of which each family has one that Pods may have addresses of; none, if that is not known."""
        return (*self.pod_cidrs, "::/0") if self.pod_cidrs and self.pods_have_ipv6 else self.pod_cidrs


Unit = ServiceIntent | WorkloadIntent | CanaryIntent | MutualTLSIntent | SidecarIntent | MeshIntent


def _accepted(conditions: tuple[Condition, ...]) -> bool:
    return any(c.type is ConditionType.ACCEPTED and c.status is True for c in conditions)
