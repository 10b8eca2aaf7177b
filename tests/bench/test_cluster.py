"""The pure parts of the cluster benchmark: what is written is what the xDS part expects, and the report follows."""

from __future__ import annotations

import msgspec
import pytest

from bench.cluster.measure import Admitted, Changed, Extent, Measured, Return
from bench.cluster.objects import change, writes
from bench.cluster.section import cluster_section
from bench.xds.world import ChangeKind, Scale, changed_object
from smeagol import api, objects
from smeagol.sources.kubernetes import kinds

SCALE = Scale(services=25, endpoints=2)
EXTENT = Extent(scale=SCALE, changes=3, new_pods=4)


class TestObjects:
    """The mesh of the xDS part, as the API server takes it."""

    def test_every_pod_has_its_address_and_every_slice_those_of_its_pods(self) -> None:
        made = list(writes(SCALE))
        addresses = {write.status["podIP"] for write in made if write.status is not None}
        behind = [
            address
            for write in made
            if write.body["kind"] == "EndpointSlice"
            for endpoint in write.body["endpoints"]
            for address in endpoint["addresses"]
        ]
        assert len(addresses) == SCALE.pods
        assert sorted(behind) == sorted(addresses)

    @pytest.mark.parametrize("kind", ChangeKind)
    @pytest.mark.parametrize("step", range(4))
    def test_a_patched_object_is_the_one_whose_effect_is_awaited(self, kind: ChangeKind, step: int) -> None:
        wanted = changed_object(SCALE, kind, step)
        patch = change(SCALE, kind, step)
        written = next(w for w in writes(SCALE) if f"{w.path}/{w.name}" == patch.path)
        patched = msgspec.json.encode({**written.body, **patch.patch})
        if isinstance(wanted, api.Canary):
            found = kinds.CANARIES.decode(patched)
            assert isinstance(found, api.Canary)
            assert found.spec == wanted.spec
        else:
            assert isinstance(wanted, objects.EndpointSlice)
            assert kinds.ENDPOINT_SLICES.decode(patched).endpoints == wanted.endpoints


def measured(*, slowest: float = 0.9, without_proxy: int = 0) -> Measured:
    changes = Changed(first=[0.1, 0.1, 0.2], last=[0.5, 0.6, slowest], told=[1.0, 1.0, 1.0], cpu_seconds=0.4)
    admitted = Admitted(latencies=[0.01, 0.02, 0.03, 0.04], seconds=0.1, with_proxy=4 - without_proxy, failed=0)
    return Measured(
        ready=1,
        idle_mib=100,
        connect=10,
        connect_cpu=5,
        programmed=11,
        connected_mib=200,
        peak_mib=210,
        idle_cpu=0.01,
        changes=dict.fromkeys(ChangeKind, changes),
        admitted=admitted,
        without_webhook=admitted,
        returned=Return(ready=3, last=20, cpu_seconds=6, peak_mib=220),
    )


class TestSection:
    """Every goal of the scale is judged by what was measured."""

    def test_all_are_met(self) -> None:
        assert "MISS" not in cluster_section(EXTENT, measured(), {"Python": "3.11"})

    @pytest.mark.parametrize(
        ("found", "missed"),
        [(measured(slowest=1.1), "the slowest of 3"), (measured(without_proxy=1), "those without a proxy")],
    )
    def test_one_slow_change_or_one_pod_without_a_proxy_is_a_miss(self, found: Measured, missed: str) -> None:
        (line,) = (line for line in cluster_section(EXTENT, found, {}).splitlines() if "MISS" in line)
        assert missed in line
