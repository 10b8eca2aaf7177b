"""What a running mesh tells about itself, as types: all that goes over its control socket, or out of its replicas.

The mesh, the commands that look into it, and the demo share these Structs, so that there is one description. Names on
the wire are camelCase; fields that a reader does not know are ignored, those that are missing have their default.
"""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = [
    "Certificate",
    "Condition",
    "Edge",
    "Event",
    "LatencySeries",
    "MeshInfo",
    "MutualTLSMode",
    "ObjectStatus",
    "Pod",
    "Problem",
    "ProviderEntry",
    "ProxyStatus",
    "Rejected",
    "Replica",
    "RequestSeries",
    "Root",
    "Roots",
    "Service",
    "ServicePort",
    "SmiObject",
    "Status",
    "Traffic",
    "Unsupported",
]

MutualTLSMode = Literal["Strict", "Permissive"]


class _Wire(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Base of all that goes over the socket."""


class MeshInfo(_Wire, frozen=True, kw_only=True):
    """`directory` holds the manifests, `logs_directory` one file a container: `<namespace>_<pod>/<container>.log`."""

    name: str
    directory: str = ""
    cluster_domain: str = ""
    trust_domain: str = ""
    started_at: str = ""
    metrics_url: str = msgspec.field(default="", name="metricsURL")
    version: str = ""
    logs_directory: str = ""


class Replica(_Wire, frozen=True, kw_only=True):
    """One control plane of a cluster. The one that leads writes the statuses; `proxies` are connected to this one."""

    name: str
    version: str = ""
    leads: bool = False
    proxies: int = 0
    started_at: str = ""


class Root(_Wire, frozen=True, kw_only=True):
    """One root certificate that is trusted. `id`: its key id. `signs`: whether new certificates lead to it."""

    id: str
    expires: str = ""
    signs: bool = False


class Roots(_Wire, frozen=True, kw_only=True):
    """The mesh's roots, oldest first. `phase`: `steady`, or while one is replaced `introducing` (both are trusted, the
    old one signs), then `retiring` (both are trusted, the new one signs).

    `waiting_for`: proxies (`namespace/pod`) that have not acknowledged what the next phase needs, and `more_waiting`
    that are not named; `silent`: replicas whose proxies nobody knows of. `hurried`: nobody else is waited for.
    `problem`: why keys can be neither read nor renewed; empty if they can.
    """

    phase: str = "steady"
    since: str = ""
    trusted: tuple[Root, ...] = ()
    waiting_for: tuple[str, ...] = ()
    more_waiting: int = 0
    silent: tuple[str, ...] = ()
    hurried: bool = False
    problem: str = ""


class Problem(_Wire, frozen=True, kw_only=True):
    """What is wrong with a manifest or an object, and how to mend it; the text is that of all other surfaces."""

    where: str = ""
    message: str
    code: str = ""
    fix: str = ""


class Condition(_Wire, frozen=True, kw_only=True):
    """`status` is `True`, `False` or `Unknown`, as in Kubernetes."""

    type: str
    status: str
    reason: str = ""
    message: str = ""
    last_transition_time: str = ""
    observed_generation: int = 0


class Unsupported(_Wire, frozen=True, kw_only=True):
    """One thing an object asks for that its provider cannot do."""

    field: str
    feature: str
    message: str = ""


class ProviderEntry(_Wire, frozen=True, kw_only=True):
    """What one provider says of an object."""

    controller_name: str
    class_name: str = ""
    conditions: tuple[Condition, ...] = ()
    unsupported: tuple[Unsupported, ...] = ()


class ObjectStatus(_Wire, frozen=True, kw_only=True):
    """`observed_generation` trails the object's generation while a change has not been seen yet.

    `supported_features` is a ProviderClass's, `metrics_server` a Sidecar's, `shares` a Canary's; `ready` is `3/4`.
    """

    observed_generation: int = 0
    conditions: tuple[Condition, ...] = ()
    providers: tuple[ProviderEntry, ...] = ()
    supported_features: tuple[str, ...] = ()
    metrics_server: str = ""
    ready: str = ""
    shares: str = ""

    def condition(self, type_: str) -> Condition | None:
        return next((condition for condition in self.conditions if condition.type == type_), None)


class SmiObject(_Wire, frozen=True, kw_only=True):
    """A MutualTLS, Canary or Sidecar. `pods` and `services` are the ones it is about, as `namespace/name`."""

    kind: str
    namespace: str
    name: str
    generation: int = 0
    age: str | float = ""
    status: ObjectStatus = ObjectStatus()
    summary: str = ""
    spec: msgspec.Raw = msgspec.Raw(b"null")
    pods: tuple[str, ...] = ()
    services: tuple[str, ...] = ()


class Rejected(_Wire, frozen=True, kw_only=True):
    """Resources that a proxy refused, with the reason it gave."""

    type_url: str
    names: tuple[str, ...] = ()
    message: str = ""


class ProxyStatus(_Wire, frozen=True, kw_only=True):
    """`synced`: has acknowledged everything sent. `lag` names what it has not. Not `known`: nobody could be asked."""

    known: bool = True
    connected: bool = False
    synced: bool = False
    lag: tuple[str, ...] = ()
    rejected: tuple[Rejected, ...] = ()


class Pod(_Wire, frozen=True, kw_only=True):
    """`workload` is the Deployment the Pod belongs to, or the Pod's own name. `proxy` is None where it has none."""

    namespace: str
    name: str
    workload: str = ""
    labels: dict[str, str] = {}
    ips: tuple[str, ...] = ()
    phase: str = ""
    ready: bool = False
    restarts: int = 0
    message: str = ""
    proxy: ProxyStatus | None = None
    mutual_tls: MutualTLSMode | None = msgspec.field(default=None, name="mutualTLS")
    client_names: tuple[str, ...] = ()
    server_names: tuple[str, ...] = ()


class ServicePort(_Wire, frozen=True, kw_only=True):
    """`endpoints` counts the ready ones."""

    port: int
    name: str = ""
    protocol: str = ""
    endpoints: int = 0


class Service(_Wire, frozen=True, kw_only=True):
    """`canary` names the Canary whose root this Service is, as `namespace/name`."""

    namespace: str
    name: str
    cluster_ips: tuple[str, ...] = msgspec.field(default=(), name="clusterIPs")
    ports: tuple[ServicePort, ...] = ()
    canary: str | None = None


class Event(_Wire, frozen=True, kw_only=True):
    """A change of fate. `type` is `Normal` or `Warning`, `object` reads `Canary shop/web`."""

    time: str
    type: str = "Normal"
    reason: str = ""
    message: str = ""
    object: str = ""


class Status(_Wire, frozen=True, kw_only=True):
    """The whole mesh at one moment. `events`: newest last. `replicas`: in a cluster, those that have answered."""

    mesh: MeshInfo
    replicas: tuple[Replica, ...] = ()
    roots: Roots = Roots()
    problems: tuple[Problem, ...] = ()
    objects: tuple[SmiObject, ...] = ()
    pods: tuple[Pod, ...] = ()
    services: tuple[Service, ...] = ()
    events: tuple[Event, ...] = ()


class RequestSeries(_Wire, frozen=True, kw_only=True):
    """How many requests a Pod's proxy has seen so far. `code` is the HTTP status; `0` or empty where there was none."""

    namespace: str
    pod: str
    direction: str
    service: str = ""
    backend: str = ""
    code: str = ""
    count: float = 0


class LatencySeries(_Wire, frozen=True, kw_only=True):
    """`buckets`: (upper bound in seconds, answers so far that took no longer); `sum` in seconds."""

    namespace: str
    pod: str
    direction: str
    service: str = ""
    backend: str = ""
    buckets: tuple[tuple[float | None, float], ...] = ()
    sum: float = 0.0
    count: float = 0


class Edge(_Wire, frozen=True, kw_only=True):
    """Who calls whom. `client`, `service` and `backend` are `namespace/name`, the first of a Pod."""

    client: str
    service: str
    backend: str = ""
    mutual_tls: bool = msgspec.field(default=False, name="mutualTLS")
    client_names: tuple[str, ...] = ()
    requests: float = 0
    connections: float = 0
    """of protocols other than HTTP"""


class Certificate(_Wire, frozen=True, kw_only=True):
    """A client certificate with its key and the roots that its holder should trust; all PEM."""

    certificate: str
    key: str
    roots: str
    not_after: str = ""

    def __repr__(self) -> str:
        return f"Certificate(not_after={self.not_after!r})"  # the key is nobody's to read


class Traffic(_Wire, frozen=True, kw_only=True):
    """Counters since each proxy started, at `time` (seconds): the difference of two such says what happened between."""

    time: float
    requests: tuple[RequestSeries, ...] = ()
    latency: tuple[LatencySeries, ...] = ()
    edges: tuple[Edge, ...] = ()
