"""What the objects that adapters make have in common: names that fit, whose they are, and weights in whole numbers."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence

from smeagol.intent import CanaryIntent
from smeagol.plan import JSON
from smeagol.refs import ObjectRef, ServiceRef

__all__ = [
    "MADE_FOR_ANNOTATION",
    "MANAGED_BY_LABEL",
    "PROVIDER_LABEL",
    "digest_of",
    "made",
    "made_name",
    "taking_part",
    "whole_weights",
]

MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
PROVIDER_LABEL = "smi-spec.io/made-by"
"""Its value is the name of the provider. Only an object that carries it is ever changed or deleted."""
MADE_FOR_ANNOTATION = "smi-spec.io/made-for"
"""The user's object, as `Canary shop/web`."""

DIGEST = 8
"""Hexadecimal digits: of 10,000 names that had to be cut, two are alike with a probability of about 1 %."""


def made(
    api_version: str, kind: str, *, name: str, namespace: str, owner: ObjectRef, provider: str, **body: JSON
) -> Mapping[str, JSON]:
    """An object that `provider` makes for `owner`; `body` is what it has besides metadata, such as `spec`."""
    return {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {
            "name": name,
            **({"namespace": namespace} if namespace else {}),
            "labels": {MANAGED_BY_LABEL: "smeagol", PROVIDER_LABEL: provider},
            "annotations": {MADE_FOR_ANNOTATION: str(owner)},
        },
        **body,
    }


def made_name(*parts: object, limit: int = 253) -> str:
    """`smi-` and the parts, joined by dashes. One that is longer than `limit` is cut, and ends in a digest of all.

    Names of objects may have 253 characters (RFC 1123 subdomain), those that become label values or DNS labels 63.
    """
    name = "-".join(("smi", *(str(part) for part in parts)))
    if len(name) <= limit:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:DIGEST]
    return f"{name[: limit - DIGEST - 1].rstrip('-.')}-{digest}"


def digest_of(labels: Mapping[str, str]) -> str:
    """What tells the objects that are made for one of a user's apart, where each is for other Pods."""
    return hashlib.sha256(repr(sorted(labels.items())).encode()).hexdigest()[:DIGEST]


def taking_part(canary: CanaryIntent, port: int) -> tuple[tuple[ServiceRef, int], ...]:
    """The backends that share what is sent to a port of the root, with weights in milliunits, in name order.

    What is left out there is not among them: peers would give it its share, and answer it with errors. Empty where no
    positive weight is left: there is no split then, and the root's own endpoints serve (spec: SMI-CAN-11 to 13).
    """
    without = {left.service for left in canary.left_out if left.port == port}
    found = tuple((service, weight) for service, weight in canary.wanted if service not in without)
    return found if any(weight > 0 for _, weight in found) else ()


def whole_weights(weights: Sequence[int], *, most: int | None = None, total: int | None = None) -> tuple[int, ...]:
    """The same ratio in a peer's whole numbers: exact where it can be, else by largest remainder.

    `most`: no number may be greater. `total`: their sum must be just that (100 for percentages). Zero stays zero, and
    a positive weight never becomes zero. Raises ValueError where that cannot be: no weight is positive, or there are
    more of them than `total` or `most` has room for.
    """
    divisor = math.gcd(*weights)
    if not divisor or min(weights) < 0:
        msg = "weights must not be negative, and one must be positive"
        raise ValueError(msg)
    reduced = tuple(weight // divisor for weight in weights)
    if total is not None:
        return _apportioned(reduced, total)
    if most is None or max(reduced) <= most:
        return reduced
    return _apportioned(reduced, max(sum(reduced) * most // max(reduced), sum(weight > 0 for weight in reduced)))


def _apportioned(weights: Sequence[int], total: int) -> tuple[int, ...]:
    """Whole numbers of that sum, each positive one at least 1. Ties go to the first."""
    positive = [i for i, weight in enumerate(weights) if weight > 0]
    if total < len(positive):
        msg = f"{len(positive)} positive weights do not fit into {total}"
        raise ValueError(msg)
    result = [0] * len(weights)
    small = [i for i in positive if weights[i] * total < sum(weights)]
    # Those below one are lifted to one; the others share what is left, and so may fall below one themselves.
    while True:
        rest = [i for i in positive if i not in small]
        share = total - len(small)
        size = sum(weights[i] for i in rest)
        more = [i for i in rest if weights[i] * share < size]
        if not more:
            break
        small += more
    for i in small:
        result[i] = 1
    for i in rest:
        result[i] = weights[i] * share // size
    by_remainder = sorted(rest, key=lambda i: (-(weights[i] * share % size), i))
    for i in by_remainder[: total - sum(result)]:
        result[i] += 1
    return tuple(result)
