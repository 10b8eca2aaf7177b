"""Labels on the series of a workload: from Sidecars or the Pod's own, made legal for Prometheus."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet

__all__ = ["legal", "merged"]

_LEGAL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")  # Prometheus data model, Metric names and labels
_ILLEGAL_CHARACTER = re.compile(r"[^a-zA-Z0-9_]")
_RESERVED = frozenset({"le", "quantile"})  # Prometheus gives these to histograms and summaries


def merged(oldest_first: Iterable[Mapping[str, str]]) -> tuple[tuple[str, str], ...]:
    """The labels of a Pod that several Sidecars select: they add up, and the oldest wins where two give one key.

    Returns legal names with their values, in name order.
    """
    chosen: dict[str, str] = {}
    for labels in oldest_first:
        for key, value in labels.items():
            chosen.setdefault(key, value)
    return legal(chosen)


def legal(labels: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """`labels` under names that Prometheus takes, no two of them falling together (spec: Sidecar, metricLabels).

    A legal key keeps its name. Of another, each character that Prometheus refuses becomes `_` (`app.kubernetes.io/name`
    is `app_kubernetes_io_name`). If that name is taken, the key's digest is put after it, so that a series does not
    change its labels' names with the order in which they are listed.
    """
    plain = {key: _plain(key) for key in labels}
    wanted = Counter(plain.values())
    names = {key: name for key, name in plain.items() if name == key or wanted[name] == 1}
    taken = set(names.values())
    for key in sorted(labels.keys() - names.keys()):
        names[key] = _told_apart(key, taken)
        taken.add(names[key])
    return tuple(sorted((names[key], value) for key, value in labels.items()))


def _plain(key: str) -> str:
    name = _ILLEGAL_CHARACTER.sub("_", key)
    # `__` at the beginning is for Prometheus' own use, and it drops such labels.
    if not _LEGAL.fullmatch(name) or name.startswith("__") or name in _RESERVED:
        name = f"label_{name}"
    return name


def _told_apart(key: str, taken: AbstractSet[str]) -> str:
    digest = hashlib.sha256(key.encode()).hexdigest()
    # Someone may have written just the name that comes out; then more of the digest decides.
    names = (_plain(f"{key}_{digest[:length]}") for length in range(8, len(digest)))
    return next(name for name in names if name not in taken)
