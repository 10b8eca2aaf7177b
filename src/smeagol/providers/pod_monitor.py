"""PodMonitor, the Prometheus operator's: labels on the series of Pods whose mesh cannot put them there itself."""

from __future__ import annotations

from smeagol.intent import SidecarIntent
from smeagol.plan import JSON
from smeagol.plan.making import made, made_name
from smeagol.plan.peer import JSONObject, PeerKind

__all__ = ["POD_MONITOR", "pod_monitor", "selector_of"]

POD_MONITOR = PeerKind("monitoring.coreos.com/v1", "PodMonitor", "podmonitors")


def pod_monitor(sidecar: SidecarIntent, provider: str, path: str, **port: JSON) -> JSONObject:
    """Scrapes the proxies of the selected Pods at `path` of a port (`port=NAME` or `portNumber=N`).

    It puts the metric labels on each series, or the Pods' own labels where there are none (spec: SMI-SIDE-03).
    """
    labels = sidecar.metric_labels
    rules: list[JSON] = [{"action": "labelmap", "regex": "__meta_kubernetes_pod_label_(.+)"}]
    if labels is not None:
        # `$` would begin a reference to a group of the pattern.
        rules = [
            {"action": "replace", "targetLabel": name, "replacement": value.replace("$", "$$")}
            for name, value in labels
        ]
    return made(
        POD_MONITOR.group_version,
        POD_MONITOR.kind,
        name=made_name(sidecar.ref.name),
        namespace=sidecar.ref.namespace,
        owner=sidecar.ref,
        provider=provider,
        spec={
            "selector": selector_of(sidecar.selection.match_labels, sidecar.selection.match_expressions),
            "podMetricsEndpoints": [{**port, "path": path, "relabelings": rules}],
        },
    )


def selector_of(
    match_labels: tuple[tuple[str, str], ...], match_expressions: tuple[tuple[str, str, tuple[str, ...]], ...]
) -> JSONObject:
    """A meta/v1 LabelSelector, without its empty parts."""
    expressions: list[JSON] = [
        {"key": key, "operator": operator, **({"values": list(values)} if values else {})}
        for key, operator, values in match_expressions
    ]
    return {
        **({"matchLabels": dict(match_labels)} if match_labels else {}),
        **({"matchExpressions": expressions} if expressions else {}),
    }
