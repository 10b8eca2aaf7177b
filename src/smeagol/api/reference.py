"""The reference page of a kind, written from its model, so that it cannot lag behind."""

from __future__ import annotations

from collections.abc import Iterator

from smeagol.api.kinds import Kind
from smeagol.api.meta import GROUP, VERSION
from smeagol.api.rules import Rule
from smeagol.api.schema import Schema, schema_of

__all__ = ["reference"]


def reference(kind: Kind) -> str:
    """Markdown: names, fields, rules, columns."""
    schema = schema_of(kind.model)
    scope = "one per namespace and name" if kind.namespaced else "cluster-scoped"
    names = ", ".join(f"`{name}`" for name in (f"{kind.plural}.{GROUP}", kind.plural, *kind.short_names))
    lines = [
        f"# {kind.name}",
        "",
        schema.description,
        "",
        f"`apiVersion: {GROUP}/{VERSION}`, `kind: {kind.name}`, {scope}. For kubectl: {names}; category `smi`.",
        "",
        "## Fields",
        "",
        "| Field | Type | Meaning |",
        "|---|---|---|",
        *(
            f"| `{path}` | {_type(field, required=required)} | {field.description} |"
            for path, field, required in _fields(schema)
        ),
        "",
        "## Rules",
        "",
        "The API server refuses what breaks them, and so does `smeagol validate`.",
        "",
        "| Where | Refused, because | Mend it | |",
        "|---|---|---|---|",
        *(_rule_row(path, rule) for path, rule in _rules(schema, "")),
        "",
        "## Columns of `kubectl get`",
        "",
        "| Column | Meaning |",
        "|---|---|",
        *(
            f"| {column.name}{' (with `-o wide`)' if column.wide else ''} | {column.description} |"
            for column in kind.columns
        ),
        "",
    ]
    return "\n".join(lines)


def _rule_row(path: str, rule: Rule) -> str:
    cause = f"{rule.what[0].upper()}{rule.what[1:]}"
    return f"| `{path}` | {cause}. | {rule.fix}. | [{rule.code}](../problems/{rule.code}.md) |"


def _fields(schema: Schema, path: str = "") -> Iterator[tuple[str, Schema, bool]]:
    """All fields but those of drafts, outermost first: path, schema, whether it is required."""
    for name, inner in schema.properties.items():
        if inner.is_draft:
            continue
        at = f"{path}.{name}" if path else name
        yield at, inner, name in schema.required or inner.required_by_rule
        yield from _fields(inner, at)
        for within in (inner.items, inner.values):
            if within is not None:
                yield from _fields(within, f"{at}[]")


def _type(schema: Schema, *, required: bool) -> str:
    of = schema.items or schema.values
    name = {
        "object": "map of text to" if of else "object",
        "array": "list of",
        "string": "text",
        "integer": "whole number",
        "boolean": "true or false",
        "int-or-string": "whole number or text",
    }[schema.type]
    if schema.enum:
        name = " or ".join(f"`{word}`" for word in schema.enum)
    elif schema.format == "date-time":
        name = "time"
    elif of is not None:
        name = f"{name} {_type(of, required=False).split(',')[0]}"
    notes = [name]
    if schema.max_length is not None:
        notes.append(
            f"at most {schema.max_length}" + (" characters" if schema.type in {"string", "int-or-string"} else "")
        )
    if schema.minimum is not None and schema.maximum is not None:
        notes.append(f"{schema.minimum} to {schema.maximum}")
    if required:
        notes.append("required")
    if schema.default is not None:
        notes.append(f"default `{schema.default}`")
    return ", ".join(notes)


def _rules(schema: Schema, path: str) -> Iterator[tuple[str, Rule]]:
    for rule in schema.rules:
        yield f"{path}{rule.at}", rule
    for name, inner in schema.properties.items():
        at = f"{path}.{name}" if path else name
        yield from _rules(inner, at)
        for within in (inner.items, inner.values):
            if within is not None:
                yield from _rules(within, f"{at}[]")
