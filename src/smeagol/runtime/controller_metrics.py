"""What a replica in a cluster counts, beside what every control plane does (`own_metrics`)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

__all__ = ["ControllerCollector", "Durations", "Watch"]

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Seconds."""


@dataclass(slots=True)
class Durations:
    """A histogram of seconds, by upper bound."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    total: float = 0.0

    def add(self, seconds: float) -> None:
        self.counts[next((i for i, bound in enumerate(BUCKETS) if seconds <= bound), len(BUCKETS))] += 1
        self.total += seconds

    def buckets(self) -> list[tuple[str, float]]:
        """Cumulated, as Prometheus has them."""
        bounds = [*map(str, BUCKETS), "+Inf"]
        return [(bound, float(sum(self.counts[: i + 1]))) for i, bound in enumerate(bounds)]


class Watch(Protocol):
    """A reflector, as this module sees it."""

    lists: int
    watches: int
    connected: bool

    @property
    def silent_seconds(self) -> float: ...
    @property
    def plural(self) -> str: ...
    def __len__(self) -> int: ...


class Facts(Protocol):
    """A replica, as this module sees it."""

    reconciled: Durations

    @property
    def leading(self) -> bool: ...
    @property
    def ready(self) -> bool: ...
    @property
    def watches(self) -> tuple[Watch, ...]: ...
    @property
    def replicas_silent(self) -> int: ...


class ControllerCollector(Collector):
    def __init__(self, facts: Facts) -> None:
        self._facts = facts

    def collect(self) -> Iterator[Metric]:
        facts = self._facts
        yield GaugeMetricFamily("smeagol_leader", "1 while this replica writes statuses.", int(facts.leading))
        yield GaugeMetricFamily("smeagol_ready", "1 while this replica is ready, as /readyz tells.", int(facts.ready))
        yield GaugeMetricFamily(
            "smeagol_replicas_silent",
            "Replicas that serve proxies and do not answer the one that leads; 0 on the others.",
            facts.replicas_silent,
        )
        connected = GaugeMetricFamily("smeagol_watch_connected", "1 while the watch is open.", labels=["resource"])
        silent = GaugeMetricFamily(
            "smeagol_watch_silent_seconds", "Since the API server last said something.", labels=["resource"]
        )
        objects = GaugeMetricFamily("smeagol_watch_objects", "Objects known.", labels=["resource"])
        lists = CounterMetricFamily("smeagol_watch_lists", "Whole states read.", labels=["resource"])
        watches = CounterMetricFamily("smeagol_watch_starts", "Watches begun.", labels=["resource"])
        for watch in facts.watches:
            connected.add_metric([watch.plural], int(watch.connected))
            silent.add_metric([watch.plural], watch.silent_seconds)
            objects.add_metric([watch.plural], len(watch))
            lists.add_metric([watch.plural], watch.lists)
            watches.add_metric([watch.plural], watch.watches)
        yield from (connected, silent, objects, lists, watches)
        yield HistogramMetricFamily(
            "smeagol_reconcile_duration_seconds",
            "From changed objects to the proxies' new configuration.",
            buckets=facts.reconciled.buckets(),
            sum_value=facts.reconciled.total,
        )
