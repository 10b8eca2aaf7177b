"""Objects as short as a test can say them, and a small shop to put them into."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal, Protocol, TypeAlias

from smeagol import api, objects
from smeagol.api.canary import RootProxy
from smeagol.intent import (
    PROXY_CONTAINER,
    ROOT_PROXY_OF,
    CanaryIntent,
    Condition,
    ConditionType,
    Key,
    MutualTLSIntent,
    Resolver,
    ServiceIntent,
    ServicePort,
    Settings,
    SidecarIntent,
    UnitKey,
    UnitKind,
    WorkloadIntent,
)
from smeagol.objects.core import EndpointConditions, ServiceSpec
from smeagol.quantity import Weight
from smeagol.refs import SubjectName

CONTROLLER = "smi-spec.io/envoy"
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
STANDALONE = Settings(controllers=frozenset({CONTROLLER}), serve_unclassed=True)


class AnySource(Protocol):
    def delete(self, key: Key) -> None: ...


AnyObject = (
    objects.Pod
    | objects.Service
    | objects.EndpointSlice
    | objects.Namespace
    | api.MutualTLS
    | api.Canary
    | api.Sidecar
    | api.ProviderClass
)


def created(age: int) -> datetime:
    """`age` counts seconds since an epoch: the smaller, the older."""
    return EPOCH + timedelta(seconds=age)


def namespace(name: str, **labels: str) -> objects.Namespace:
    return objects.Namespace(metadata=objects.Metadata(name=name, labels=labels))


def pod(
    name: str,
    ip: str = "",
    *,
    labels: Mapping[str, str] | None = None,
    namespace: str = "shop",
    proxy: bool = True,
    age: int = 0,
    service_account: str = "",
    host_network: bool = False,
    phase: str = "Running",
    terminating: bool = False,
    more_ips: Sequence[str] = (),
    ports: Sequence[int] = (),
    annotations: Mapping[str, str] | None = None,
    init_containers: Sequence[objects.Container] = (),
    root_proxy_of: str = "",
) -> objects.Pod:
    """A running Pod with a proxy, unless said otherwise. `root_proxy_of`: it has nothing else, for this Canary."""
    declared = tuple(objects.ContainerPort(container_port=number) for number in ports)
    containers = (
        *(() if root_proxy_of else (objects.Container(name="app", ports=declared),)),
        *((objects.Container(name=PROXY_CONTAINER),) if proxy else ()),
    )
    metadata = objects.Metadata(
        name=name,
        namespace=namespace,
        labels=dict(labels or {}),
        annotations={**(annotations or {}), **({ROOT_PROXY_OF: root_proxy_of} if root_proxy_of else {})},
        creation_timestamp=f"{created(age):%Y-%m-%dT%H:%M:%SZ}",
        deletion_timestamp=f"{created(age + 99):%Y-%m-%dT%H:%M:%SZ}" if terminating else "",
        uid=f"uid-{namespace}-{name}-{age}",
    )
    ips = tuple(objects.core.PodIP(ip=i) for i in (ip, *more_ips)) if ip else ()
    return objects.Pod(
        metadata=metadata,
        spec=objects.PodSpec(
            containers=containers,
            init_containers=tuple(init_containers),
            service_account_name=service_account,
            host_network=host_network,
        ),
        status=objects.PodStatus(phase=phase, pod_ip=ip, pod_ips=ips),
    )


L4: TypeAlias = Literal["TCP", "UDP", "SCTP"]


def port(number: int = 80, name: str = "", app: str = "", protocol: L4 = "TCP") -> objects.ServicePort:
    return objects.ServicePort(port=number, name=name, app_protocol=app, protocol=protocol)


def service(
    name: str,
    *ports: objects.ServicePort,
    namespace: str = "shop",
    ip: str = "10.96.0.1",
    type: str = "ClusterIP",  # noqa: A002 - as the field is called
    publish_not_ready: bool = False,
) -> objects.Service:
    """A Service; `ip="None"` makes it headless. Without ports it has port 80."""
    return objects.Service(
        metadata=objects.Metadata(name=name, namespace=namespace),
        spec=ServiceSpec(
            type=type,
            cluster_ip=ip,
            cluster_ips=(ip,) if ip else (),
            ports=ports or (port(),),
            publish_not_ready_addresses=publish_not_ready,
        ),
    )


def endpoint(
    *addresses: str, ready: bool | None = True, terminating: bool | None = None, serving: bool | None = None
) -> objects.Endpoint:
    return objects.Endpoint(
        addresses=addresses, conditions=EndpointConditions(ready=ready, serving=serving, terminating=terminating)
    )


def slice_of(
    service: str,
    *endpoints: objects.Endpoint | str,
    ports: Mapping[str, int | None] | None = None,
    namespace: str = "shop",
    name: str = "",
    family: str = "IPv4",
    protocol: L4 = "TCP",
) -> objects.EndpointSlice:
    """The endpoints of a Service, by address; they listen on 8080 unless `ports` (by name) says otherwise."""
    return objects.EndpointSlice(
        metadata=objects.Metadata(
            name=name or f"{service}-1", namespace=namespace, labels={"kubernetes.io/service-name": service}
        ),
        address_type=family,
        endpoints=tuple(endpoint(e) if isinstance(e, str) else e for e in endpoints),
        ports=tuple(objects.EndpointPort(name=n, port=p, protocol=protocol) for n, p in (ports or {"": 8080}).items()),
    )


def api_meta(name: str, namespace: str, age: int) -> api.ObjectMeta:
    return api.ObjectMeta(name=name, namespace=namespace, generation=1, creation_timestamp=created(age))


def mutual_tls(
    name: str,
    *client_names: str,
    labels: Mapping[str, str] | None = None,
    expressions: tuple[api.Requirement, ...] = (),
    mode: api.Mode = api.Mode.STRICT,
    namespace: str = "shop",
    age: int = 0,
    provider_class: str = "",
) -> api.MutualTLS:
    """A MutualTLS of all Pods of its namespace, unless `labels` or `expressions` say otherwise."""
    return api.MutualTLS(
        metadata=api_meta(name, namespace, age),
        spec=api.MutualTLSSpec(
            selector=api.LabelSelector(match_labels=dict(labels or {}), match_expressions=expressions),
            mode=mode,
            client_subject_names=tuple(SubjectName(n) for n in client_names),
            provider_class_name=provider_class,
        ),
    )


def sidecar(
    name: str,
    metric_labels: Mapping[str, str] | None = None,
    *,
    labels: Mapping[str, str] | None = None,
    namespace: str = "shop",
    age: int = 0,
    provider_class: str = "",
    containers: Sequence[api.Container] = (),
) -> api.Sidecar:
    return api.Sidecar(
        metadata=api_meta(name, namespace, age),
        spec=api.SidecarSpec(
            selector=api.LabelSelector(match_labels=dict(labels or {})),
            metric_labels=dict(metric_labels or {}),
            containers=tuple(containers),
            provider_class_name=provider_class,
        ),
    )


def canary(
    name: str,
    root: str,
    backends: Mapping[str, str] | Sequence[tuple[str, str]],
    *,
    namespace: str = "shop",
    age: int = 0,
    provider_class: str = "",
    root_proxies: int = 0,
) -> api.Canary:
    pairs = backends.items() if isinstance(backends, Mapping) else backends
    return api.Canary(
        metadata=api_meta(name, namespace, age),
        spec=api.CanarySpec(
            service=root,
            backends=tuple(api.Backend(service=s, weight=Weight.parse(w)) for s, w in pairs),
            root_proxy=RootProxy(replicas=root_proxies) if root_proxies else None,
            provider_class_name=provider_class,
        ),
    )


def grant(pattern: str, *namespaces: str) -> api.NameRule:
    return api.NameRule(pattern=pattern, action=api.NameAction.GRANT, namespaces=namespaces)


def withhold(pattern: str, *namespaces: str) -> api.NameRule:
    return api.NameRule(pattern=pattern, action=api.NameAction.WITHHOLD, namespaces=namespaces)


def provider_class(
    name: str,
    controller: str = CONTROLLER,
    *,
    default: bool = False,
    age: int = 0,
    names: Sequence[api.NameRule] = (),
) -> api.ProviderClass:
    annotations = {"smi-spec.io/is-default-class": "true"} if default else {}
    return api.ProviderClass(
        metadata=api.ObjectMeta(name=name, creation_timestamp=created(age), annotations=annotations),
        spec=api.ProviderClassSpec(
            controller_name=controller, parameters=api.Parameters(client_subject_names=tuple(names))
        ),
    )


def put(resolver: Resolver, given: AnyObject) -> None:
    key = (given.metadata.namespace, given.metadata.name)
    match given:
        case objects.Pod():
            resolver.pods.set(key, given)
        case objects.Service():
            resolver.services.set(key, given)
        case objects.EndpointSlice():
            resolver.endpoint_slices.set(key, given)
        case objects.Namespace():
            resolver.namespaces.set(key, given)
        case api.MutualTLS():
            resolver.mutual_tls.set(key, given)
        case api.Canary():
            resolver.canaries.set(key, given)
        case api.Sidecar():
            resolver.sidecars.set(key, given)
        case api.ProviderClass():
            resolver.provider_classes.set(key, given)


def remove(resolver: Resolver, given: AnyObject) -> None:
    sources: dict[type[AnyObject], AnySource] = {
        objects.Pod: resolver.pods,
        objects.Service: resolver.services,
        objects.EndpointSlice: resolver.endpoint_slices,
        objects.Namespace: resolver.namespaces,
        api.MutualTLS: resolver.mutual_tls,
        api.Canary: resolver.canaries,
        api.Sidecar: resolver.sidecars,
        api.ProviderClass: resolver.provider_classes,
    }
    sources[type(given)].delete((given.metadata.namespace, given.metadata.name))


class World:
    """A Resolver that tests talk to in short."""

    def __init__(self, *given: AnyObject, settings: Settings = STANDALONE) -> None:
        self.resolver = Resolver(settings)
        self.add(*given)

    def put(self, given: AnyObject) -> None:
        put(self.resolver, given)

    def remove(self, given: AnyObject) -> None:
        remove(self.resolver, given)

    def add(self, *given: AnyObject) -> frozenset[tuple[str, str]]:
        """Put objects and settle; returns the units that changed, as (kind, name)."""
        for one in given:
            self.put(one)
        return self.settle()

    def take(self, *given: AnyObject) -> frozenset[tuple[str, str]]:
        for one in given:
            self.remove(one)
        return self.settle()

    def settle(self) -> frozenset[tuple[str, str]]:
        changes = self.resolver.settle()
        assert changes.failures == ()
        return frozenset((str(key.kind), key.name) for key in changes.changed)

    def find_workload(self, name: str, namespace: str = "shop") -> WorkloadIntent | None:
        unit = self.resolver.units.get(UnitKey(UnitKind.WORKLOAD, namespace, name))
        assert unit is None or isinstance(unit, WorkloadIntent)
        return unit

    def workload(self, name: str, namespace: str = "shop") -> WorkloadIntent:
        found = self.find_workload(name, namespace)
        assert found is not None
        return found

    def find_service(self, name: str, namespace: str = "shop") -> ServiceIntent | None:
        unit = self.resolver.units.get(UnitKey(UnitKind.SERVICE, namespace, name))
        assert unit is None or isinstance(unit, ServiceIntent)
        return unit

    def service(self, name: str, namespace: str = "shop") -> ServiceIntent:
        found = self.find_service(name, namespace)
        assert found is not None
        return found

    def service_port(self, name: str, number: int = 80, namespace: str = "shop") -> ServicePort:
        return next(p for p in self.service(name, namespace).ports if p.number == number)

    def canary(self, name: str, namespace: str = "shop") -> CanaryIntent:
        unit = self.resolver.units[UnitKey(UnitKind.CANARY, namespace, name)]
        assert isinstance(unit, CanaryIntent)
        return unit

    def mutual_tls(self, name: str, namespace: str = "shop") -> MutualTLSIntent:
        unit = self.resolver.units[UnitKey(UnitKind.MUTUAL_TLS, namespace, name)]
        assert isinstance(unit, MutualTLSIntent)
        return unit

    def sidecar(self, name: str, namespace: str = "shop") -> SidecarIntent:
        unit = self.resolver.units[UnitKey(UnitKind.SIDECAR, namespace, name)]
        assert isinstance(unit, SidecarIntent)
        return unit

    def weights(self, name: str, number: int = 80) -> dict[str, int] | None:
        """The split of a port as {backend: weight in milliunits}; None without a split."""
        split = self.service_port(name, number).split
        return {b.service.name: b.weight_milli for b in split.backends} if split is not None else None


def condition(unit: CanaryIntent | MutualTLSIntent | SidecarIntent, type: ConditionType) -> Condition:  # noqa: A002
    return next(c for c in unit.conditions if c.type is type)
