"""What the kubelet and Prometheus are told (installation: probes, metrics)."""

from __future__ import annotations

import re

import pytest
from starlette.testclient import TestClient

from smeagol.durations import BUCKETS, Durations
from smeagol.runtime.health import Readiness, health_app
from smeagol.runtime.web import AddressTakenError, listening


def test_ready_once_all_is_there_and_not_while_ending() -> None:
    """What is missing is named; being well is another question."""
    missing = ["not yet seen: pods", "no webhook yet"]
    readiness = Readiness()
    readiness.add(lambda: missing[0])
    readiness.add(lambda: missing[1])
    asked = TestClient(health_app(readiness, lambda: "smeagol_leader 1.0\n"))
    answer = asked.get("/readyz")
    assert (answer.status_code, answer.text) == (503, "not yet seen: pods\nno webhook yet\n")
    missing[:] = ["", ""]
    assert asked.get("/readyz").status_code == 200
    readiness.ending = True
    assert asked.get("/readyz").status_code == 503
    assert asked.get("/healthz").status_code == 200
    assert asked.get("/metrics").text == "smeagol_leader 1.0\n"


def test_what_the_proxies_count_is_beside() -> None:
    """The endpoint of status.metricsServer, where there is one (SMI-SIDE-02)."""

    async def traffic() -> str:
        return "smi_requests_total 3.0\n"

    assert TestClient(health_app(Readiness(), str)).get("/metrics/traffic").status_code == 404
    assert TestClient(health_app(Readiness(), str, traffic)).get("/metrics/traffic").text == "smi_requests_total 3.0\n"


def test_buckets_are_cumulated() -> None:
    """Prometheus: a bucket has all that is not longer than its bound, which is within."""
    durations = Durations()
    for seconds in (0.0005, 0.001, 0.3, 99.0):
        durations.add(seconds)
    found = dict(durations.buckets())
    assert (found["0.001"], found["0.25"], found["0.5"], found["+Inf"]) == (2, 2, 3, 4)
    assert len(found) == len(BUCKETS) + 1


@pytest.mark.parametrize("host", ["127.0.0.1", "[::]"])
def test_an_address_in_use_is_named(host: str) -> None:
    """Two control planes by hand on one machine: the second says which address, and what to do."""
    with listening(f"{host}:0") as first:
        taken = f"{host}:{first.getsockname()[1]}"
        with pytest.raises(AddressTakenError, match=re.escape(taken)), listening(taken):
            pass
