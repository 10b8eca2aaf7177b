"""A model, to the schema that the API server and the offline check both hold objects to.

The schema is what Kubernetes calls structural: every field has one type, nothing recurs, and rules stand at the field
they are about.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import cache
from typing import Literal, TypeAlias

from msgspec.inspect import (
    BoolType,
    CustomType,
    DateTimeType,
    DictType,
    EnumType,
    Field,
    IntType,
    Metadata,
    NoneType,
    StrType,
    StructType,
    Type,
    UnionType,
    VarTupleType,
    type_info,
)

from smeagol.api.documents import Json
from smeagol.api.meta import Model
from smeagol.api.rules import DraftField, FieldNotes, Rule
from smeagol.quantity import Weight

__all__ = ["Schema", "rules_of", "schema_of"]

TypeName: TypeAlias = Literal["object", "array", "string", "integer", "boolean", "int-or-string"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """What may stand at one place. `maximum` and `minimum` are about numbers, the lengths about everything else."""

    type: TypeName
    description: str = ""
    format: str = ""
    properties: Mapping[str, Schema] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    values: Schema | None = None
    """For objects with free keys: what each value is."""
    items: Schema | None = None
    enum: tuple[str, ...] = ()
    default: str | int | bool | None = None
    minimum: int | None = None
    maximum: int | None = None
    min_length: int | None = None
    max_length: int | None = None
    list_type: str = ""
    list_keys: tuple[str, ...] = ()
    rules: tuple[Rule, ...] = ()
    keeps_unknown: bool = False
    required_by_rule: bool = False
    """Required, but the rules say so, and better."""
    is_draft: bool = False
    """Of an early draft: known only to be refused."""

    def to_json(self) -> dict[str, Json]:
        """As OpenAPI v3 has it, with the extensions of Kubernetes."""
        by_type = {"string": "Length", "array": "Items", "object": "Properties", "int-or-string": "Length"}
        length = by_type.get(self.type, "Length")
        entries: dict[str, Json] = {
            "description": self.description,
            "type": "" if self.type == "int-or-string" else self.type,
            "format": self.format,
            "enum": list(self.enum),
            "default": self.default,
            "minimum": self.minimum,
            "maximum": self.maximum,
            f"min{length}": self.min_length,
            f"max{length}": self.max_length,
            "items": self.items.to_json() if self.items else None,
            "additionalProperties": self.values.to_json() if self.values else None,
            "properties": {name: schema.to_json() for name, schema in self.properties.items()},
            "required": list(self.required),
            "x-kubernetes-int-or-string": True if self.type == "int-or-string" else None,
            "x-kubernetes-list-type": self.list_type,
            "x-kubernetes-list-map-keys": list(self.list_keys),
            "x-kubernetes-preserve-unknown-fields": True if self.keeps_unknown else None,
            "x-kubernetes-validations": [_rule_json(rule) for rule in self.rules],
        }
        return {key: entry for key, entry in entries.items() if entry is not None and entry not in ("", [], {})}


def _rule_json(rule: Rule) -> Json:
    entries: dict[str, Json] = {
        "rule": rule.expression,
        "message": rule.message,
        "messageExpression": f'{rule.what_expression} + ". {rule.fix}."' if rule.what_expression else "",
        "fieldPath": rule.at,
        "reason": rule.reason,
    }
    return {key: entry for key, entry in entries.items() if entry}


@cache
def schema_of(model: type[Model]) -> Schema:
    """The schema of a model, without metadata: that is the API server's own business."""
    return _struct(type_info(model))


def rules_of(schema: Schema) -> Iterator[Rule]:
    """All rules of a schema, outermost first."""
    yield from schema.rules
    for inner in (*schema.properties.values(), schema.items, schema.values):
        if inner is not None:
            yield from rules_of(inner)


def _schema(type_: Type) -> Schema:
    match type_:
        case Metadata():
            return _annotated(type_)
        case StructType():
            return _struct(type_)
        case UnionType():
            members = [member for member in type_.types if not isinstance(member, NoneType)]
            return _schema(members[0]) if len(members) == 1 else Schema(type="int-or-string")
        case CustomType() if type_.cls is Weight:
            return Schema(type="int-or-string")
        case EnumType():
            return Schema(type="string", enum=tuple(member.value for member in type_.cls))
        case VarTupleType():
            return Schema(
                type="array",
                items=_schema(type_.item_type),
                min_length=type_.min_length,
                max_length=type_.max_length,
            )
        case DictType():
            return Schema(
                type="object",
                values=_schema(type_.value_type),
                min_length=type_.min_length,
                max_length=type_.max_length,
            )
        case StrType():
            return Schema(type="string", min_length=type_.min_length, max_length=type_.max_length)
        case IntType():
            return Schema(type="integer", format="int64", minimum=type_.ge, maximum=type_.le)
        case BoolType():
            return Schema(type="boolean")
        case DateTimeType():
            return Schema(type="string", format="date-time")
        case _:
            raise TypeError(type_)  # a model uses a type that no CRD has so far


def _annotated(type_: Metadata) -> Schema:
    schema = _schema(type_.type)
    notes = (type_.extra or {}).get("notes", FieldNotes())
    extra = type_.extra_json_schema or {}
    return replace(
        schema,
        description=extra.get("description", schema.description),
        list_type=extra.get("x-kubernetes-list-type", schema.list_type),
        list_keys=tuple(extra.get("x-kubernetes-list-map-keys", schema.list_keys)),
        max_length=extra.get("maxLength", schema.max_length),
        rules=(*schema.rules, *notes.rules),
        required_by_rule=notes.required_by_rule,
    )


def _struct(type_: Type) -> Schema:
    assert isinstance(type_, StructType)  # noqa: S101 - only called for models
    assert issubclass(type_.cls, Model)  # noqa: S101 - models are made of models
    model = type_.cls
    return Schema(
        type="object",
        description=inspect.cleandoc(model.__doc__ or "").replace("\n", " "),
        properties={
            **{entry.encode_name: _field(entry) for entry in type_.fields if entry.encode_name != "metadata"},
            **{draft.name: _draft(draft) for draft in model.drafts},
        },
        required=tuple(entry.encode_name for entry in type_.fields if _is_required(entry)),
        rules=(*(draft.rule for draft in model.drafts), *model.rules),
    )


def _is_required(entry: Field) -> bool:
    notes = (entry.type.extra or {}).get("notes") if isinstance(entry.type, Metadata) else None
    return entry.required and not (notes and notes.required_by_rule) and entry.encode_name != "metadata"


def _field(entry: Field) -> Schema:
    """Defaults that the server writes into objects are only those that say something: empty is the same as absent."""
    default = entry.default.value if isinstance(entry.default, Enum) else entry.default
    return replace(_schema(entry.type), default=default if isinstance(default, str | int) and default else None)


def _draft(draft: DraftField) -> Schema:
    items = (
        Schema(type="string", max_length=1024) if draft.items == "string" else Schema(type="object", keeps_unknown=True)
    )
    return Schema(
        type="array",
        description="Of an early draft; refused.",
        items=items,
        max_length=1024,
        list_type="atomic",
        is_draft=True,
    )
