"""Writes `deploy/prometheus` and `deploy/grafana`: `python deploy/monitoring.py`. Tests compare the files with it.

Prometheus asks each proxy itself, and relabels what Envoy counts to the series of `docs/metrics.md`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from smeagol.api.documents import write_text
from smeagol.intent import PROXY_CONTAINER
from smeagol.providers.envoy.metrics import BUCKETS_MS

__all__ = ["files", "metric_rules", "target_rules"]

HERE = Path(__file__).parent
Json = dict[str, Any]
DATA_SOURCE = {"type": "prometheus", "uid": "${datasource}"}

_BUCKET = "envoy_cluster_upstream_rq_time_bucket"
_COUNTED = {
    "envoy_cluster_upstream_rq": "smi_requests_total",
    _BUCKET: "smi_request_duration_seconds_bucket",
    "envoy_cluster_upstream_rq_time_count": "smi_request_duration_seconds_count",
    "envoy_tcp_downstream_cx_total": "smi_tcp_connections_total",
    "envoy_tcp_downstream_cx_rx_bytes_total": "smi_tcp_request_bytes_total",
    "envoy_tcp_downstream_cx_tx_bytes_total": "smi_tcp_response_bytes_total",
}
"""The sum of durations is left out: it is in milliseconds, and relabelling cannot divide."""

_STAT = "__tmp_stat"

NAMESPACE = "smeagol-system"
HEALTH = "health"
"""Name of the control plane's port with /metrics."""


def target_rules() -> list[Json]:
    """Which containers are asked, and the labels of all their series."""
    return [
        {"source_labels": ["__meta_kubernetes_pod_container_name"], "regex": PROXY_CONTAINER, "action": "keep"},
        {"source_labels": ["__meta_kubernetes_pod_container_port_name"], "regex": "smi-metrics", "action": "keep"},
        {"regex": "__meta_kubernetes_pod_label_(.+)", "action": "labelmap"},
        {"source_labels": ["__meta_kubernetes_namespace"], "target_label": "namespace"},
        {"source_labels": ["__meta_kubernetes_pod_name"], "target_label": "pod"},
    ]


def metric_rules() -> list[Json]:
    """From Envoy's names to ours, as `smeagol.providers.envoy.metrics.series` does it."""
    path = "out/([^/]+)/([^/]+)/([^/]+)(?:/.*)?"
    return [
        {"source_labels": ["__name__"], "regex": "|".join(_COUNTED), "action": "keep"},
        *(_put(_STAT, "(.+)", "$1", label) for label in ("envoy_cluster_name", "envoy_tcp_prefix")),
        {"source_labels": [_STAT], "regex": "in|pod|passthrough|out/.+", "action": "keep"},
        _put("direction", "in", "inbound", _STAT),
        _put("direction", "pod|passthrough|out/.+", "outbound", _STAT),
        *(_put(label, path, f"${n}", _STAT) for n, label in enumerate(("service_namespace", "service", "port"), 1)),
        _put("backend", "out/[^/]+/([^/]+)/[^/]+", "$1", _STAT),
        _put("backend", "out/[^/]+/[^/]+/[^/]+/(.+)", "$1", _STAT),
        _put("response_code", "(.+)", "$1", "envoy_response_code"),
        *(_put("le", f"{_BUCKET};{bound}(?:\\.0)?", repr(bound / 1000), "__name__", "le") for bound in BUCKETS_MS),
        *(_put("__name__", theirs, ours, "__name__") for theirs, ours in _COUNTED.items()),
        {"regex": "envoy_.+|__tmp_.+", "action": "labeldrop"},
    ]


def _put(label: str, regex: str, replacement: str, *sources: str) -> Json:
    """Set a label where the sources' values match."""
    return {"source_labels": [*sources], "regex": regex, "target_label": label, "replacement": replacement}


def scrape() -> str:
    """A job for `prometheus.yml`."""
    job: Json = {
        "job_name": "smeagol-proxies",
        "metrics_path": "/stats/prometheus",
        "kubernetes_sd_configs": [{"role": "pod"}],
        "relabel_configs": target_rules(),
        "metric_relabel_configs": metric_rules(),
    }
    own: Json = {
        "job_name": "smeagol",
        "kubernetes_sd_configs": [{"role": "pod", "namespaces": {"names": [NAMESPACE]}}],
        "relabel_configs": [
            {"source_labels": [label], "regex": regex, "action": "keep"}
            for label, regex in (
                ("__meta_kubernetes_pod_label_app_kubernetes_io_name", "smeagol"),
                ("__meta_kubernetes_pod_container_port_name", HEALTH),
            )
        ]
        + target_rules()[3:],
    }
    return write_text({"scrape_configs": [job, own]})


def pod_monitor() -> str:
    """The same for the Prometheus operator."""
    endpoint: Json = {
        "port": "smi-metrics",
        "path": "/stats/prometheus",
        "relabelings": [_operators(rule) for rule in target_rules()[2:]],
        "metricRelabelings": [_operators(rule) for rule in metric_rules()],
    }
    spec: Json = {
        "namespaceSelector": {"any": True},
        "selector": {},
        "podMetricsEndpoints": [endpoint],
    }
    own: Json = {
        "selector": {"matchLabels": {"app.kubernetes.io/name": "smeagol"}},
        "podMetricsEndpoints": [{"port": HEALTH}],
    }
    return write_text(
        *(
            {
                "apiVersion": "monitoring.coreos.com/v1",
                "kind": "PodMonitor",
                "metadata": {"name": name, "namespace": NAMESPACE},
                "spec": found,
            }
            for name, found in (("smeagol-proxies", spec), ("smeagol", own))
        )
    )


def _operators(rule: Json) -> Json:
    """A relabelling rule as the operator spells it."""
    names = {"source_labels": "sourceLabels", "target_label": "targetLabel"}
    return {names.get(key, key): value for key, value in rule.items()}


def dashboard() -> str:
    """A Grafana dashboard: traffic by Pod and by who calls whom; then the control plane."""
    here, asked = 'direction="inbound",namespace=~"$namespace"', "namespace, pod"
    to_service = 'direction="outbound",service!="",namespace=~"$namespace"'
    called, pod = "service_namespace, service", "{{namespace}}/{{pod}}"
    requests = _sum("smi_requests_total", here, asked)
    failed = _sum("smi_requests_total", f'{here},response_code=~"5.."', asked)
    durations = _sum("smi_request_duration_seconds_bucket", here, f"le, {asked}")
    shares = _sum("smi_requests_total", to_service, f"{called}, backend")
    whole = f"ignoring (backend) group_left {_sum('smi_requests_total', to_service, called)}"
    callers = _sum("smi_requests_total", to_service, f"{asked}, {called}")
    connections = _sum("smi_tcp_connections_total", here, asked)
    sent, received = (_sum(f"smi_tcp_{way}_bytes_total", here, asked) for way in ("response", "request"))
    amiss = (
        "smeagol_xds_refused",
        "smeagol_certificates_failing",
        "smeagol_authority_failing",
        "smeagol_units_failing",
    )
    edge = "{{service_namespace}}/{{service}}"
    said = "{{path}} {{verdict}}"
    panels = [
        _panel("Requests per second", "reqps", (requests, pod)),
        _panel("Failed (5xx)", "percentunit", (f"{failed} / {requests}", pod)),
        _panel("Latency, 50 %", "s", (f"histogram_quantile(0.5, {durations})", pod)),
        _panel("Latency, 99 %", "s", (f"histogram_quantile(0.99, {durations})", pod)),
        _panel("Share of each backend", "percentunit", (f"{shares} / {whole}", edge + " → {{backend}}")),
        _panel("Who calls whom, requests per second", "reqps", (callers, f"{pod} → {edge}")),
        _panel("TCP connections per second", "cps", (connections, pod)),
        _panel("TCP bytes per second", "Bps", (received, f"{pod} received"), (sent, f"{pod} sent")),
        _panel("Proxies connected", "none", ("sum by (pod) (smeagol_proxies_connected)", "{{pod}}")),
        _panel("Should all be 0", "none", *((f"sum({name})", name) for name in amiss)),
        _panel(
            "The first certificate expires in", "s", ("min(smeagol_certificate_expiry_seconds > 0) - time()", "left")
        ),
        _panel(
            "Discovery per second",
            "ops",
            ("sum(rate(smeagol_xds_responses_total[$__rate_interval]))", "responses"),
            ("sum(rate(smeagol_xds_nacks_total[$__rate_interval]))", "refused"),
        ),
        _panel("From sending to acceptance", "s", *_quantiles("smeagol_xds_ack_duration_seconds")),
        _panel("From objects to configuration", "s", *_quantiles("smeagol_reconcile_duration_seconds")),
        _panel("Webhook reviews per second", "ops", (_rate("smeagol_webhook_reviews", "path, verdict"), said)),
        _panel("Webhook answers", "s", *_quantiles("smeagol_webhook_duration_seconds")),
        _panel("Statuses written per second", "ops", (_rate("smeagol_status_writes", "outcome"), "{{outcome}}")),
        _panel("Watches that failed per second", "ops", (_rate("smeagol_watch_faults", "resource"), "{{resource}}")),
    ]
    for number, panel in enumerate(panels):
        panel |= {"id": number + 1, "gridPos": {"h": 8, "w": 12, "x": 12 * (number % 2), "y": 8 * (number // 2)}}
    namespaces: Json = {
        "name": "namespace",
        "label": "Namespace",
        "type": "query",
        "datasource": DATA_SOURCE,
        "query": "label_values(smi_requests_total, namespace)",
        "includeAll": True,
        "multi": True,
        "allValue": ".*",
        "refresh": 2,
        "current": {"text": "All", "value": "$__all"},
    }
    source: Json = {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}
    board: Json = {
        "uid": "smeagol",
        "title": "Smeagol",
        "tags": ["service-mesh", "smeagol"],
        "schemaVersion": 39,
        "time": {"from": "now-30m", "to": "now"},
        "refresh": "10s",
        "templating": {"list": [source, namespaces]},
        "panels": panels,
    }
    return json.dumps(board, indent=2, ensure_ascii=False) + "\n"


def _sum(counter: str, labels: str, by: str) -> str:
    """What a counter grows by in a second."""
    return f"sum by ({by}) (rate({counter}{{{labels}}}[$__rate_interval]))"


def _rate(counter: str, by: str) -> str:
    """The same of all replicas together, without more labels."""
    return f"sum by ({by}) (rate({counter}_total[$__rate_interval]))"


def _quantiles(histogram: str) -> tuple[tuple[str, str], ...]:
    """Half of all and nearly all, over all replicas."""
    grows = f"sum by (le) (rate({histogram}_bucket[$__rate_interval]))"
    return tuple((f"histogram_quantile({share}, {grows})", f"{share * 100:g} %") for share in (0.5, 0.99))


def _panel(title: str, unit: str, *queries: tuple[str, str]) -> Json:
    """`queries`: expressions, each with the name of its lines."""
    return {
        "type": "timeseries",
        "title": title,
        "datasource": DATA_SOURCE,
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + number), "datasource": DATA_SOURCE, "expr": expression, "legendFormat": name}
            for number, (expression, name) in enumerate(queries)
        ],
    }


def files() -> dict[Path, str]:
    return {
        HERE / "prometheus/scrape.yaml": scrape(),
        HERE / "prometheus/podmonitor.yaml": pod_monitor(),
        HERE / "grafana/smeagol.json": dashboard(),
    }


if __name__ == "__main__":
    for path, text in files().items():
        path.write_text(text, encoding="utf-8")
