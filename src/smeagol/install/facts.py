"""What is read of a cluster to judge an installation: narrow types, as the API server sends them."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from smeagol.objects import Metadata

__all__ = [
    "Condition",
    "ControllerPod",
    "Definition",
    "Holder",
    "MachineRange",
    "UserObject",
    "Workload",
    "condition",
]


class _Narrow(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Unknown fields are ignored."""


class Condition(_Narrow, frozen=True, kw_only=True):
    """meta/v1 Condition, and its older relatives of Deployments and CustomResourceDefinitions."""

    type: str
    status: str
    reason: str = ""
    message: str = ""


class _Conditions(_Narrow, frozen=True, kw_only=True):
    conditions: tuple[Condition, ...] = ()


def condition(conditions: Sequence[Condition], type_: str) -> Condition | None:
    """The one of that type."""
    return next((found for found in conditions if found.type == type_), None)


class Definition(_Narrow, frozen=True, kw_only=True):
    """A CustomResourceDefinition."""

    metadata: Metadata
    status: _Conditions = _Conditions()


class _Variable(_Narrow, frozen=True, kw_only=True):
    name: str
    value: str = ""


class _Arguments(_Narrow, frozen=True, kw_only=True):
    name: str
    image: str = ""
    args: tuple[str, ...] = ()
    env: tuple[_Variable, ...] = ()

    def value_of(self, variable: str) -> str:
        return next((one.value for one in self.env if one.name == variable), "")


class _Containers(_Narrow, frozen=True, kw_only=True):
    containers: tuple[_Arguments, ...] = ()


class _Template(_Narrow, frozen=True, kw_only=True):
    spec: _Containers = _Containers()


class _WorkloadSpec(_Narrow, frozen=True, kw_only=True):
    replicas: int = 1
    template: _Template = _Template()


class _WorkloadStatus(_Narrow, frozen=True, kw_only=True):
    observed_generation: int = 0
    replicas: int = 0
    updated_replicas: int = 0
    available_replicas: int = 0


class Workload(_Narrow, frozen=True, kw_only=True):
    """The control plane's Deployment."""

    metadata: Metadata
    spec: _WorkloadSpec = _WorkloadSpec()
    status: _WorkloadStatus = _WorkloadStatus()

    @property
    def arguments(self) -> tuple[str, ...]:
        """Of the controller's command line."""
        return tuple(word for container in self.spec.template.spec.containers for word in container.args)


class _Reason(_Narrow, frozen=True, kw_only=True):
    reason: str = ""
    message: str = ""


class _State(_Narrow, frozen=True, kw_only=True):
    waiting: _Reason | None = None


class _ContainerStatus(_Narrow, frozen=True, kw_only=True):
    name: str
    restart_count: int = 0
    state: _State = _State()


class _Address(_Narrow, frozen=True, kw_only=True):
    ip: str


class _PodStatus(_Narrow, frozen=True, kw_only=True):
    phase: str = "Pending"
    pod_ips: tuple[_Address, ...] = msgspec.field(default=(), name="podIPs")
    conditions: tuple[Condition, ...] = ()
    container_statuses: tuple[_ContainerStatus, ...] = ()


class ControllerPod(_Narrow, frozen=True, kw_only=True):
    """A Pod, with what keeps it from running."""

    metadata: Metadata
    status: _PodStatus = _PodStatus()

    @property
    def addresses(self) -> tuple[str, ...]:
        return tuple(each.ip for each in self.status.pod_ips)

    @property
    def obstacle(self) -> _Reason | None:
        """Why it does not run, as the kubelet or the scheduler says it."""
        for container in self.status.container_statuses:
            waiting = container.state.waiting
            if waiting is not None and waiting.reason not in ("ContainerCreating", "PodInitializing"):
                return waiting
        scheduled = condition(self.status.conditions, "PodScheduled")
        if scheduled is not None and scheduled.status == "False":
            return _Reason(reason=scheduled.reason, message=scheduled.message)
        return None


class _HolderSpec(_Narrow, frozen=True, kw_only=True):
    holder_identity: str = ""


class Holder(_Narrow, frozen=True, kw_only=True):
    """A Lease."""

    metadata: Metadata
    spec: _HolderSpec = _HolderSpec()


class _RangeSpec(_Narrow, frozen=True, kw_only=True):
    pod_cidrs: tuple[str, ...] = msgspec.field(default=(), name="podCIDRs")


class MachineRange(_Narrow, frozen=True, kw_only=True):
    """A Node, and where its Pods' addresses lie."""

    metadata: Metadata
    spec: _RangeSpec = _RangeSpec()


class UserObject(_Narrow, frozen=True, kw_only=True):
    """An object of one of our kinds, and what has become of it."""

    metadata: Metadata
    status: _Conditions = _Conditions()
