"""MutualTLS: the selected Pods speak mutual TLS, under the names that clients shall know them by."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, ClassVar

from smeagol.api.meta import Model, ObjectMeta, ProviderClassName, Selector, Status
from smeagol.api.names import DNS_NAME, URI
from smeagol.api.rules import DraftField, Rule, doc
from smeagol.refs import ObjectRef, SubjectName

__all__ = ["Mode", "MutualTLS", "MutualTLSSpec"]


class Mode(Enum):
    """What becomes of clients without a certificate."""

    STRICT = "Strict"
    PERMISSIVE = "Permissive"


_NAME_RULES = (
    Rule(
        code="SMI-M001",
        expression=f'self.matches("^({DNS_NAME}|{URI})$") && (self.contains("://") || size(self) <= 253)',
        what="this is neither a DNS name nor a URI without commas and blanks",
        fix="Write it as cart.example.com or spiffe://example.com/cart, lower case up to the first single slash",
    ),
    Rule(
        code="SMI-M002",
        expression='!self.matches("^[0-9.]+$")',
        what="this is an IP address, not a subject name",
        fix="Use a DNS name or a URI; addresses are put into server certificates without being asked for",
    ),
)


class MutualTLSSpec(Model, frozen=True, kw_only=True):
    """What shall be true of the selected Pods."""

    selector: Selector
    mode: Annotated[
        Mode,
        doc(
            "What becomes of clients without a certificate of the mesh: Strict refuses them, Permissive serves them in "
            "plaintext and without an identity."
        ),
    ] = Mode.STRICT
    client_subject_names: Annotated[
        tuple[
            Annotated[SubjectName, doc("A DNS name or a URI.", min_length=1, max_length=512, rules=_NAME_RULES)], ...
        ],
        doc(
            "Names that the client certificates of the selected Pods carry, beside their SPIFFE id. Servers see them "
            "in `x-sme-identity`.",
            max_length=32,
            list_type="set",
        ),
    ] = ()
    provider_class_name: ProviderClassName = ""

    drafts: ClassVar = (DraftField(name="subjectNames", items="string"),)


class MutualTLS(Model, frozen=True, kw_only=True):
    """Pods that speak mutual TLS: everything that leaves them for meshed Pods is encrypted and carries their names, and
    they accept nothing else."""

    metadata: ObjectMeta
    spec: MutualTLSSpec
    status: Status = Status()

    @property
    def ref(self) -> ObjectRef:
        return ObjectRef("MutualTLS", self.metadata.namespace, self.metadata.name)
