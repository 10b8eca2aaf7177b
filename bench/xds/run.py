"""The whole of the xDS part: which servers, how many proxies, in which order."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.machine import python_versions
from bench.processes import build_go
from bench.xds.measure import WARM_UP_CHANGES, Run, Server, measure, servers
from bench.xds.node import node_of_real_envoy
from bench.xds.prepare import Job, prepare
from bench.xds.section import Extent, Measured, xds_section
from bench.xds.world import Scale

__all__ = ["FULL", "QUICK", "run_xds"]

FULL = Extent(services=1_000, many_services=4_000, proxies=(1_000, 2_000), few_proxies=500, rounds=2, steps=5)
QUICK = Extent(services=100, many_services=400, proxies=(100,), few_proxies=50, rounds=1, steps=3, judged=False)


def run_xds(extent: Extent, say: Callable[[str], None]) -> str:
    """Measure, and return the section of the report, less its heading."""
    programs = build_go(("gocontrolplane", "proxies"))
    compared = servers(programs["gocontrolplane"])
    ours, theirs = compared[:2]
    with tempfile.TemporaryDirectory(prefix="smeagol-bench-") as name:
        folder = Path(name)
        node = folder / "node"
        node.write_bytes(node_of_real_envoy())

        def runs_of(wanted: Sequence[tuple[Server, Job]], proxies: int) -> list[Run]:
            runs = []
            for number in range(extent.rounds):
                for server, job in wanted:
                    say(f"round {number + 1}: {server.name}, {job.scale.services} Services, {proxies} proxies")
                    runs.append(measure(server, job, proxies, extent.steps, fleet=programs["proxies"], node=node))
            return runs

        steps = WARM_UP_CHANGES + extent.steps
        few = prepare(Scale(services=extent.services), steps, folder)
        many = prepare(Scale(services=extent.many_services), steps, folder)
        with theirs.start(few) as other:
            versions = {**python_versions("grpcio", "protobuf"), **other.hello["versions"]}
        measured = Measured(
            fleets={proxies: runs_of([(server, few) for server in compared], proxies) for proxies in extent.proxies},
            growth=runs_of([(ours, few), (ours, many)], extent.few_proxies),
            versions=versions,
            resource_bytes=few.resource_bytes,
        )
    return xds_section(extent, measured)
