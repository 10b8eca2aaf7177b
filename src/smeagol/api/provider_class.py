"""ProviderClass: which provider makes objects true, as GatewayClass does for Gateways."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, ClassVar

from smeagol.api.meta import DEFAULT_CLASS_ANNOTATION, Conditions, Model, ObjectMeta, ObservedGeneration
from smeagol.api.names import DNS_LABEL, DNS_NAME, NAME_PATTERN
from smeagol.api.rules import Rule, doc
from smeagol.refs import ObjectRef

__all__ = [
    "NameAction",
    "NameRule",
    "Parameters",
    "ParametersRef",
    "ProviderClass",
    "ProviderClassSpec",
    "ProviderClassStatus",
]


class NameAction(Enum):
    """What a rule does with the names that it is about."""

    GRANT = "Grant"
    WITHHOLD = "Withhold"


class NameRule(Model, frozen=True, kw_only=True):
    """Names that some namespaces may claim, or may not."""

    rules: ClassVar = (
        Rule(
            code="SMI-P005",
            expression='self.action != "Grant" || (has(self.namespaces) && size(self.namespaces) > 0)',
            what="a name that is granted to every namespace would be nobody's",
            fix="List the namespaces whose it is",
            at=".namespaces",
            reason="FieldValueRequired",
        ),
    )

    pattern: Annotated[
        str,
        doc(
            "The names: a DNS name or a URI, in which `*` stands for any run of characters. In a Grant, it stops at "
            "`/`, `?` and `#`, and a pattern without `://` grants no URI. Letter case does not count.",
            min_length=1,
            max_length=512,
            rules=(
                Rule(
                    code="SMI-P004",
                    expression=f'self.matches("^{NAME_PATTERN}$")',
                    what="no DNS name and no URI fits this pattern",
                    fix="Write it as *.pay.example.com or spiffe://example.com/pay/*, without commas, blanks and a "
                    "final dot",
                ),
            ),
        ),
    ]
    action: Annotated[
        NameAction,
        doc(
            "Grant: the names are the namespaces', even if they would be refused or others claimed them first. "
            "Withhold: the namespaces cannot claim them."
        ),
    ]
    namespaces: Annotated[
        tuple[
            Annotated[
                str,
                doc(
                    "Name of a namespace.",
                    min_length=1,
                    max_length=63,
                    rules=(
                        Rule(
                            code="SMI-P005",
                            expression=f'self.matches("^{DNS_LABEL}$")',
                            what="this is not the name of a namespace",
                            fix="Write out each namespace; patterns are for names alone",
                        ),
                    ),
                ),
            ],
            ...,
        ],
        doc(
            "Whom the rule is about. A Grant needs them; a Withhold without them is about all.",
            max_length=64,
            list_type="set",
        ),
    ] = ()


class Parameters(Model, frozen=True, kw_only=True):
    """What the class settles for the objects of all namespaces."""

    client_subject_names: Annotated[
        tuple[NameRule, ...],
        doc(
            "Who may claim which `clientSubjectNames` in a MutualTLS, where the usual rules will not do. Of the rules "
            "that are about a name and a namespace, the first decides.",
            max_length=64,
            list_type="atomic",
        ),
    ] = ()


class ParametersRef(Model, frozen=True, kw_only=True):
    """The object that holds the provider's own settings."""

    group: Annotated[str, doc("Its API group; empty for the core group.", max_length=253)] = ""
    kind: Annotated[str, doc("Its kind.", min_length=1, max_length=63)]
    name: Annotated[str, doc("Its name.", min_length=1, max_length=253)]
    namespace: Annotated[str, doc("Its namespace, unless it is cluster-scoped.", max_length=63)] = ""


class ProviderClassSpec(Model, frozen=True, kw_only=True):
    """Which provider, and its settings."""

    controller_name: Annotated[
        str,
        doc(
            "The provider that serves this class, as a DNS name and a path, such as smi-spec.io/envoy. It cannot be "
            "changed.",
            min_length=1,
            max_length=253,
            rules=(
                Rule(
                    code="SMI-P001",
                    expression=f'self.matches("^{DNS_NAME}/[A-Za-z0-9/._~%!$&()*+,;=:-]+$")',
                    what="this is not the name of a controller: a DNS name, a slash and a path",
                    fix="Write it as the provider's documentation does, for example smi-spec.io/envoy",
                ),
                Rule(
                    code="SMI-P002",
                    expression="self == oldSelf",
                    what="the controller of a class cannot be changed",
                    fix="Create another ProviderClass and let the objects name it",
                ),
            ),
        ),
    ]
    parameters: Annotated[Parameters, doc("What the class settles for the objects of all namespaces.")] = Parameters()
    parameters_ref: Annotated[ParametersRef | None, doc("The object that holds the provider's own settings.")] = None
    description: Annotated[str, doc("What this class is for, for people.", max_length=256)] = ""


class ProviderClassStatus(Model, frozen=True, kw_only=True):
    """What has become of the class; written by its provider."""

    observed_generation: ObservedGeneration = 0
    conditions: Conditions = ()
    supported_features: Annotated[
        tuple[Annotated[str, doc("Name of a feature.", max_length=128)], ...],
        doc("What the provider can do, sorted.", max_length=128, list_type="set"),
    ] = ()


class ProviderClass(Model, frozen=True, kw_only=True):
    """A provider that objects can pick by `spec.providerClassName`, by a label of their namespace, or by default."""

    metadata: ObjectMeta
    spec: ProviderClassSpec
    status: ProviderClassStatus = ProviderClassStatus()

    @property
    def ref(self) -> ObjectRef:
        return ObjectRef("ProviderClass", "", self.metadata.name)

    @property
    def is_default(self) -> bool:
        """Whether it serves the objects for which nothing else picks a class."""
        return self.metadata.annotations.get(DEFAULT_CLASS_ANNOTATION) == "true"
