"""The whole of the cluster part."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from pathlib import Path

from bench.cluster.measure import Extent, Tools, measure
from bench.cluster.section import cluster_section
from bench.machine import python_versions
from bench.processes import build_go
from bench.xds.node import node_of_real_envoy
from bench.xds.world import Scale
from e2e.cluster.packages import require_root

__all__ = ["FULL", "QUICK", "run_cluster"]

FULL = Extent(scale=Scale(services=1_000, endpoints=2), changes=20, new_pods=500)
QUICK = Extent(scale=Scale(services=100, endpoints=2), changes=3, new_pods=50, judged=False)


def run_cluster(extent: Extent, say: Callable[[str], None]) -> str:
    """Measure, and return the section of the report, less its heading. Needs root, for the webhook's port."""
    require_root()
    with tempfile.TemporaryDirectory(prefix="smeagol-bench-") as name:
        node = Path(name) / "node"
        node.write_bytes(node_of_real_envoy())
        tools = Tools(proxies=build_go(("proxies",))["proxies"], node=node)
        measured = asyncio.run(measure(extent, tools, say))
    return cluster_section(extent, measured, python_versions("grpcio", "uvloop", "msgspec"))
