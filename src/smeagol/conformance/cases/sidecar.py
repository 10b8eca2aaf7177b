"""Profile SMI-SIDECAR: what Prometheus scrapes, compared with what was sent. Names of series are the provider's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from prometheus_client.parser import text_string_to_metric_families

from smeagol.conformance.bench import Bench
from smeagol.conformance.call import Call
from smeagol.conformance.model import Maker, UnmetError, case_of
from smeagol.conformance.write import pod as a_pod
from smeagol.conformance.write import service, sidecar

__all__ = ["CASES"]

NS = "smi-sidecar"
SERVER_POD, CLIENT_POD = "measured-server", "measured-client"
"""Names that nothing else has, since which label of a series names its Pod is the provider's choice."""
CLIENT = f"{NS}/{CLIENT_POD}"
URL = f"http://web.{NS}"


def rule(*rules: str, labels: bool = False) -> Maker:
    features = ("SidecarMetrics", *(("SidecarMetricLabels",) if labels else ()))
    return case_of("SMI-SIDECAR", *rules, features=features, stage=("sidecar",))


Counters = dict[tuple[str, tuple[tuple[str, str], ...]], float]
"""Value by name and sorted labels."""


@dataclass(frozen=True, slots=True)
class Series:
    name: str
    kind: str
    labels: Mapping[str, str]
    value: float


def scraped(bench: Bench, pod: str = "") -> list[Series]:
    """All series one of whose labels names the Pod."""
    url = bench.status("Sidecar", NS, "everyone").get("metricsServer", "")
    if not url:
        raise UnmetError("status.metricsServer of a Sidecar", expected="the URL to scrape", seen="nothing")
    return [
        Series(sample.name, family.type, sample.labels, sample.value)
        for family in text_string_to_metric_families(bench.driver.scrape(url))
        for sample in family.samples
        if not pod or pod in sample.labels.values()
    ]


def counted(series: list[Series], code: str) -> Counters:
    """Counters that are about one status code."""
    return {
        (s.name, tuple(sorted(s.labels.items()))): s.value
        for s in series
        if s.kind == "counter" and code in s.labels.values()
    }


@rule("SMI-SIDE-01", "SMI-SIDE-02")
def sidecar_status_codes(bench: Bench) -> None:
    """Each request is counted once where it comes in and once where it goes out, by its status code."""
    sent = {"200": 30, "404": 7, "503": 3}
    pods = (SERVER_POD, CLIENT_POD)
    bench.call(CLIENT, *(Call(url=f"{URL}/status/{code}") for code in sent))
    for pod in pods:  # one that is there has counted its first call, and nothing else is on its way
        bench.until(partial(_present, bench, pod, sent), seconds=bench.limits.effect)
    before = {pod: {code: counted(scraped(bench, pod), code) for code in sent} for pod in pods}
    bench.call(CLIENT, *(Call(url=f"{URL}/status/{code}", count=count) for code, count in sent.items()))
    for pod in pods:
        bench.until(partial(_grown, bench, pod, before[pod], sent), seconds=bench.limits.effect)


def _grown(bench: Bench, pod: str, before: Mapping[str, Counters], sent: Mapping[str, int]) -> None:
    for code, count in sent.items():
        now = counted(scraped(bench, pod), code)
        grown = {key: value - before[code].get(key, 0) for key, value in now.items()}
        if max(grown.values(), default=0) != count:
            raise UnmetError(f"counters of {pod} for status {code}", expected=f"one that grew by {count}", seen=grown)


def _present(bench: Bench, pod: str, codes: Mapping[str, int]) -> None:
    series = scraped(bench, pod)
    for code in codes:
        if not counted(series, code):
            raise UnmetError(f"counters of {pod} for status {code}", expected="at least one", seen="none")


@rule("SMI-SIDE-01")
def sidecar_latency(bench: Bench) -> None:
    """Latency is a histogram: an answer that takes a second is counted above half a second and not below."""

    def buckets() -> tuple[float, float, float]:
        series = [s for s in scraped(bench, SERVER_POD) if s.kind == "histogram"]
        bounds = [(float(s.labels["le"]), s.value) for s in series if s.name.endswith("_bucket")]
        if not bounds:
            raise UnmetError("histograms of the server", expected="buckets", seen="none")
        top = max(value for bound, value in bounds)
        low = max((value for bound, value in bounds if bound <= 0.5), default=0.0)
        return top, low, top - low

    bench.call(CLIENT, Call(url=f"{URL}/slow"))
    before = bench.until(buckets, seconds=bench.limits.effect)
    bench.call(CLIENT, Call(url=f"{URL}/slow", count=3))

    def slower() -> None:
        _, _, above = buckets()
        if above - before[2] < 3:
            raise UnmetError("answers that took longer than half a second", expected="3 more", seen=above - before[2])

    bench.until(slower, seconds=bench.limits.effect)


@rule("SMI-SIDE-01")
def sidecar_bounded_series(bench: Bench) -> None:
    """Neither paths nor headers nor clients make new series."""

    def names() -> set[tuple[str, tuple[tuple[str, str], ...]]]:
        return {(s.name, tuple(sorted(s.labels.items()))) for s in scraped(bench, SERVER_POD)}

    bench.call(CLIENT, Call(url=f"{URL}/", count=3))
    bench.until(lambda: _present(bench, SERVER_POD, {"200": 1}), seconds=bench.limits.effect)
    before = names()
    calls = [Call(url=f"{URL}/{n}", headers=(("Host", f"host-{n}"), ("User-Agent", str(n)))) for n in range(20)]
    bench.call(CLIENT, *calls)
    bench.call(CLIENT, Call(url=f"{URL}/", count=3))
    if added := names() - before:
        raise UnmetError("series after 20 paths and hosts", expected="no new one", seen=sorted(added)[:3])


@rule("SMI-SIDE-03", "SMI-SIDE-04", labels=True)
def sidecar_own_labels(bench: Bench) -> None:
    """Without metricLabels the Pod's own are on its series, made legal for Prometheus."""
    bench.call(CLIENT, Call(url=f"{URL}/"))

    def check() -> None:
        series = [s for s in scraped(bench, SERVER_POD) if s.labels.get("app") == "web"]
        if not series or any(s.labels.get("app_kubernetes_io_name") != "shop" for s in series):
            raise UnmetError("labels of the server's series", expected='app="web", app_kubernetes_io_name="shop"',
                             seen=[s.labels for s in scraped(bench, SERVER_POD)][:2])  # fmt: skip

    bench.until(check, seconds=bench.limits.effect)


@rule("SMI-SIDE-03", "SMI-SIDE-05", "SMI-SIDE-06", labels=True)
def sidecar_given_labels(bench: Bench) -> None:
    """metricLabels are on every series of the selected Pods and no other; they add up, the oldest Sidecar wins."""
    bench.call(CLIENT, Call(url=f"{URL}/"))
    restarts = bench.driver.pod(NS, SERVER_POD)
    bench.apply(sidecar(NS, "first", {"app": "web"}, metrics={"team": "blue"}))
    _labelled(bench, {"team": "blue"})
    bench.apply(sidecar(NS, "second", {"app": "web"}, metrics={"team": "green", "tier": "one"}))
    _labelled(bench, {"team": "blue", "tier": "one"})
    bench.apply(sidecar(NS, "first", {"app": "web"}, metrics={"team": "red"}))
    _labelled(bench, {"team": "red", "tier": "one"})
    if bench.driver.pod(NS, SERVER_POD) != restarts:
        raise UnmetError("the Pod whose labels changed", expected=restarts, seen=bench.driver.pod(NS, SERVER_POD))


def _labelled(bench: Bench, labels: Mapping[str, str]) -> None:
    def check() -> None:
        own = [s.labels for s in scraped(bench, SERVER_POD)]
        others = [s.labels for s in scraped(bench, CLIENT_POD)]
        if not own or any(not labels.items() <= found.items() for found in own):
            raise UnmetError("labels of the selected Pod's series", expected=dict(labels), seen=own[:2])
        if any("team" in found for found in others):
            raise UnmetError("labels of another Pod's series", expected="no team", seen=others[:1])

    bench.until(check, seconds=bench.limits.effect)


@case_of("SMI-SIDECAR", "SMI-SIDE-07", features=("SidecarContainers",), stage=("sidecar",))
def sidecar_containers(bench: Bench) -> None:
    """A selected Pod that is made gets the Sidecar's container, which serves beside its own."""
    command = ["python3", "-m", "smeagol.conformance.echo", "http:8090"]
    env = [{"name": "VERSION", "value": "further"}]
    asking = sidecar(NS, "asking", {"app": "late"})
    asking["spec"]["containers"] = [
        {"name": "further", "image": "smi-conformance-echo", "command": command, "env": env}
    ]
    bench.apply(asking, wait=False)
    bench.expect_condition(asking, "Accepted", "True", "Accepted")
    ports = (("http", 80, 8080), ("http-further", 81, 8090))
    bench.apply(a_pod(NS, "late", "http:8080"), service(NS, "late", {"app": "late"}, ports))
    bench.expect_answers(CLIENT, f"http://late.{NS}", "late")
    bench.expect_answers(CLIENT, f"http://late.{NS}:81", "further")
    bench.expect_condition(asking, "Programmed", "True", "Programmed")


@case_of(
    "SMI-SIDECAR",
    "SMI-STATUS-07",
    features=("SidecarMetrics",),
    lacking=("SidecarContainers",),
    stage=("sidecar",),
)
def sidecar_says_what_it_cannot_do(bench: Bench) -> None:
    """A provider without a feature answers an object that asks for it: FullySupported is false, and why."""
    asking = sidecar(NS, "asking", {"app": "web"})
    asking["spec"]["containers"] = [{"name": "further", "image": "smi-conformance-echo"}]
    bench.apply(asking, wait=False)
    bench.expect_unsupported(asking, "SidecarContainers", "spec.containers")


@case_of("SMI-SIDECAR", "SMI-STATUS-07", features=(), lacking=("SidecarMetrics",), stage=("canary",))
def sidecar_that_cannot_be_measured(bench: Bench) -> None:
    """A provider that measures nothing says so of every Sidecar."""
    asking = sidecar("smi-canary", "asking")
    bench.apply(asking, wait=False)
    bench.expect_unsupported(asking, "SidecarMetrics", "spec")


CASES = (
    sidecar_status_codes,
    sidecar_latency,
    sidecar_bounded_series,
    sidecar_own_labels,
    sidecar_given_labels,
    sidecar_containers,
    sidecar_says_what_it_cannot_do,
    sidecar_that_cannot_be_measured,
)
