"""The difference of two JSON values as a JSON Patch (RFC 6902), the one form in which a webhook may change an object.

Only `add`, `replace` and `remove` are written. What is equal is not mentioned, so that the patch of a large Pod is as
small as what was changed in it, and that of a Pod that is as it should be is empty.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import msgspec

__all__ = ["Operation", "diff"]


class Operation(msgspec.Struct, frozen=True, omit_defaults=True):
    """One step of a patch; `path` is a JSON Pointer (RFC 6901). `remove` has no value."""

    op: Literal["add", "replace", "remove"]
    path: str
    value: Any = msgspec.UNSET  # any JSON value: a patch carries what the object has


def diff(old: Any, new: Any) -> tuple[Operation, ...]:  # any two JSON values
    """The steps that make `new` of `old`, to be taken in their order."""
    return tuple(_diff(old, new, ""))


def _diff(old: Any, new: Any, path: str) -> Iterator[Operation]:
    if _same(old, new):
        return
    if isinstance(old, dict) and isinstance(new, dict):
        for key in old.keys() - new.keys():
            yield Operation("remove", f"{path}/{_escaped(key)}")
        for key, value in new.items():
            if key in old:
                yield from _diff(old[key], value, f"{path}/{_escaped(key)}")
            else:
                yield Operation("add", f"{path}/{_escaped(key)}", value)
    elif isinstance(old, list) and isinstance(new, list):
        yield from _diff_lists(old, new, path)
    else:
        yield Operation("replace", path, new)


def _diff_lists(old: list[Any], new: list[Any], path: str) -> Iterator[Operation]:
    """What both begin and end with stays; between that, item against item, and the rest comes or goes."""
    start = _common(old, new)
    end = _common(old[start:][::-1], new[start:][::-1])
    before, after = old[start : len(old) - end], new[start : len(new) - end]
    both = min(len(before), len(after))
    for index in range(both):
        yield from _diff(before[index], after[index], f"{path}/{start + index}")
    for index in reversed(range(both, len(before))):
        yield Operation("remove", f"{path}/{start + index}")
    for index in range(both, len(after)):
        yield Operation("add", f"{path}/{start + index}", after[index])


def _common(one: list[Any], other: list[Any]) -> int:
    """How many items both begin with."""
    count = 0
    for left, right in zip(one, other, strict=False):
        if not _same(left, right):
            break
        count += 1
    return count


def _same(one: Any, other: Any) -> bool:
    """Equal as JSON: to Python, True is 1 and 1.0 is 1."""
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(value, other[key]) for key, value in one.items())
    if isinstance(one, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")
