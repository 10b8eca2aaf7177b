"""The controllers of Kubernetes that standalone mode plays."""

from __future__ import annotations

import msgspec

from smeagol.intent import PROXY_CONTAINER
from smeagol.objects import (
    Container,
    ContainerPort,
    Deployment,
    Metadata,
    Pod,
    PodSpec,
    PodStatus,
    Service,
    ServicePort,
)
from smeagol.objects.core import DeploymentSpec, PodCondition, PodIP, PodTemplate, ServiceSpec
from smeagol.sources.workloads import Rollout, endpoint_slices, roll_out, with_proxy

READY = (PodCondition(type="Ready", status="True"),)


def deployment(replicas: int = 2, command: str = "serve") -> Deployment:
    template = PodTemplate(
        metadata=Metadata(labels={"app": "web"}), spec=PodSpec(containers=(Container(name="app", command=(command,)),))
    )
    return Deployment(
        metadata=Metadata(name="web", namespace="shop"), spec=DeploymentSpec(replicas=replicas, template=template)
    )


def made(rollout: Rollout, *, ready: bool = True) -> list[Pod]:
    status = PodStatus(phase="Running", conditions=READY if ready else ())
    return [msgspec.structs.replace(pod, status=status) for pod in rollout.create]


class TestRollOut:
    def test_a_new_deployment_gets_its_replicas(self) -> None:
        rollout = roll_out(deployment(replicas=3), [])
        assert len({pod.metadata.name for pod in rollout.create}) == 3
        assert rollout.delete == ()

    def test_repeating_a_step_changes_nothing(self) -> None:
        """State is the input: with all Pods there and ready, nothing is left to do."""
        pods = made(roll_out(deployment(), []))
        assert roll_out(deployment(), pods) == Rollout(create=(), delete=())

    def test_old_pods_stay_until_all_new_ones_are_ready(self) -> None:
        """A rolling update never has fewer ready Pods than replicas."""
        old = made(roll_out(deployment(command="v1"), []))
        step = roll_out(deployment(command="v2"), old)
        assert len(step.create) == 2
        assert step.delete == ()
        half = made(step)[:1] + made(step, ready=False)[1:]
        assert roll_out(deployment(command="v2"), old + half).delete == ()
        done = roll_out(deployment(command="v2"), old + made(step))
        assert set(done.delete) == {pod.metadata.name for pod in old}

    def test_scaling_down_takes_the_surplus_away(self) -> None:
        pods = made(roll_out(deployment(replicas=3), []))
        assert len(roll_out(deployment(replicas=1), pods).delete) == 2

    def test_terminating_pods_count_for_nothing(self) -> None:
        pods = made(roll_out(deployment(), []))
        gone = [
            msgspec.structs.replace(
                pod, metadata=msgspec.structs.replace(pod.metadata, deletion_timestamp="2026-01-01T00:00:00Z")
            )
            for pod in pods
        ]
        assert len(roll_out(deployment(), gone).create) == 2


class TestEndpointSlices:
    def pod(
        self, name: str, *, ready: bool = True, named: int | None = None, ips: tuple[str, ...] = ("10.0.0.1",)
    ) -> Pod:
        ports = (ContainerPort(name="web", container_port=named),) if named else ()
        return Pod(
            metadata=Metadata(name=name, namespace="shop", uid=name),
            spec=PodSpec(containers=(Container(name="app", ports=ports),)),
            status=PodStatus(
                phase="Running", pod_ips=tuple(PodIP(ip=ip) for ip in ips), conditions=READY if ready else ()
            ),
        )

    def service(self, target: int | str | None, *, not_ready: bool = False) -> Service:
        return Service(
            metadata=Metadata(name="web", namespace="shop"),
            spec=ServiceSpec(
                ports=(ServicePort(port=80, name="http", target_port=target),), publish_not_ready_addresses=not_ready
            ),
        )

    def test_a_port_without_target_is_its_own_target(self) -> None:
        (found,) = endpoint_slices(self.service(None), [self.pod("a")])
        assert [p.port for p in found.ports] == [80]

    def test_named_targets_are_resolved_for_each_pod(self) -> None:
        """Two versions may listen on different ports under one name: each goes into a slice with its own port."""
        found = endpoint_slices(self.service("web"), [self.pod("a", named=8080), self.pod("b", named=9090)])
        assert {s.ports[0].port: [e.target_ref.name for e in s.endpoints if e.target_ref] for s in found} == {
            8080: ["a"],
            9090: ["b"],
        }

    def test_a_service_of_one_family_has_no_endpoints_of_the_other(self) -> None:
        """core/v1 Service, ipFamilyPolicy: one family is the default, the primary one of its Pods."""
        (found,) = endpoint_slices(self.service(80), [self.pod("a", ips=("10.0.0.1", "fd00::1"))])
        assert found.endpoints[0].addresses == ("10.0.0.1",)

    def test_each_family_has_its_own_slice(self) -> None:
        service = self.service(80)
        both = msgspec.structs.replace(
            service, spec=msgspec.structs.replace(service.spec, ip_family_policy="PreferDualStack")
        )
        found = endpoint_slices(both, [self.pod("a", ips=("10.0.0.1", "fd00::1"))])
        assert {s.address_type: s.endpoints[0].addresses for s in found} == {
            "IPv4": ("10.0.0.1",),
            "IPv6": ("fd00::1",),
        }

    def test_a_service_that_is_a_name_has_none(self) -> None:
        """core/v1 ServiceSpec, type: the selector of an ExternalName is ignored."""
        service = self.service(80)
        name = msgspec.structs.replace(service, spec=msgspec.structs.replace(service.spec, type="ExternalName"))
        assert endpoint_slices(name, [self.pod("a")]) == ()

    def test_only_ready_pods_are_ready_endpoints(self) -> None:
        (found,) = endpoint_slices(self.service(80), [self.pod("a", ready=False)])
        assert found.endpoints[0].conditions.ready is False

    def test_unready_pods_can_be_published(self) -> None:
        (found,) = endpoint_slices(self.service(80, not_ready=True), [self.pod("a", ready=False)])
        assert found.endpoints[0].conditions.ready is True


def test_the_proxy_is_injected_once_and_first() -> None:
    """Double injection is impossible, and the proxy starts before all other containers."""
    pod = Pod(metadata=Metadata(name="a"), spec=PodSpec(init_containers=(Container(name="prepare"),)))
    once = with_proxy(pod)
    assert [c.name for c in once.spec.init_containers] == [PROXY_CONTAINER, "prepare"]
    assert with_proxy(once) == once
