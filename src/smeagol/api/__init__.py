"""The API `smi-spec.io/v1beta1`: the kinds as users write them, their rules, and how text becomes one of them.

The models are the one source: the decoder, the CRDs, the offline check and the reference pages are made from them.
"""

from smeagol.api.canary import Backend, Canary, CanarySpec, CanaryStatus
from smeagol.api.decode import Parsed, Refused, Unknown, parse
from smeagol.api.documents import Document, Json, Reading, read_path, read_text
from smeagol.api.drafts import Modern, modernize
from smeagol.api.kinds import KINDS, Kind, SmiObject
from smeagol.api.meta import (
    Condition,
    ConditionStatus,
    Counts,
    LabelSelector,
    ObjectMeta,
    Operator,
    ProviderStatus,
    Requirement,
    Status,
    Unsupported,
)
from smeagol.api.mutual_tls import Mode, MutualTLS, MutualTLSSpec
from smeagol.api.names import RootError, parse_root
from smeagol.api.problems import Place, Problem
from smeagol.api.provider_class import (
    NameAction,
    NameRule,
    Parameters,
    ProviderClass,
    ProviderClassSpec,
    ProviderClassStatus,
)
from smeagol.api.sidecar import Container, Sidecar, SidecarSpec, SidecarStatus

__all__ = [
    "KINDS",
    "Backend",
    "Canary",
    "CanarySpec",
    "CanaryStatus",
    "Condition",
    "ConditionStatus",
    "Container",
    "Counts",
    "Document",
    "Json",
    "Kind",
    "LabelSelector",
    "Mode",
    "Modern",
    "MutualTLS",
    "MutualTLSSpec",
    "NameAction",
    "NameRule",
    "ObjectMeta",
    "Operator",
    "Parameters",
    "Parsed",
    "Place",
    "Problem",
    "ProviderClass",
    "ProviderClassSpec",
    "ProviderClassStatus",
    "ProviderStatus",
    "Reading",
    "Refused",
    "Requirement",
    "RootError",
    "Sidecar",
    "SidecarSpec",
    "SidecarStatus",
    "SmiObject",
    "Status",
    "Unknown",
    "Unsupported",
    "modernize",
    "parse",
    "parse_root",
    "read_path",
    "read_text",
]
