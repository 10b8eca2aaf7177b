"""A made-up mesh of any size: its objects, and an endless row of small changes to them.

Every Service has one HTTP port and three meshed endpoints, and every twentieth is the root of a Canary between the two
that follow it. All is a pure function of the scale and of the number of the change.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from smeagol import api, objects
from smeagol.intent import Resolver, Settings, Unit, UnitKey
from smeagol.objects.core import PodIP, ServiceSpec
from smeagol.providers.envoy import provider
from smeagol.quantity import Weight

__all__ = ["SETTINGS", "ChangeKind", "Scale", "UnitsFile", "changed_object", "put", "resolved", "world"]

NAMESPACE = "shop"
ENDPOINTS = 3
CANARY_EVERY = 20
POD_NETWORK = "10.128.0.0/9"
SETTINGS = Settings(controllers=frozenset({provider.controller_name}), serve_unclassed=True, pod_cidrs=(POD_NETWORK,))

WorldObject = objects.Namespace | objects.Pod | objects.Service | objects.EndpointSlice | api.Canary | api.MutualTLS


class ChangeKind(StrEnum):
    """What is changed: the weights of one Canary, or the endpoints of one Service."""

    WEIGHT = "weight"
    ENDPOINT = "endpoint"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How large the mesh is."""

    services: int
    endpoints: int = ENDPOINTS
    """of each Service, each a Pod of its own"""

    @property
    def pods(self) -> int:
        return self.services * self.endpoints


def world(scale: Scale) -> Iterator[WorldObject]:
    """All objects, those first that others name."""
    yield objects.Namespace(metadata=objects.Metadata(name=NAMESPACE))
    yield api.MutualTLS(metadata=_api_metadata("all"), spec=api.MutualTLSSpec(selector=api.LabelSelector()))
    for number in range(scale.pods):
        yield _pod(scale, number)
    for number in range(scale.services):
        yield _service(number)
        yield _slice(scale, number, scale.endpoints)
    for root in _roots(scale):
        yield _canary(root, "900m")


def changed_object(scale: Scale, kind: ChangeKind, step: int) -> WorldObject:
    """The object of the change number `step`, from 0; successive ones go round the Canaries or Services."""
    if kind is ChangeKind.WEIGHT:
        roots = _roots(scale)
        # Another weight on each round, so that no change is ever a repetition of what is there.
        return _canary(roots[step % len(roots)], f"{500 + step // len(roots) % 400}m")
    plain = _plain(scale)
    lap, position = divmod(step, len(plain))
    return _slice(scale, plain[position], scale.endpoints - 1 if lap % 2 == 0 else scale.endpoints)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitsFile:
    """What all proxies hear of alike: the units at the start, and those that each change replaces."""

    units: dict[UnitKey, Unit]
    changes: dict[tuple[ChangeKind, int], dict[UnitKey, Unit]]


def resolved(scale: Scale) -> Resolver:
    """A resolver that has settled on the whole world."""
    resolver = Resolver(SETTINGS)
    for given in world(scale):
        put(resolver, given)
    changes = resolver.settle()
    if changes.failures:
        raise RuntimeError(f"the resolver failed: {changes.failures[0]}")
    return resolver


def put(resolver: Resolver, given: WorldObject) -> None:
    key = (given.metadata.namespace, given.metadata.name)
    match given:
        case objects.Namespace():
            resolver.namespaces.set(key, given)
        case objects.Pod():
            resolver.pods.set(key, given)
        case objects.Service():
            resolver.services.set(key, given)
        case objects.EndpointSlice():
            resolver.endpoint_slices.set(key, given)
        case api.Canary():
            resolver.canaries.set(key, given)
        case api.MutualTLS():
            resolver.mutual_tls.set(key, given)


def _roots(scale: Scale) -> range:
    return range(0, scale.services - 2, CANARY_EVERY)


def _plain(scale: Scale) -> list[int]:
    """The Services that no Canary has to do with: their endpoints are sent once."""
    divided = {root + part for root in _roots(scale) for part in range(3)}
    return [number for number in range(scale.services) if number not in divided]


def _name(number: int) -> str:
    return f"service-{number:05}"


def _pod_name(number: int) -> str:
    return f"pod-{number:05}"


def _address(second: int, number: int) -> str:
    return f"10.{second + number // 62_500}.{number // 250 % 250}.{number % 250 + 1}"


def _pod_address(number: int) -> str:
    return _address(128, number)


def _metadata(name: str, **labels: str) -> objects.Metadata:
    return objects.Metadata(
        name=name, namespace=NAMESPACE, uid=f"uid-{name}", labels=labels, creation_timestamp="2026-01-01T00:00:00Z"
    )


def _api_metadata(name: str) -> api.ObjectMeta:
    return api.ObjectMeta(name=name, namespace=NAMESPACE, generation=1)


def _pod(scale: Scale, number: int) -> objects.Pod:
    address = _pod_address(number)
    return objects.Pod(
        metadata=_metadata(_pod_name(number), app=_name(number // scale.endpoints)),
        spec=objects.PodSpec(
            containers=(objects.Container(name="app"),),
            init_containers=(objects.Container(name="smeagol-proxy", restart_policy="Always"),),
        ),
        status=objects.PodStatus(phase="Running", pod_ip=address, pod_ips=(PodIP(ip=address),)),
    )


def _service(number: int) -> objects.Service:
    address = _address(96, number)
    return objects.Service(
        metadata=_metadata(_name(number)),
        spec=ServiceSpec(
            cluster_ip=address,
            cluster_ips=(address,),
            ports=(objects.ServicePort(port=80, name="http", target_port=8080),),
            selector={"app": _name(number)},
        ),
    )


def _slice(scale: Scale, number: int, endpoints: int) -> objects.EndpointSlice:
    return objects.EndpointSlice(
        metadata=objects.Metadata(
            name=f"{_name(number)}-1", namespace=NAMESPACE, labels={"kubernetes.io/service-name": _name(number)}
        ),
        endpoints=tuple(
            objects.Endpoint(addresses=(_pod_address(number * scale.endpoints + i),)) for i in range(endpoints)
        ),
        ports=(objects.EndpointPort(name="http", port=8080),),
    )


def _canary(root: int, weight: str) -> api.Canary:
    """`weight` of one whole goes to the first backend, 100m to the second."""
    return api.Canary(
        metadata=_api_metadata(_name(root)),
        spec=api.CanarySpec(
            service=_name(root),
            backends=(
                api.Backend(service=_name(root + 1), weight=Weight.parse(weight)),
                api.Backend(service=_name(root + 2), weight=Weight.parse("100m")),
            ),
        ),
    )
