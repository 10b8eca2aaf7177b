"""The conditions that follow from the objects alone: Accepted and ResolvedRefs of the kinds that select Pods."""

from __future__ import annotations

from smeagol.errors import sentence
from smeagol.intent.identities import Grant
from smeagol.intent.model import Condition, ConditionType

__all__ = ["in_force", "names_condition", "pods_condition", "unmatched"]


def in_force(message: str) -> Condition:
    """The object is valid and in force."""
    return Condition(type=ConditionType.ACCEPTED, status=True, reason="Accepted", message=message)


def unmatched(message: str) -> Condition:
    """No provider serves the object, so nothing else can be said of it."""
    return Condition(type=ConditionType.ACCEPTED, status=False, reason="NoMatchingProvider", message=message)


def names_condition(grant: Grant) -> Condition:
    """Accepted, of a MutualTLS: all names are granted, or which are not and why.

    With some refused the object still holds, without them: a server that took them away from its owner's protection
    would be open instead.
    """
    refused = (*grant.conflicted, *grant.invalid)
    if not refused:
        return in_force("The MutualTLS is in force.")
    reasons = " ".join(reason for _, reason in refused)
    return Condition(
        type=ConditionType.ACCEPTED,
        status=False,
        reason="Conflicted" if grant.conflicted else "Invalid",
        message=f"spec.clientSubjectNames: {reasons} Until then the MutualTLS is in force without these names.",
    )


def pods_condition(count: int, namespace: str) -> Condition:
    """ResolvedRefs, of a kind that selects Pods."""
    if count:
        return Condition(
            type=ConditionType.RESOLVED_REFS,
            status=True,
            reason="ResolvedRefs",
            message=f"The selector reaches {count} {'Pod' if count == 1 else 'Pods'}.",
        )
    return Condition(
        type=ConditionType.RESOLVED_REFS,
        status=False,
        reason="NoPodsSelected",
        message=sentence(
            f"spec.selector: no Pod of namespace '{namespace}' that may have a proxy has these labels",
            "Compare them with `kubectl get pods --show-labels`; Pods of the host's network and Pods labelled "
            "smi-spec.io/inject=disabled are never selected",
        ),
    )
