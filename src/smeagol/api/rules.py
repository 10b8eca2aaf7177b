"""What stands beside a field in a model: its meaning, and the rules that its type cannot state.

A rule is one CEL expression. The CRD carries it, so the API server refuses what breaks it, and `smeagol validate`
evaluates the same expression offline.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import msgspec

from smeagol.errors import sentence

__all__ = ["DraftField", "FieldNotes", "Rule", "doc"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One CEL rule over `self` (and `oldSelf`, if it is about a change), with cause and cure for who breaks it.

    `what_expression` may compute the cause, so that it can name the culprit; `what` is the fall-back that Kubernetes
    demands. `at` is the field to blame, relative to where the rule stands, as `.service`.
    """

    code: str
    expression: str
    what: str
    fix: str
    what_expression: str = ""
    at: str = ""
    reason: Literal["FieldValueInvalid", "FieldValueRequired", "FieldValueForbidden"] = "FieldValueInvalid"

    @property
    def message(self) -> str:
        return sentence(self.what, self.fix)

    @property
    def is_transition(self) -> bool:
        """Whether the rule compares with the stored object, and so says nothing about a new one."""
        return "oldSelf" in self.expression


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftField:
    """A field of the early drafts. The CRD knows it only to refuse it with a message that says what to do.

    Without that, the server would drop the field or call it unknown, and its user would not learn of `smeagol convert`.
    """

    name: str
    items: Literal["string", "object"]

    @property
    def rule(self) -> Rule:
        return Rule(
            code="SMI-V010",
            expression=f"!has(self.{self.name})",
            what=f"'{self.name}' belongs to an early draft of the Service Mesh Interface",
            fix="Run `smeagol convert` on the manifest and apply what it prints",
            at=f".{self.name}",
            reason="FieldValueForbidden",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldNotes:
    """What the CRD writer and the offline check need to know of a field beyond its type."""

    rules: tuple[Rule, ...] = ()
    required_by_rule: bool = False
    """Required, but a rule says so: its message beats the server's bare 'Required value'."""


def doc(
    description: str,
    *,
    min_length: int | None = None,
    max_length: int | None = None,
    max_text: int | None = None,
    ge: int | None = None,
    le: int | None = None,
    rules: tuple[Rule, ...] = (),
    required_by_rule: bool = False,
    list_type: str = "",
    list_keys: tuple[str, ...] = (),
) -> msgspec.Meta:
    """Annotate a field of a model. `min_length` and `max_length` count characters, items or entries.

    `max_text` is the `max_length` of a quantity, which msgspec does not know to be written as text.
    """
    schema: dict[str, object] = {}
    if max_text is not None:
        schema["maxLength"] = max_text
    if list_type:
        schema["x-kubernetes-list-type"] = list_type
    if list_keys:
        schema["x-kubernetes-list-map-keys"] = list(list_keys)
    notes = {"notes": FieldNotes(rules=rules, required_by_rule=required_by_rule)}
    if ge is not None or le is not None:
        return msgspec.Meta(description=description, ge=ge, le=le, extra_json_schema=schema or None, extra=notes)
    return msgspec.Meta(
        description=description,
        min_length=min_length,
        max_length=max_length,
        extra_json_schema=schema or None,
        extra=notes,
    )
