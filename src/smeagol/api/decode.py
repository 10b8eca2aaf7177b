"""A document, to one of our kinds or to the list of what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TypeAlias

from smeagol.api.convert import to_model
from smeagol.api.documents import Document, Json
from smeagol.api.kinds import KINDS, Kind, SmiObject, kind_of
from smeagol.api.meta import GROUP, VERSION
from smeagol.api.problems import Problem
from smeagol.api.schema import schema_of
from smeagol.api.validate import METADATA, TOO_MANY, Finding, check
from smeagol.refs import ObjectRef

__all__ = ["DRAFT_KINDS", "Parsed", "Refused", "Unknown", "is_draft", "parse"]

API_VERSION = f"{GROUP}/{VERSION}"

DRAFT_KINDS = {
    "TLSConfig": "MutualTLS",
    "Monitor": "Sidecar",
    "MutualTLS": "MutualTLS",
    "Canary": "Canary",
    "Sidecar": "Sidecar",
}
"""What the kinds were called in the early drafts, to what they are called."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """An object of a group that is not ours, such as a Deployment; for whoever knows it."""

    api_version: str
    kind: str
    document: Document


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A document that the API server would refuse, and all reasons, in the order of their lines."""

    object: ObjectRef | None
    problems: tuple[Problem, ...]


Parsed: TypeAlias = SmiObject | Unknown | Refused


def parse(document: Document, *, default_namespace: str = "default") -> Parsed:
    """Read an object. One without a namespace is in `default_namespace`, as it is to kubectl."""
    value = document.value
    if not isinstance(value, dict):
        return _refused(document, None, [_no_object("the document is no Kubernetes object")])
    api_version, kind_name = value.get("apiVersion"), value.get("kind")
    if not isinstance(api_version, str) or not isinstance(kind_name, str) or not api_version or not kind_name:
        return _refused(document, None, [_no_object("the document says no apiVersion or no kind")])
    if is_draft(value):
        return _refused(document, _ref(kind_name, value, ""), [_DRAFT])
    group, _, version = api_version.partition("/")
    if group != GROUP:
        return Unknown(api_version=api_version, kind=kind_name, document=document)
    kind = kind_of(kind_name)
    if kind is None or version != VERSION:
        return _refused(document, _ref(kind_name, value, ""), [_no_such_kind(kind_name, api_version, kind)])
    return _parse_kind(document, value, kind, default_namespace)


def is_draft(value: dict[str, Json]) -> bool:
    """Whether this is a manifest of the early drafts, which `smeagol convert` reads."""
    api_version, kind = value.get("apiVersion"), value.get("kind")
    if not isinstance(kind, str) or kind not in DRAFT_KINDS:
        return False
    ours = api_version == API_VERSION
    return api_version == VERSION or (ours and (kind_of(kind) is None or ("name" in value and "metadata" not in value)))


def _parse_kind(document: Document, value: dict[str, Json], kind: Kind, default_namespace: str) -> Parsed:
    given = value.get("metadata")
    metadata = check(METADATA, {} if given is None else given, ("metadata",))
    body = check(
        schema_of(kind.model),
        {key: item for key, item in value.items() if key not in {"apiVersion", "kind", "metadata"}},
    )
    findings = [*metadata.findings, *body.findings]
    namespace = default_namespace if kind.namespaced else ""
    if isinstance(metadata.value, dict):
        stated = metadata.value.get("namespace")
        if stated and not kind.namespaced:
            findings.append(_NOT_NAMESPACED)
        namespace = stated if kind.namespaced and isinstance(stated, str) and stated else namespace
    ref = _ref(kind.name, value, namespace)
    if findings:
        return _refused(document, ref, findings)
    assert isinstance(metadata.value, dict) and isinstance(body.value, dict)  # noqa: S101, PT018 - checked to be
    return to_model({"metadata": {**metadata.value, "namespace": namespace}, **body.value}, kind.model)


def _ref(kind: str, value: dict[str, Json], namespace: str) -> ObjectRef:
    """What to call an object that may be broken."""
    metadata = value.get("metadata")
    source = metadata if isinstance(metadata, dict) else value
    name = source.get("name") or source.get("generateName") or "?"
    return ObjectRef(kind[:63], namespace, name[:253] if isinstance(name, str) else "?")


def _refused(document: Document, ref: ObjectRef | None, findings: list[Finding]) -> Refused:
    problems = sorted(_problems(document, ref, findings), key=lambda p: (p.code == TOO_MANY, p.place.line))
    return Refused(object=ref, problems=tuple(problems))


def _problems(document: Document, ref: ObjectRef | None, findings: list[Finding]) -> Iterator[Problem]:
    for finding in findings:
        yield Problem(
            code=finding.code,
            what=finding.what,
            fix=finding.fix,
            place=document.place_of(finding.path),
            object=ref,
            path=finding.path,
        )


def _no_object(what: str) -> Finding:
    return Finding(code="SMI-V001", what=what, fix="Write apiVersion, kind, metadata and spec", path=())


_DRAFT = Finding(
    code="SMI-V010",
    what="this is an early draft of the Service Mesh Interface",
    fix="Run `smeagol convert` on the manifest and apply what it prints",
    path=(),
)

_NOT_NAMESPACED = Finding(
    code="SMI-V008",
    what="Forbidden: not allowed on this type",
    fix="Remove it; a ProviderClass belongs to no namespace",
    path=("metadata", "namespace"),
)


def _no_such_kind(name: str, api_version: str, kind: Kind | None) -> Finding:
    what = f'no matches for kind "{name[:63]}" in version "{api_version[:63]}"'
    if kind is not None:
        return Finding(code="SMI-V009", what=what, fix=f"Use apiVersion: {API_VERSION}", path=("apiVersion",))
    names = [known.name for known in KINDS]
    close = get_close_matches(name[:63], names, n=1)
    fix = f"Did you mean {close[0]}?" if close else f"The kinds are {', '.join(names)}"
    return Finding(code="SMI-V009", what=what, fix=fix, path=("kind",))
