"""What is said to a provider in a process of its own: bodies of HTTP requests and answers, as JSON.

    GET  /          -> Introduction     who it is, what it can do and make
    POST /plan      Asked -> Planned    what must exist for one unit
    POST /observe   an object -> Observed   what is to be said of an object that was made; only of who `observes`

Pure: `runtime.remote` does the calling. `docs/provider-protocol.md` is written from what is here, with the JSON Schema
of all bodies, and a test keeps it so: a change that is more than an addition takes a new version in MEDIA_TYPE.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeAlias, TypeVar

import msgspec

from smeagol.errors import SmeagolError
from smeagol.intent import CanaryIntent, MutualTLSIntent, Selection, SidecarIntent, key_of
from smeagol.plan import JSON, Feature, Plan, Unsupported
from smeagol.plan.making import made
from smeagol.plan.peer import Answer, PeerKind, Verdict, at

__all__ = [
    "MEDIA_TYPE",
    "MOST_OBJECTS",
    "SENT",
    "BadAnswerError",
    "Introduction",
    "Observed",
    "Planned",
    "SentUnit",
    "answer_of",
    "introduction",
    "kinds_of",
    "plan_of",
    "schema",
    "sent",
]

MEDIA_TYPE = "application/vnd.smeagol.provider+json;version=1"
MOST_OBJECTS = 64
"""Objects in one plan."""

SentUnit: TypeAlias = CanaryIntent | MutualTLSIntent | SidecarIntent
"""The units that are sent: the users' objects, as resolved. Only such as are in force."""
SENT = (CanaryIntent, MutualTLSIntent, SidecarIntent)

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?")
_CONTROLLER = re.compile(r"[a-z0-9.-]+/[A-Za-z0-9/._~-]+")

T = TypeVar("T")


class BadAnswerError(SmeagolError):
    """A provider in a process of its own gave an answer that the protocol does not have."""

    code = "SMI-A003"


class MadeKind(msgspec.Struct, frozen=True, rename="camel"):
    """A namespaced kind of Kubernetes objects that the provider makes, with the plural that its URLs have."""

    api_version: str
    kind: str
    plural: str


class Introduction(msgspec.Struct, frozen=True, rename="camel"):
    """Who the provider is. `name`: a DNS label of at most 40 characters. `controllerName`: as ProviderClasses have it.

    `version`: any text; where it changes, everything is planned again. `observes`: it answers `/observe`; of objects
    of one that does not, Programmed is Unknown.
    """

    name: str
    controller_name: str
    features: tuple[Feature, ...]
    kinds: tuple[MadeKind, ...]
    version: str = ""
    observes: bool = False


class PlannedUnsupported(msgspec.Struct, frozen=True):
    """One field of the user's object that cannot be made true, such as `spec.service`, and why; for people."""

    field: str
    feature: Feature
    message: str


class Planned(msgspec.Struct, frozen=True, rename="camel"):
    """What must exist for the unit, and what cannot be had. `failedClosed`: nothing, lest it look protected.

    Of an object's metadata, `name`, `labels` and `annotations` are taken; it is made in the user's namespace.
    """

    objects: tuple[dict[str, Any], ...] = ()
    unsupported: tuple[PlannedUnsupported, ...] = ()
    failed_closed: bool = False


class Observed(msgspec.Struct, frozen=True):
    """What is to be said of a made object: `verdict` is `Programmed`, `Pending`, `Silent`, `Rejected` or `Untold`."""

    verdict: str
    message: str = ""
    by: tuple[str, ...] = ()


_VERDICTS = {verdict.name.capitalize(): verdict for verdict in Verdict}


def introduction(body: bytes) -> Introduction:
    """Raises BadAnswerError, also for names that nothing can be called by."""
    said = _read(body, Introduction, "GET /")
    if not _NAME.fullmatch(said.name) or not _CONTROLLER.fullmatch(said.controller_name):
        raise BadAnswerError(
            f"name {said.name!r} or controllerName {said.controller_name!r} cannot be used",
            where="GET /",
            fix="the name is a DNS label of at most 40 characters, controllerName is domain/path",
        )
    return said


def kinds_of(said: Introduction) -> tuple[PeerKind, ...]:
    """What it makes, in the order of applying."""
    return tuple(PeerKind(kind.api_version, kind.kind, kind.plural) for kind in said.kinds)


def sent(unit: SentUnit) -> bytes:
    """The body of a question: the unit's kind, and what it is."""
    return msgspec.json.encode({"kind": key_of(unit).kind.value, "unit": _camel(msgspec.to_builtins(unit))})


def plan_of(body: bytes, unit: SentUnit, said: Introduction) -> Plan:
    """The plan that an answer means. Raises BadAnswerError."""
    answer = _read(body, Planned, "POST /plan")
    if len(answer.objects) > MOST_OBJECTS:
        raise BadAnswerError(f"{len(answer.objects)} objects, of at most {MOST_OBJECTS}", where="POST /plan")
    kinds = {(kind.api_version, kind.kind) for kind in said.kinds}
    objects = tuple(_object(each, unit, said.name, kinds, f"objects[{i}]") for i, each in enumerate(answer.objects))
    try:
        return Plan(
            objects=objects,
            unsupported=tuple(Unsupported(each.field, each.feature, each.message) for each in answer.unsupported),
            failed_closed=answer.failed_closed,
        )
    except ValueError as error:
        raise BadAnswerError(str(error), where="POST /plan") from error


def answer_of(body: bytes) -> Answer:
    """What an answer says of an object. Raises BadAnswerError."""
    answer = _read(body, Observed, "POST /observe")
    verdict = _VERDICTS.get(answer.verdict)
    if verdict is None:
        raise BadAnswerError(f"no such verdict: {answer.verdict!r}", where="POST /observe", fix=", ".join(_VERDICTS))
    return Answer(verdict=verdict, by=answer.by, message=answer.message)


def schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of all bodies, from the very classes that are written and read."""
    types = (*SENT, Introduction, Planned, Observed)
    _, definitions = msgspec.json.schema_components(types)
    for name in (each.__name__ for each in (*SENT, Selection)):
        _camel_schema(definitions, name)
    definitions["Observed"]["properties"]["verdict"]["enum"] = list(_VERDICTS)
    definitions["Asked"] = {
        "title": "Asked",
        "description": "What `POST /plan` is sent: one user's object that is in force, as resolved.",
        "oneOf": [
            {
                "type": "object",
                "properties": {"kind": {"const": kind.__name__.removesuffix("Intent")}, "unit": _ref(kind.__name__)},
                "required": ["kind", "unit"],
            }
            for kind in SENT
        ],
    }
    for definition in definitions.values():
        if "description" in definition:
            text = " ".join(definition["description"].split())
            definition["description"] = re.sub(r"`[a-z]+(_[a-z]+)+`", lambda name: _camel_name(name[0]), text)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": MEDIA_TYPE,
        "oneOf": [_ref(name) for name in ("Introduction", "Asked", "Planned", "Observed")],
        "$defs": dict(sorted(definitions.items())),
    }


def _read(body: bytes, kind: type[T], where: str) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BadAnswerError(
            f"the answer cannot be read: {error}", where=where, fix="its schema is in docs/provider-protocol.md"
        ) from error


def _object(
    given: dict[str, Any], unit: SentUnit, provider: str, kinds: set[tuple[str, str]], where: str
) -> Mapping[str, JSON]:
    """The object as it will be applied: in the user's namespace, with the marks of what was made."""
    api_version, kind, name = given.get("apiVersion"), given.get("kind"), at(given, "metadata", "name")
    if (api_version, kind) not in kinds:
        raise BadAnswerError(
            f"{kind} of {api_version} is not among the provider's kinds", where=where, fix="Name it in GET /"
        )
    if not isinstance(name, str) or not name:
        raise BadAnswerError("it has no metadata.name", where=where)
    namespace = at(given, "metadata", "namespace")
    if namespace not in (None, unit.ref.namespace):
        raise BadAnswerError(
            f"it is in namespace {namespace}; what is made for {unit.ref} is made beside it", where=where
        )
    body = {key: value for key, value in given.items() if key not in ("apiVersion", "kind", "metadata", "status")}
    result = made(
        str(api_version), str(kind), name=name, namespace=unit.ref.namespace, owner=unit.ref, provider=provider
    )
    metadata = {
        key: {**_mapping(at(given, "metadata", key)), **ours} if isinstance(ours, Mapping) else ours
        for key, ours in _mapping(result["metadata"]).items()
    }
    return {**result, "metadata": metadata, **body}


def _mapping(value: JSON) -> Mapping[str, JSON]:
    return value if isinstance(value, Mapping) else {}


def _camel_name(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def _camel(value: Any) -> Any:
    """Fields named as Kubernetes names them. No unit has a mapping whose keys are anything but fields."""
    if isinstance(value, dict):
        return {_camel_name(key): _camel(each) for key, each in value.items()}
    return [_camel(each) for each in value] if isinstance(value, list | tuple) else value


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/$defs/{name}"}


def _camel_schema(definitions: dict[str, Any], name: str) -> None:
    """The same for a definition. All fields are sent, defaults too."""
    definition = definitions[name]
    definition["properties"] = {_camel_name(key): each for key, each in definition["properties"].items()}
    definition["required"] = list(definition["properties"])
