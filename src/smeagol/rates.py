"""What happened between two looks at a mesh's counters: requests per second, success, latency. Pure."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from smeagol.control import Edge, LatencySeries, RequestSeries, Traffic

__all__ = ["Rate", "Series", "grown", "rates", "sum_of_edges"]

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
