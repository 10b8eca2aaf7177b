"""From a Sidecar to Telemetry: labels that Istio's proxies put on their series."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from smeagol.intent import SidecarIntent
from smeagol.plan import JSON, Feature, Plan, Unsupported
from smeagol.plan.making import digest_of, made, made_name
from smeagol.plan.peer import Conflict, JSONObject, PeerKind, Surroundings, at
from smeagol.providers.istio.kinds import TELEMETRIES
from smeagol.providers.pod_monitor import pod_monitor
from smeagol.providers.selecting import alternatives, labels_of, reaches

__all__ = ["sidecar_conflicts", "sidecar_plan"]

METRICS = "http-envoy-prom"
"""The port of a proxy's container where Prometheus reads (15090)."""


def sidecar_plan(sidecar: SidecarIntent, kind: PeerKind, provider: str, *, monitors: bool) -> Plan:
    """Istio counts without being asked. `monitors`: whether there are PodMonitors, for the Pods' own labels."""
    unsupported = []
    if sidecar.containers:
        message = "the containers are not added to the Pods. Put them into the Pods' template"
        unsupported.append(Unsupported("spec.containers", Feature.SIDECAR_CONTAINERS, message))
    if sidecar.older:
        others = ", ".join(str(ref) for ref in sidecar.older)
        message = (
            f"some of the Pods are also selected by {others}, which is older. Istio takes one Telemetry for each Pod, "
            "so these labels are not put on their series. Put all labels into one Sidecar"
        )
        unsupported.append(Unsupported("spec.metricLabels", Feature.SIDECAR_METRIC_LABELS, message))
        return Plan(unsupported=tuple(unsupported))
    if sidecar.metric_labels is None:
        if monitors:
            return Plan(
                objects=(pod_monitor(sidecar, provider, "/stats/prometheus", port=METRICS),),
                unsupported=tuple(unsupported),
            )
        message = (
            "the Pods' own labels are not put on their series: that takes a PodMonitor, and the cluster has none. "
            "Name the labels, or install the Prometheus operator"
        )
        unsupported.append(Unsupported("spec.metricLabels", Feature.SIDECAR_METRIC_LABELS, message))
        return Plan(unsupported=tuple(unsupported))
    several = bool(sidecar.selection.match_expressions)
    telemetries = tuple(
        _telemetry(sidecar, kind, made_name(sidecar.ref.name, *([digest_of(labels)] * several)), provider, labels)
        for labels in alternatives(sidecar.selection)
    )
    if not telemetries:
        message = (
            "Istio's selectors have matchLabels only, and would select other Pods: the Pods are measured, without "
            "these labels. Select by matchLabels, or by In with few values"
        )
        unsupported.append(Unsupported("spec.selector.matchExpressions", Feature.SIDECAR_METRIC_LABELS, message))
    return Plan(objects=telemetries, unsupported=tuple(unsupported))


def _telemetry(
    sidecar: SidecarIntent, kind: PeerKind, name: str, provider: str, labels: Mapping[str, str]
) -> JSONObject:
    tags: JSON = {key: {"operation": "UPSERT", "value": _cel(value)} for key, value in sidecar.metric_labels or ()}
    return made(
        kind.group_version,
        kind.kind,
        name=name,
        namespace=sidecar.ref.namespace,
        owner=sidecar.ref,
        provider=provider,
        spec={
            **({"selector": {"matchLabels": dict(labels)}} if labels else {}),
            "metrics": [
                {
                    "providers": [{"name": "prometheus"}],
                    "overrides": [
                        {
                            "match": {"metric": "ALL_METRICS", "mode": "CLIENT_AND_SERVER"},
                            "tagOverrides": tags,
                        }
                    ],
                }
            ],
        },
    )


def _cel(text: str) -> str:
    """A text as a literal of CEL, for the values of tags are expressions."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n").replace("\r", "\\r")
    return f"'{escaped}'"


def sidecar_conflicts(sidecar: SidecarIntent, around: Surroundings) -> Iterator[Conflict]:
    """Foreign Telemetries on some of the Pods: of two with a selector, or two without, Istio takes one (IST0159)."""
    if sidecar.metric_labels is None or sidecar.older or not (ways := alternatives(sidecar.selection)):
        return
    ours = any(ways)
    for foreign in around.of(TELEMETRIES[0], sidecar.ref.namespace):
        if at(foreign, "spec", "targetRefs") or at(foreign, "spec", "targetRef"):
            continue  # of gateways and waypoints
        theirs = bool(labels_of(at(foreign, "spec", "selector", "matchLabels")))
        if ours == theirs and reaches(at(foreign, "spec", "selector"), sidecar.selection, around):
            yield Conflict.over(foreign, "it says what some of the Pods measure")
