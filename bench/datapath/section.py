"""What is said of the data path measurements: pure, from points to Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Self, TypeAlias

from bench.datapath.mesh import Load
from bench.datapath.topology import HOPS, HTTP_HOPS, MESH_HTTP, MESH_TCP, NO_PROXY, VARIANTS, Variant
from bench.figures import Goal, Spread, median, quantile
from bench.report import goals_table, table, versions_line

__all__ = ["Extent", "Point", "datapath_section"]

LATENCY_GOAL = 1.3
Figure: TypeAlias = "Callable[[Point], float]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """How much is measured: requests a second, rounds, and how long each point takes after a second of warming up."""

    rates: tuple[int, ...]
    rounds: int
    seconds: int
    connections: int = 32
    judged: bool = True
    """whether it is long enough to be held to the goals"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One variant at one rate (0: as much as it can carry) in one round. Latencies in milliseconds."""

    variant: str
    rate: int
    p50: float
    p90: float
    p99: float
    worst: float
    reached: float
    """requests a second"""
    failed: int
    late: int
    """not answered within five seconds after the end"""
    proxy_cpu_us: float
    """CPU time of both Envoys for one request, in microseconds"""

    @classmethod
    def of(cls, variant: str, rate: int, load: Load) -> Self:
        return cls(
            variant=variant,
            rate=rate,
            p50=quantile(load.latencies, 0.5),
            p90=quantile(load.latencies, 0.9),
            p99=quantile(load.latencies, 0.99),
            worst=load.latencies[-1],
            reached=load.rate,
            failed=load.failed,
            late=load.late,
            proxy_cpu_us=load.proxy_cpu_seconds * 1e6 / load.answered,
        )


def datapath_section(extent: Extent, points: Sequence[Point], versions: Mapping[str, str]) -> str:
    """Goals first, then how it was measured, then every table."""
    goals = (
        goals_table(_goals(extent, points)) if extent.judged else "A quick run is too short to judge by the goals.\n"
    )
    parts = [f"Versions: {versions_line(versions)}.\n", goals, _price_of_http(extent, points), _method(extent)]
    for rate in extent.rates:
        parts.append(f"### {rate:,} requests a second\n")
        parts.append(
            "Latency in milliseconds from the time a request was due; CPU time of both Envoys in µs a request.\n"
        )
        parts.append(_latency_table(points, rate))
    parts.append("### As much as they carry\n")
    parts.append(f"{extent.connections} connections, each with one request at a time.\n")
    parts.append(_throughput_table(points))
    return "\n".join(parts)


def _method(extent: Extent) -> str:
    return f"""\
How it was measured. `smeagol up` runs a client and a server Pod for each variant, each in a network namespace of its
own. The server answers 200 with 256 bytes (net/http). The client keeps {extent.connections} HTTP/1.1 connections open
and sends by a Poisson process whatever the answers do, from one thread with a timer of nanoseconds; latency counts from
the time a request was due. Rounds: {extent.rounds}, with all variants in turn at each rate, {extent.seconds} seconds
each after one that does not count. Every Envoy has one worker, and TLS is mutual, with P-256 certificates. Client,
server and both proxies share the machine's cores.

- *{NO_PROXY.name}*: Pods without sidecars, through the Service's address.
- *{HOPS.name}*: the least that two Envoys can do for mutual TLS. One in the client's Pod wraps each TCP
  connection, one in the server's unwraps it (`tcp_proxy`); they look into nothing.
- *{MESH_TCP.name}*: as users have them, redirected transparently, at a port that a Service declares as TCP.
- *{HTTP_HOPS.name}*: the same hops with Envoy's HTTP connection manager and router as they come.
- *{MESH_HTTP.name}*: as users have them. Requests are routed, retried and counted by response code, and carry the
  client's verified names.

Ratios are those of the medians over all rounds. Late are requests without an answer five seconds after the end.
"""


_LATENCIES: tuple[tuple[str, Figure], ...] = (
    ("p50", lambda point: point.p50),
    ("p90", lambda point: point.p90),
    ("p99", lambda point: point.p99),
)
_COMPARED = (_LATENCIES[0], _LATENCIES[2])
_JUDGED = ((MESH_TCP, HOPS), (MESH_HTTP, HTTP_HOPS), (MESH_HTTP, HOPS))
"""Each way through the mesh, and what it is held to."""


def _goals(extent: Extent, points: Sequence[Point]) -> Iterator[Goal]:
    for rate in extent.rates:
        for variant, other in _JUDGED:
            for name, latency in _COMPARED:
                what = f"{name} of {variant.name}, at {rate:,}/s, beside {other.name}"
                yield Goal(what, LATENCY_GOAL, _ratio(points, variant, other, rate, latency))


def _price_of_http(extent: Extent, points: Sequence[Point]) -> str:
    """Why HTTP is held to two baselines."""
    lines = []
    for rate in extent.rates:
        hops = [f"{name} {_ratio(points, HTTP_HOPS, HOPS, rate, latency):.2f}" for name, latency in _COMPARED]
        cpu = _ratio(points, MESH_HTTP, HTTP_HOPS, rate, lambda point: point.proxy_cpu_us)
        lines.append(
            f"- at {rate:,}/s: {', '.join(hops)}; *{MESH_HTTP.name}* take {cpu:.2f} of the CPU time of these hops\n"
        )
    return f"""\
HTTP is held to both baselines. Beside TCP hops it pays for Envoy's HTTP too, which two plain Envoys also have to pay:
*{HTTP_HOPS.name}* beside *{HOPS.name}*:

{"".join(lines)}"""


def _some(points: Sequence[Point], variant: Variant, rate: int) -> list[Point]:
    return [point for point in points if (point.variant, point.rate) == (variant.name, rate)]


def _ratio(points: Sequence[Point], variant: Variant, other: Variant, rate: int, figure: Figure) -> float:
    ours, theirs = (median([figure(point) for point in _some(points, v, rate)]) for v in (variant, other))
    return ours / theirs


def _lost(points: Sequence[Point]) -> tuple[str, str]:
    """Failed and late, of all rounds."""
    return f"{sum(point.failed for point in points):,}", f"{sum(point.late for point in points):,}"


def _latency_table(points: Sequence[Point], rate: int) -> str:
    head = (
        "variant",
        *(name for name, _ in _LATENCIES),
        *(f"{name}, beside TCP hops" for name, _ in _COMPARED),
        "CPU",
        "failed",
        "late",
    )
    rows = []
    for variant in VARIANTS:
        some = _some(points, variant, rate)
        spreads = [Spread.of([latency(point) for point in some]).show(2) for _, latency in _LATENCIES]
        ratios = [f"{_ratio(points, variant, HOPS, rate, latency):.2f}" for _, latency in _COMPARED]
        cpu = Spread.of([point.proxy_cpu_us for point in some]).show(0)
        rows.append((variant.name, *spreads, *ratios, cpu, *_lost(some)))
    return table(head, rows)


def _throughput_table(points: Sequence[Point]) -> str:
    head = (
        "variant",
        "requests a second",
        "beside TCP hops",
        "p50, ms",
        "p99, ms",
        "CPU of both Envoys, µs",
        "failed",
        "late",
    )
    rows = []
    for variant in VARIANTS:
        some = _some(points, variant, 0)
        rows.append(
            (
                variant.name,
                Spread.of([point.reached for point in some]).show(0),
                f"{_ratio(points, variant, HOPS, 0, lambda point: point.reached):.2f}",
                Spread.of([point.p50 for point in some]).show(2),
                Spread.of([point.p99 for point in some]).show(2),
                Spread.of([point.proxy_cpu_us for point in some]).show(0),
                *_lost(some),
            )
        )
    return table(head, rows)
