"""Objects of standalone mode follow from what changed just as they would if all were looked at each time."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import count
from typing import Any, TypeVar

import hypothesis.strategies as st
import msgspec
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, rule

from smeagol.objects import (
    Container,
    Deployment,
    EndpointSlice,
    Metadata,
    Pod,
    PodSpec,
    PodStatus,
    Service,
    ServicePort,
)
from smeagol.objects.core import DeploymentSpec, PodCondition, PodTemplate, ServiceSpec
from smeagol.sources.cluster import Changes, Cluster, Key, Manifests
from smeagol.sources.workloads import endpoint_slices, pod_terminating, selects

T = TypeVar("T")

NAMES = st.sampled_from(["a", "b"])
KEYS = st.tuples(st.sampled_from(["shop", "shop", "shop", "bank"]), NAMES)
LABELS = st.sampled_from([{}, {"app": "x"}, {"app": "y"}, {"app": "x", "tier": "x"}])
COMMANDS = st.sampled_from([("run",), ("walk",)])
ADDRESSES = st.sampled_from(["", "", "10.96.0.101", "10.96.0.7", "None", "1.2.3.4"])


class Everything(Cluster):
    """Looks at all there is, each time."""

    def settle(self) -> Changes:
        self._stale_services |= self.services.keys() | self._manifests.services.keys()
        self._stale_deployments |= self._manifests.deployments.keys() | self._owned.keys()
        self._stale_pods |= self.pods.keys() | self._manifests.pods.keys()
        self._stale_endpoints |= self.services.keys() | self._slices_of.keys() | self._given.keys()
        return super().settle()


def cluster(kind: type[Cluster]) -> Cluster:
    """Room for four Pods and a few Services. The clock stands, and uids count."""
    uids = count()
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    return kind(
        pod_networks=("10.244.0.0/28",),
        service_networks=("10.96.0.0/25",),
        now=lambda: moment,
        new_uid=lambda: str(next(uids)),
    )


class SameAsAnew(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = cluster(Cluster), cluster(Everything)
        self.deployments: dict[Key, Deployment] = {}
        self.loose: dict[Key, Pod] = {}
        self.services: dict[Key, Service] = {}
        self.slices: dict[Key, EndpointSlice] = {}
        self.seen: tuple[dict[Key, Pod], dict[Key, Service], dict[Key, EndpointSlice]] = ({}, {}, {})

    # What users write.

    @rule(key=KEYS, labels=LABELS, command=COMMANDS, replicas=st.integers(0, 3))
    def deployment(self, key: Key, labels: dict[str, str], command: tuple[str, ...], replicas: int) -> None:
        template = PodTemplate(metadata=Metadata(labels=labels), spec=spec(command))
        self.deployments[key] = Deployment(
            metadata=named(key), spec=DeploymentSpec(replicas=replicas, template=template)
        )
        self.load()

    @rule(key=KEYS, labels=LABELS, command=COMMANDS)
    def pod(self, key: Key, labels: dict[str, str], command: tuple[str, ...]) -> None:
        self.loose[key] = Pod(metadata=named(key, labels), spec=spec(command))
        self.load()

    @rule(key=KEYS, selector=LABELS, address=ADDRESSES)
    def service(self, key: Key, selector: dict[str, str], address: str) -> None:
        of = ServiceSpec(cluster_ip=address, selector=selector, ports=(ServicePort(port=80),))
        self.services[key] = Service(metadata=named(key), spec=of)
        self.load()

    @rule(key=KEYS, service=NAMES, address_type=st.sampled_from(["IPv4", "IPv6"]))
    def slice(self, key: Key, service: str, address_type: str) -> None:
        metadata = named(key, {"kubernetes.io/service-name": service})
        self.slices[key] = EndpointSlice(metadata=metadata, address_type=address_type)
        self.load()

    @rule(data=st.data(), labels=LABELS)
    def relabel(self, data: st.DataObject, labels: dict[str, str]) -> None:
        self.settle_once()
        if self.loose:
            key = data.draw(st.sampled_from(sorted(self.loose)))
            self.loose[key] = msgspec.structs.replace(self.loose[key], metadata=named(key, labels))
            self.load()

    @rule(data=st.data(), which=st.integers(0, 3))
    def delete(self, data: st.DataObject, which: int) -> None:
        manifests: tuple[dict[Key, Any], ...] = (self.deployments, self.loose, self.services, self.slices)
        if manifests[which]:
            del manifests[which][data.draw(st.sampled_from(sorted(manifests[which])))]
            self.load()

    def load(self) -> None:
        for each in (self.one, self.other):
            each.load(
                Manifests(
                    deployments=dict(self.deployments),
                    pods=dict(self.loose),
                    services=dict(self.services),
                    endpoint_slices=dict(self.slices),
                )
            )

    # What the host and `smeagol restart` do.

    @rule(data=st.data(), ready=st.booleans(), phase=st.sampled_from(["Running", "Succeeded"]))
    def observe(self, data: st.DataObject, ready: bool, phase: str) -> None:
        if self.one.pods:
            key = data.draw(st.sampled_from(sorted(self.one.pods)))
            conditions = (PodCondition(type="Ready", status=str(ready)),)
            for each in (self.one, self.other):
                each.observe(key, PodStatus(phase=phase, conditions=conditions))

    @rule(data=st.data())
    def gone(self, data: st.DataObject) -> None:
        leaving = sorted(key for key, pod in self.one.pods.items() if pod_terminating(pod))
        if leaving:
            key = data.draw(st.sampled_from(leaving))
            for each in (self.one, self.other):
                each.gone(key)

    @rule(key=KEYS)
    def restart(self, key: Key) -> None:
        assert self.one.restart(key) == self.other.restart(key)

    # What follows.

    @rule(times=st.integers(1, 3))
    def settle(self, times: int) -> None:
        for _ in range(times):
            self.settle_once()

    @rule()
    def settle_then_all_is_ready(self) -> None:
        """As it mostly goes; so deeper states are reached."""
        self.settle_once()
        for key in list(self.one.pods):
            for each in (self.one, self.other):
                each.observe(key, PodStatus(phase="Running", conditions=(PodCondition(type="Ready", status="True"),)))
        self.settle_once()

    def settle_once(self) -> None:
        changes, _ = self.one.settle(), self.other.settle()
        one, other = self.one, self.other
        assert one.pods == other.pods
        assert one.services == other.services
        assert one.endpoint_slices == other.endpoint_slices
        assert {key: str(fault) for key, fault in one.problems.items()} == {
            key: str(fault) for key, fault in other.problems.items()
        }
        before, self.seen = self.seen, (dict(one.pods), dict(one.services), dict(one.endpoint_slices))
        assert changes.pods == difference(before[0], one.pods)
        assert changes.services == difference(before[1], one.services)
        assert changes.endpoint_slices == difference(before[2], one.endpoint_slices)
        slices = {
            (part.metadata.namespace, part.metadata.name): part
            for service in one.services.values()
            for part in endpoint_slices(service, [pod for pod in one.pods.values() if picks(service, pod)])
        }
        assert one.endpoint_slices == {**one._manifests.endpoint_slices, **slices}
        routed = {(k[0], part.service_name) for k, part in changes.endpoint_slices.items() if part is not None}
        assert changes.routed >= changes.services.keys() | routed


def difference(before: Mapping[Key, T], after: Mapping[Key, T]) -> dict[Key, T | None]:
    changed: dict[Key, T | None] = {key: value for key, value in after.items() if before.get(key) != value}
    return changed | dict.fromkeys(before.keys() - after.keys())


def named(key: Key, labels: Mapping[str, str] | None = None) -> Metadata:
    return Metadata(namespace=key[0], name=key[1], labels=dict(labels or {}))


def spec(command: tuple[str, ...]) -> PodSpec:
    return PodSpec(containers=(Container(name="app", command=command),))


def picks(service: Service, pod: Pod) -> bool:
    same = service.metadata.namespace == pod.metadata.namespace
    return same and selects(service.spec.selector, pod.metadata.labels)


TestSameAsAnew = SameAsAnew.TestCase
TestSameAsAnew.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
