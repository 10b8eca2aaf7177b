"""Sidecar: what Prometheus scrapes, compared with what was sent."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from datapath.app import App
from datapath.harness import Mesh, eventually, running
from datapath.manifests import Manifest, canary, mutual_tls, pod, service, sidecar

pytestmark = [pytest.mark.netns, pytest.mark.envoy, pytest.mark.xdist_group("datapath-sidecar")]

Series = dict[tuple[str, tuple[tuple[str, str], ...]], float]
"""Value by name and sorted labels."""

SCRAPE_AGE_SECONDS = 0.3
"""Who asks again within 0.2 seconds gets the same numbers."""

PORTS = (("http", 80, 8080), ("tcp-echo", 9000, 9000))


def server(name: str) -> tuple[Manifest, ...]:
    labels = {"app.kubernetes.io/name": "web", "web": "yes"}
    return pod(name, "http:8080", "tcp:9000", labels=labels, version=name), service(name, ports=PORTS)


@pytest.fixture(scope="module")
def mesh() -> Iterator[Mesh]:
    root = service("web", {"web": "yes"}, ports=PORTS)
    with running(*server("v1"), *server("v2"), root, pod("client"), mutual_tls(), sidecar()) as mesh:
        yield mesh


@pytest.fixture
def client(mesh: Mesh) -> App:
    return mesh.app("client")


SEEN: set[str] = set()
"""The Pods of which there have been series: a proxy that is slow to answer is left out of a scrape."""


def scraped(mesh: Mesh) -> Series:
    """Everything about traffic, as an ordinary Prometheus reads it."""

    def whole() -> Series:
        series = {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(mesh.metrics())
            if family.name.startswith("smi_")
            for sample in family.samples
        }
        pods = {dict(labels)["pod"] for _, labels in series}
        assert pods >= SEEN, "a proxy has not answered"
        SEEN.update(pods)
        return series

    return eventually(whole)


def total(series: Series, name: str, **labels: str) -> float:
    """The sum of all series of a name that have these labels."""
    wanted = set(labels.items())
    return sum(value for (found, its), value in series.items() if found == name and wanted <= set(its))


def grown(mesh: Mesh, before: Series, by: float, name: str, **labels: str) -> None:
    """That counter has grown by so much, and by no more."""

    def check() -> None:
        assert total(scraped(mesh), name, **labels) - total(before, name, **labels) == by, (name, labels)

    eventually(check)


def settled(mesh: Mesh) -> Series:
    """Everything that has happened until now: a scrape may be a moment old, and histograms are filled now and then."""
    time.sleep(SCRAPE_AGE_SECONDS)

    def check() -> Series:
        series = scraped(mesh)
        assert total(series, "smi_request_duration_seconds_count") == total(series, "smi_requests_total")
        return series

    return eventually(check)


def labels_of(mesh: Mesh, name: str) -> list[dict[str, str]]:
    """The labels of every series of a Pod."""
    return [dict(labels) for _, labels in scraped(mesh) if dict(labels).get("pod") == name]


class TestTraffic:
    """SMI-SIDE-01."""

    def test_codes_on_both_sides(self, mesh: Mesh, client: App) -> None:
        """Each request is counted once where it comes in and once where it goes out, by its status code."""
        client.get("http://v1/")  # so that every series is there
        before = settled(mesh)
        for path, times in (("/", 30), ("/status/404", 7), ("/status/503", 3)):
            with client.connect("v1", 80) as connection:
                for _ in range(times):
                    connection.http(path)
        for code, times in (("200", 30), ("404", 7), ("503", 3)):
            inside = {"namespace": "default", "pod": "v1", "direction": "inbound"}
            outside = {"namespace": "default", "pod": "client", "direction": "outbound", "service": "v1"}
            grown(mesh, before, times, "smi_requests_total", response_code=code, **inside)
            grown(mesh, before, times, "smi_requests_total", response_code=code, **outside)

    def test_shares_of_a_canary(self, mesh: Mesh, client: App) -> None:
        """By the backend that answered."""
        before = settled(mesh)
        with mesh.having(canary("web", v1="1", v2="1")):
            told = client.burst("http://web/", 200)
            for name, count in told.versions.items():
                outside = {"pod": "client", "direction": "outbound", "service": "web", "backend": name}
                grown(mesh, before, count, "smi_requests_total", response_code="200", **outside)
                grown(mesh, before, count, "smi_requests_total", pod=name, direction="inbound")

    def test_latency_is_a_histogram(self, mesh: Mesh, client: App) -> None:
        """An answer that takes a second is counted above half a second, not below."""
        client.get("http://v1/")
        before = settled(mesh)
        client.get("http://v1/slow")
        name = "smi_request_duration_seconds"
        for labels in ({"pod": "v1", "direction": "inbound"}, {"pod": "client", "service": "v1"}):
            grown(mesh, before, 1, f"{name}_count", **labels)
            grown(mesh, before, 1, f"{name}_bucket", le="+Inf", **labels)
            grown(mesh, before, 0, f"{name}_bucket", le="0.5", **labels)
            grown(mesh, before, 1, f"{name}_bucket", le="60.0", **labels)
            took = total(scraped(mesh), f"{name}_sum", **labels) - total(before, f"{name}_sum", **labels)
            assert 0.9 <= took < 20

    def test_connections_that_are_not_http(self, mesh: Mesh, client: App) -> None:
        client.burst("http://v1:9000/", 1, line=True)
        before = settled(mesh)
        client.burst("http://v1:9000/", 5, line=True)
        grown(mesh, before, 5, "smi_tcp_connections_total", pod="client", direction="outbound", service="v1")
        grown(mesh, before, 5, "smi_tcp_connections_total", pod="v1", direction="inbound")
        grown(mesh, before, 5 * len("hello\n"), "smi_tcp_request_bytes_total", pod="client", service="v1")

    def test_probes_are_no_traffic(self, mesh: Mesh) -> None:
        """Kubelet probes and scrapes come in every second, and are none of the application's requests."""
        before = settled(mesh)
        for _ in range(3):
            mesh.metrics()
        assert settled(mesh) == before

    def test_number_of_series_is_bounded(self, mesh: Mesh, client: App) -> None:
        """Neither paths nor headers nor clients make new ones."""
        client.get("http://v1/status/404")
        client.get("http://v1/")
        before = set(settled(mesh))
        for number in range(20):
            client.get(f"http://v1/{number}", headers=[("Host", f"host-{number}"), ("User-Agent", str(number))])
        assert set(settled(mesh)) == before


class TestLabels:
    def test_own_labels_made_legal(self, mesh: Mesh, client: App) -> None:
        """SMI-SIDE-03, SMI-SIDE-04: where a Sidecar gives none, the Pod's own are taken."""
        client.get("http://v1/")
        for labels in labels_of(mesh, "v1"):
            assert labels["app_kubernetes_io_name"] == "web"
            assert labels["app"] == "v1"

    def test_given_labels(self, mesh: Mesh, client: App) -> None:
        """SMI-SIDE-03: on every series of the selected Pods, and on no other."""
        client.burst("http://v1:9000/", 1, line=True)
        client.get("http://v1/")
        with mesh.having(sidecar("v1", {"app": "v1"}, labels={"team": "blue", "tier": "one"})):
            eventually(lambda: labelled(mesh, pod="v1", team="blue"))
            assert all((labels["team"], labels["tier"]) == ("blue", "one") for labels in labels_of(mesh, "v1"))
            assert not any("team" in labels for labels in labels_of(mesh, "client"))
        eventually(lambda: labelled(mesh, pod="v1", app="v1"))
        assert not any("team" in labels for labels in labels_of(mesh, "v1"))

    def test_change_of_labels(self, mesh: Mesh, client: App) -> None:
        """SMI-SIDE-06: no restart, no count lost, and no series of another Pod touched."""
        client.get("http://v1/")
        mesh.apply(sidecar("v1", {"app": "v1"}, labels={"team": "blue"}))
        try:
            eventually(lambda: labelled(mesh, team="blue"))
            before = settled(mesh)
            pods = {p.name: (p.restarts, p.ips) for p in mesh.status().pods}
            mesh.apply(sidecar("v1", {"app": "v1"}, labels={"team": "green", "more": "yes"}))
            after = eventually(lambda: labelled(mesh, team="green"))
            assert others(after) == others(before)
            assert total(before, "smi_requests_total", pod="v1", team="blue") > 0
            assert total(after, "smi_requests_total", pod="v1", team="green") == total(
                before, "smi_requests_total", pod="v1", team="blue"
            )
            assert {p.name: (p.restarts, p.ips) for p in mesh.status().pods} == pods
        finally:
            mesh.delete(sidecar("v1"))

    def test_several_add_up(self, mesh: Mesh) -> None:
        """SMI-SIDE-05: the oldest wins where two give one label."""
        first = sidecar("first", {"app": "v2"}, labels={"team": "blue"})
        second = sidecar("second", {"app": "v2"}, labels={"team": "green", "tier": "one"})
        mesh.app("client").get("http://v2/")
        with mesh.having(first), mesh.having(second):
            eventually(lambda: labelled(mesh, pod="v2", tier="one"))
            assert all((labels["team"], labels["tier"]) == ("blue", "one") for labels in labels_of(mesh, "v2"))


def labelled(mesh: Mesh, **labels: str) -> Series:
    """What is scraped once series with these labels are among it: who asks twice at once gets the same numbers."""
    series = scraped(mesh)
    assert total(series, "smi_requests_total", **labels)
    return series


def others(series: Series) -> Series:
    return {key: value for key, value in series.items() if dict(key[1]).get("pod") != "v1"}
