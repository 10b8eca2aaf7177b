"""Which Pods the selectors of other meshes reach, and what is said of those Pods: what adapters share."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping

from smeagol.intent import Selection
from smeagol.plan import JSON
from smeagol.plan.peer import Surroundings, at, items
from smeagol.refs import PodRef

__all__ = ["alternatives", "labels_of", "matches", "pods_that_say", "reaches"]

MOST_ALTERNATIVES = 16
"""Objects that are made for one of a user's because its selector has alternatives."""


def matches(selector: JSON, labels: Mapping[str, str]) -> bool:
    """Does a meta/v1 LabelSelector select something with these labels? One that is empty, or None, selects all."""
    wanted = labels_of(at(selector, "matchLabels"))
    if any(labels.get(key) != value for key, value in wanted.items()):
        return False
    return all(_meets(rule, labels) for rule in items(selector, "matchExpressions"))


def _meets(rule: Mapping[str, JSON], labels: Mapping[str, str]) -> bool:
    key, given = str(rule.get("key")), rule.get("values")
    values = [str(value) for value in given] if isinstance(given, list | tuple) else []
    match rule.get("operator"):
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
        case _:
            return True  # unknown: better told of a conflict too many


def reaches(selector: JSON, selection: Selection, around: Surroundings) -> bool:
    """Does a foreign selector select any of the Pods of `selection`?

    While there are none, or their labels are not known, that counts which the two selectors could select together.
    """
    known = [around.pod_labels[pod] for pod in selection.pods if pod in around.pod_labels]
    if known:
        return any(matches(selector, labels) for labels in known)
    ours = dict(selection.match_labels)
    return all(ours.get(key, value) == value for key, value in labels_of(at(selector, "matchLabels")).items())


def alternatives(selection: Selection) -> tuple[dict[str, str], ...]:
    """The same selection for meshes whose selectors have labels only: sets of labels, of which a Pod meets one.

    `tier In (front, back)` is two of them; without expressions it is the labels. Empty where labels cannot say it:
    another operator, values that contradict each other, or too many.
    """
    allowed: dict[str, tuple[str, ...]] = {key: (value,) for key, value in selection.match_labels}
    for key, operator, values in selection.match_expressions:
        if operator != "In":
            return ()
        allowed[key] = tuple(sorted(set(allowed.get(key, values)) & set(values)))
    if math.prod(map(len, allowed.values())) > MOST_ALTERNATIVES:
        return ()
    return tuple(dict(zip(allowed, each, strict=True)) for each in itertools.product(*allowed.values()))


def labels_of(value: JSON) -> dict[str, str]:
    """Labels in an object as the API server has it; empty where there are none."""
    return {str(key): str(found) for key, found in value.items()} if isinstance(value, Mapping) else {}


def pods_that_say(annotation: str, selection: Selection, around: Surroundings) -> Iterator[tuple[PodRef, str]]:
    """The selected Pods with this annotation, and what it says; a Pod without it says the empty text."""
    for pod in selection.pods:
        yield pod, around.pod_annotations.get(pod, {}).get(annotation, "")
