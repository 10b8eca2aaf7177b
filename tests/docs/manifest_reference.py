"""The reference page of the manifests that standalone mode carries out, written from the types that read them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec
from msgspec import inspect as structure

from smeagol.objects import Container, Deployment, EndpointSlice, Metadata, Pod, PodSpec, Probe, Service
from smeagol.sources.files import CORE_KINDS

__all__ = ["manifest_page"]

_INTRODUCTION = """# Files

`smeagol up -f DIR` and `smeagol render` read files that end in `.yaml`, `.yml` or `.json`, in `DIR` and all folders
below it, with any number of documents each. An object without `metadata.namespace` is in the namespace `default`. Where
one object stands twice, the first counts, in the order of the files' paths ([SMI-F008](../problems/SMI-F008.md)).

| Kind | What becomes of it |
|---|---|
"""
_MEANINGS: Mapping[str, str] = {
    "Deployment": "Pods, rolled as in Kubernetes: all new ones first, the old ones go when the new are ready.",
    "Pod": "A network namespace with its containers as processes. A changed one is made anew.",
    "Service": "ClusterIPs, names, and endpoints of the Pods that its selector picks.",
    "Namespace": "Its labels count: `smi-spec.io/inject`, `smi-spec.io/provider-class`. Need not be written.",
    "ServiceAccount": "Nothing: service accounts exist as soon as a Pod names them.",
    "EndpointSlice": "Endpoints of a Service without a selector, by the label `kubernetes.io/service-name`.",
}
_SMI = """| `smi-spec.io/v1beta1` [MutualTLS](mutualtls.md), [Canary](canaries.md), [Sidecar](sidecars.md) \
| In force as in the [specification](../specification.md). |
| `smi-spec.io/v1beta1` [ProviderClass](providerclasses.md) | As there. Without any, objects need not name a class. |
| all others | Ignored. |

Manifests of the early drafts of the interface are read as what `smeagol convert` makes of them.

## Fields

These are read; all others are passed over. A field of the wrong type, or out of its range, is
[SMI-V002](../problems/SMI-V002.md), and the object's last good state stays in force.
"""
_SECTIONS: Mapping[type, str] = {
    Deployment: "Deployment",
    Pod: "Pod",
    PodSpec: "Pod spec",
    Container: "Container",
    Probe: "Probe",
    Service: "Service",
    EndpointSlice: "EndpointSlice",
    Metadata: "Metadata",
}
"""What has a table of its own; other parts are shown where they stand."""
_UNREAD = frozenset(
    {"uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp", "ownerReferences", "status"}
)
"""What an API server and its controllers write."""


def manifest_page() -> str:
    """The whole page."""
    kinds = [f"| `{group}` {kind} | {_MEANINGS[kind]} |\n" for (group, kind) in CORE_KINDS]
    text = _INTRODUCTION + "".join(kinds) + _SMI
    for model, title in _SECTIONS.items():
        text += f"\n### {title}\n\n| Field | Type | Default |\n|---|---|---|\n"
        text += "".join(f"| `{path}` | {type_} | {default} |\n" for path, type_, default in _fields(model, ""))
    return text


def _fields(model: type, path: str) -> Iterator[tuple[str, str, str]]:
    info = structure.type_info(model)
    assert isinstance(info, structure.StructType)
    for field in info.fields:
        name = field.encode_name
        if name in _UNREAD:
            continue
        inner, marks = _inner(field.type)
        here = f"{path}{name}{marks}"
        if not isinstance(inner, structure.StructType):
            yield here, _type(inner), _default(field)
        elif title := _SECTIONS.get(inner.cls):
            yield here, f"[{title}](#{title.lower().replace(' ', '-')})", "required" if field.required else ""
        else:
            yield from _fields(inner.cls, f"{here}.")


def _inner(type_: structure.Type) -> tuple[structure.Type, str]:
    """What is inside of lists and optional fields, and the marks for the lists."""
    marks = ""
    while True:
        match type_:
            case structure.VarTupleType(item_type=item) | structure.ListType(item_type=item):
                type_, marks = item, f"{marks}[]"
            case structure.UnionType(types=types) if any(isinstance(part, structure.NoneType) for part in types):
                rest = [part for part in types if not isinstance(part, structure.NoneType)]
                if len(rest) != 1:
                    return structure.UnionType(tuple(rest)), marks
                type_ = rest[0]
            case _:
                return type_, marks


def _type(type_: structure.Type) -> str:
    match type_:
        case structure.StrType():
            return "text"
        case structure.BoolType():
            return "true or false"
        case structure.IntType(ge=low, le=high):
            if low is None:
                return "whole number"
            return f"whole number, {low} to {high}" if high is not None else f"whole number, {low} or more"
        case structure.LiteralType(values=values):
            return " or ".join(f"`{value}`" for value in sorted(map(str, values)) if value)
        case structure.DictType():
            return "map of text to text"
        case structure.UnionType(types=types):
            return " or ".join(sorted((_type(part) for part in types), reverse=True))
        case _:
            msg = f"no words for {type_}"
            raise NotImplementedError(msg)


def _default(field: structure.Field) -> str:
    if field.required:
        return "required"
    value = field.default
    return f"`{value}`" if value and value is not msgspec.NODEFAULT and isinstance(value, str | int) else ""
