"""A proxy's counters as our stable series (spec: Sidecar)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from smeagol.providers.envoy.metrics import FAMILIES, Sample, exposition, outbound_stat, series
from smeagol.refs import PodRef

POD = PodRef("shop", "cart-1")


def only(text: str, labels: tuple[tuple[str, str], ...] = ()) -> Sample:
    [sample] = series(text, POD, labels)
    return sample


class TestSeries:
    def test_outbound_requests(self) -> None:
        line = 'envoy_cluster_upstream_rq{envoy_response_code="200",envoy_cluster_name="out/shop/web/80/web-v1"} 12\n'
        assert only(line) == Sample(
            "smi_requests_total",
            "smi_requests_total",
            (
                ("backend", "web-v1"), ("direction", "outbound"), ("namespace", "shop"), ("pod", "cart-1"),
                ("port", "80"), ("response_code", "200"), ("service", "web"), ("service_namespace", "shop"),
            ),
            12.0,
        )  # fmt: skip

    def test_without_a_split_the_service_is_the_backend(self) -> None:
        line = f'envoy_tcp_downstream_cx_total{{envoy_tcp_prefix="{outbound_stat("a", "b", 1)}"}} 1'
        assert dict(only(line).labels)["backend"] == "b"

    def test_inbound_requests_name_no_service(self) -> None:
        """A Pod may serve many, and the proxy is not told which one was dialled."""
        line = 'envoy_cluster_upstream_rq{envoy_response_code="503",envoy_cluster_name="in"} 1\n'
        assert only(line).labels == (
            ("direction", "inbound"), ("namespace", "shop"), ("pod", "cart-1"), ("response_code", "503"),
        )  # fmt: skip

    def test_durations_are_in_seconds(self) -> None:
        """Base units, as Prometheus recommends; Envoy counts milliseconds."""
        text = (
            'envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name="in",le="2.5"} 1\n'
            'envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name="in",le="+Inf"} 2\n'
            'envoy_cluster_upstream_rq_time_sum{envoy_cluster_name="in"} 1500\n'
            'envoy_cluster_upstream_rq_time_count{envoy_cluster_name="in"} 2\n'
        )
        found = {(sample.name, dict(sample.labels).get("le")): sample.value for sample in series(text, POD)}
        assert found == {
            ("smi_request_duration_seconds_bucket", "0.0025"): 1.0,
            ("smi_request_duration_seconds_bucket", "+Inf"): 2.0,
            ("smi_request_duration_seconds_sum", None): 1.5,
            ("smi_request_duration_seconds_count", None): 2.0,
        }

    def test_traffic_past_the_mesh_is_one_series(self) -> None:
        text = (
            'envoy_tcp_downstream_cx_total{envoy_tcp_prefix="pod"} 1\n'
            'envoy_tcp_downstream_cx_total{envoy_tcp_prefix="passthrough"} 2\n'
        )
        assert only(text).value == 3.0

    def test_what_is_not_about_traffic_is_left_out(self) -> None:
        text = (
            "# TYPE envoy_server_live gauge\nenvoy_server_live{} 1\n"
            'envoy_cluster_upstream_rq{envoy_response_code="200",envoy_cluster_name="admin"} 3\n'
            'envoy_cluster_upstream_rq_xx{envoy_response_code_class="2",envoy_cluster_name="in"} 3\n'
        )
        assert series(text, POD) == ()

    def test_metric_labels_are_on_every_series(self) -> None:
        line = 'envoy_tcp_downstream_cx_total{envoy_tcp_prefix="in"} 1\n'
        assert ("tier", "gold") in only(line, (("tier", "gold"),)).labels

    @given(st.lists(st.sampled_from(["pod", "exported_pod", "exported_exported_pod", "app", "le"]), unique=True))
    def test_no_metric_label_hides_another(self, names: list[str]) -> None:
        """Ours keep their names; a user's label of that name is given as exported_<name>."""
        line = 'envoy_tcp_downstream_cx_total{envoy_tcp_prefix="in"} 1\n'
        labels = only(line, tuple((name, f"value of {name}") for name in names)).labels
        assert len({name for name, _ in labels}) == len(labels) == 3 + len(names)
        assert dict(labels)["pod"] == "cart-1"


class TestExposition:
    def test_many_proxies_make_one_page(self) -> None:
        """Each family is described once, and values are escaped (Prometheus text format)."""
        line = 'envoy_tcp_downstream_cx_total{envoy_tcp_prefix="in"} 1\n'
        samples = [*series(line, POD, [("note", 'a "b"\\\n')]), *series(line, PodRef("shop", "cart-2"))]
        assert exposition(samples) == (
            f"# HELP smi_tcp_connections_total {FAMILIES['smi_tcp_connections_total'].help}\n"
            "# TYPE smi_tcp_connections_total counter\n"
            'smi_tcp_connections_total{direction="inbound",namespace="shop",note="a \\"b\\"\\\\\\n",pod="cart-1"} 1.0\n'
            'smi_tcp_connections_total{direction="inbound",namespace="shop",pod="cart-2"} 1.0\n'
        )
