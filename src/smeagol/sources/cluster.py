"""The objects of standalone mode: what the manifests want, what was made of it, and what the host says of it.

This is the part that the API server, the scheduler and the controllers play in a cluster, on one machine and in
memory. It does no I/O: manifests and Pod statuses come in, changed objects come out.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import TypeAlias, TypeVar

import msgspec

from smeagol.errors import SmeagolError
from smeagol.intent import (
    ADDED_CONTAINERS,
    EXCLUDE_INBOUND,
    EXCLUDE_OUTBOUND,
    INJECT_LABEL,
    AddedContainer,
    AdditionError,
    excluded_ports,
)
from smeagol.objects import Deployment, EndpointSlice, Namespace, Pod, PodStatus, Service
from smeagol.objects.core import PodIP
from smeagol.sources.workloads import (
    TEMPLATE_HASH,
    as_written,
    endpoint_slices,
    pod_terminating,
    roll_out,
    selects,
    service_families,
    template_hash,
    with_containers,
    with_proxy,
)

__all__ = ["AddressPool", "AddressRefusedError", "Changes", "Cluster", "Key", "Manifests", "PoolExhaustedError"]

Key: TypeAlias = tuple[str, str]
"""(namespace, name)"""


class PoolExhaustedError(SmeagolError):
    code = "SMI-R003"


class AddressRefusedError(SmeagolError):
    code = "SMI-R007"


RESERVED = (0, 1, 10)
"""Which addresses no Service may ask for: `kubernetes` and `kube-dns` have them in a cluster, DNS has the last here."""


@dataclass(slots=True)
class AddressPool:
    """Hands out the addresses of one network in turn, so that a freed one is not given away again at once.

    A proxy may for a moment still know the old owner of an address; the longer it rests, the better.
    """

    network: IPv4Network | IPv6Network
    first: int = 10
    _taken: dict[str, Key] = field(default_factory=dict)
    _next: int = 0

    def take(self, owner: Key, wanted: str = "") -> str:
        """An address for `owner`: the wanted one, else the next free one.

        Raises AddressRefusedError if the wanted one is outside the network or another's, as the API server does.
        """
        if wanted:
            self._check(wanted, owner)
            self._taken[wanted] = owner
            return wanted
        size = min(self.network.num_addresses, 1 << 16) - self.first - 1
        for step in range(size):
            address = str(self.network[self.first + (self._next + step) % size])
            if address not in self._taken:
                self._next += step + 1
                self._taken[address] = owner
                return address
        raise PoolExhaustedError(f"no address is left in {self.network}", where="/".join(owner))

    def _check(self, wanted: str, owner: Key) -> None:
        ip = ip_address(wanted)
        if ip not in self.network or int(ip) - int(self.network.network_address) in RESERVED:
            what = f"{wanted} cannot be had: it is outside {self.network}, or in use by the node itself"
        elif (other := self._taken.get(wanted, owner)) != owner:
            what = f"{wanted} belongs to {'/'.join(other)} already"
        else:
            return
        raise AddressRefusedError(
            what, where=f"Service {'/'.join(owner)}", fix="leave spec.clusterIP out, or choose a free one"
        )

    def free(self, address: str, owner: Key) -> None:
        """Take an address back, if it is the owner's."""
        if self._taken.get(address) == owner:
            del self._taken[address]


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifests:
    """What the folder says now: the objects of Kubernetes that standalone mode carries out, by (namespace, name)."""

    deployments: Mapping[Key, Deployment] = field(default_factory=dict)
    pods: Mapping[Key, Pod] = field(default_factory=dict)
    services: Mapping[Key, Service] = field(default_factory=dict)
    endpoint_slices: Mapping[Key, EndpointSlice] = field(default_factory=dict)
    namespaces: Mapping[str, Namespace] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """Objects that differ from the last time; None means it is gone."""

    pods: Mapping[Key, Pod | None] = field(default_factory=dict)
    services: Mapping[Key, Service | None] = field(default_factory=dict)
    endpoint_slices: Mapping[Key, EndpointSlice | None] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.pods or self.services or self.endpoint_slices)


Obj = TypeVar("Obj", Pod, Service)
T = TypeVar("T")


def _now() -> datetime:
    return datetime.now(UTC)


class Cluster:
    """Desired and made objects. Call `load` and `observe` in any order, then `settle` for what changed.

    `wants_proxy` decides of each new Pod; by default every one has a proxy that is not told otherwise.
    `containers_for`: what Sidecars put beside the proxy of a new Pod.
    """

    def __init__(
        self,
        *,
        pod_networks: Iterable[str] = ("10.244.0.0/16",),
        service_networks: Iterable[str] = ("10.96.0.0/16",),
        wants_proxy: Callable[[Pod], bool] | None = None,
        containers_for: Callable[[Pod], Sequence[AddedContainer]] = lambda _: (),
        now: Callable[[], datetime] = _now,
    ) -> None:
        self.pods: dict[Key, Pod] = {}
        self.services: dict[Key, Service] = {}
        self.endpoint_slices: dict[Key, EndpointSlice] = {}
        self.problems: dict[Key, SmeagolError] = {}
        self._manifests = Manifests()
        self._pod_pools = [AddressPool(ip_network(n)) for n in pod_networks]
        self._service_pools = [AddressPool(ip_network(n), first=100) for n in service_networks]
        self._wants_proxy = wants_proxy or self._not_disabled
        self._containers_for = containers_for
        self._now = now
        self._before = Changes()
        self._restarts: dict[Key, str] = {}

    def load(self, manifests: Manifests) -> None:
        """Take the folder's new content; what follows from it is made by `settle`."""
        self._manifests = manifests

    def observe(self, key: Key, status: PodStatus) -> None:
        """The host reports a Pod: phase, readiness, containers. Its addresses are ours to say and stay."""
        if (pod := self.pods.get(key)) is not None:
            addresses = pod.status.pod_ips
            status = msgspec.structs.replace(
                status, pod_ips=addresses, pod_ip=addresses[0].ip if addresses else status.pod_ip
            )
            self.pods[key] = msgspec.structs.replace(pod, status=status)

    def gone(self, key: Key) -> None:
        """The host has nothing left of a Pod: its name and addresses are free."""
        if (pod := self.pods.pop(key, None)) is not None:
            for pool in self._pod_pools:
                for address in pod.addresses:
                    pool.free(address, key)

    def restart(self, key: Key) -> bool:
        """Roll a Deployment's Pods, as `kubectl rollout restart` does; False if there is no such Deployment."""
        if key not in self._manifests.deployments:
            return False
        self._restarts[key] = self._now().isoformat()
        return True

    def restart_owner(self, key: Key) -> bool:
        """Roll the Deployment that made a Pod, unless the Pod is of an old version already on its way out."""
        pod = self.pods.get(key)
        owner = next((o.name for o in pod.metadata.owner_references if o.kind == "Deployment"), "") if pod else ""
        deployment = self._manifests.deployments.get((key[0], owner))
        if pod is None or deployment is None:
            return False
        current = template_hash(self._with_restart((key[0], owner), deployment))
        return pod.metadata.labels.get(TEMPLATE_HASH) == current and self.restart((key[0], owner))

    def settle(self) -> Changes:
        """Bring the made objects one step nearer to the manifests and return what differs from the last time.

        A fault of one object (no address left) is kept in `problems` under its key and stops no other.
        """
        self.problems.clear()
        self._settle_services()
        self._settle_pods()
        slices = {
            (s.metadata.namespace, s.metadata.name): s
            for service in self.services.values()
            for s in endpoint_slices(service, self._picked(service))
        }
        self.endpoint_slices = {**self._manifests.endpoint_slices, **slices}
        after = Changes(pods=dict(self.pods), services=dict(self.services), endpoint_slices=dict(self.endpoint_slices))
        before, self._before = self._before, after
        return Changes(
            pods=_difference(before.pods, after.pods),
            services=_difference(before.services, after.services),
            endpoint_slices=_difference(before.endpoint_slices, after.endpoint_slices),
        )

    def _picked(self, service: Service) -> list[Pod]:
        return [
            pod
            for pod in self.pods.values()
            if pod.metadata.namespace == service.metadata.namespace
            and selects(service.spec.selector, pod.metadata.labels)
        ]

    def _settle_services(self) -> None:
        for key in [key for key in self.services if key not in self._manifests.services]:
            self._free(key, self.services.pop(key).cluster_ips)
        # Those that ask for an address come first, or another may have been given it.
        for key, service in sorted(self._manifests.services.items(), key=lambda item: not item[1].cluster_ips):
            had = known.cluster_ips if (known := self.services.get(key)) is not None else ()
            try:
                self.services[key] = self._addressed(key, service)
            except (AddressRefusedError, PoolExhaustedError) as error:
                self.problems[key] = error
            else:
                self._free(key, set(had) - set(self.services[key].cluster_ips))

    def _free(self, key: Key, addresses: Iterable[str]) -> None:
        for address in addresses:
            for pool in self._service_pools:
                pool.free(address, key)

    def _addressed(self, key: Key, service: Service) -> Service:
        if service.spec.type == "ExternalName":  # it has none, whatever it says
            spec = msgspec.structs.replace(service.spec, cluster_ip="", cluster_ips=())
            return _stamped(msgspec.structs.replace(service, spec=spec), self.services.get(key), self._now())
        if service.headless:
            return _stamped(service, self.services.get(key), self._now())
        known = self.services.get(key)
        had = (known.cluster_ips if known else ()) or service.cluster_ips
        wanted = {f"IPv{ip_address(address).version}": address for address in had}
        pools = {f"IPv{pool.network.version}": pool for pool in self._service_pools}
        families = service_families(service, tuple(pools))
        addresses = tuple(pools[family].take(key, wanted.get(family, "")) for family in families)
        spec = msgspec.structs.replace(service.spec, cluster_ip=addresses[0], cluster_ips=addresses)
        return _stamped(msgspec.structs.replace(service, spec=spec), known, self._now())

    def _settle_pods(self) -> None:
        wanted: set[Key] = set()
        for key, deployment in self._manifests.deployments.items():
            wanted |= self._settle_deployment(key, self._with_restart(key, deployment))
        for key, pod in self._manifests.pods.items():
            wanted.add(key)
            held = self.pods.get(key)
            if held is None:
                self._create(pod)
            elif pod_terminating(held):
                continue
            elif as_written(held).spec != _completed(as_written(pod)).spec or _passed(held) != _passed(pod):
                self._terminate(key)  # made anew under its name once it is gone
            else:
                # A Pod that runs takes new labels, but neither gets nor loses a proxy by them.
                kept = {k: v for k, v in held.metadata.annotations.items() if k == ADDED_CONTAINERS}
                metadata = msgspec.structs.replace(
                    held.metadata, labels=pod.metadata.labels, annotations=as_written(pod).metadata.annotations | kept
                )
                self.pods[key] = msgspec.structs.replace(held, metadata=metadata)
        for key in self.pods.keys() - wanted:
            self._terminate(key)

    def _settle_deployment(self, key: Key, deployment: Deployment) -> set[Key]:
        namespace, name = key
        owned = [
            pod
            for pod in self.pods.values()
            if pod.metadata.namespace == namespace
            and any(o.kind == "Deployment" and o.name == name for o in pod.metadata.owner_references)
        ]
        step = roll_out(deployment, owned)
        for pod in step.create:
            if (namespace, pod.metadata.name) not in self.pods:
                self._create(pod)
        going = set(step.delete)
        return {(namespace, p.metadata.name) for p in owned if p.metadata.name not in going} | {
            (namespace, p.metadata.name) for p in step.create
        }

    def _with_restart(self, key: Key, deployment: Deployment) -> Deployment:
        """As `kubectl rollout restart`: an annotation makes the template a new one."""
        if not (at := self._restarts.get(key)):
            return deployment
        template = deployment.spec.template
        annotations = {**template.metadata.annotations, "smi-spec.io/restartedAt": at}
        metadata = msgspec.structs.replace(template.metadata, annotations=annotations)
        template = msgspec.structs.replace(template, metadata=metadata)
        return msgspec.structs.replace(deployment, spec=msgspec.structs.replace(deployment.spec, template=template))

    def _create(self, pod: Pod) -> None:
        key = (pod.metadata.namespace, pod.metadata.name)
        made = _completed(as_written(pod))
        try:
            if self._wants_proxy(made) and not made.spec.host_network:
                made = with_containers(with_proxy(made), self._containers_for(made))
            addresses = tuple(pool.take(key) for pool in self._pod_pools)
        except (AdditionError, PoolExhaustedError) as error:
            self.problems[key] = error
            return
        status = PodStatus(pod_ip=addresses[0], pod_ips=tuple(PodIP(ip=a) for a in addresses))
        self.pods[key] = _stamped(msgspec.structs.replace(made, status=status), None, self._now())

    def _not_disabled(self, pod: Pod) -> bool:
        """Every Pod has a proxy unless its label, or else its namespace's, says `disabled`."""
        namespace = self._manifests.namespaces.get(pod.metadata.namespace)
        inherited = namespace.metadata.labels.get(INJECT_LABEL) if namespace else None
        return (pod.metadata.labels.get(INJECT_LABEL) or inherited) != "disabled"

    def _terminate(self, key: Key) -> None:
        pod = self.pods[key]
        if not pod_terminating(pod):
            metadata = msgspec.structs.replace(pod.metadata, deletion_timestamp=self._now().isoformat())
            self.pods[key] = msgspec.structs.replace(pod, metadata=metadata)


def _completed(pod: Pod) -> Pod:
    """The Pod with the defaults that the API server would write into it."""
    if pod.spec.service_account_name:
        return pod
    return msgspec.structs.replace(pod, spec=msgspec.structs.replace(pod.spec, service_account_name="default"))


def _passed(pod: Pod) -> tuple[tuple[int, ...], ...]:
    """Ports that pass by its proxy, in and out: its redirect rules have them for as long as it runs."""
    return tuple(excluded_ports(pod.metadata.annotations, which) for which in (EXCLUDE_INBOUND, EXCLUDE_OUTBOUND))


def _stamped(obj: Obj, known: Obj | None, now: datetime) -> Obj:
    """Give an object what the API server would: uid and creation time, kept for as long as the object lives."""
    metadata = msgspec.structs.replace(
        obj.metadata,
        uid=known.metadata.uid if known else str(uuid.uuid4()),
        creation_timestamp=known.metadata.creation_timestamp if known else now.isoformat(),
    )
    return msgspec.structs.replace(obj, metadata=metadata)


def _difference(before: Mapping[Key, T | None], after: Mapping[Key, T | None]) -> dict[Key, T | None]:
    changed = {key: value for key, value in after.items() if before.get(key) != value}
    return changed | dict.fromkeys(before.keys() - after.keys())
