"""CEL rules, evaluated offline as the API server does."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from smeagol.api.documents import Json
from smeagol.api.rules import Rule

if TYPE_CHECKING:
    from cel_expr_python import cel

__all__ = ["judge"]


def judge(rule: Rule, value: Json, old: Json = None) -> str | None:
    """What is wrong with `value`, or None if it keeps the rule. A rule that cannot be evaluated is broken."""
    if _evaluate(rule.expression, value, old) is True:
        return None
    computed = _evaluate(rule.what_expression, value, old) if rule.what_expression else None
    return computed if isinstance(computed, str) else rule.what


def _evaluate(expression: str, value: Json, old: Json) -> bool | str | None:
    try:
        result = _compiled(expression).eval(data={"self": value, "oldSelf": old}).value()
    except RuntimeError:  # a budget of steps was exceeded
        return None
    # Other errors are values, too: texts. Only expressions for texts may have those.
    return result if isinstance(result, bool | str) else None


@cache
def _compiled(expression: str) -> cel.Expression:
    return _environment().compile(expression)


@cache
def _environment() -> Any:  # Any: cel.Env, whose module is imported late
    from cel_expr_python import cel  # 40 ms, and not needed to list or convert

    return cel.NewEnv(variables={"self": cel.Type.DYN, "oldSelf": cel.Type.DYN})
