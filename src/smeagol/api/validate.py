"""What the API server says of an object, said offline: schema, defaults, list keys and CEL rules, in its words.

The server stops before the rules when the schema is broken. Here the rules are evaluated wherever the part that they
are about is sound, so that one reading shows every problem.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

import msgspec

from smeagol.api.cel import judge
from smeagol.api.documents import Json
from smeagol.api.names import DNS_LABEL, LABEL_KEY, LABEL_VALUE, SUBDOMAIN
from smeagol.api.problems import Path
from smeagol.api.rules import Rule
from smeagol.api.schema import Schema

__all__ = ["MAX_FINDINGS", "METADATA", "TOO_MANY", "Checked", "Finding", "check", "check_change"]

TOO_MANY = "SMI-V011"
MAX_FINDINGS = 100
"""Most problems that are shown of one object; a hostile one could have a hundred thousand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One problem of a value, with the path in it."""

    code: str
    what: str
    fix: str
    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What the server would store, if there are no findings: with defaults, without nulls and unknown fields."""

    value: Json
    findings: tuple[Finding, ...]


def check(schema: Schema, value: Json, path: Path = ()) -> Checked:
    """Hold a new value to its schema."""
    checker = _Checker()
    kept, _sound = checker.walk(schema, value, path)
    return Checked(value=kept, findings=tuple(checker.findings))


def check_change(schema: Schema, old: Json, new: Json, path: Path = ()) -> tuple[Finding, ...]:
    """Hold a change to the rules about changes. Both values are as the server stores them."""
    return tuple(_changes(schema, old, new, path))


def _changes(schema: Schema, old: Json, new: Json, path: Path) -> Iterator[Finding]:
    for rule in schema.rules:
        if rule.is_transition and (what := judge(rule, new, old)) is not None:
            yield _broken(rule, what, new, path)
    if isinstance(old, dict) and isinstance(new, dict):
        for name, inner in schema.properties.items():
            if name in old and name in new:
                yield from _changes(inner, old[name], new[name], (*path, name))


_JSON_TYPES = {dict: "object", list: "array", str: "string", bool: "boolean", int: "integer", float: "number"}
_EXPECTED: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "boolean": (bool,),
    "int-or-string": (int, str),
}
_CURES = {
    "object": "Write a mapping: keys, each with a value",
    "array": "Write a list: items that begin with '-'",
    "string": "Write text; put numbers, and words such as yes, no, on, off and null, in quotes",
    "integer": "Write a whole number, without quotes",
    "boolean": "Write true or false, without quotes",
    "int-or-string": "Write a whole number, or text in quotes",
}


@dataclass(slots=True)
class _Checker:
    findings: list[Finding] = field(default_factory=list)

    def _find(self, code: str, path: Path, what: str, fix: str) -> None:
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(Finding(code=code, what=what, fix=fix, path=path))
        elif len(self.findings) == MAX_FINDINGS:
            self.findings.append(
                Finding(
                    code=TOO_MANY,
                    what=f"there are more than {MAX_FINDINGS} problems",
                    fix="Mend those shown and check again",
                    path=(),
                )
            )

    def walk(self, schema: Schema, value: Json, path: Path) -> tuple[Json, bool]:
        """The value as the server keeps it, and whether rules can be evaluated on it."""
        if type(value) not in _EXPECTED[schema.type]:
            named = _JSON_TYPES.get(type(value), "null")
            expected = schema.type.replace("int-or-string", "integer,string")
            what = f'Invalid value: "{named}": must be of type {expected}'
            self._find("SMI-V002", path, what, _CURES[schema.type])
            return value, False
        sound = self._check_size(schema, value, path)
        match value:
            case dict():
                value, inner_sound = self._walk_object(schema, value, path)
            case list():
                value, inner_sound = self._walk_list(schema, value, path) if sound else (value, False)
            case _:
                inner_sound = self._check_text(schema, value, path)
        sound = sound and inner_sound
        if sound:
            for rule in schema.rules:
                if not rule.is_transition and (why := judge(rule, value)) is not None:
                    finding = _broken(rule, why, value, path)
                    self._find(finding.code, finding.path, finding.what, finding.fix)
        return value, sound

    def _walk_object(self, schema: Schema, value: dict[str, Json], path: Path) -> tuple[dict[str, Json], bool]:
        kept: dict[str, Json] = {}
        sound = True
        for key, item in value.items():
            inner = schema.properties.get(key, schema.values)
            if inner is None:
                if schema.keeps_unknown:
                    kept[key] = item
                else:
                    self._find("SMI-V004", (*path, key), "unknown field", _close_match(key, schema))
            elif item is not None:  # null is the same as absent
                kept[key], inner_sound = self.walk(inner, item, (*path, key))
                sound = sound and inner_sound
        for key, inner in schema.properties.items():
            if inner.default is not None and key not in kept:
                kept[key] = inner.default
        for key in schema.required:
            if key not in kept:
                description = schema.properties[key].description
                self._find(
                    "SMI-V003", (*path, key), "Required value", f"Add it: {description}" if description else "Add it"
                )
                sound = False
        return kept, sound

    def _walk_list(self, schema: Schema, value: list[Json], path: Path) -> tuple[list[Json], bool]:
        assert schema.items is not None  # noqa: S101 - every list has items
        kept: list[Json] = []
        sound = True
        seen: set[str] = set()
        for index, item in enumerate(value):
            clean, inner_sound = self.walk(schema.items, item, (*path, index))
            kept.append(clean)
            sound = sound and inner_sound
            identity = _identity(schema, clean)
            if identity is not None and identity in seen:
                self._find("SMI-V007", (*path, index), f"Duplicate value: {identity}", "Keep one of the two")
            elif identity is not None:
                seen.add(identity)
        return kept, sound

    def _check_size(self, schema: Schema, value: Json, path: Path) -> bool:
        """Whether rules can be evaluated; too much is what the server stops at, too, since rules cost by size."""
        if isinstance(value, str | list | dict):
            size, unit = len(value), {str: "chars", list: "items", dict: "properties"}[type(value)]
            if schema.max_length is not None and size > schema.max_length:
                what = (
                    f"Too long: may not be more than {schema.max_length} bytes"
                    if isinstance(value, str)
                    else f"Too many: {size}: must have at most {schema.max_length} items"
                )
                self._find("SMI-V006", path, what, "Shorten it")
                return False
            if schema.min_length is not None and size < schema.min_length:
                what = f"Invalid value: {_shown(value)}: should be at least {schema.min_length} {unit} long"
                self._find("SMI-V006", path, what, "Leave the field out, or say something")
                return isinstance(value, str)
        elif isinstance(value, int):
            if schema.minimum is not None and value < schema.minimum:
                what = f"Invalid value: {value}: should be greater than or equal to {schema.minimum}"
                self._find("SMI-V006", path, what, "Use a larger number")
            if schema.maximum is not None and value > schema.maximum:
                what = f"Invalid value: {value}: should be less than or equal to {schema.maximum}"
                self._find("SMI-V006", path, what, "Use a smaller number")
        return True

    def _check_text(self, schema: Schema, value: Json, path: Path) -> bool:
        if schema.enum and value not in schema.enum:
            supported = ", ".join(f'"{word}"' for word in schema.enum)
            what = f"Unsupported value: {_shown(value)}: supported values: {supported}"
            self._find("SMI-V005", path, what, "Use one of them, letter for letter")
            return False
        if schema.format == "date-time" and not _is_time(value):
            what = f"Invalid value: {_shown(value)}: must be of type date-time"
            self._find("SMI-V002", path, what, "Write it as 2024-01-31T13:45:00Z")
            return False
        return True


def _identity(schema: Schema, item: Json) -> str | None:
    """What makes an item of a set or map unlike the others; None if nothing has to."""
    if schema.list_type == "set":
        return _shown(item)
    if schema.list_type == "map" and isinstance(item, dict) and all(key in item for key in schema.list_keys):
        return json.dumps({key: item[key] for key in schema.list_keys}, separators=(",", ":"), ensure_ascii=False)
    return None


def _broken(rule: Rule, what: str, value: Json, path: Path) -> Finding:
    match rule.reason:
        case "FieldValueRequired":
            prefix = "Required value"
        case "FieldValueForbidden":
            prefix = "Forbidden"
        case _:
            prefix = f"Invalid value: {_shown(value)}" if isinstance(value, str | int) else "Invalid value"
    at = tuple(step for step in rule.at.split(".") if step)
    return Finding(code=rule.code, what=f"{prefix}: {what}", fix=rule.fix, path=(*path, *at))


def _shown(value: Json) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:80]}…"


def _is_time(value: Json) -> bool:
    try:
        msgspec.convert(value, datetime)
    except msgspec.ValidationError:
        return False
    return True


def _close_match(key: str, schema: Schema) -> str:
    from difflib import get_close_matches

    close = get_close_matches(key[:64], schema.properties, n=1)
    if close:
        return f"Did you mean '{close[0]}'?"
    known = ", ".join(sorted(schema.properties))
    return f"Remove it; known here: {known}" if known else "Remove it"


# ---------------------------------------------------------------------------------------------------------------------
# Metadata is the server's own business, so it is not in the CRDs; these are its rules as far as users meet them.


def _name_rule(pattern: str, what: str, fix: str, *, size: int = 253) -> Rule:
    expression = f'size(self) <= {size} && self.matches("^({pattern})?$")'  # empty is the same as absent
    return Rule(code="SMI-V008", expression=expression, what=what, fix=fix)


_SUBDOMAIN = _name_rule(
    SUBDOMAIN,
    "this is not a name that Kubernetes takes",
    "Use at most 253 lower-case letters, digits, '-' and '.', beginning and ending with a letter or digit",
)
_LABEL = _name_rule(
    DNS_LABEL,
    "this is not the name of a namespace",
    "Use at most 63 lower-case letters, digits and '-', beginning and ending with a letter or digit",
    size=63,
)
_KEYS = Rule(
    code="SMI-L001",
    expression=f'self.all(k, size(k) <= 317 && k.matches("^({LABEL_KEY})$"))',
    what="a key here is not one that Kubernetes takes",
    what_expression=(
        f'"\'" + self.filter(k, size(k) > 317 || !k.matches("^({LABEL_KEY})$"))[0] '
        '+ "\' is not a key that Kubernetes takes"'
    ),
    fix="Use letters, digits, '-', '_' and '.', with a DNS name and a slash before it if need be",
)
_VALUES = Rule(
    code="SMI-L003",
    expression=f'self.all(k, size(self[k]) <= 63 && self[k].matches("^{LABEL_VALUE}$"))',
    what="a value here is not one that a label can have",
    fix="Use at most 63 letters, digits, '-', '_' and '.', beginning and ending with a letter or digit",
)
_ANY = Schema(type="object", keeps_unknown=True)
_TEXT = Schema(type="string")
_TIME = Schema(type="string", format="date-time")
_NUMBER = Schema(type="integer")
_MAX_KEYS = 1024
"""Most labels, and most annotations. The server bounds only their size, but a rule costs by their number."""
METADATA = Schema(
    type="object",
    properties={
        "name": Schema(type="string", rules=(_SUBDOMAIN,)),
        "generateName": _TEXT,
        "namespace": Schema(type="string", rules=(_LABEL,)),
        "labels": Schema(type="object", values=_TEXT, max_length=_MAX_KEYS, rules=(_KEYS, _VALUES)),
        "annotations": Schema(type="object", values=_TEXT, max_length=_MAX_KEYS, rules=(_KEYS,)),
        "finalizers": Schema(type="array", items=_TEXT),
        "ownerReferences": Schema(type="array", items=_ANY),
        "managedFields": Schema(type="array", items=_ANY),
        "uid": _TEXT,
        "resourceVersion": _TEXT,
        "selfLink": _TEXT,
        "generation": _NUMBER,
        "creationTimestamp": _TIME,
        "deletionTimestamp": _TIME,
        "deletionGracePeriodSeconds": _NUMBER,
    },
    rules=(
        Rule(
            code="SMI-V003",
            expression='[has(self.name) && self.name != "", has(self.generateName)].exists(given, given)',
            what="name or generateName is required",
            fix="Give the object a name",
            at=".name",
            reason="FieldValueRequired",
        ),
    ),
)
