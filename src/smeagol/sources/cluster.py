"""The objects of standalone mode: what the manifests want, what was made of it, and what the host says of it.

This is the part that the API server, the scheduler and the controllers play in a cluster, on one machine and in
memory. It does no I/O: manifests and Pod statuses come in, changed objects come out. Work is proportional to what has
changed, not to what there is: each change marks what may follow from it, and only that is looked at.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import ip_address, ip_network
from typing import TypeVar

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
from smeagol.sources.addresses import AddressPool, AddressRefusedError, Key, PoolExhaustedError
from smeagol.sources.kept import ByLabel, Kept
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

__all__ = ["Changes", "Cluster", "Key", "Manifests"]


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
    routed: frozenset[Key] = frozenset()
    """the Services that differ, themselves or in their EndpointSlices"""

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
        new_uid: Callable[[], str] = lambda: str(uuid.uuid4()),
    ) -> None:
        self._pods: Kept[Pod] = Kept()
        self._services: Kept[Service] = Kept()
        self._slices: Kept[EndpointSlice] = Kept()
        self.pods = self._pods.now
        self.services = self._services.now
        self.endpoint_slices = self._slices.now
        self.problems: dict[Key, SmeagolError] = {}
        self._manifests = Manifests()
        self._pod_pools = [AddressPool(ip_network(n)) for n in pod_networks]
        self._service_pools = [AddressPool(ip_network(n), first=100) for n in service_networks]
        self._wants_proxy = wants_proxy or self._not_disabled
        self._containers_for = containers_for
        self._now = now
        self._new_uid = new_uid
        self._restarts: dict[Key, str] = {}
        self._pods_by_label = ByLabel()
        self._services_by_label = ByLabel()
        self._owned: defaultdict[Key, set[Key]] = defaultdict(set)
        """the Pods of each Deployment"""
        self._slices_of: defaultdict[Key, set[Key]] = defaultdict(set)
        """the EndpointSlices of each Service, also those that manifests bring"""
        self._given: Mapping[Key, set[Key]] = {}
        """those that manifests bring"""
        # What to look at in the next `settle`, by key.
        self._stale_services: set[Key] = set()
        self._stale_deployments: set[Key] = set()
        self._stale_pods: set[Key] = set()
        self._stale_endpoints: set[Key] = set()
        """Services whose endpoints may have changed"""

    def load(self, manifests: Manifests) -> None:
        """Take the folder's new content; what follows from it is made by `settle`."""
        old, self._manifests = self._manifests, manifests
        self._stale_services |= _differing(old.services, manifests.services)
        self._stale_deployments |= _differing(old.deployments, manifests.deployments)
        self._stale_pods |= _differing(old.pods, manifests.pods)
        self._given = _by_service(manifests.endpoint_slices)
        changed = _differing(old.endpoint_slices, manifests.endpoint_slices)
        for slices in (old.endpoint_slices, manifests.endpoint_slices):
            self._stale_endpoints |= {(key[0], slices[key].service_name) for key in changed & slices.keys()}

    def observe(self, key: Key, status: PodStatus) -> None:
        """The host reports a Pod: phase, readiness, containers. Its addresses are ours to say and stay."""
        if (pod := self.pods.get(key)) is not None:
            addresses = pod.status.pod_ips
            status = msgspec.structs.replace(
                status, pod_ips=addresses, pod_ip=addresses[0].ip if addresses else status.pod_ip
            )
            self._put_pod(key, msgspec.structs.replace(pod, status=status))

    def gone(self, key: Key) -> None:
        """The host has nothing left of a Pod: its name and addresses are free."""
        if (pod := self.pods.get(key)) is not None:
            self._put_pod(key, None)
            for pool in self._pod_pools:
                for address in pod.addresses:
                    pool.free(address, key)

    def slices_of(self, service: Key) -> list[EndpointSlice]:
        """The EndpointSlices of a Service."""
        return [self.endpoint_slices[key] for key in sorted(self._slices_of.get(service, ()))]

    def restart(self, key: Key) -> bool:
        """Roll a Deployment's Pods, as `kubectl rollout restart` does; False if there is no such Deployment."""
        if key not in self._manifests.deployments:
            return False
        self._restarts[key] = self._now().isoformat()
        self._stale_deployments.add(key)
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

        A fault of one object (no address left) is kept in `problems` under its key and stops no other. What has a
        fault stays stale, so it is tried again each time.
        """
        self.problems.clear()
        self._settle_services()
        self._settle_deployments()
        self._settle_pods()
        routed = self._settle_endpoints()
        services = self._services.changes()
        return Changes(
            pods=self._pods.changes(),
            services=services,
            endpoint_slices=self._slices.changes(),
            routed=routed | services.keys(),
        )

    # What a change of an object makes stale.

    def _put_pod(self, key: Key, pod: Pod | None) -> None:
        old = self.pods.get(key)
        if not self._pods.put(key, pod):
            return
        self._stale_pods.add(key)
        owners, labels = _owners(pod), pod.metadata.labels if pod is not None else {}
        old_owners, old_labels = _owners(old), old.metadata.labels if old is not None else {}
        for owner in old_owners - owners:
            self._owned[owner].discard(key)
            if not self._owned[owner]:
                del self._owned[owner]
        for owner in owners:
            self._owned[owner].add(key)
        self._stale_deployments |= owners | old_owners
        if labels != old_labels:
            self._pods_by_label.move(key, old_labels.items(), labels.items())
        for either in (old_labels, labels) if labels != old_labels else (labels,):
            self._stale_endpoints |= self._selecting(key[0], either)

    def _put_service(self, key: Key, service: Service | None) -> None:
        old = self.services.get(key)
        if self._services.put(key, service):
            self._stale_endpoints.add(key)
            self._services_by_label.move(key, _first_pair(old), _first_pair(service))

    def _selecting(self, namespace: str, labels: Mapping[str, str]) -> set[Key]:
        """The Services that select these labels."""
        candidates = (key for pair in labels.items() for key in self._services_by_label.having(namespace, pair))
        return {key for key in candidates if selects(self.services[key].spec.selector, labels)}

    def _picked(self, service: Service) -> list[Pod]:
        """The Pods that a Service selects."""
        namespace, selector = service.metadata.namespace, service.spec.selector or {}
        found = [self._pods_by_label.having(namespace, pair) for pair in selector.items()]
        return [self.pods[key] for key in sorted(frozenset.intersection(*found))] if found else []

    # What follows from what.

    def _settle_endpoints(self) -> frozenset[Key]:
        """Returns the Services whose EndpointSlices changed."""
        stale, self._stale_endpoints = self._stale_endpoints, set()
        changed: set[Key] = set()
        wanted = {key: self._wanted_slices(key) for key in sorted(stale)}
        # First all that go, or one that goes over to another Service would go with the old one.
        for key, slices in wanted.items():
            for gone in self._slices_of.pop(key, set()) - slices.keys():
                if self._slices.put(gone, None):
                    changed.add(key)
        for key, slices in wanted.items():
            for name, part in slices.items():
                if self._slices.put(name, part):
                    changed.add(key)
            if slices:
                self._slices_of[key] = set(slices)
        return frozenset(changed)

    def _wanted_slices(self, key: Key) -> dict[Key, EndpointSlice]:
        """The EndpointSlices of a Service: what manifests bring, and what follows from its selector."""
        given = {name: self._manifests.endpoint_slices[name] for name in self._given.get(key, ())}
        service = self.services.get(key)
        made = endpoint_slices(service, self._picked(service)) if service is not None else ()
        return given | {(part.metadata.namespace, part.metadata.name): part for part in made}

    def _settle_services(self) -> None:
        stale, self._stale_services = self._stale_services, set()
        wanted = self._manifests.services
        for key in stale - wanted.keys():
            if (gone := self.services.get(key)) is not None:
                self._put_service(key, None)
                self._free(key, gone.cluster_ips)
        # Those that ask for an address come first, or another may have been given it.
        for key in sorted(stale & wanted.keys(), key=lambda key: (not wanted[key].cluster_ips, key)):
            had = known.cluster_ips if (known := self.services.get(key)) is not None else ()
            try:
                service = self._addressed(key, wanted[key])
            except (AddressRefusedError, PoolExhaustedError) as error:
                self.problems[key] = error
                self._stale_services.add(key)
            else:
                self._put_service(key, service)
                self._free(key, set(had) - set(service.cluster_ips))

    def _free(self, key: Key, addresses: Iterable[str]) -> None:
        for address in addresses:
            for pool in self._service_pools:
                pool.free(address, key)

    def _addressed(self, key: Key, service: Service) -> Service:
        if service.spec.type == "ExternalName":  # it has none, whatever it says
            spec = msgspec.structs.replace(service.spec, cluster_ip="", cluster_ips=())
            return self._stamped(msgspec.structs.replace(service, spec=spec), self.services.get(key))
        if service.headless:
            return self._stamped(service, self.services.get(key))
        known = self.services.get(key)
        had = (known.cluster_ips if known else ()) or service.cluster_ips
        wanted = {f"IPv{ip_address(address).version}": address for address in had}
        pools = {f"IPv{pool.network.version}": pool for pool in self._service_pools}
        families = service_families(service, tuple(pools))
        addresses = tuple(pools[family].take(key, wanted.get(family, "")) for family in families)
        spec = msgspec.structs.replace(service.spec, cluster_ip=addresses[0], cluster_ips=addresses)
        return self._stamped(msgspec.structs.replace(service, spec=spec), known)

    def _settle_deployments(self) -> None:
        stale, self._stale_deployments = self._stale_deployments, set()
        for key in sorted(stale):
            owned = [self.pods[pod] for pod in sorted(self._owned.get(key, ()))]
            deployment = self._manifests.deployments.get(key)
            if deployment is None:
                self._stale_pods |= self._owned.get(key, set())
                continue
            step = roll_out(self._with_restart(key, deployment), owned)
            for pod in step.create:
                if (key[0], pod.metadata.name) not in self.pods and not self._create(pod):
                    self._stale_deployments.add(key)
            for name in step.delete:
                if (key[0], name) not in self._manifests.pods:
                    self._terminate((key[0], name))

    def _settle_pods(self) -> None:
        """Those that have manifests of their own, and those that nothing asks for any more."""
        stale, self._stale_pods = self._stale_pods, set()
        for key in sorted(stale):
            pod, held = self._manifests.pods.get(key), self.pods.get(key)
            if pod is None:
                if held is not None and not any(owner in self._manifests.deployments for owner in _owners(held)):
                    self._terminate(key)
            elif held is None:
                if not self._create(pod):
                    self._stale_pods.add(key)
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
                self._put_pod(key, msgspec.structs.replace(held, metadata=metadata))

    def _with_restart(self, key: Key, deployment: Deployment) -> Deployment:
        """As `kubectl rollout restart`: an annotation makes the template a new one."""
        if not (at := self._restarts.get(key)):
            return deployment
        template = deployment.spec.template
        annotations = {**template.metadata.annotations, "smi-spec.io/restartedAt": at}
        metadata = msgspec.structs.replace(template.metadata, annotations=annotations)
        template = msgspec.structs.replace(template, metadata=metadata)
        return msgspec.structs.replace(deployment, spec=msgspec.structs.replace(deployment.spec, template=template))

    def _create(self, pod: Pod) -> bool:
        """False if it cannot be made now; why is in `problems`."""
        key = (pod.metadata.namespace, pod.metadata.name)
        made = _completed(as_written(pod))
        try:
            if self._wants_proxy(made) and not made.spec.host_network:
                made = with_containers(with_proxy(made), self._containers_for(made))
            addresses = tuple(pool.take(key) for pool in self._pod_pools)
        except (AdditionError, PoolExhaustedError) as error:
            self.problems[key] = error
            return False
        status = PodStatus(pod_ip=addresses[0], pod_ips=tuple(PodIP(ip=a) for a in addresses))
        self._put_pod(key, self._stamped(msgspec.structs.replace(made, status=status), None))
        return True

    def _stamped(self, obj: Obj, known: Obj | None) -> Obj:
        """Give an object what the API server would: uid and creation time, kept for as long as the object lives."""
        metadata = msgspec.structs.replace(
            obj.metadata,
            uid=known.metadata.uid if known else self._new_uid(),
            creation_timestamp=known.metadata.creation_timestamp if known else self._now().isoformat(),
        )
        return msgspec.structs.replace(obj, metadata=metadata)

    def _not_disabled(self, pod: Pod) -> bool:
        """Every Pod has a proxy unless its label, or else its namespace's, says `disabled`."""
        namespace = self._manifests.namespaces.get(pod.metadata.namespace)
        inherited = namespace.metadata.labels.get(INJECT_LABEL) if namespace else None
        return (pod.metadata.labels.get(INJECT_LABEL) or inherited) != "disabled"

    def _terminate(self, key: Key) -> None:
        pod = self.pods[key]
        if not pod_terminating(pod):
            metadata = msgspec.structs.replace(pod.metadata, deletion_timestamp=self._now().isoformat())
            self._put_pod(key, msgspec.structs.replace(pod, metadata=metadata))


def _completed(pod: Pod) -> Pod:
    """The Pod with the defaults that the API server would write into it."""
    if pod.spec.service_account_name:
        return pod
    return msgspec.structs.replace(pod, spec=msgspec.structs.replace(pod.spec, service_account_name="default"))


def _passed(pod: Pod) -> tuple[tuple[int, ...], ...]:
    """Ports that pass by its proxy, in and out: its redirect rules have them for as long as it runs."""
    return tuple(excluded_ports(pod.metadata.annotations, which) for which in (EXCLUDE_INBOUND, EXCLUDE_OUTBOUND))


def _owners(pod: Pod | None) -> set[Key]:
    """The Deployments that made a Pod."""
    if pod is None:
        return set()
    metadata = pod.metadata
    return {(metadata.namespace, owner.name) for owner in metadata.owner_references if owner.kind == "Deployment"}


def _first_pair(service: Service | None) -> tuple[tuple[str, str], ...]:
    """One label of those that a Service selects: who has not even that is not selected."""
    selector = service.spec.selector if service is not None else None
    return (min(selector.items()),) if selector else ()


def _by_service(slices: Mapping[Key, EndpointSlice]) -> Mapping[Key, set[Key]]:
    found: defaultdict[Key, set[Key]] = defaultdict(set)
    for key, part in slices.items():
        found[key[0], part.service_name].add(key)
    return found


def _differing(old: Mapping[Key, T], new: Mapping[Key, T]) -> set[Key]:
    return {key for key in old.keys() | new.keys() if old.get(key) != new.get(key)}
