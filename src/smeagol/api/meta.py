"""What all kinds share: metadata, selector, conditions, and what each provider says of an object."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from typing import Annotated, ClassVar

import msgspec

from smeagol.api.names import LABEL_KEY, LABEL_VALUE, SUBDOMAIN
from smeagol.api.rules import DraftField, Rule, doc

__all__ = [
    "CLASS_NAMESPACE_LABEL",
    "DEFAULT_CLASS_ANNOTATION",
    "GROUP",
    "VERSION",
    "Condition",
    "ConditionStatus",
    "Counts",
    "LabelSelector",
    "Model",
    "ObjectMeta",
    "Operator",
    "ProviderClassName",
    "ProviderStatus",
    "Requirement",
    "Selector",
    "Status",
    "Unsupported",
]

GROUP = "smi-spec.io"
VERSION = "v1beta1"

CLASS_NAMESPACE_LABEL = "smi-spec.io/provider-class"
"""Label of a namespace: the ProviderClass of its objects that name none."""

DEFAULT_CLASS_ANNOTATION = "smi-spec.io/is-default-class"
"""Annotation of a ProviderClass, `"true"`: the class of all objects for which nothing else picks one."""


class Model(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Base of all that stands in a manifest. The subclass is the one source of decoder, schema, CRD and reference."""

    rules: ClassVar[tuple[Rule, ...]] = ()
    drafts: ClassVar[tuple[DraftField, ...]] = ()


class ObjectMeta(Model, frozen=True, kw_only=True):
    """The part of an object's metadata that the mesh reads."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    annotations: dict[str, str] = msgspec.field(default_factory=dict)


class Operator(Enum):
    """How a label is compared."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


class Requirement(Model, frozen=True, kw_only=True):
    """One comparison of one label."""

    rules: ClassVar = (
        Rule(
            code="SMI-L002",
            expression="self.operator in ['In', 'NotIn'] == (has(self.values) && size(self.values) > 0)",
            what="the operator and the values do not fit",
            fix="Give at least one value to In and NotIn, and none to Exists and DoesNotExist",
            at=".values",
        ),
    )

    key: Annotated[
        str,
        doc(
            "Key of the label.",
            max_length=317,
            rules=(
                Rule(
                    code="SMI-L001",
                    expression=f'self.matches("^({LABEL_KEY})$")',
                    what="this is not the key of a Kubernetes label",
                    fix="Use letters, digits, '-', '_' and '.', with a DNS name and a slash before it if need be",
                ),
            ),
        ),
    ]
    operator: Annotated[Operator, doc("How the label is compared with the values.")]
    values: Annotated[
        tuple[Annotated[str, doc("A value of the label.", max_length=63)], ...],
        doc(
            "What the label is compared with.",
            max_length=64,
            list_type="atomic",
            rules=(
                Rule(
                    code="SMI-L003",
                    expression=f'self.all(v, v.matches("^{LABEL_VALUE}$"))',
                    what="a value here is not one that a Kubernetes label can have",
                    fix="Use at most 63 letters, digits, '-', '_' and '.', beginning and ending with a letter or digit",
                ),
            ),
        ),
    ] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.key)
        match self.operator:
            case Operator.IN:
                return value in self.values
            case Operator.NOT_IN:  # as in Kubernetes, true for what lacks the label
                return value not in self.values
            case Operator.EXISTS:
                return value is not None
            case Operator.DOES_NOT_EXIST:
                return value is None


class LabelSelector(Model, frozen=True, kw_only=True):
    """Which Pods of the namespace: those whose labels satisfy all of it. An empty selector takes every Pod."""

    match_labels: Annotated[
        dict[
            Annotated[str, doc("Key of the label.")], Annotated[str, doc("The label's value, exactly.", max_length=63)]
        ],
        doc(
            "Labels that the Pod must have, with these values.",
            max_length=64,
            rules=(
                Rule(
                    code="SMI-L001",
                    expression=f'self.all(k, size(k) <= 317 && k.matches("^({LABEL_KEY})$"))',
                    what="a key here is not the key of a Kubernetes label",
                    fix="Use letters, digits, '-', '_' and '.', with a DNS name and a slash before it if need be",
                ),
                Rule(
                    code="SMI-L003",
                    expression=f'self.all(k, self[k].matches("^{LABEL_VALUE}$"))',
                    what="a value here is not one that a Kubernetes label can have",
                    fix="Use at most 63 letters, digits, '-', '_' and '.', beginning and ending with a letter or digit",
                ),
            ),
        ),
    ] = msgspec.field(default_factory=dict)
    match_expressions: Annotated[
        tuple[Requirement, ...],
        doc("Comparisons that the Pod's labels must all satisfy.", max_length=32, list_type="atomic"),
    ] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether a Pod with these labels is selected."""
        return all(labels.get(key) == value for key, value in self.match_labels.items()) and all(
            requirement.matches(labels) for requirement in self.match_expressions
        )


Selector = Annotated[
    LabelSelector, doc("The Pods, by their labels, in the namespace of this object. `{}` takes every Pod.")
]

ProviderClassName = Annotated[
    str,
    doc(
        "The ProviderClass that makes this object true. Without it the namespace's label "
        f"`{CLASS_NAMESPACE_LABEL}` decides, else the default class.",
        max_length=253,
        rules=(
            Rule(
                code="SMI-P003",
                expression=f'self.matches("^{SUBDOMAIN}$")',
                what="this is not the name of a ProviderClass",
                fix="Write the name that `kubectl get providerclasses` shows",
            ),
        ),
    ),
]


class ConditionStatus(Enum):
    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Condition(Model, frozen=True, kw_only=True):
    """One fact about an object, as Kubernetes has it (meta/v1 Condition)."""

    type: Annotated[str, doc("What the fact is about: Accepted, ResolvedRefs, Programmed, …", max_length=316)]
    status: Annotated[ConditionStatus, doc("Whether it holds.")]
    reason: Annotated[str, doc("Why, in one word for programs.", min_length=1, max_length=1024)]
    message: Annotated[str, doc("Why, in words for people.", max_length=32768)]
    last_transition_time: Annotated[datetime, doc("When the status last changed.")]
    observed_generation: Annotated[int, doc("The generation of the object that this is about.", ge=0)] = 0


class Unsupported(Model, frozen=True, kw_only=True):
    """One thing the object asks for that its provider cannot do."""

    field: Annotated[str, doc("Path of the field.", max_length=512)]
    feature: Annotated[str, doc("Name of the feature that the provider lacks.", max_length=128)]
    message: Annotated[str, doc("What follows from it, in words.", max_length=4096)]


class Counts(Model, frozen=True, kw_only=True):
    """How far the provider has come."""

    pods: Annotated[int, doc("Pods that the object is about.", ge=0)] = 0
    injected: Annotated[int, doc("Of these, Pods that run a proxy.", ge=0)] = 0
    proxies: Annotated[int, doc("Connected proxies that the object concerns.", ge=0)] = 0
    programmed: Annotated[int, doc("Of these, proxies that have acknowledged it.", ge=0)] = 0


Conditions = Annotated[
    tuple[Condition, ...],
    doc("Facts about the object.", max_length=16, list_type="map", list_keys=("type",)),
]
ObservedGeneration = Annotated[int, doc("The generation of the object that this status is about.", ge=0)]


class ProviderStatus(Model, frozen=True, kw_only=True):
    """What one provider says of the object."""

    controller_name: Annotated[str, doc("The provider, as in its ProviderClass.", max_length=253)]
    class_name: Annotated[str, doc("The ProviderClass through which it serves the object.", max_length=253)] = ""
    conditions: Conditions = ()
    unsupported: Annotated[
        tuple[Unsupported, ...],
        doc("What the object asks for and this provider cannot do.", max_length=64, list_type="atomic"),
    ] = ()
    counts: Annotated[Counts, doc("How far the provider has come.")] = Counts()


class Status(Model, frozen=True, kw_only=True):
    """What has become of the object; written by providers."""

    observed_generation: ObservedGeneration = 0
    ready: Annotated[
        str,
        doc(
            "How far it is, as `3/4`: proxies that have it, of those (of a Canary) or of the Pods it is for.",
            max_length=32,
        ),
    ] = ""
    conditions: Conditions = ()
    providers: Annotated[
        tuple[ProviderStatus, ...],
        doc("What each provider says.", max_length=16, list_type="map", list_keys=("controllerName",)),
    ] = ()
