"""The early drafts of the Service Mesh Interface (March to May 2019), to the manifests of today.

They differ in names, not in meaning: `TLSConfig` was MutualTLS, `Monitor` was Sidecar, the name stood at the top, the
version had no group, and a Canary was itself the Service whose requests it divided, with shares in percent.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from smeagol.api.decode import API_VERSION, DRAFT_KINDS, Refused, is_draft
from smeagol.api.documents import Document, Json
from smeagol.api.problems import Path, Problem
from smeagol.refs import ObjectRef

__all__ = ["Modern", "modernize"]

_PERCENT = re.compile(r"([0-9]+(?:[.][0-9]+)?)\s*%")
_RENAMED = {
    "MutualTLS": {"subjectNames": "clientSubjectNames"},
    "Sidecar": {"metricsLabels": "metricLabels"},
    "Canary": {},
}
_METADATA = ("name", "namespace", "labels", "annotations")


@dataclass(frozen=True, slots=True, kw_only=True)
class Modern:
    """A document of today, and what was decided to get there; nothing, if it was one already."""

    document: Document
    notes: tuple[str, ...] = ()


class _Unconvertible(Exception):  # noqa: N818 - never leaves this module, where it becomes a Problem
    def __init__(self, what: str, fix: str, path: Path) -> None:
        super().__init__(what)
        self.what, self.fix, self.path = what, fix, path


def modernize(document: Document) -> Modern | Refused:
    """What is no draft comes back as it is."""
    value = document.value
    if not isinstance(value, dict) or not (is_draft(value) or _has_draft_services(value)):
        return Modern(document=document)
    kind = DRAFT_KINDS[str(value["kind"])]
    notes: list[str] = []
    try:
        modern = _modern(value, kind, notes)
    except _Unconvertible as reason:
        ref = ObjectRef(str(value["kind"]), "", str(value.get("name", "?")))
        problem = Problem(
            code="SMI-D001",
            what=reason.what,
            fix=reason.fix,
            place=document.place_of(reason.path),
            object=ref,
            path=reason.path,
        )
        return Refused(object=ref, problems=(problem,))
    return Modern(document=replace(document, value=modern, lines={}), notes=tuple(notes))


def _has_draft_services(value: dict[str, Json]) -> bool:
    """Half way: group and metadata of today, but fields of the draft."""
    spec = value.get("spec")
    ours = value.get("apiVersion") == API_VERSION and isinstance(spec, dict)
    old = {"Canary": "services", "MutualTLS": "subjectNames"}.get(str(value.get("kind")))
    return ours and isinstance(spec, dict) and old in spec


def _modern(value: dict[str, Json], kind: str, notes: list[str]) -> dict[str, Json]:
    if value["kind"] != kind:
        notes.append(f"kind {value['kind']} is {kind}")
    if value["apiVersion"] != API_VERSION:
        notes.append(f"apiVersion {value['apiVersion']} is {API_VERSION}")
    for key in value:
        if key not in {"apiVersion", "kind", "metadata", "spec", *_METADATA}:
            raise _Unconvertible(f"the draft has no field '{key}'", "Remove it", (key,))
    metadata = value.get("metadata", {})
    spec = value.get("spec")
    if not isinstance(metadata, dict) or not isinstance(spec, dict):
        raise _Unconvertible("metadata and spec are mappings", "Write keys, each with a value", ("spec",))
    moved = {key: value[key] for key in _METADATA if key in value}
    if moved:
        notes.append(f"{', '.join(moved)} at the top moved to metadata")
    metadata = {**metadata, **moved}
    renamed = _renamed(spec, _RENAMED[kind], notes)
    if "services" in renamed and kind == "Canary":
        renamed = _split(renamed, metadata, notes)
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": renamed}


def _renamed(spec: dict[str, Json], names: dict[str, str], notes: list[str]) -> dict[str, Json]:
    for old, new in names.items():
        if old in spec and new in spec:
            raise _Unconvertible(f"there are both '{old}' and '{new}'", f"Keep '{new}'", ("spec", old))
        if old in spec:
            notes.append(f"{old} is {new}")
    return {names.get(key, key): item for key, item in spec.items()}


def _split(spec: dict[str, Json], metadata: dict[str, Json], notes: list[str]) -> dict[str, Json]:
    """`services: [{web-v1: 50%}]`: the Canary had the name of the root, the keys are the backends."""
    if "backends" in spec:
        raise _Unconvertible("there are both 'services' and 'backends'", "Keep 'backends'", ("spec", "services"))
    services = spec["services"]
    if not isinstance(services, list) or not services:
        raise _Unconvertible("'services' is a list", "Write it as - web-v1: 50%", ("spec", "services"))
    backends: list[Json] = []
    for index, entry in enumerate(services):
        if not isinstance(entry, dict):
            raise _Unconvertible("a service has a share", "Write it as web-v1: 50%", ("spec", "services", index))
        backends += [
            {"service": name, "weight": _weight(share, ("spec", "services", index, name))}
            for name, share in entry.items()
        ]
    rest = {key: item for key, item in spec.items() if key != "services"}
    if "service" not in rest:
        rest = {"service": metadata.get("name"), **rest}
        notes.append("the root is the Service that had the name of the Canary")
    notes.append("percentages are weights; only their ratio counts, so they need not add up to 100")
    return {**rest, "backends": backends}


def _weight(share: Json, path: Path) -> Json:
    match = _PERCENT.fullmatch(share) if isinstance(share, str) else None
    if match is None:
        raise _Unconvertible("the share of a service is a percentage", "Write it as 50%", path)
    number = match.group(1)
    return int(number) if number.isdecimal() else number
