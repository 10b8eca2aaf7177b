"""What meshes say of a route, in `status.parents`: who has taken it, and whether they hold it."""

from __future__ import annotations

from collections.abc import Mapping

from smeagol.plan import JSON
from smeagol.plan.peer import Answer, JSONObject, Verdict, at, items

__all__ = ["route_answer"]


def route_answer(route: JSONObject) -> Answer:
    """The gravest of what the controllers say of the route's one parent.

    Refused are also a route that is valid in part only, and one whose backends are not found. What is said of an older
    generation counts as not yet said.
    """
    generation = at(route, "metadata", "generation")
    answers = [_one(parent, generation) for parent in items(route, "status", "parents")]
    if not answers:
        return Answer(verdict=Verdict.SILENT)
    for verdict in (Verdict.REJECTED, Verdict.PENDING, Verdict.PROGRAMMED):
        found = [answer for answer in answers if answer.verdict is verdict]
        if found:
            return Answer(
                verdict=verdict,
                by=tuple(sorted({name for answer in found for name in answer.by})),
                message=" ".join(dict.fromkeys(answer.message for answer in found if answer.message)),
            )
    raise AssertionError  # one of the three it is


def _one(parent: JSONObject, generation: JSON) -> Answer:
    by = (str(parent.get("controllerName") or "an unnamed controller"),)
    conditions = {str(c.get("type")): c for c in items(parent, "conditions")}
    for kind, good in (("Accepted", "True"), ("ResolvedRefs", "True"), ("PartiallyInvalid", "False")):
        condition = conditions.get(kind)
        if condition is None:
            if kind == "Accepted":
                return Answer(verdict=Verdict.PENDING, by=by)
            continue
        if _older(condition, generation) or condition.get("status") == "Unknown":
            return Answer(verdict=Verdict.PENDING, by=by)
        if condition.get("status") != good:
            said = condition.get("message") or "without a word"
            return Answer(verdict=Verdict.REJECTED, by=by, message=f"{kind}, {condition.get('reason')}: {said}")
    return Answer(verdict=Verdict.PROGRAMMED, by=by)


def _older(condition: Mapping[str, JSON], generation: JSON) -> bool:
    observed = condition.get("observedGeneration")
    return isinstance(observed, int) and isinstance(generation, int) and observed < generation
