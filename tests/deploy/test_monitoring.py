"""What is handed to Prometheus and Grafana: relabelled as our own code does it, and asking for what there is."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from smeagol.providers.envoy.metrics import FAMILIES, series
from smeagol.refs import PodRef

ROOT = Path(__file__).parents[2]
ENVOY = """
# TYPE envoy_cluster_upstream_rq counter
envoy_cluster_upstream_rq{envoy_response_code="200",envoy_cluster_name="in"} 7
envoy_cluster_upstream_rq{envoy_response_code="503",envoy_cluster_name="out/shop/web/80/web-v2"} 2
envoy_cluster_upstream_rq{envoy_response_code="200",envoy_cluster_name="out/shop/cart/80"} 3
# TYPE envoy_tcp_downstream_cx_total counter
envoy_tcp_downstream_cx_total{envoy_tcp_prefix="passthrough"} 4
envoy_tcp_downstream_cx_total{envoy_tcp_prefix="out/shop/db/5432"} 5
# TYPE envoy_tcp_downstream_cx_rx_bytes_total counter
envoy_tcp_downstream_cx_rx_bytes_total{envoy_tcp_prefix="in"} 60
# TYPE envoy_server_uptime gauge
envoy_server_uptime{} 9
# TYPE envoy_cluster_upstream_rq_time histogram
envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name="in",le="1"} 1
envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name="in",le="2500"} 6
envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name="in",le="+Inf"} 7
envoy_cluster_upstream_rq_time_sum{envoy_cluster_name="in"} 900
envoy_cluster_upstream_rq_time_count{envoy_cluster_name="in"} 7
"""


def module() -> ModuleType:
    """`deploy/monitoring.py`, which is no package."""
    spec = importlib.util.spec_from_file_location("deploy_monitoring", ROOT / "deploy/monitoring.py")
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = made
    spec.loader.exec_module(made)
    return made


def relabelled(labels: Mapping[str, str], rules: Iterable[Mapping[str, Any]]) -> dict[str, str] | None:
    """As Prometheus does it (configuration: relabel_config); None if the series is dropped."""
    now = dict(labels)
    for rule in rules:
        regex = re.compile(rule.get("regex", "(.*)"))
        value = ";".join(now.get(name, "") for name in rule.get("source_labels", ()))
        match rule.get("action", "replace"):
            case "keep":
                if not regex.fullmatch(value):
                    return None
            case "labeldrop":
                now = {name: text for name, text in now.items() if not regex.fullmatch(name)}
            case "replace":
                if found := regex.fullmatch(value):
                    now[rule["target_label"]] = found.expand(re.sub(r"\$(\d)", r"\\\1", rule.get("replacement", "$1")))
            case action:
                msg = f"no such action here: {action}"
                raise AssertionError(msg)
    return {name: text for name, text in now.items() if text}


def test_files_are_those_that_the_program_writes() -> None:
    """Write them anew with `python deploy/monitoring.py`."""
    for path, text in module().files().items():
        assert path.read_text(encoding="utf-8") == text, path


def test_prometheus_has_the_series_of_our_own_endpoint() -> None:
    """Names, labels and values; all but the sum of durations, which relabelling cannot bring to seconds."""
    own = {"namespace": "shop", "pod": "web-1"}
    through_prometheus = set()
    for family in text_string_to_metric_families(ENVOY):
        for sample in family.samples:
            name = sample.name.removesuffix("_total") if sample.name.endswith("upstream_rq_total") else sample.name
            if (made := relabelled({"__name__": name, **sample.labels}, module().metric_rules())) is not None:
                through_prometheus.add((tuple(sorted((made | own).items())), sample.value))
    ours = {
        (tuple(sorted({**dict(sample.labels), "__name__": sample.name}.items())), sample.value)
        for sample in series(ENVOY, PodRef("shop", "web-1"))
        if not sample.name.endswith("_sum")
    }
    assert through_prometheus == ours
    assert len(ours) == 10


def test_the_dashboard_asks_for_what_there_is() -> None:
    """Each name in a query is a series of the metrics page, with labels that it has."""
    described = set(re.findall(r"`(smi_\w+|smeagol_\w+)`", (ROOT / "docs/metrics.md").read_text(encoding="utf-8")))
    board = json.loads((ROOT / "deploy/grafana/smeagol.json").read_text(encoding="utf-8"))
    queries = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    queries.append(board["templating"]["list"][1]["query"])
    asked = {name for query in queries for name in re.findall(r"\b(?:smi|smeagol)_\w+", query)}
    assert asked
    assert {name.removesuffix("_bucket") for name in asked} <= described
    assert set(FAMILIES) <= {name.removesuffix("_bucket") for name in asked}
