"""What is different between two objects, field by field, as people read it. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from smeagol.api.documents import Json

__all__ = ["differences"]

_LONGEST = 60
_ABSENT = "-"


def differences(before: Json, after: Json, at: str = "") -> Iterator[str]:
    """One line for each field: `spec.replicas: 2 → 3`; what is missing on one side is `-`. None if they are equal.

    Items of lists are told apart by their names, as Kubernetes does where they have one.
    """
    if isinstance(before, dict) and isinstance(after, dict):
        yield from _fields(before, after, at)
    elif isinstance(before, list) and isinstance(after, list):
        yield from _fields(_named(before), _named(after), at)
    elif before != after:
        yield f"{at}: {_text(before)} → {_text(after)}"


def _fields(before: Mapping[str, Json], after: Mapping[str, Json], at: str) -> Iterator[str]:
    for name in dict.fromkeys((*before, *after)):
        path = f"{at}{name}" if name.startswith("[") or not at else f"{at}.{name}"
        if name in before and name in after:
            yield from differences(before[name], after[name], path)
        elif name in before:
            yield f"{path}: {_text(before[name])} → {_ABSENT}"
        else:
            yield f"{path}: {_ABSENT} → {_text(after[name])}"


def _named(items: list[Json]) -> dict[str, Json]:
    """By name; those that have none, or share one, by number."""
    names = [item.get("name") if isinstance(item, dict) else None for item in items]
    named = all(isinstance(name, str) for name in names) and len(set(map(str, names))) == len(names)
    return {f"[{names[number] if named else number}]": item for number, item in enumerate(items)}


def _text(value: Json) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
