"""What is said of the xDS measurements: pure, from runs to Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from bench.figures import Goal, Spread, median
from bench.report import goals_table, table, versions_line
from bench.xds.measure import OURS, PAUSE_SECONDS, THEIRS, WARM_UP_CHANGES, WHOLE, Changes, Run
from bench.xds.world import CANARY_EVERY, ENDPOINTS, ChangeKind

__all__ = ["Extent", "Measured", "xds_section"]

SPEED_GOAL = 0.5
MEMORY_GOAL = 1 / 3
GROWTH_GOAL = 1.25
"""What still counts as independent of the number of Services: the noise of two cores shared with the load."""

_TITLES = {ChangeKind.WEIGHT: "One weight change", ChangeKind.ENDPOINT: "One endpoint change"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """How much is measured. `many_services` is compared with `services`, at `few_proxies`."""

    services: int
    many_services: int
    proxies: tuple[int, ...]
    few_proxies: int
    rounds: int
    steps: int
    judged: bool = True
    """whether it is large enough to be held to the goals"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """All runs. `fleets`: by number of proxies, all servers; `growth`: ours alone, few and many Services."""

    fleets: Mapping[int, Sequence[Run]]
    growth: Sequence[Run]
    versions: Mapping[str, str]
    resource_bytes: int
    """that one proxy holds, of what all share"""


def xds_section(extent: Extent, measured: Measured) -> str:
    """Goals first, then how it was measured, then every table."""
    parts = [
        f"Versions: {versions_line(measured.versions)}.\n",
        _goals(extent, measured),
        _method(extent, measured.resource_bytes),
    ]
    for proxies, runs in measured.fleets.items():
        by_server = _by_server(runs)
        parts.append(f"### {extent.services:,} Services, {proxies:,} proxies\n")
        for kind, title in _TITLES.items():
            parts.append(f"{title}: milliseconds until that proxy's ACK was sent.\n")
            parts.append(_change_table(by_server, kind))
        parts.append("The server's process: memory in MiB, and what it took to connect all proxies.\n")
        parts.append(_memory_table(by_server))
    parts.append(
        f"### {extent.services:,} and {extent.many_services:,} Services, {extent.few_proxies:,} proxies, Smeagol\n"
    )
    parts.append("Milliseconds until the last ACK was sent, and of CPU time in the server for one change.\n")
    parts.append(_growth_table(measured.growth))
    return "\n".join(parts)


def _goals(extent: Extent, measured: Measured) -> str:
    if not extent.judged:
        return "A quick run is too small to judge by the goals.\n"
    return goals_table([*_comparisons(measured.fleets), *_growth_goals(extent, measured.growth)])


def _method(extent: Extent, resource_bytes: int) -> str:
    return f"""\
How it was measured. A program in Go plays the proxies. Each has a connection and a delta ADS stream of its own, says
of itself what a real Envoy says, subscribes to all clusters and listeners, and by name to the endpoints and routes that
those refer to, and acknowledges everything: clusters when it has their endpoints, as Envoy does. A Service has one
HTTP port and {ENDPOINTS} meshed endpoints, every {CANARY_EVERY}th is the root of a Canary; a proxy is sent
{resource_bytes / 1e6:.1f} MB of resources.

A change begins in the server's process and ends when the last proxy has sent the ACK of the last resource that it
changed; all processes read one clock. Rounds: {extent.rounds}, with all servers in turn, each with {extent.steps}
changes of each kind after {WARM_UP_CHANGES} that do not count. CPU time is the server's from the trigger until
{PAUSE_SECONDS * 1000:.0f} ms after the last ACK. Load and server share the machine's cores.

- *{OURS}* is given units of the intent: it plans them, caches the resources and serves them.
- *{THEIRS}* serves the same bytes, from its linear cache (one for each type, behind a mux) or its snapshot
  cache (one snapshot for all nodes). It translates nothing: a change hands it ready resources. Before its memory is
  read it is told to give back what is free (`debug.FreeOSMemory`); Smeagol does nothing of the kind.
- *{WHOLE}* is the whole control plane: it resolves Kubernetes objects and issues certificates, and each
  proxy has its own listener and keys beside what all share. A change is that of one object.

The goals compare *{OURS}* with the better one of the two caches, for each figure.
"""


def _by_server(runs: Sequence[Run]) -> dict[str, list[Run]]:
    found: dict[str, list[Run]] = {}
    for run in runs:
        found.setdefault(run.server, []).append(run)
    return found


def _last(runs: Sequence[Run], kind: ChangeKind) -> list[float]:
    return [value for run in runs for value in run.changes[kind].last]


def _comparisons(fleets: Mapping[int, Sequence[Run]]) -> Iterator[Goal]:
    for proxies, runs in fleets.items():
        by_server = _by_server(runs)
        ours = by_server[OURS]
        theirs = [some for name, some in by_server.items() if name.startswith(THEIRS)]
        for kind in ChangeKind:
            best = min(median(_last(some, kind)) for some in theirs)
            what = f"{kind} change to the last of {proxies:,} ACKs, beside {THEIRS}"
            yield Goal(what, SPEED_GOAL, median(_last(ours, kind)) / best)
        best = min(_memory(some) for some in theirs)
        yield Goal(f"memory with {proxies:,} proxies, beside {THEIRS}", MEMORY_GOAL, _memory(ours) / best)


def _memory(runs: Sequence[Run]) -> float:
    return median([run.connected_mib for run in runs])


def _growth_goals(extent: Extent, runs: Sequence[Run]) -> Iterator[Goal]:
    few = [run for run in runs if run.services == extent.services]
    many = [run for run in runs if run.services == extent.many_services]
    beside = f"{extent.many_services:,} Services beside {extent.services:,}"
    for kind in ChangeKind:
        ratio = median(_last(many, kind)) / median(_last(few, kind))
        yield Goal(f"{kind} change to the last ACK, {beside}", GROWTH_GOAL, ratio)
        yield Goal(f"CPU time of one {kind} change, {beside}", GROWTH_GOAL, _cpu(many, kind) / _cpu(few, kind))


def _cpu(runs: Sequence[Run], kind: ChangeKind) -> float:
    return median([run.changes[kind].cpu_ms for run in runs])


def _change_table(by_server: Mapping[str, Sequence[Run]], kind: ChangeKind) -> str:
    head = ("server", "taken by its cache", "first", "median", "99th percentile", "last", "CPU, ms", "bytes a proxy")
    each: Sequence[Callable[[Changes], list[float]]] = (
        lambda seen: seen.taken,
        lambda seen: seen.first,
        lambda seen: seen.middle,
        lambda seen: seen.p99,
        lambda seen: seen.last,
        lambda seen: [seen.cpu_ms],
    )
    rows = []
    for name, runs in by_server.items():
        changes = [run.changes[kind] for run in runs]
        spreads = (Spread.of([value for seen in changes for value in figures(seen)]) for figures in each)
        cells = [spread.show(0) for spread in spreads]
        rows.append((name, *cells, f"{median([seen.bytes_each for seen in changes]):,.0f}"))
    return table(head, rows)


def _memory_table(by_server: Mapping[str, Sequence[Run]]) -> str:
    head = ("server", "before any proxy", "all connected", "peak", "KiB a proxy", "connecting, s", "CPU for it, s")
    each: Sequence[tuple[Callable[[Run], float], int]] = (
        (lambda run: run.idle_mib, 0),
        (lambda run: run.connected_mib, 0),
        (lambda run: run.peak_mib, 0),
        (lambda run: (run.connected_mib - run.idle_mib) * 1024 / run.proxies, 0),
        (lambda run: run.connect_seconds, 1),
        (lambda run: run.connect_cpu_seconds, 1),
    )
    rows = []
    for name, runs in by_server.items():
        rows.append((name, *(Spread.of([figure(run) for run in runs]).show(digits) for figure, digits in each)))
    return table(head, rows)


def _growth_table(runs: Sequence[Run]) -> str:
    head = ("Services", "weight: last ACK", "weight: CPU", "endpoint: last ACK", "endpoint: CPU", "memory, MiB")
    rows = []
    for services in sorted({run.services for run in runs}):
        some = [run for run in runs if run.services == services]
        cells = [f"{services:,}"]
        for kind in ChangeKind:
            cells.append(Spread.of(_last(some, kind)).show(0))
            cells.append(Spread.of([run.changes[kind].cpu_ms for run in some]).show(0))
        rows.append([*cells, Spread.of([run.connected_mib for run in some]).show(0)])
    return table(head, rows)
