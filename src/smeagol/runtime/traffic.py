"""What the proxies count, gathered when somebody asks: for Prometheus, for `smeagol top`, for the demo."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Self

import httpx2
import structlog

from smeagol.control import Edge, LatencySeries, RequestSeries, Traffic
from smeagol.intent import ServiceIntent, WorkloadIntent
from smeagol.providers.envoy.metrics import Sample, series
from smeagol.refs import PodRef, ServiceRef

__all__ = ["Collector", "Target", "traffic"]

log = structlog.get_logger(__name__)

SCRAPE_SECONDS = 2.0
"""How long a proxy may take to answer; it is left out of that round otherwise."""

SCRAPED_AT_ONCE = 100

MIN_AGE_SECONDS = 0.2
"""Readers that ask within this time of each other get the same numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One proxy: where it gives its counters, and the labels its series carry."""

    pod: PodRef
    url: str
    metric_labels: tuple[tuple[str, str], ...]


class Collector:
    """Scrapes all proxies at once. Use as an async context manager: it keeps connections."""

    def __init__(self, targets: Callable[[], Iterable[Target]]) -> None:
        self._targets = targets
        # Those that wait for their turn wait as long as it takes: there may be thousands.
        self._client = httpx2.AsyncClient(
            timeout=httpx2.Timeout(SCRAPE_SECONDS, pool=None),
            limits=httpx2.Limits(max_connections=SCRAPED_AT_ONCE, max_keepalive_connections=SCRAPED_AT_ONCE),
            trust_env=False,
        )
        self._lock = asyncio.Lock()
        self._last: tuple[float, tuple[Sample, ...]] = (-MIN_AGE_SECONDS, ())

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def samples(self) -> tuple[Sample, ...]:
        """Everything that the proxies count now. A proxy that does not answer is left out and logged."""
        async with self._lock:
            if time.monotonic() - self._last[0] >= MIN_AGE_SECONDS:
                rounds = await asyncio.gather(*(self._scrape(target) for target in self._targets()))
                self._last = (time.monotonic(), tuple(sample for samples in rounds for sample in samples))
            return self._last[1]

    async def text(self, target: Target) -> str:
        """What one proxy counts, as it says it itself; empty if it does not answer."""
        try:
            answer = await self._client.get(target.url)
            answer.raise_for_status()
        except httpx2.HTTPError as error:
            log.debug("proxy not scraped", pod=str(target.pod), error=str(error))
            return ""
        return answer.text

    async def _scrape(self, target: Target) -> tuple[Sample, ...]:
        return series(await self.text(target), target.pod, target.metric_labels)


_Where = tuple[str, str, str, str, str]
"""(namespace, pod, direction, service, backend)"""


def traffic(
    samples: Iterable[Sample],
    *,
    at: float,
    workloads: Mapping[PodRef, WorkloadIntent],
    services: Mapping[ServiceRef, ServiceIntent],
) -> Traffic:
    """The counters as readers of the control API get them. Pure. `at`: seconds, any clock that only goes forward."""
    requests: dict[tuple[_Where, str], float] = defaultdict(float)
    connections: dict[_Where, float] = defaultdict(float)
    buckets: dict[_Where, dict[float | None, float]] = defaultdict(lambda: defaultdict(float))
    sums: dict[_Where, float] = defaultdict(float)
    for sample in samples:
        labels = dict(sample.labels)
        where = _where(labels)
        match sample.name:
            case "smi_requests_total":
                requests[where, labels["response_code"]] += sample.value
            case "smi_tcp_connections_total":
                connections[where] += sample.value
            case "smi_request_duration_seconds_bucket":
                bound = None if labels["le"] == "+Inf" else float(labels["le"])
                buckets[where][bound] += sample.value
            case "smi_request_duration_seconds_sum":
                sums[where] += sample.value
    return Traffic(
        time=at,
        requests=tuple(_request_series(where, code, n) for (where, code), n in sorted(requests.items())),
        latency=tuple(_latency_series(where, found, sums[where]) for where, found in sorted(buckets.items())),
        edges=tuple(_edges(requests, connections, workloads, services)),
    )


def _where(labels: Mapping[str, str]) -> _Where:
    service = backend = ""
    if name := labels.get("service"):
        namespace = labels.get("service_namespace", "")
        service = f"{namespace}/{name}"
        backend = f"{namespace}/{labels.get('backend', name)}"
    return labels.get("namespace", ""), labels.get("pod", ""), labels.get("direction", ""), service, backend


def _request_series(where: _Where, code: str, count: float) -> RequestSeries:
    namespace, pod, direction, service, backend = where
    return RequestSeries(
        namespace=namespace,
        pod=pod,
        direction=direction,
        service=service,
        backend=backend,
        code=code,
        count=count,
    )


def _latency_series(where: _Where, found: Mapping[float | None, float], total: float) -> LatencySeries:
    namespace, pod, direction, service, backend = where
    ordered = sorted(found.items(), key=lambda item: float("inf") if item[0] is None else item[0])
    return LatencySeries(
        namespace=namespace,
        pod=pod,
        direction=direction,
        service=service,
        backend=backend,
        buckets=tuple(ordered),
        sum=total,
        count=found.get(None, 0.0),
    )


def _edges(
    requests: Mapping[tuple[_Where, str], float],
    connections: Mapping[_Where, float],
    workloads: Mapping[PodRef, WorkloadIntent],
    services: Mapping[ServiceRef, ServiceIntent],
) -> Iterable[Edge]:
    totals: dict[_Where, float] = defaultdict(float)
    for (where, _code), count in requests.items():
        totals[where] += count
    for where in sorted(totals.keys() | connections.keys()):
        namespace, pod, direction, service, backend = where
        if direction != "outbound" or not service:
            continue
        client = workloads.get(PodRef(namespace, pod))
        target = services.get(ServiceRef(*backend.split("/", 1)))
        secured = target is not None and any(e.mutual_tls for port in target.ports for e in port.endpoints)
        yield Edge(
            client=f"{namespace}/{pod}",
            service=service,
            backend=backend,
            mutual_tls=secured,
            client_names=client.client_names if client is not None and secured else (),
            requests=totals.get(where, 0),
            connections=connections.get(where, 0),
        )
