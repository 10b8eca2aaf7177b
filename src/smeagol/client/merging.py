"""What several replicas of a control plane say, as one answer. Pure.

Each knows all objects, and the proxies that are connected to it.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from smeagol.control import Pod, Status, Traffic

__all__ = ["merged_status", "merged_traffic"]


def merged_status(answers: Sequence[Status]) -> Status:
    """At least one answer. Objects are told as by the replica that leads, each Pod as by the one that has its proxy."""
    replicas = tuple(sorted((r for answer in answers for r in answer.replicas), key=lambda replica: replica.name))
    best = max(answers, key=lambda answer: any(replica.leads for replica in answer.replicas))
    pods: dict[tuple[str, str], Pod] = {}
    for answer in (best, *answers):
        for pod in answer.pods:
            key = (pod.namespace, pod.name)
            if key not in pods or (_connected(pod) and not _connected(pods[key])):
                pods[key] = pod
    return msgspec.structs.replace(best, replicas=replicas, pods=tuple(pods[key] for key in sorted(pods)))


def merged_traffic(answers: Sequence[Traffic], *, at: float) -> Traffic:
    """`at`: the time of the question, since each replica has a clock of its own."""
    return Traffic(
        time=at,
        requests=tuple(series for answer in answers for series in answer.requests),
        latency=tuple(series for answer in answers for series in answer.latency),
        edges=tuple(edge for answer in answers for edge in answer.edges),
    )


def _connected(pod: Pod) -> bool:
    return pod.proxy is not None and pod.proxy.connected
