"""What a replica in a cluster counts, beside what every control plane does (`own_metrics`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from smeagol.durations import Durations
from smeagol.webhook import Reviews

__all__ = ["AdapterCollector", "ControllerCollector", "Watch", "WatchCollector", "histogram"]


class Watch(Protocol):
    """A reflector, as this module sees it."""

    lists: int
    watches: int
    faults: int
    connected: bool

    @property
    def silent_seconds(self) -> float: ...
    @property
    def plural(self) -> str: ...
    def __len__(self) -> int: ...


class Watcher(Protocol):
    """What a replica of any control plane in a cluster does, as this module sees it."""

    @property
    def leading(self) -> bool: ...
    @property
    def ready(self) -> bool: ...
    @property
    def watches(self) -> tuple[Watch, ...]: ...
    @property
    def status_writes(self) -> Mapping[str, int]: ...


class AdapterFacts(Watcher, Protocol):
    """A replica of adapters, as this module sees it."""

    @property
    def peers_ready(self) -> Mapping[str, bool]: ...


class Facts(Watcher, Protocol):
    """A replica with proxies, as this module sees it."""

    reconciled: Durations

    @property
    def replicas_silent(self) -> int: ...
    @property
    def reviews(self) -> Reviews | None: ...


class WatchCollector(Collector):
    """Of every replica in a cluster: what it sees, and what it writes."""

    def __init__(self, facts: Watcher) -> None:
        self._watcher = facts

    def collect(self) -> Iterator[Metric]:
        facts = self._watcher
        yield GaugeMetricFamily("smeagol_leader", "1 while this replica writes statuses.", int(facts.leading))
        yield GaugeMetricFamily("smeagol_ready", "1 while this replica is ready, as /readyz tells.", int(facts.ready))
        connected = GaugeMetricFamily("smeagol_watch_connected", "1 while the watch is open.", labels=["resource"])
        silent = GaugeMetricFamily(
            "smeagol_watch_silent_seconds", "Since the API server last said something.", labels=["resource"]
        )
        objects = GaugeMetricFamily("smeagol_watch_objects", "Objects known.", labels=["resource"])
        lists = CounterMetricFamily("smeagol_watch_lists", "Whole states read.", labels=["resource"])
        starts = CounterMetricFamily("smeagol_watch_starts", "Watches begun.", labels=["resource"])
        faults = CounterMetricFamily("smeagol_watch_faults", "Watches and lists that failed.", labels=["resource"])
        for watch in facts.watches:
            connected.add_metric([watch.plural], int(watch.connected))
            silent.add_metric([watch.plural], watch.silent_seconds)
            objects.add_metric([watch.plural], len(watch))
            lists.add_metric([watch.plural], watch.lists)
            starts.add_metric([watch.plural], watch.watches)
            faults.add_metric([watch.plural], watch.faults)
        yield from (connected, silent, objects, lists, starts, faults)
        writes = CounterMetricFamily("smeagol_status_writes", "Statuses sent to the API server.", labels=["outcome"])
        for outcome, number in facts.status_writes.items():
            writes.add_metric([outcome], number)
        yield writes


class AdapterCollector(WatchCollector):
    """Of a replica of adapters besides."""

    def __init__(self, facts: AdapterFacts) -> None:
        super().__init__(facts)
        self._facts = facts

    def collect(self) -> Iterator[Metric]:
        yield from super().collect()
        peers = GaugeMetricFamily(
            "smeagol_peer_ready", "1 while the adapter can work with its mesh.", labels=["provider"]
        )
        for provider, ready in self._facts.peers_ready.items():
            peers.add_metric([provider], int(ready))
        yield peers


class ControllerCollector(WatchCollector):
    """Of a replica with proxies besides."""

    def __init__(self, facts: Facts) -> None:
        super().__init__(facts)
        self._facts = facts

    def collect(self) -> Iterator[Metric]:
        facts = self._facts
        yield from super().collect()
        yield GaugeMetricFamily(
            "smeagol_replicas_silent",
            "Replicas that serve proxies and do not answer the one that leads; 0 on the others.",
            facts.replicas_silent,
        )
        yield histogram(
            "smeagol_reconcile_duration_seconds",
            "From changed objects to the proxies' new configuration.",
            facts.reconciled,
        )
        if facts.reviews is None:
            return
        reviews = CounterMetricFamily("smeagol_webhook_reviews", "Reviews answered.", labels=["path", "verdict"])
        for (path, verdict), number in sorted(facts.reviews.counts.items()):
            reviews.add_metric([path, verdict], number)
        yield reviews
        durations = HistogramMetricFamily(
            "smeagol_webhook_duration_seconds", "From a review's arrival to its answer.", labels=["path"]
        )
        for path, taken in sorted(facts.reviews.durations.items()):
            durations.add_metric([path], taken.buckets(), taken.total)
        yield durations


def histogram(name: str, documentation: str, durations: Durations) -> Metric:
    """One without labels."""
    return HistogramMetricFamily(name, documentation, buckets=durations.buckets(), sum_value=durations.total)
