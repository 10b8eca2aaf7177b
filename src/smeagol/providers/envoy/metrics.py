"""What a proxy counts, and how that becomes Smeagol's own series (spec: Sidecar).

Proxies count under statistic names that hold no dots, so that Envoy's label extraction cannot cut them wrongly:

    in                                                inbound, all ports of the Pod
    out/<namespace>/<service>/<port>                  outbound to a Service
    out/<namespace>/<service>/<port>/<backend>        outbound to a Service that is split, by the backend that answered
    pod, passthrough                                  outbound to a Pod's own address, and past the mesh

The series are stable: they name nothing of Envoy. Each has the labels `namespace` and `pod` of the proxy, `direction`
(`inbound` or `outbound`), the Pod's metric labels, and for outbound traffic to a Service `service_namespace`,
`service`, `port` and `backend` (the Service itself where nothing is split). A metric label that bears one of these
names is given as `exported_<name>`, as Prometheus itself does.

    smi_requests_total{…, response_code}       counter    HTTP requests answered, by status code
    smi_request_duration_seconds{…}            histogram  from the request's arrival at the proxy to the answer's end
    smi_tcp_connections_total{…}               counter    connections that are not HTTP
    smi_tcp_request_bytes_total{…}             counter    their bytes from client to server
    smi_tcp_response_bytes_total{…}            counter    their bytes from server to client

So the number of series of a Pod is bounded by the Services it calls and the status codes it meets.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from smeagol.providers.envoy.protos import StatsConfig
from smeagol.refs import PodRef

__all__ = [
    "BUCKETS_MS",
    "FAMILIES",
    "INBOUND_STAT",
    "STATS_CONFIG",
    "Family",
    "Sample",
    "exposition",
    "outbound_stat",
    "series",
]

INBOUND_STAT = "in"

BUCKETS_MS = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000)

_KEPT = (
    {"prefix": "server."},
    {"prefix": "control_plane."},
    {"prefix": "cluster_manager."},
    {"prefix": "listener_manager."},
    {"safe_regex": {"regex": r"cluster\.(in|out/[^.]*)\.upstream_rq_(\d\d\d|time)"}},
    # Not for Prometheus: the health check filter reads them to answer probes of TCP ports.
    {"safe_regex": {"regex": r"cluster\.probe-tcp-\d+\.membership_.*"}},
    {"safe_regex": {"regex": r"tcp\.(in|pod|passthrough|out/[^.]*)\.downstream_cx_(total|[rt]x_bytes_total)"}},
)
"""Counters a proxy keeps: each cluster would have some two hundred, at a thousand clusters most of a proxy's memory."""

STATS_CONFIG = StatsConfig(
    stats_matcher={"inclusion_list": {"patterns": _KEPT}},
    histogram_bucket_settings=[{"match": {"prefix": "cluster."}, "buckets": BUCKETS_MS}],
)


@dataclass(frozen=True, slots=True)
class Family:
    type: str
    help: str


FAMILIES = {
    "smi_requests_total": Family("counter", "HTTP requests answered, by status code."),
    "smi_request_duration_seconds": Family("histogram", "Time from a request's arrival to the end of its answer."),
    "smi_tcp_connections_total": Family("counter", "Connections that are not HTTP."),
    "smi_tcp_request_bytes_total": Family("counter", "Bytes from client to server on connections that are not HTTP."),
    "smi_tcp_response_bytes_total": Family("counter", "Bytes from server to client on connections that are not HTTP."),
}


@dataclass(frozen=True, slots=True)
class Sample:
    """One number. `name` is that of its family, for a histogram with `_bucket`, `_sum` or `_count`."""

    family: str
    name: str
    labels: tuple[tuple[str, str], ...]
    value: float


def outbound_stat(namespace: str, service: str, port: int, backend: str | None = None) -> str:
    """The name under which traffic to a Service port is counted (`Cluster.alt_stat_name`, `TcpProxy.stat_prefix`)."""
    whole = f"out/{namespace}/{service}/{port}"
    return f"{whole}/{backend}" if backend else whole


_LINE = re.compile(r"envoy_(cluster|tcp)_(\w+)\{([^}]*)\} (\S+)")
_LABEL = re.compile(r'(\w+)="([^"]*)"')
_COUNTERS = {
    "upstream_rq": "smi_requests_total",
    "downstream_cx_total": "smi_tcp_connections_total",
    "downstream_cx_rx_bytes_total": "smi_tcp_request_bytes_total",
    "downstream_cx_tx_bytes_total": "smi_tcp_response_bytes_total",
}
_DURATION = "smi_request_duration_seconds"
_MS = 1000.0


def series(text: str, pod: PodRef, metric_labels: Sequence[tuple[str, str]] = ()) -> tuple[Sample, ...]:
    """One proxy's `/stats/prometheus` as our series, sorted; what is not ours is left out.

    `metric_labels` are legal label names with their values (intent: WorkloadIntent).
    """
    own = _own_labels(pod, metric_labels)
    sums: dict[tuple[str, str, tuple[tuple[str, str], ...]], float] = {}
    for family, name, extra, value in _translated(text):
        key = (family, name, tuple(sorted((*own, *extra))))
        sums[key] = sums.get(key, 0.0) + value
    return tuple(Sample(*key, value) for key, value in sorted(sums.items()))


def exposition(samples: Iterable[Sample]) -> str:
    """Prometheus text of any number of proxies' samples."""
    by_family: dict[str, list[Sample]] = {}
    for sample in samples:
        by_family.setdefault(sample.family, []).append(sample)
    return "".join(_lines(by_family))


def _lines(by_family: dict[str, list[Sample]]) -> Iterator[str]:
    for name, family in FAMILIES.items():
        if name not in by_family:
            continue
        yield f"# HELP {name} {family.help}\n# TYPE {name} {family.type}\n"
        for sample in by_family[name]:
            labels = ",".join(f'{key}="{_escape(value)}"' for key, value in sample.labels)
            yield f"{sample.name}{{{labels}}} {sample.value!r}\n"


def _escape(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


_RESERVED = frozenset(
    {"namespace", "pod", "direction", "service", "service_namespace", "port", "backend", "response_code", "le"}
)


def _own_labels(pod: PodRef, metric_labels: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    labels = [("namespace", pod.namespace), ("pod", pod.name)]
    taken = _RESERVED | {name for name, _ in metric_labels}
    for name, value in metric_labels:
        legal = name
        while legal in _RESERVED or (legal != name and legal in taken):
            legal = f"exported_{legal}"
        taken |= {legal}
        labels.append((legal, value))
    return labels


def _translated(text: str) -> Iterator[tuple[str, str, list[tuple[str, str]], float]]:
    """(family, name, labels, value) of every line that is ours."""
    for scope, kind, raw_labels, value in _LINE.findall(text):
        labels = dict(_LABEL.findall(raw_labels))
        where = _traffic(labels.get("envoy_cluster_name") or labels.get("envoy_tcp_prefix") or "")
        if where is None:
            continue
        if kind in _COUNTERS:
            code = [("response_code", labels["envoy_response_code"])] if scope == "cluster" else []
            yield _COUNTERS[kind], _COUNTERS[kind], [*where, *code], float(value)
        elif kind == "upstream_rq_time_bucket":
            bound = labels["le"] if labels["le"] == "+Inf" else repr(float(labels["le"]) / _MS)
            yield _DURATION, f"{_DURATION}_bucket", [*where, ("le", bound)], float(value)
        elif kind == "upstream_rq_time_sum":
            yield _DURATION, f"{_DURATION}_sum", where, float(value) / _MS
        elif kind == "upstream_rq_time_count":
            yield _DURATION, f"{_DURATION}_count", where, float(value)


def _traffic(stat: str) -> list[tuple[str, str]] | None:
    """The labels that a statistic name stands for; None if it is not about the mesh's traffic."""
    if stat == INBOUND_STAT:
        return [("direction", "inbound")]
    if stat in ("pod", "passthrough"):
        return [("direction", "outbound")]
    match stat.split("/"):
        case ["out", namespace, service, port, *rest]:
            return [
                ("direction", "outbound"),
                ("service_namespace", namespace),
                ("service", service),
                ("port", port),
                ("backend", rest[0] if rest else service),
            ]
    return None
