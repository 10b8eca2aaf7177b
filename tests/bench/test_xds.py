"""The pure parts of the xDS benchmark: everybody gets the same job, and the report follows from the runs."""

from __future__ import annotations

import base64
import pickle
from pathlib import Path

import pytest
from envoy.service.discovery.v3 import discovery_pb2

from bench.xds.measure import OURS, THEIRS, WHOLE, Changes, Run
from bench.xds.prepare import Job, prepare
from bench.xds.section import Extent, Measured, xds_section
from bench.xds.world import ChangeKind, Scale, UnitsFile
from smeagol.intent import UnitKey
from smeagol.providers.envoy import provider
from smeagol.runtime.planner import Planner

SCALE = Scale(services=25)
STEPS = 6


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    return prepare(SCALE, STEPS, tmp_path_factory.mktemp("job"))


def read_wire(path: Path) -> dict[tuple[str, str], bytes]:
    """Messages after their lengths, as the Go server reads them."""
    raw = path.read_bytes()
    found = {}
    while raw:
        size = shift = position = 0
        while True:
            byte = raw[position]
            position += 1
            size |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        wire = discovery_pb2.Resource.FromString(raw[position : position + size])
        found[wire.resource.type_url, wire.name] = wire.resource.value
        raw = raw[position + size :]
    return found


class TestJob:
    """All servers serve the same bytes and make the same changes."""

    def test_units_and_resources_say_the_same(self, job: Job) -> None:
        given: UnitsFile = pickle.loads(job.units.read_bytes())
        planner: Planner[UnitKey] = Planner(provider)
        planned = planner.update(given.units, given.units).upserts
        assert read_wire(job.resources) == {(r.type_url, r.name): r.body for r in planned}
        assert sum(job.wanted.values()) == len(planned)

    @pytest.mark.parametrize("kind", ChangeKind)
    def test_every_change_gives_existing_resources_new_bytes(self, job: Job, kind: ChangeKind) -> None:
        held = read_wire(job.resources)
        for before in ChangeKind:
            for step in range(STEPS):
                for resource in job.changes[before, step]:
                    key = (resource.type_url, resource.name)
                    if before is kind:
                        assert held[key] != resource.body
                    held[key] = resource.body
            if before is kind:
                break

    def test_changed_units_plan_to_the_changed_resources(self, job: Job) -> None:
        given: UnitsFile = pickle.loads(job.units.read_bytes())
        planner: Planner[UnitKey] = Planner(provider)
        planner.update(given.units, given.units)
        for (kind, step), changed in given.changes.items():
            given.units.update(changed)
            assert set(planner.update(changed, given.units).upserts) == set(job.changes[kind, step])

    def test_changes_are_encoded_as_discovery_resources(self, job: Job) -> None:
        encoded = [
            discovery_pb2.Resource.FromString(base64.b64decode(one)) for one in job.encoded(ChangeKind.WEIGHT, 0)
        ]
        changed = job.changes[ChangeKind.WEIGHT, 0]
        assert [(wire.name, wire.resource.value) for wire in encoded] == [(r.name, r.body) for r in changed]


EXTENT = Extent(services=1000, many_services=4000, proxies=(2000,), few_proxies=500, rounds=2, steps=1)


def run(server: str, last: float, mib: float, services: int = 1000) -> Run:
    seen = Changes(first=[1], middle=[2], p99=[3], last=[last], taken=[1], cpu_ms=last, bytes_each=400)
    return Run(
        server=server,
        proxies=2000,
        services=services,
        connect_seconds=1,
        connect_cpu_seconds=1,
        idle_mib=10,
        connected_mib=mib,
        peak_mib=mib,
        changes=dict.fromkeys(ChangeKind, seen),
    )


class TestSection:
    def section(self, *runs: Run) -> str:
        growth = [run(OURS, 100, 50), run(OURS, 110, 80, services=4000)]
        return xds_section(
            EXTENT, Measured(fleets={2000: runs}, growth=growth, versions={"Go": "go1"}, resource_bytes=2_000_000)
        )

    def test_goals_compare_with_the_better_of_the_other_servers(self) -> None:
        """For each figure by itself: one cache may be the faster, the other the smaller."""
        text = self.section(
            run(OURS, 100, 30), run(f"{THEIRS}, a", 400, 300), run(f"{THEIRS}, b", 800, 100), run(WHOLE, 200, 90)
        )
        assert "| weight change to the last of 2,000 ACKs, beside go-control-plane | 0.50 | 0.25 | **PASS** |" in text
        assert "| memory with 2,000 proxies, beside go-control-plane | 0.33 | 0.30 | **PASS** |" in text

    def test_goals_take_the_median_over_rounds(self) -> None:
        """One bad round among three does not decide."""
        ours = [run(OURS, last, 30) for last in (100, 100, 9000)]
        text = self.section(*ours, run(f"{THEIRS}, a", 400, 300), run(WHOLE, 200, 90))
        assert "last of 2,000 ACKs, beside go-control-plane | 0.50 | 0.25 | **PASS** |" in text

    def test_growth_compares_many_services_with_few(self) -> None:
        text = self.section(run(OURS, 100, 30), run(f"{THEIRS}, a", 400, 300), run(WHOLE, 200, 90))
        assert "| weight change to the last ACK, 4,000 Services beside 1,000 | 1.25 | 1.10 | **PASS** |" in text

    def test_every_server_is_in_every_table(self) -> None:
        names = (OURS, f"{THEIRS}, a", WHOLE)
        text = self.section(*(run(name, 100, 30) for name in names))
        for name in names:
            assert text.count(f"| {name} |") == 3
