"""What is said of the cluster measurements: pure, from figures to Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from bench.cluster.measure import CONNECTIONS, IDLE_SECONDS, Admitted, Extent, Measured
from bench.figures import Goal, Spread, quantile
from bench.report import goals_table, table, versions_line
from bench.xds.measure import WARM_UP_CHANGES
from bench.xds.world import CANARY_EVERY, ChangeKind

__all__ = ["cluster_section"]

MEMORY_GOAL = 512
"""MiB: the limit that the installation gives the control plane."""

CHANGE_GOAL = 1.0
"""Seconds from the write of a weight to the last ACK."""


def cluster_section(extent: Extent, measured: Measured, versions: Mapping[str, str]) -> str:
    """Goals first, then how it was measured, then every table."""
    goals = (
        goals_table(_goals(extent, measured)) if extent.judged else "A quick run is too small to judge by the goals.\n"
    )
    parts = [
        f"Versions: {versions_line(versions)}.\n",
        goals,
        _method(extent),
        "### Changes\n",
        "Seconds from the write to the API; CPU time of the control plane.\n",
        _changes_table(measured),
        "### The control plane\n",
        _plane_table(extent, measured),
        f"### {extent.new_pods:,} Pods at once\n",
        f"{CONNECTIONS} connections, each with one request at a time; milliseconds.\n",
        _admission_table(extent, measured),
    ]
    return "\n".join(parts)


def _goals(extent: Extent, measured: Measured) -> Iterator[Goal]:
    proxies = f"{extent.scale.pods:,}"
    last = sorted(measured.changes[ChangeKind.WEIGHT].last)
    refused = extent.new_pods - measured.admitted.with_proxy
    yield Goal(f"memory with {proxies} proxies, at its peak, MiB", MEMORY_GOAL, measured.peak_mib)
    yield Goal(f"the same while all {proxies} come back, MiB", MEMORY_GOAL, measured.returned.peak_mib)
    yield Goal(f"weight change to the last of {proxies} ACKs, p50, seconds", CHANGE_GOAL, quantile(last, 0.5))
    yield Goal(f"weight change to the last of {proxies} ACKs, the slowest of {len(last)}", CHANGE_GOAL, last[-1])
    yield Goal(f"of {extent.new_pods:,} Pods created at once, those without a proxy", 0, refused)


def _method(extent: Extent) -> str:
    return f"""\
How it was measured. A real API server with its storage, without nodes; `smeagol install`, and the control plane as a
process with the installation's arguments and the rights of its service account: one replica, which leads. There are
{extent.scale.services:,} Services, each with {extent.scale.endpoints} Pods, all of one MutualTLS; every
{CANARY_EVERY}th Service is the root of a Canary.

A program in Go plays the proxies of all {extent.scale.pods:,} Pods, as in the part on discovery, here through TLS and
each with the token of its own Pod (TokenRequest), which the control plane has reviewed.

A change is a PATCH over HTTP and begins when that is sent; all processes read one clock. {extent.changes} of each kind
after {WARM_UP_CHANGES} that do not count, one at a time. A status is told when a watch sees `Programmed` of the new
generation, with all proxies in it. CPU time counts until half a second after that. API server, load and control plane
share the machine's cores.

For the return of all proxies the control plane is killed and started again at once. They come back with Envoy's
back-off, say what they have, and have come back when they hold the certificates that the new process made for them;
then one change that all acknowledge shows that they listen.

Pods are created by {CONNECTIONS} connections at once, while all proxies are connected; beside them as many in a
namespace that wants no proxies, so that the API server asks no webhook.
"""


def _changes_table(measured: Measured) -> str:
    head = ("change", "first ACK", "last ACK: p50", "last ACK: spread", "status told", "CPU, ms")
    rows = []
    for kind, seen in measured.changes.items():
        told = Spread.of(seen.told).show(2) if seen.told else "-"
        last = sorted(seen.last)
        cells = (Spread.of(seen.first).show(2), f"{quantile(last, 0.5):.2f}", Spread.of(last).show(2), told)
        rows.append((str(kind), *cells, f"{seen.cpu_seconds * 1000:,.0f}"))
    return table(head, rows)


def _plane_table(extent: Extent, measured: Measured) -> str:
    returned = measured.returned
    proxies = f"{extent.scale.pods:,} proxies"
    rows = [
        ("started, with all objects there: until ready, s", f"{measured.ready:.1f}"),
        ("memory before any proxy, MiB", f"{measured.idle_mib:,.0f}"),
        (f"first whole state of {proxies}: until the last, s", f"{measured.connect:.1f}"),
        ("CPU time for it, s", f"{measured.connect_cpu:.1f}"),
        ("until the status counted all of them, s", f"{measured.programmed:.1f}"),
        (f"memory with {proxies}, MiB", f"{measured.connected_mib:,.0f}"),
        ("peak of memory, MiB", f"{measured.peak_mib:,.0f}"),
        (f"CPU while nothing changes, over {IDLE_SECONDS:.0f} s, of one core", f"{measured.idle_cpu:.1%}"),
        ("killed: until a new one is ready, s", f"{returned.ready:.1f}"),
        (f"until all {proxies} are back, s", f"{returned.last:.1f}"),
        ("CPU time of the new one, s", f"{returned.cpu_seconds:.1f}"),
        ("peak of its memory, MiB", f"{returned.peak_mib:,.0f}"),
    ]
    return table(("what", "measured"), rows)


def _admission_table(extent: Extent, measured: Measured) -> str:
    head = ("namespace", "p50", "p99", "most", "Pods a second", "with proxy", "failed")
    runs = (("all Pods selected by a MutualTLS", measured.admitted), ("no webhook", measured.without_webhook))
    return table(head, [(name, *_admission_cells(extent, admitted)) for name, admitted in runs])


def _admission_cells(extent: Extent, admitted: Admitted) -> Sequence[str]:
    latencies = admitted.latencies
    shown = (quantile(latencies, 0.5), quantile(latencies, 0.99), latencies[-1])
    rate = f"{extent.new_pods / admitted.seconds:,.0f}"
    return (*(f"{value * 1000:,.0f}" for value in shown), rate, f"{admitted.with_proxy:,}", f"{admitted.failed:,}")
