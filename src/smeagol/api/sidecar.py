"""Sidecar: the selected Pods get a proxy that measures their HTTP traffic, and further containers if asked for."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, ClassVar

import msgspec

from smeagol.api.meta import Model, ObjectMeta, ProviderClassName, Selector, Status
from smeagol.api.names import DNS_LABEL, METRIC_LABEL, QUANTITY
from smeagol.api.rules import Rule, doc
from smeagol.refs import ObjectRef

__all__ = [
    "Container",
    "ContainerPort",
    "EnvVar",
    "EnvVarSource",
    "FieldRef",
    "KeyRef",
    "PullPolicy",
    "Resources",
    "Sidecar",
    "SidecarSpec",
    "SidecarStatus",
    "Transport",
    "VolumeMount",
]


class Transport(Enum):
    TCP = "TCP"
    UDP = "UDP"
    SCTP = "SCTP"


class PullPolicy(Enum):
    ALWAYS = "Always"
    NEVER = "Never"
    IF_NOT_PRESENT = "IfNotPresent"


class FieldRef(Model, frozen=True, kw_only=True):
    """A field of the Pod."""

    field_path: Annotated[str, doc("Path of the field, such as metadata.name.", min_length=1, max_length=317)]


class KeyRef(Model, frozen=True, kw_only=True):
    """One key of a Secret or ConfigMap of the Pod's namespace."""

    name: Annotated[str, doc("Name of the object.", min_length=1, max_length=253)]
    key: Annotated[str, doc("The key.", min_length=1, max_length=253)]
    optional: Annotated[bool, doc("Whether the container starts without it.")] = False


class EnvVarSource(Model, frozen=True, kw_only=True):
    """Where the value of an environment variable comes from."""

    rules: ClassVar = (
        Rule(
            code="SMI-S003",
            expression="[has(self.fieldRef), has(self.secretKeyRef), has(self.configMapKeyRef)].exists_one(x, x)",
            what="the environment variable has no source, or several",
            fix="Give one of fieldRef, secretKeyRef and configMapKeyRef",
        ),
    )

    field_ref: Annotated[FieldRef | None, doc("A field of the Pod.")] = None
    secret_key_ref: Annotated[KeyRef | None, doc("A key of a Secret.")] = None
    config_map_key_ref: Annotated[KeyRef | None, doc("A key of a ConfigMap.")] = None


class EnvVar(Model, frozen=True, kw_only=True):
    """An environment variable."""

    rules: ClassVar = (
        Rule(
            code="SMI-S004",
            expression="!has(self.valueFrom) || !has(self.value) || size(self.value) == 0",
            what="the environment variable has both a value and a source",
            fix="Give value or valueFrom, not both",
        ),
    )

    name: Annotated[str, doc("Name of the variable.", min_length=1, max_length=256)]
    value: Annotated[str, doc("Its value.", max_length=32768)] = ""
    value_from: Annotated[EnvVarSource | None, doc("Where the value comes from.")] = None


class ContainerPort(Model, frozen=True, kw_only=True):
    """A port that the container listens on."""

    name: Annotated[str, doc("Name of the port.", max_length=15)] = ""
    container_port: Annotated[int, doc("Number of the port.", ge=1, le=65535)]
    protocol: Annotated[Transport, doc("Its transport.")] = Transport.TCP


_AMOUNT = Rule(
    code="SMI-Q001",
    expression=f'string(self).matches("^{QUANTITY}$")',
    what="this is not a Kubernetes quantity",
    fix="Write a number, such as 1, or one with a suffix, such as 500m, 64Mi or 1e3",
)
Amounts = dict[
    Annotated[str, doc("cpu, memory, ephemeral-storage, …")],
    Annotated[int | str, doc("How much.", max_text=32, rules=(_AMOUNT,))],
]


class Resources(Model, frozen=True, kw_only=True):
    """What the container may use."""

    requests: Annotated[Amounts, doc("What is kept free for it.", max_length=16)] = msgspec.field(default_factory=dict)
    limits: Annotated[Amounts, doc("What it gets at most.", max_length=16)] = msgspec.field(default_factory=dict)


class VolumeMount(Model, frozen=True, kw_only=True):
    """One of the Pod's volumes, seen by the container."""

    name: Annotated[str, doc("Name of the volume in the Pod.", min_length=1, max_length=63)]
    mount_path: Annotated[str, doc("Where the container sees it.", min_length=1, max_length=1024)]
    sub_path: Annotated[str, doc("Path in the volume.", max_length=1024)] = ""
    read_only: Annotated[bool, doc("Whether the container cannot write there.")] = False


class Container(Model, frozen=True, kw_only=True):
    """A container that runs beside the Pod's own, from before they start until after they end."""

    name: Annotated[
        str,
        doc(
            "Name of the container, unlike that of every other in the Pod.",
            min_length=1,
            max_length=63,
            rules=(
                Rule(
                    code="SMI-S002",
                    expression=f'self.matches("^{DNS_LABEL}$")',
                    what="this is not the name of a container",
                    fix="Use lower-case letters, digits and '-', beginning and ending with a letter or digit",
                ),
            ),
        ),
    ]
    image: Annotated[str, doc("Its image.", min_length=1, max_length=1024)]
    image_pull_policy: Annotated[PullPolicy | None, doc("When the image is pulled.")] = None
    command: Annotated[
        tuple[Annotated[str, doc("A word of it.", max_length=32768)], ...],
        doc("Program and arguments, instead of the image's entry point.", max_length=256, list_type="atomic"),
    ] = ()
    args: Annotated[
        tuple[Annotated[str, doc("An argument.", max_length=32768)], ...],
        doc("Arguments of the entry point.", max_length=256, list_type="atomic"),
    ] = ()
    working_dir: Annotated[str, doc("Where it starts.", max_length=1024)] = ""
    env: Annotated[
        tuple[EnvVar, ...], doc("Its environment.", max_length=64, list_type="map", list_keys=("name",))
    ] = ()
    ports: Annotated[tuple[ContainerPort, ...], doc("Its ports.", max_length=32, list_type="atomic")] = ()
    resources: Annotated[Resources, doc("What it may use.")] = Resources()
    volume_mounts: Annotated[
        tuple[VolumeMount, ...],
        doc("Volumes of the Pod that it sees.", max_length=32, list_type="map", list_keys=("mountPath",)),
    ] = ()


class SidecarSpec(Model, frozen=True, kw_only=True):
    """What the selected Pods get."""

    selector: Selector
    metric_labels: Annotated[
        dict[Annotated[str, doc("Name of the label.")], Annotated[str, doc("Its value.", max_length=256)]],
        doc(
            "Labels on every series of the selected Pods. Without them the Pod's own labels are used, made legal for "
            "Prometheus.",
            max_length=32,
            rules=(
                Rule(
                    code="SMI-S001",
                    expression=(
                        f'self.all(k, size(k) <= 128 && k.matches("^{METRIC_LABEL}$") && !k.startsWith("__") '
                        '&& !(k in ["le", "quantile"]))'
                    ),
                    what="a key here is not a label that Prometheus lets one set",
                    what_expression=(
                        f'"\'" + self.filter(k, size(k) > 128 || !k.matches("^{METRIC_LABEL}$") || k.startsWith("__") '
                        '|| k in ["le", "quantile"])[0] + "\' is not a label that Prometheus lets one set"'
                    ),
                    fix="Use letters, digits and '_', not a digit first, not '__' first, neither 'le' nor 'quantile'",
                ),
            ),
        ),
    ] = msgspec.field(default_factory=dict)
    containers: Annotated[
        tuple[Container, ...],
        doc(
            "Further containers, such as log shippers and exporters, put into the selected Pods as native sidecars.",
            max_length=8,
            list_type="map",
            list_keys=("name",),
        ),
    ] = ()
    restart: Annotated[
        bool,
        doc(
            "Whether Pods that run already are replaced, by a rolling restart of what owns them, as far as Smeagol "
            "may. Otherwise the status counts them."
        ),
    ] = False
    provider_class_name: ProviderClassName = ""


class SidecarStatus(Status, frozen=True, kw_only=True):
    """What has become of the Sidecar; written by providers."""

    metrics_server: Annotated[str, doc("The URL that Prometheus scrapes.", max_length=2048)] = ""


class Sidecar(Model, frozen=True, kw_only=True):
    """HTTP status codes, requests per second and latency of the selected Pods, on an ordinary Prometheus endpoint; and
    further containers beside them."""

    metadata: ObjectMeta
    spec: SidecarSpec
    status: SidecarStatus = SidecarStatus()

    @property
    def ref(self) -> ObjectRef:
        return ObjectRef("Sidecar", self.metadata.namespace, self.metadata.name)
