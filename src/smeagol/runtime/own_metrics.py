"""The control plane's own series, beside those of the proxies; names as Prometheus conventions have them."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

from smeagol.runtime.control_plane import ControlPlane
from smeagol.runtime.controller_metrics import histogram

__all__ = ["metrics_text", "own_metrics"]


class _ControlPlaneCollector(Collector):
    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane

    def collect(self) -> Iterator[Metric]:
        mesh = self._plane.mesh
        stats = mesh.cache.stats
        yield GaugeMetricFamily(
            "smeagol_proxies_connected", "Proxies with an open discovery stream.", len(mesh.cache.acks.connected)
        )
        yield GaugeMetricFamily(
            "smeagol_xds_streams_waiting", "Streams that wait for their first configuration.", stats.waiting
        )
        yield GaugeMetricFamily(
            "smeagol_xds_refused", "Resources that connected proxies refuse now.", len(mesh.cache.acks.refused())
        )
        resources = GaugeMetricFamily("smeagol_xds_resources", "Resources held for the proxies.", labels=["type"])
        for type_url, number in sorted(mesh.cache.sizes.items()):
            resources.add_metric([type_url.rpartition(".")[2]], number)
        yield resources
        for name, help_text, value in (
            ("smeagol_xds_updates", "Steps in which the wanted configuration changed.", stats.updates),
            ("smeagol_xds_responses", "Discovery responses sent.", stats.responses),
            ("smeagol_xds_response_bytes", "Bytes of them.", stats.response_bytes),
            ("smeagol_xds_acks", "Responses that proxies accepted.", stats.acks),
            ("smeagol_xds_nacks", "Responses that proxies refused, in whole or part.", stats.nacks),
            ("smeagol_xds_streams_opened", "Discovery streams opened.", stats.streams_opened),
            ("smeagol_xds_streams_refused", "Discovery streams refused: no valid identity.", stats.streams_refused),
            ("smeagol_certificates_issued", "Certificates issued.", mesh.certificates.issued_total),
        ):
            yield CounterMetricFamily(name, help_text, value)
        yield histogram(
            "smeagol_xds_ack_duration_seconds", "From a discovery response to its acceptance.", stats.ack_latency
        )
        yield GaugeMetricFamily(
            "smeagol_certificates_failing", "Certificates that could not be issued.", len(mesh.certificates.failures)
        )
        yield GaugeMetricFamily(
            "smeagol_certificate_expiry_seconds",
            "When the first certificate in use expires, in seconds since 1970; 0 if there is none.",
            min((issued.not_after.timestamp() for issued in mesh.certificates.in_use), default=0),
        )
        yield GaugeMetricFamily(
            "smeagol_authority_failing",
            "1 while the authority's keys cannot be renewed or read, or wait for others; the last good ones sign.",
            int(bool(mesh.problem)),
        )
        yield GaugeMetricFamily(
            "smeagol_authority_expiry_seconds",
            "When the authority can sign no more unless it is renewed, in seconds since 1970.",
            self._plane.authority.not_after.timestamp(),
        )
        yield GaugeMetricFamily(
            "smeagol_units_failing", "Units of the intent that the provider could not plan.", len(mesh.planner.failures)
        )
        recomputed = CounterMetricFamily(
            "smeagol_derived_recomputed", "Values computed anew, by derived collection.", labels=["collection"]
        )
        for collection in self._plane.resolver.graph.collections:
            recomputed.add_metric([collection.name], collection.recomputed)
        yield recomputed


def own_metrics(plane: ControlPlane, *more: Collector) -> str:
    """Prometheus text of a control plane, and of `more`, as of now."""
    return metrics_text(*more, _ControlPlaneCollector(plane))


def metrics_text(*collectors: Collector) -> str:
    """Prometheus text of these, as of now."""
    registry = CollectorRegistry()
    for collector in collectors:
        registry.register(collector)
    return generate_latest(registry).decode()
