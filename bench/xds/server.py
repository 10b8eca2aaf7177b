"""Smeagol's discovery server as a program of its own: `python -m bench.xds.server`.

From `--units` it is what other libraries are compared with: the same resources for all proxies, made by the provider,
kept by the planner, served from the cache. From `--objects` it is the whole control plane: Kubernetes objects in, and
every Pod's own listener, certificates and keys beside what all share.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import pickle
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import uvloop

from bench.xds.world import SETTINGS, ChangeKind, Scale, UnitsFile, changed_object, put, resolved
from smeagol.intent import MeshIntent, UnitKey
from smeagol.pki import LocalAuthority, MemoryKeyStore
from smeagol.providers.envoy import provider
from smeagol.runtime.mesh import Mesh
from smeagol.runtime.planner import Delta, Planner
from smeagol.xds import AdsServer, Cache, Resource

Change = Callable[[ChangeKind, int], None]


def from_units(path: Path) -> tuple[Cache, Change]:
    given: UnitsFile = pickle.loads(path.read_bytes())
    units = given.units
    cache = Cache()
    planner: Planner[UnitKey] = Planner(provider)
    _publish(cache, planner.update(units, units))

    def change(kind: ChangeKind, step: int) -> None:
        changed = given.changes[kind, step]
        units.update(changed)
        _publish(cache, planner.update(changed, units))

    return cache, change


def _publish(cache: Cache, delta: Delta) -> None:
    cache.update(
        shared=[Resource(r.type_url, r.name, r.body, r.on_demand) for r in delta.upserts],
        remove_shared=[(key.type_url, key.name) for key in delta.removals],
    )


def from_objects(scale: Scale) -> tuple[Cache, Change]:
    resolver = resolved(scale)
    mesh: Mesh[UnitKey] = Mesh(
        provider=provider,
        authority=LocalAuthority.open(MemoryKeyStore(), trust_domain=SETTINGS.trust_domain, now=_now()),
        mesh=MeshIntent(
            cluster_domain=SETTINGS.cluster_domain, trust_domain=SETTINGS.trust_domain, pod_cidrs=SETTINGS.pod_cidrs
        ),
        clock=_now,
    )
    mesh.carry_out(resolver.units, resolver.units)

    def change(kind: ChangeKind, step: int) -> None:
        put(resolver, changed_object(scale, kind, step))
        mesh.carry_out(resolver.settle().changed, resolver.units)

    return mesh.cache, change


def _now() -> datetime:
    return datetime.now(UTC)


async def serve(cache: Cache, change: Change) -> None:
    """Answer commands until stdin ends."""
    server = AdsServer(cache)
    port = await server.start("127.0.0.1:0")
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    _answer(port=port)
    while line := await commands.readline():
        command = json.loads(line)
        if command["op"] == "rest":
            _answer()
            continue
        at = time.monotonic_ns()
        change(ChangeKind(command["kind"]), command["step"])
        _answer(at=at, done=time.monotonic_ns())
    await server.stop(0)


def _answer(**facts: object) -> None:
    print(json.dumps(facts), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--units", type=Path, help="a pickled UnitsFile")
    source.add_argument("--objects", type=int, metavar="SERVICES", help="a world of this many Services")
    arguments = parser.parse_args()
    made = from_units(arguments.units) if arguments.units else from_objects(Scale(services=arguments.objects))
    uvloop.run(serve(*made))


if __name__ == "__main__":
    main()
