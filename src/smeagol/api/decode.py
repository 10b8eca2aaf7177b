"""A document, to one of our kinds or to the list of what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import msgspec

from smeagol.api.convert import to_model
from smeagol.api.documents import Document
from smeagol.api.kinds import SmiObject, kind_of
from smeagol.api.meta import GROUP, VERSION
from smeagol.api.problems import Problem
from smeagol.refs import ObjectRef

__all__ = ["Parsed", "Refused", "Unknown", "parse"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """An object of a group that is not ours, such as a Deployment; for whoever knows it."""

    api_version: str
    kind: str
    document: Document


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A document that the API server would refuse, and all reasons."""

    problems: tuple[Problem, ...]


Parsed: TypeAlias = SmiObject | Unknown | Refused


def parse(document: Document, *, default_namespace: str = "default") -> Parsed:
    """Read an object. One without a namespace is in `default_namespace`, as it is to kubectl."""
    value = document.value
    if not isinstance(value, dict):
        return _refused(
            document, "SMI-V001", "the document is no Kubernetes object", "Write apiVersion, kind, metadata, spec"
        )
    api_version, kind_name = str(value.get("apiVersion")), str(value.get("kind"))
    kind = kind_of(kind_name)
    if api_version != f"{GROUP}/{VERSION}" or kind is None:
        return Unknown(api_version=api_version, kind=kind_name, document=document)
    metadata = value.get("metadata")
    if kind.namespaced and isinstance(metadata, dict) and not metadata.get("namespace"):
        value = {**value, "metadata": {**metadata, "namespace": default_namespace}}
    try:
        return to_model(value, kind.model)
    except (msgspec.ValidationError, ValueError) as error:
        name = str(metadata.get("name")) if isinstance(metadata, dict) else ""
        return _refused(document, "SMI-V002", str(error), ref=ObjectRef(kind.name, "", name))


def _refused(document: Document, code: str, what: str, fix: str = "", ref: ObjectRef | None = None) -> Refused:
    return Refused(problems=(Problem(code=code, what=what, fix=fix, place=document.place, object=ref),))
