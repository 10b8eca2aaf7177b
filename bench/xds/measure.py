"""Runs one server with a fleet of simulated proxies, changes one thing at a time, and notes what that took."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.figures import quantile
from bench.processes import Program, python_module
from bench.xds.prepare import Job
from bench.xds.world import ChangeKind
from smeagol.providers.envoy.tls import CLIENT, ROOTS, SERVER
from smeagol.xds.type_urls import LISTENER, SECRET

__all__ = ["OURS", "THEIRS", "WHOLE", "Changes", "Run", "Server", "measure", "servers"]

TIMEOUT_SECONDS = 240.0
PAUSE_SECONDS = 0.2
"""Between changes, so that the acknowledgements of one are not counted against the next."""

WARM_UP_CHANGES = 2
"""Of each kind; not counted."""


OURS, WHOLE, THEIRS = "smeagol", "smeagol from objects", "go-control-plane"


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """One of those compared. `start` runs it; `own` are the resources each proxy has beside the shared ones."""

    name: str
    start: Callable[[Job], Program]
    changes_itself: bool
    """it makes changes by itself, instead of being given the changed resources"""
    own: Mapping[str, int] = field(default_factory=dict)
    secrets: Sequence[str] = ()


def servers(gocontrolplane: Path) -> tuple[Server, ...]:
    """Ours first; then go-control-plane with each of its caches; then all of ours, from objects."""

    def units(job: Job) -> Program:
        return python_module("bench.xds.server", "--units", job.units)

    def whole(job: Job) -> Program:
        return python_module("bench.xds.server", "--objects", str(job.scale.services))

    def theirs(cache: str) -> Server:
        def start(job: Job) -> Program:
            return Program(gocontrolplane, "-cache", cache, "-resources", job.resources)

        return Server(name=f"{THEIRS}, {cache} cache", start=start, changes_itself=False)

    return (
        Server(name=OURS, start=units, changes_itself=True),
        theirs("linear"),
        theirs("snapshot"),
        Server(
            name=WHOLE,
            start=whole,
            changes_itself=True,
            own={LISTENER: 1, SECRET: 3},
            secrets=(CLIENT, SERVER, ROOTS),
        ),
    )


@dataclass(slots=True)
class Changes:
    """Changes of one kind; one value a change. Times in milliseconds, from the trigger to an ACK that is sent."""

    first: list[float] = field(default_factory=list)
    middle: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)
    last: list[float] = field(default_factory=list)
    taken: list[float] = field(default_factory=list)
    """from the trigger until the server's cache had the change"""
    cpu_ms: float = 0.0
    """CPU time of the server for one change: the mean of all"""
    bytes_each: float = 0.0
    """received by one proxy for one change: the mean of all"""


@dataclass(slots=True, kw_only=True)
class Run:
    """One server with one fleet. Memory in MiB."""

    server: str
    proxies: int
    services: int
    connect_seconds: float
    connect_cpu_seconds: float
    idle_mib: float
    """with the resources, before any proxy"""
    connected_mib: float
    peak_mib: float
    changes: dict[ChangeKind, Changes]


def measure(server: Server, job: Job, proxies: int, steps: int, *, fleet: Path, node: Path) -> Run:
    """One round of one server: connect all proxies, then all changes of each kind."""
    with server.start(job) as control_plane:
        control_plane.ask(op="rest")
        idle = control_plane.usage.resident_bytes
        address = f"127.0.0.1:{control_plane.hello['port']}"
        with Program(fleet, "-address", address, "-node", node) as clients:
            cpu = control_plane.usage.cpu_seconds
            wanted = {url: job.wanted.get(url, 0) + server.own.get(url, 0) for url in {*job.wanted, *server.own}}
            connected = clients.ask(
                op="connect",
                proxies=proxies,
                want=wanted,
                secrets=list(server.secrets),
                timeout=int(TIMEOUT_SECONDS * 1e9),
            )
            time.sleep(1)  # the last acknowledgements are on their way
            connect_cpu = control_plane.usage.cpu_seconds - cpu
            control_plane.ask(op="rest")
            resident = control_plane.usage.resident_bytes
            changes = {kind: _changes(server, job, control_plane, clients, kind, steps) for kind in ChangeKind}
            return Run(
                server=server.name,
                proxies=proxies,
                services=job.scale.services,
                connect_seconds=(connected["times"][-1] - connected["began"]) / 1e9,
                connect_cpu_seconds=connect_cpu,
                idle_mib=_mib(idle),
                connected_mib=_mib(resident),
                peak_mib=_mib(control_plane.usage.peak_bytes),
                changes=changes,
            )


def _changes(
    server: Server, job: Job, control_plane: Program, clients: Program, kind: ChangeKind, steps: int
) -> Changes:
    seen = Changes()
    cpu = 0.0
    for step in range(WARM_UP_CHANGES + steps):
        if step == WARM_UP_CHANGES:
            cpu = control_plane.usage.cpu_seconds
        clients.ask(op="arm")
        if server.changes_itself:
            done = control_plane.ask(op="change", kind=kind, step=step)
        else:
            done = control_plane.ask(op="change", resources=job.encoded(kind, step))
        acked = clients.ask(op="await", keys=job.keys(kind, step), timeout=int(TIMEOUT_SECONDS * 1e9))
        time.sleep(PAUSE_SECONDS)
        if step < WARM_UP_CHANGES:
            continue
        began = done["at"]
        times = [(at - began) / 1e6 for at in acked["times"]]
        seen.first.append(times[0])
        seen.middle.append(quantile(times, 0.5))
        seen.p99.append(quantile(times, 0.99))
        seen.last.append(times[-1])
        seen.taken.append((done["done"] - began) / 1e6)
        seen.bytes_each += acked["bytes"] / len(times) / steps
    seen.cpu_ms = (control_plane.usage.cpu_seconds - cpu) * 1000 / steps
    return seen


def _mib(size: int) -> float:
    return size / (1 << 20)
