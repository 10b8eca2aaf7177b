"""Manifests as text, to plain values with their places: YAML and JSON, many documents a file, from anybody.

Values come out as `kubectl` sends them to the API server, which follows YAML 1.1 as `sigs.k8s.io/yaml` does: `010` is
8, `1e3` is 1000, `no` is false. That, and the line of every key, is why this stands on the events of libyaml: no loader
at hand gives both.

The text is not trusted. Its size, nesting and number of values are bounded, aliases are counted as what they
expand to, and keys that occur twice are refused, since readers disagree on which of the two counts.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Protocol, TypeAlias

import yaml

from smeagol.api.problems import Path, Place, Problem

__all__ = [
    "MAX_BYTES",
    "MAX_DEPTH",
    "MAX_VALUES",
    "STDIN",
    "Document",
    "Json",
    "Reading",
    "read_path",
    "read_text",
    "write_text",
]

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

Lines: TypeAlias = dict[int, dict[str, int] | list[int]]

MAX_BYTES = 4 * 1024 * 1024
"""Largest file. The API server takes objects of at most 3 MiB, etcd keeps 1.5 MiB; a file holds a few."""

MAX_DEPTH = 64
"""Deepest nesting. Manifests stay far below: a Pod needs about ten levels, the schema of a large CRD about forty."""

MAX_VALUES = 300_000
"""Most values in a file, aliases counted as what they expand to: what an ordinary file of MAX_BYTES holds."""

STDIN = "-"
_SUFFIXES = frozenset({".yaml", ".yml", ".json"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One document of a file, or one item of a `List` in it."""

    value: Json
    place: Place
    lines: Lines = field(repr=False, compare=False)
    """Lines of the keys or items of each mapping and list, by its id. The containers live as long as `value` does."""

    def place_of(self, path: Path) -> Place:
        """Where `path` stands; for what is missing, where the nearest thing around it stands."""
        value, line = self.value, self.place.line
        for step in path:
            lines = self.lines.get(id(value))
            if isinstance(value, dict) and isinstance(step, str) and step in value:
                line = lines.get(step, line) if isinstance(lines, dict) else line
                value = value[step]
            elif isinstance(value, list) and isinstance(step, int) and step < len(value):
                line = lines[step] if isinstance(lines, list) else line
                value = value[step]
            else:
                break
        return Place(file=self.place.file, line=line)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What came out of text: the documents that could be read, and what was wrong with the rest."""

    documents: tuple[Document, ...] = ()
    problems: tuple[Problem, ...] = ()


def read_path(path: FilePath) -> Reading:
    """Read a file, or each `.yaml`, `.yml` and `.json` file below a folder, in the order of their names."""
    try:
        files = (
            sorted(file for file in path.rglob("*") if file.suffix in _SUFFIXES and file.is_file())
            if path.is_dir()
            else [path]
        )
    except OSError as error:
        return Reading(problems=(_unreadable(path, error),))
    readings = [_read_file(file) for file in files]
    return Reading(
        documents=tuple(document for reading in readings for document in reading.documents),
        problems=tuple(problem for reading in readings for problem in reading.problems),
    )


def _read_file(path: FilePath) -> Reading:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        return Reading(problems=(_unreadable(path, error),))
    return read_text(data, file=str(path))


def _unreadable(path: FilePath, error: OSError) -> Problem:
    return Problem(
        code="SMI-F001",
        what=f"the file cannot be read: {error.strerror or error}",
        fix="Check the path and its permissions",
        place=Place(file=str(path)),
    )


def read_text(text: str | bytes, *, file: str = STDIN) -> Reading:
    """Read all documents of a text. `file` is what places name. Empty documents are left out, lists are taken apart.

    One that is no YAML hides none of the others.
    """
    data = text if isinstance(text, bytes) else text.encode("utf-8", errors="surrogatepass")
    documents: list[Document] = []
    problems: list[Problem] = []
    try:
        if len(data) > MAX_BYTES:
            raise _Refused(
                "SMI-F002",
                f"the text is larger than {MAX_BYTES // 1024**2} MiB",
                "Split it into several files",
            )
        for document in _parse(_decoded(data), file, problems):
            documents.extend(_items(document))
    except _Refused as refused:
        problems.append(refused.problem(file))
    return Reading(documents=tuple(documents), problems=tuple(problems))


def write_text(*values: Json) -> str:
    """YAML that Kubernetes, and `read_text`, read as these values; many documents in one text, keys in their order."""
    return yaml.dump_all(
        values,
        Dumper=_Dumper,
        sort_keys=False,
        default_flow_style=False,
        allow_unicode=True,
        width=120,
        explicit_start=len(values) > 1,
    )


class _Refused(Exception):  # noqa: N818 - never leaves this module, where it becomes a Problem
    def __init__(self, code: str, what: str, fix: str = "", line: int = 0) -> None:
        super().__init__(what)
        self.code, self.what, self.fix, self.line = code, what, fix, line

    def problem(self, file: str) -> Problem:
        return Problem(code=self.code, what=self.what, fix=self.fix, place=Place(file=file, line=self.line))


def _decoded(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _Refused("SMI-F003", "the text is not UTF-8", "Save the file in UTF-8", line) from None


def _items(document: Document) -> Iterator[Document]:
    """A `List` is its items, as it is to kubectl."""
    value = document.value
    if value is None:
        return
    if not (
        isinstance(value, dict) and str(value.get("kind")).endswith("List") and isinstance(value.get("items"), list)
    ):
        yield document
        return
    items = value["items"]
    assert isinstance(items, list)  # noqa: S101 - checked above; mypy cannot see it through the key
    for index, item in enumerate(items):
        yield Document(value=item, place=document.place_of(("items", index)), lines=document.lines)


# ---------------------------------------------------------------------------------------------------------------------
# JSON


def _parse(text: str, file: str, problems: list[Problem]) -> Iterator[Document]:
    if text.lstrip()[:1] == "{":
        # JSON is nearly YAML, but libyaml refuses its surrogate pairs. What is no JSON either is judged as YAML.
        try:
            value = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
        except (ValueError, RecursionError):
            pass
        else:
            yield Document(value=_bounded(value), place=Place(file=file, line=1), lines={})
            return
    yield from _yaml(text, file, problems)


_SURROGATE = re.compile("[\ud800-\udfff]")


class _NotPlainJsonError(ValueError):
    pass


def _unique(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    mapping = dict(pairs)
    if len(mapping) != len(pairs):
        raise _NotPlainJsonError  # so that YAML's reader names the line
    return mapping


def _no_constant(_name: str) -> Json:
    raise _NotPlainJsonError


def _bounded(value: Json, depth: int = 0, seen: list[int] | None = None) -> Json:
    """`value` with its numbers as the API server sees them, if it is within the limits."""
    counter = seen if seen is not None else [0]
    counter[0] += 1
    _check_limits(depth, counter[0], line=0)
    if isinstance(value, dict):
        return {_SURROGATE.sub("\ufffd", key): _bounded(item, depth + 1, counter) for key, item in value.items()}
    if isinstance(value, list):
        return [_bounded(item, depth + 1, counter) for item in value]
    if isinstance(value, str):
        return _SURROGATE.sub("\ufffd", value)  # as Go reads half a pair
    return _number(value, line=0) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _check_limits(depth: int, values: int, line: int) -> None:
    if depth > MAX_DEPTH:
        raise _Refused("SMI-F005", f"the nesting is deeper than {MAX_DEPTH} levels", "Flatten the document", line)
    if values > MAX_VALUES:
        raise _Refused(
            "SMI-F006",
            f"there are more than {MAX_VALUES} values, aliases counted as what they stand for",
            "Split the file, or write out what the aliases stand for",
            line,
        )


# ---------------------------------------------------------------------------------------------------------------------
# YAML


_SEPARATOR = re.compile(r"^---(?=\s|$)", re.MULTILINE)
_OF_ONE_DOCUMENT = frozenset({"SMI-F003", "SMI-F004"})
_MOST_BROKEN = 20
"""So many documents of a text are told to be broken; after each, reading begins anew."""


def _yaml(text: str, file: str, problems: list[Problem]) -> Iterator[Document]:
    """All documents but those that are none, which are told to `problems`. Raises _Refused for what no text may be."""
    values = 0
    while True:
        composer = _Composer(text, file, values)
        try:
            yield from composer.documents()
        except _Refused as refused:
            rest = _after(text, max(refused.line, composer.began + 1)) if refused.code in _OF_ONE_DOCUMENT else ""
            if not rest:
                raise
            problems.append(refused.problem(file))
            if len(problems) == _MOST_BROKEN:
                raise _Refused("SMI-F003", "the rest is not read", "Mend the documents above", refused.line) from None
            text, values = rest, composer.values
        else:
            return


def _after(text: str, line: int) -> str:
    """The text from the first document on that begins at this line or later, in its place; empty if there is none."""
    at, seen = 0, 1
    for match in _SEPARATOR.finditer(text):
        seen += text.count("\n", at, match.start())
        at = match.start()
        if seen >= line:
            return "\n" * (seen - 1) + text[at:]
    return ""


@dataclass(slots=True)
class _Open:
    """A mapping or list that is being read."""

    container: dict[str, Json] | list[Json]
    lines: dict[str, int] | list[int]
    anchor: str | None
    size: int = 1
    key: str | None = None
    is_merge: bool = False
    explicit: set[str] = field(default_factory=set)


class _Composer:
    """Builds values from libyaml's events, on a stack of its own, so that nesting cannot exhaust Python's."""

    def __init__(self, text: str, file: str, values: int) -> None:
        """`values`: how many there are before this text."""
        self.began = 0
        """the line at which the last document began"""
        self.values = values
        self._text = text
        self._file = file
        self._lines: Lines = {}
        self._sizes: dict[int, int] = {}
        self._anchors: dict[str, Json] = {}
        self._stack: list[_Open] = []
        self._root: Json = None

    def documents(self) -> Iterator[Document]:
        line = 1
        try:
            for event in yaml.parse(self._text, Loader=yaml.CSafeLoader):
                match event:
                    case yaml.DocumentStartEvent():
                        self._anchors, self._root, self._lines, self._sizes = {}, None, {}, {}
                        self.began = _line(event.start_mark)
                        line = _line(event.end_mark)
                    case yaml.DocumentEndEvent():
                        yield Document(value=self._root, place=Place(file=self._file, line=line), lines=self._lines)
                    case yaml.StreamStartEvent() | yaml.StreamEndEvent():
                        pass
                    case _:
                        if not self._stack and self._root is None:
                            line = _line(event.start_mark)
                        self._take(event, _line(event.start_mark))
        except yaml.MarkedYAMLError as error:
            raise _Refused(
                "SMI-F003",
                f"this is not YAML: {error.problem or error.context}",
                "Mind indentation, quotes and the blank after a colon",
                _line(error.problem_mark or error.context_mark),
            ) from None
        except yaml.reader.ReaderError as error:
            position = error.position if isinstance(error.position, int) else 0
            raise _Refused(
                "SMI-F003",
                f"this is not YAML: {error.reason}",
                "Remove the character, or write it as an escape in double quotes",
                self._text.count("\n", 0, position) + 1,
            ) from None

    def _take(self, event: yaml.Event, line: int) -> None:
        match event:
            case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                _check_tag(event.tag, _CONTAINER_TAGS, line)
                self._count(1, line)
                is_mapping = isinstance(event, yaml.MappingStartEvent)
                frame = _Open({} if is_mapping else [], {} if is_mapping else [], event.anchor)
                self._check_key_is_scalar(line)
                if isinstance(self._stack[-1].lines if self._stack else None, list):
                    self._note_line(line)
                self._stack.append(frame)
                _check_limits(len(self._stack), self.values, line)
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                frame = self._stack.pop()
                self._lines[id(frame.container)] = frame.lines
                self._sizes[id(frame.container)] = frame.size
                self._remember(frame.anchor, frame.container)
                self._put(frame.container, frame.size, line)
            case yaml.AliasEvent():
                self._take_alias(event.anchor or "", line)
            case yaml.ScalarEvent():
                self._count(1, line)
                if self._expects_key():
                    self._take_key(event, line)
                    return
                value = _scalar(event, line)
                self._remember(event.anchor, value)
                self._note_line(line)
                self._put(value, 1, line)
            case _:
                pass

    def _take_alias(self, anchor: str, line: int) -> None:
        self._check_key_is_scalar(line)
        if anchor not in self._anchors:
            raise _Refused(
                "SMI-F003",
                f"the alias '*{anchor}' stands for nothing that is complete before it",
                f"Define '&{anchor}' above, and not around the alias",
                line,
            )
        value = self._anchors[anchor]
        size = self._sizes.get(id(value), 1)
        self._count(size, line)
        self._note_line(line)
        self._put(value, size, line)

    def _count(self, values: int, line: int) -> None:
        self.values += values
        _check_limits(0, self.values, line)

    def _expects_key(self) -> bool:
        return bool(self._stack) and isinstance(self._stack[-1].container, dict) and self._stack[-1].key is None

    def _check_key_is_scalar(self, line: int) -> None:
        if self._expects_key():
            raise _Refused("SMI-F003", "a key is a list or a mapping", "Use text as the key", line)

    def _take_key(self, event: yaml.ScalarEvent, line: int) -> None:
        frame = self._stack[-1]
        frame.is_merge = event.implicit[0] and event.value == "<<"
        key = event.value if frame.is_merge else _key(_scalar(event, line), line)
        if not frame.is_merge:
            if key in frame.explicit:
                raise _Refused("SMI-F004", f"the key '{_short(key)}' occurs twice", "Keep one of the two", line)
            frame.explicit.add(key)
            assert isinstance(frame.lines, dict)  # noqa: S101 - a mapping's lines are a mapping
            frame.lines[key] = line
        self._remember(event.anchor, key)
        frame.key = key

    def _note_line(self, line: int) -> None:
        """Lines of items; those of keys are noted with the key."""
        if self._stack and isinstance(self._stack[-1].lines, list):
            self._stack[-1].lines.append(line)

    def _remember(self, anchor: str | None, value: Json) -> None:
        if anchor is not None:
            self._anchors[anchor] = value

    def _put(self, value: Json, size: int, line: int) -> None:
        if not self._stack:
            self._root = value
            return
        frame = self._stack[-1]
        frame.size += size
        if isinstance(frame.container, list):
            frame.container.append(value)
            return
        assert frame.key is not None  # noqa: S101 - libyaml gives keys and values in turn
        if frame.is_merge:
            self._merge(frame, value, line)
        else:
            frame.container[frame.key] = value
        frame.key = None

    def _merge(self, frame: _Open, value: Json, line: int) -> None:
        """`<<`: take over the keys of other mappings; what is written out, or comes from an earlier one, wins."""
        assert isinstance(frame.container, dict) and isinstance(frame.lines, dict)  # noqa: S101, PT018 - keys are in mappings only
        for source in value if isinstance(value, list) else [value]:
            if not isinstance(source, dict):
                raise _Refused("SMI-F003", "'<<' merges mappings only", "Give it a mapping, or a list of them", line)
            for key, item in source.items():
                if key not in frame.explicit and (key not in frame.container):
                    frame.container[key] = item
                    frame.lines[key] = line


# ---------------------------------------------------------------------------------------------------------------------
# Scalars, as go.yaml.in/yaml/v2 resolves them and encoding/json writes them

_PREFIX = "tag:yaml.org,2002:"
_TEXT_TAGS = frozenset({"!", f"{_PREFIX}str", f"{_PREFIX}timestamp"})
_SCALAR_TAGS = _TEXT_TAGS | {f"{_PREFIX}{name}" for name in ("int", "float", "bool", "null")}
_CONTAINER_TAGS = frozenset({"!", f"{_PREFIX}map", f"{_PREFIX}seq"})
_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"), False),
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
}
_INTEGER = re.compile(r"([+-]?)(0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO]?[0-7]+|0|[1-9][0-9]*)", re.ASCII)
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_MAX_DIGITS = 300
"""Longest integer that a float, which is what it becomes, is sure to hold."""
_NO_NUMBER = re.compile(r"[-+]?\.(inf|Inf|INF|nan|NaN|NAN)")


def _scalar(event: yaml.ScalarEvent, line: int) -> Json:
    _check_tag(event.tag, _SCALAR_TAGS, line)
    text: str = event.value
    is_quoted = event.tag is None and not event.implicit[0]
    if is_quoted or event.tag in _TEXT_TAGS:
        return text
    value = _resolved(text, line)
    if not _fits(value, (event.tag or "").removeprefix(_PREFIX)):
        raise _Refused("SMI-F003", f"{_short(text)!r} is not of the type its tag says", "Remove the tag", line)
    return value


def _fits(value: Json, tag: str) -> bool:
    match tag:
        case "null":
            return value is None
        case "bool":
            return isinstance(value, bool)
        case "int":
            return isinstance(value, int) and not isinstance(value, bool)
        case "float":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case _:
            return True


def _resolved(text: str, line: int) -> Json:
    if text in _WORDS:
        return _WORDS[text]
    if _NO_NUMBER.fullmatch(text):
        raise _Refused("SMI-F003", f"{text} is no number that JSON has", "Put it in quotes if it is text", line)
    if text[0] in "+-.0123456789":
        digits = text.replace("_", "")
        if len(digits) <= _MAX_DIGITS and (match := _INTEGER.fullmatch(digits)):
            return _number(_integer(match.group(1), match.group(2)), line)
        if _FLOAT.fullmatch(digits) and math.isfinite(number := float(digits)):
            return _number(number, line)
    return text  # also what is too large for a number, as in Go


def _integer(sign: str, digits: str) -> int:
    number = int(digits, 8 if digits[0] == "0" and digits.isdecimal() else 0)
    return -number if sign == "-" else number


def _number(value: float, line: int) -> int | float:
    """As Go writes it to JSON and reads it back: whole numbers up to 64 bits are integers, all others floats."""
    if isinstance(value, int):
        if -(2**63) <= value < 2**63:
            return value
        value = float(value) if abs(value) < sys.float_info.max else math.inf  # only JSON gets here with more
    if not math.isfinite(value):
        raise _Refused("SMI-F003", "a number here is too large", "Put it in quotes if it is text", line)
    return int(value) if value.is_integer() and abs(value) < 2**63 else value


def _key(value: Json, line: int) -> str:
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case _:
            raise _Refused("SMI-F003", "a key is neither text nor a whole number", "Put the key in quotes", line)


def _check_tag(tag: str | None, allowed: frozenset[str], line: int) -> None:
    if tag is not None and tag not in allowed:
        raise _Refused("SMI-F003", f"the tag {_short(tag)} is not allowed here", "Remove the tag", line)


class _Dumper(yaml.CSafeDumper):
    """Quotes what Kubernetes would not read as text; PyYAML alone has other ideas of `y`, `1e3` and `0o17`."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _represent_text(dumper: yaml.CSafeDumper, text: str) -> yaml.ScalarNode:
    try:
        is_text = _resolved(text, 0) == text
    except _Refused:
        is_text = False
    return dumper.represent_scalar(f"{_PREFIX}str", text, style=None if is_text else "'")


_Dumper.add_representer(str, _represent_text)


class _Mark(Protocol):
    """A place in a text; libyaml's marks and PyYAML's own have no type in common."""

    @property
    def line(self) -> int: ...


def _line(mark: _Mark | None) -> int:
    return mark.line + 1 if mark else 0


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:60]}…"
