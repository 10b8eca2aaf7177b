"""`python -m bench`: measure, and write the report."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from bench.cluster.run import FULL as CLUSTER_FULL
from bench.cluster.run import QUICK as CLUSTER_QUICK
from bench.cluster.run import run_cluster
from bench.datapath.run import FULL as DATAPATH_FULL
from bench.datapath.run import QUICK as DATAPATH_QUICK
from bench.datapath.run import run_datapath
from bench.machine import machine
from bench.report import HEADING, replace_section
from bench.xds.run import FULL as XDS_FULL
from bench.xds.run import QUICK as XDS_QUICK
from bench.xds.run import run_xds

RESULTS = Path(__file__).parent / "results.md"


def say(message: str) -> None:
    """Progress, on stderr."""
    print(f"{datetime.now(UTC):%H:%M:%S} {message}", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure Smeagol beside others.")
    parser.add_argument("--quick", action="store_true", help="a short run, printed and not written")
    parser.add_argument(
        "--only", choices=("xds", "cluster", "datapath"), help="measure one part; the other sections stay"
    )
    arguments = parser.parse_args()
    quick: bool = arguments.quick
    parts: dict[str, tuple[str, Callable[[], str]]] = {
        "xds": ("Discovery (xDS)", lambda: run_xds(XDS_QUICK if quick else XDS_FULL, say)),
        "cluster": ("In a cluster", lambda: run_cluster(CLUSTER_QUICK if quick else CLUSTER_FULL, say)),
        "datapath": ("Data path", lambda: run_datapath(DATAPATH_QUICK if quick else DATAPATH_FULL, say)),
    }
    document = HEADING
    if RESULTS.exists() and not quick:
        document = RESULTS.read_text(encoding="utf-8")
    for name, (title, measure) in parts.items():
        if arguments.only not in (None, name):
            continue
        began = time.monotonic()
        others = os.getloadavg()[0]
        figures = measure()
        minutes = (time.monotonic() - began) / 60
        when = (
            f"Measured on {datetime.now(UTC):%Y-%m-%d} in {minutes:.0f} minutes, on {machine()}. "
            f"Load average before it began: {others:.1f}."
        )
        document = replace_section(document, name, f"## {title}\n\n{when}\n{figures}")
        if not quick:
            RESULTS.write_text(document, encoding="utf-8")
    print(document)


if __name__ == "__main__":
    main()
