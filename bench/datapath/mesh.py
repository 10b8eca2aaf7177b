"""A standalone mesh for the time of a measurement, and running the load in its Pods."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.processes import Usage, descendants
from smeagol.client import Mesh, MeshNotFoundError

__all__ = ["Load", "RunningMesh", "running_mesh"]

SMEAGOL = Path(sys.executable).with_name("smeagol")
NAME = "bench"
START_SECONDS = 60.0
STOP_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What the load generator saw. Latencies in milliseconds, sorted."""

    latencies: Sequence[float]
    answered: int
    """those of the warm-up too"""
    failed: int
    late: int
    """not answered when the run ended: more came than could be carried"""
    seconds: float
    proxy_cpu_seconds: float
    """of all Envoys of the mesh, for all that were answered; those that are not measured do next to nothing"""

    @property
    def rate(self) -> float:
        return len(self.latencies) / self.seconds


class RunningMesh:
    """`smeagol up`, with all Pods ready."""

    def __init__(self, process: subprocess.Popen[bytes], state: Path) -> None:
        self._state = state
        self._proxies = [Usage(pid) for pid in descendants(process.pid) if _is_envoy(pid)]

    def load(self, program: Path, pod: str, *arguments: str) -> Load:
        """Run the load generator in a Pod."""
        options = ("--name", NAME, "--state-dir", str(self._state))
        before = self._proxy_cpu_seconds()
        done = subprocess.run(
            [SMEAGOL, "exec", *options, pod, "--", program, *arguments], stdout=subprocess.PIPE, check=True
        )
        cpu = self._proxy_cpu_seconds() - before
        result = json.loads(done.stdout)
        latencies = sorted(latency / 1e6 for latency in result["latencies"] or ())
        return Load(
            latencies=latencies,
            answered=result["answered"],
            failed=result["failed"],
            late=result["late"],
            seconds=result["seconds"],
            proxy_cpu_seconds=cpu,
        )

    def _proxy_cpu_seconds(self) -> float:
        return sum(proxy.cpu_seconds for proxy in self._proxies)


@contextmanager
def running_mesh(manifests: Path, state: Path, pods: Sequence[str]) -> Iterator[RunningMesh]:
    """Start a mesh, wait until these Pods are ready and their proxies have all they need; end it at the end."""
    log = state.with_suffix(".log")
    with log.open("wb") as output:
        command = (SMEAGOL, "up", "-f", manifests, "--name", NAME, "--state-dir", state)
        process = subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
    try:
        _await(lambda: process.poll() is None and _ready(state, pods), log)
        yield RunningMesh(process, state)
    finally:
        process.terminate()
        process.wait(STOP_SECONDS)


def _ready(state: Path, pods: Sequence[str]) -> bool:
    try:
        with Mesh.find(NAME, state) as mesh:
            status = mesh.status()
    except MeshNotFoundError:
        return False
    ready = {pod.name for pod in status.pods if pod.ready and (pod.proxy is None or pod.proxy.synced)}
    return set(pods) <= ready


def _await(done: Callable[[], bool], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not done():
        if time.monotonic() > deadline:
            said = log.read_text(encoding="utf-8", errors="replace")
            raise RuntimeError(f"the mesh is not ready after {START_SECONDS:.0f} s. It said:\n{said}")
        time.sleep(0.2)


def _is_envoy(pid: int) -> bool:
    return (Path("/proc") / str(pid) / "comm").read_text().strip() == "envoy"
