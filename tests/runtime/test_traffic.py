"""What the proxies count, as the readers of the control API get it."""

from __future__ import annotations

from smeagol.intent import Endpoint, Protocol, ServiceIntent, ServicePort, WorkloadIntent
from smeagol.providers.envoy.metrics import Sample
from smeagol.refs import PodRef, ServiceRef, SubjectName
from smeagol.runtime.traffic import traffic

OUT = (("namespace", "shop"), ("pod", "cart"), ("direction", "outbound"), ("service_namespace", "shop"))


def sample(name: str, value: float, **labels: str) -> Sample:
    return Sample("f", name, (*OUT, *labels.items()), value)


def service(name: str, *, mutual_tls: bool) -> ServiceIntent:
    port = ServicePort(
        number=80, name="", protocol=Protocol.HTTP, endpoints=(Endpoint("10.0.0.1", 80, mutual_tls=mutual_tls),)
    )
    return ServiceIntent(
        ref=ServiceRef("shop", name),
        fqdn=f"{name}.shop.svc.cluster.local",
        cluster_ips=("10.96.0.1",),
        headless=False,
        ports=(port,),
        cluster_domain="cluster.local",
    )


CART = WorkloadIntent(
    pod=PodRef("shop", "cart"),
    uid="u",
    node=PodRef("shop", "cart").node,
    addresses=("10.0.0.9",),
    service_account="cart",
    mode=None,
    client_names=(SubjectName("cart.example"),),
    server_names=(),
    inbound_ports=(),
)


def test_requests_are_counted_by_backend_and_code() -> None:
    found = traffic(
        [
            sample("smi_requests_total", 7, service="web", backend="web-v1", port="80", response_code="200"),
            sample("smi_requests_total", 1, service="web", backend="web-v1", port="81", response_code="200"),
            sample("smi_requests_total", 2, service="web", backend="web-v2", port="80", response_code="503"),
        ],
        at=1.0,
        workloads={},
        services={},
    )
    assert [(r.service, r.backend, r.code, r.count) for r in found.requests] == [
        ("shop/web", "shop/web-v1", "200", 8),
        ("shop/web", "shop/web-v2", "503", 2),
    ]


def test_an_edge_says_whether_it_is_mutual_tls_and_under_which_names() -> None:
    """Names are shown only where they are really presented."""
    requests = [
        sample("smi_requests_total", 5, service="web", backend="web-v1", response_code="200"),
        sample("smi_requests_total", 3, service="old", backend="old", response_code="200"),
    ]
    found = traffic(
        requests,
        at=1.0,
        workloads={CART.pod: CART},
        services={
            ServiceRef("shop", "web-v1"): service("web-v1", mutual_tls=True),
            ServiceRef("shop", "old"): service("old", mutual_tls=False),
        },
    )
    assert [(e.backend, e.mutual_tls, e.client_names, e.requests) for e in found.edges] == [
        ("shop/old", False, (), 3),
        ("shop/web-v1", True, ("cart.example",), 5),
    ]


def test_latency_buckets_are_in_order_with_the_total_last() -> None:
    found = traffic(
        [
            sample("smi_request_duration_seconds_bucket", 4, service="web", le="+Inf"),
            sample("smi_request_duration_seconds_bucket", 1, service="web", le="0.005"),
            sample("smi_request_duration_seconds_bucket", 3, service="web", le="0.5"),
            sample("smi_request_duration_seconds_sum", 1.5, service="web"),
        ],
        at=1.0,
        workloads={},
        services={},
    )
    (latency,) = found.latency
    assert latency.buckets == ((0.005, 1), (0.5, 3), (None, 4))
    assert (latency.count, latency.sum) == (4, 1.5)


def test_an_edge_counts_the_connections_of_other_protocols() -> None:
    """A port of raw bytes has no requests; who dials it, and under which names, is seen all the same."""
    found = traffic(
        [
            sample("smi_tcp_connections_total", 4, service="ledger", backend="ledger", port="7000"),
            sample("smi_tcp_connections_total", 2, service="web", backend="web", port="9000"),
            sample("smi_requests_total", 5, service="web", backend="web", port="80", response_code="200"),
        ],
        at=1.0,
        workloads={CART.pod: CART},
        services={ServiceRef("shop", "ledger"): service("ledger", mutual_tls=True)},
    )
    assert [(e.service, e.requests, e.connections, e.client_names) for e in found.edges] == [
        ("shop/ledger", 0, 4, ("cart.example",)),
        ("shop/web", 5, 2, ()),
    ]
