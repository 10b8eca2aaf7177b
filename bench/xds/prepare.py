"""The same job for every server: one world, as units for ours and as ready resources for the others."""

from __future__ import annotations

import base64
import pickle
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.xds.world import ChangeKind, Scale, UnitsFile, changed_object, put, resolved
from smeagol.intent import MeshIntent, ServiceIntent, Unit, UnitKey
from smeagol.plan import ProxyResource
from smeagol.providers.envoy import provider
from smeagol.runtime.planner import Planner
from smeagol.xds.wire import length_delimited

__all__ = ["Job", "prepare"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a server is given (two files with the same meaning) and what it is to do.

    `wanted` is how many resources of each type URL a proxy has when it is complete. `changes` are the resources that
    each change gives new bytes; it is done when every proxy has acknowledged all of them.
    """

    scale: Scale
    units: Path
    resources: Path
    resource_bytes: int
    wanted: Mapping[str, int]
    changes: Mapping[tuple[ChangeKind, int], tuple[ProxyResource, ...]]

    def keys(self, kind: ChangeKind, step: int) -> list[dict[str, str]]:
        return [{"type": resource.type_url, "name": resource.name} for resource in self.changes[kind, step]]

    def encoded(self, kind: ChangeKind, step: int) -> list[str]:
        """The changed resources as discovery.v3.Resource messages, in base64."""
        return [base64.b64encode(_wire(resource)).decode() for resource in self.changes[kind, step]]


def prepare(scale: Scale, steps: int, folder: Path) -> Job:
    """Make the world and its first `steps` changes of each kind, and write them into `folder`."""
    resolver = resolved(scale)
    planner: Planner[UnitKey] = Planner(provider)
    start = _heard_by_all(resolver.units)
    resources = tuple(r for r in planner.update(start, start).upserts if not r.on_demand)

    units = dict(start)
    unit_changes: dict[tuple[ChangeKind, int], dict[UnitKey, Unit]] = {}
    resource_changes: dict[tuple[ChangeKind, int], tuple[ProxyResource, ...]] = {}
    # The order matters: a server runs all changes of one kind, then all of the next.
    for kind in ChangeKind:
        for step in range(steps):
            put(resolver, changed_object(scale, kind, step))
            changed = _heard_by_all({key: resolver.units[key] for key in resolver.settle().changed})
            units.update(changed)
            delta = planner.update(changed, units)
            if not delta.upserts or delta.removals:
                raise RuntimeError(f"{kind} change {step} of {scale} is no change of existing resources")
            unit_changes[kind, step] = changed
            resource_changes[kind, step] = delta.upserts

    units_file, resources_file = folder / f"units-{scale.services}", folder / f"resources-{scale.services}"
    units_file.write_bytes(pickle.dumps(UnitsFile(units=start, changes=unit_changes)))
    with resources_file.open("wb") as output:
        for resource in resources:
            # Framed as field 0, less its tag: a message after its length, as protodelim reads it.
            output.write(length_delimited(1, _wire(resource))[1:])
    return Job(
        scale=scale,
        units=units_file,
        resources=resources_file,
        resource_bytes=sum(len(resource.body) for resource in resources),
        wanted=_count(resources),
        changes=resource_changes,
    )


def _heard_by_all(units: Mapping[UnitKey, Unit]) -> dict[UnitKey, Unit]:
    return {key: unit for key, unit in units.items() if isinstance(unit, ServiceIntent | MeshIntent)}


def _count(resources: Iterable[ProxyResource]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for resource in resources:
        counts[resource.type_url] = counts.get(resource.type_url, 0) + 1
    return counts


def _wire(resource: ProxyResource) -> bytes:
    """discovery.v3.Resource: name is field 3, the resource in an Any field 2."""
    packed = length_delimited(1, resource.type_url.encode()) + length_delimited(2, resource.body)
    return length_delimited(3, resource.name.encode()) + length_delimited(2, packed)
