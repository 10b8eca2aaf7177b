"""What happened between two looks at a mesh's counters: requests per second, success, latency. Pure.

Structs are as `smeagol top -o json` prints them.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from smeagol.control import Edge, LatencySeries, RequestSeries, Status, Traffic

__all__ = [
    "EdgeLoad",
    "Load",
    "Measured",
    "Rate",
    "Series",
    "WorkloadLoad",
    "grown",
    "measured",
    "rates",
    "sum_of_edges",
]

Series = RequestSeries | LatencySeries
K = TypeVar("K")


def grown(before: Traffic, after: Traffic) -> Traffic:
    """By how much every counter grew; `time` is the seconds in between.

    A counter that fell was started anew, with its proxy, and has grown by what it says now (as Prometheus reads it).
    """
    requests = {_request_key(series): series.count for series in before.requests}
    latency = {_where(series): series for series in before.latency}
    edges = {_edge_key(edge): edge for edge in before.edges}
    return Traffic(
        time=after.time - before.time,
        requests=tuple(
            msgspec.structs.replace(series, count=_growth(requests.get(_request_key(series), 0), series.count))
            for series in after.requests
        ),
        latency=tuple(_latency_growth(latency.get(_where(series)), series) for series in after.latency),
        edges=tuple(_edge_growth(edges.get(_edge_key(edge)), edge) for edge in after.edges),
    )


def sum_of_edges(one: Iterable[Edge], other: Iterable[Edge]) -> tuple[Edge, ...]:
    """Both added up; where both know an edge, the names are those of `other`, unless it carried nothing."""
    found = {_edge_key(edge): edge for edge in one}
    for edge in other:
        known = found.get(_edge_key(edge))
        if known is None:
            found[_edge_key(edge)] = edge
        elif edge.requests or edge.connections:
            found[_edge_key(edge)] = msgspec.structs.replace(
                edge, requests=known.requests + edge.requests, connections=known.connections + edge.connections
            )
    return tuple(found[key] for key in sorted(found))


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """`buckets`: (upper bound in seconds, answers within it or faster), ascending, the last bound infinite."""

    seconds: float
    requests: float
    failures: float
    buckets: tuple[tuple[float, float], ...]

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds if self.seconds > 0 else 0.0

    @property
    def success(self) -> float | None:
        """The part of the requests that did not fail; None if there were none."""
        return 1 - self.failures / self.requests if self.requests else None

    def quantile(self, q: float) -> float | None:
        """Seconds within which a part `q` of the answers came, as Prometheus' histogram_quantile has it.

        Interpolated within its bucket; the last finite bound if it lies beyond; None without answers.
        """
        if not self.buckets or not self.buckets[-1][1]:
            return None
        rank = q * self.buckets[-1][1]
        lower, below = 0.0, 0.0
        for bound, within in self.buckets:
            if within >= rank:
                if math.isinf(bound):
                    return lower
                return bound if within == below else lower + (bound - lower) * (rank - below) / (within - below)
            lower, below = bound, within
        return lower


def rates(growth: Traffic, key: Callable[[Series], K | None]) -> dict[K, Rate]:
    """The series of `growth` added up by `key`; those whose key is None are left out."""
    requests: dict[K, float] = defaultdict(float)
    failures: dict[K, float] = defaultdict(float)
    buckets: dict[K, dict[float, float]] = defaultdict(lambda: defaultdict(float))
    for series in growth.requests:
        if (group := key(series)) is not None:
            requests[group] += series.count
            failures[group] += series.count if _failed(series.code) else 0
    for timed in growth.latency:
        if (group := key(timed)) is not None:
            for bound, count in timed.buckets:
                buckets[group][math.inf if bound is None else bound] += count
    return {
        group: Rate(
            seconds=growth.time,
            requests=requests[group],
            failures=failures[group],
            buckets=tuple(sorted(buckets[group].items())),
        )
        for group in sorted(requests.keys() | buckets.keys(), key=str)
    }


class Load(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Requests, and within how many seconds so many percent of them were answered.

    `success`: the part that did not fail. None where there was nothing to tell it from.
    """

    requests_per_second: float
    success: float | None
    p50_seconds: float | None
    p95_seconds: float | None
    p99_seconds: float | None


class WorkloadLoad(Load, frozen=True, kw_only=True, rename="camel"):
    """What a workload (`namespace/name`) was asked."""

    workload: str


class EdgeLoad(Load, frozen=True, kw_only=True, rename="camel"):
    """What a workload asked of a Service, by which backend; all are `namespace/name`."""

    client: str
    service: str
    backend: str
    mutual_tls: bool = msgspec.field(name="mutualTLS")


class Measured(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The mesh's requests within the last so many `seconds`."""

    seconds: float
    workloads: tuple[WorkloadLoad, ...]
    edges: tuple[EdgeLoad, ...]


def measured(growth: Traffic, status: Status, namespace: str = "") -> Measured:
    """Of all workloads, or those of one namespace: what each was asked, and who asked whom."""
    workloads = {(pod.namespace, pod.name): pod.workload or pod.name for pod in status.pods}
    secured = {(edge.client, edge.service, edge.backend): edge.mutual_tls for edge in growth.edges}

    def workload(series: Series) -> str:
        return f"{series.namespace}/{workloads.get((series.namespace, series.pod), series.pod)}"

    def asked(series: Series) -> str | None:
        here = namespace in ("", series.namespace)
        return workload(series) if series.direction == "inbound" and here else None

    def asking(series: Series) -> tuple[str, str, str, bool] | None:
        if series.direction != "outbound" or not series.service or namespace not in ("", series.namespace):
            return None
        edge = (f"{series.namespace}/{series.pod}", series.service, series.backend)
        return workload(series), series.service, series.backend, secured.get(edge, False)

    return Measured(
        seconds=growth.time,
        workloads=tuple(WorkloadLoad(workload=name, **_load(rate)) for name, rate in rates(growth, asked).items()),
        edges=tuple(
            EdgeLoad(client=client, service=service, backend=backend, mutual_tls=safe, **_load(rate))
            for (client, service, backend, safe), rate in rates(growth, asking).items()
            if rate.requests
        ),
    )


def _load(rate: Rate) -> dict[str, Any]:
    return {
        "requests_per_second": rate.per_second,
        "success": rate.success,
        **{f"p{percent}_seconds": rate.quantile(percent / 100) for percent in (50, 95, 99)},
    }


def _failed(code: str) -> bool:
    """A server's error, or no answer at all. A 404 is an answer."""
    return not code.isdigit() or int(code) == 0 or int(code) >= 500


def _growth(before: float, after: float) -> float:
    return after - before if after >= before else after


def _latency_growth(before: LatencySeries | None, after: LatencySeries) -> LatencySeries:
    if before is None or after.count < before.count:
        return after
    earlier = dict(before.buckets)
    return msgspec.structs.replace(
        after,
        buckets=tuple((bound, _growth(earlier.get(bound, 0), count)) for bound, count in after.buckets),
        sum=after.sum - before.sum,
        count=after.count - before.count,
    )


def _where(series: Series) -> tuple[str, ...]:
    return series.namespace, series.pod, series.direction, series.service, series.backend


def _request_key(series: RequestSeries) -> tuple[str, ...]:
    return *_where(series), series.code


def _edge_growth(before: Edge | None, after: Edge) -> Edge:
    if before is None:
        return after
    return msgspec.structs.replace(
        after,
        requests=_growth(before.requests, after.requests),
        connections=_growth(before.connections, after.connections),
    )


def _edge_key(edge: Edge) -> tuple[str, str, str]:
    return edge.client, edge.service, edge.backend
