"""Golden pairs of adapters: `tests/golden/PROVIDER/CASE/`.

In: `units.yaml`, a list of mappings with one key each, the kind of the unit (`canary`, `mutualtls`, `sidecar`), whose
value has the fields of the intent. `foreign.yaml`, if there, has the objects that somebody else has made, as a list,
and the Pods that count; `peer.yaml` the version of the peer and its kinds
(`version: 1.5.0`, `served: [[group/version, Kind, plurals]]`) where those are not the newest.

Out: `objects.yaml`, `unsupported.yaml`, `conflicts.yaml`, each only where there is something.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import yaml

from smeagol.intent import CanaryIntent, MutualTLSIntent, SidecarIntent, Unit
from smeagol.plan import JSON
from smeagol.plan.peer import PeerKind, PeerProvider, Surroundings, ref_of
from smeagol.refs import PodRef
from smeagol.runtime.offline import provider_named, providers

__all__ = ["GIVEN", "adapters", "cases", "described", "objects"]

GOLDEN = Path(__file__, "../../golden").resolve()
GIVEN = frozenset({"units.yaml", "foreign.yaml", "peer.yaml"})

_UNITS: dict[str, type[CanaryIntent | MutualTLSIntent | SidecarIntent]] = {
    "canary": CanaryIntent,
    "mutualtls": MutualTLSIntent,
    "sidecar": SidecarIntent,
}


def adapters() -> Iterator[PeerProvider]:
    """All that are installed."""
    for name in providers():
        provider = provider_named(name)
        if isinstance(provider, PeerProvider):
            yield provider


def cases() -> list[tuple[PeerProvider, Path]]:
    return [
        (provider, case)
        for provider in adapters()
        for case in sorted((GOLDEN / provider.name).iterdir() if (GOLDEN / provider.name).is_dir() else ())
    ]


def objects(provider: PeerProvider, case: Path) -> list[Mapping[str, JSON]]:
    """What the adapter makes of the units of a case."""
    fitted = _fitted(provider, case)
    return [obj for unit in _units(case) for obj in fitted.plan(unit).objects]


def described(provider: PeerProvider, case: Path) -> dict[str, str]:
    """The right-hand side of the pair: file names with their YAML."""
    fitted = _fitted(provider, case)
    foreign = Path(case, "foreign.yaml")
    around = _surroundings(yaml.safe_load(foreign.read_text()) if foreign.exists() else ())
    files: dict[str, list[Any]] = {"objects": [], "unsupported": [], "conflicts": []}
    for unit in _units(case):
        plan = fitted.plan(unit)
        files["objects"] += plan.objects
        files["unsupported"] += (
            msgspec.to_builtins(one) | ({"failed_closed": True} if plan.failed_closed else {})
            for one in plan.unsupported
        )
        files["conflicts"] += (
            {"foreign": str(c.foreign), "message": c.message, "oldest_wins": c.oldest_wins}
            for c in fitted.conflicts(unit, around)
        )
    return {
        f"{name}.yaml": yaml.safe_dump(msgspec.to_builtins(found), sort_keys=False, width=120)
        for name, found in files.items()
        if found
    }


def _fitted(provider: PeerProvider, case: Path) -> PeerProvider:
    given = Path(case, "peer.yaml")
    if not given.exists():
        return provider
    found = yaml.safe_load(given.read_text())
    served = frozenset(PeerKind(*kind) for kind in found["served"])
    return provider.fitted(dataclasses.replace(provider.peer, served=served, version=str(found.get("version", ""))))


def _surroundings(given: Iterable[dict[str, Any]]) -> Surroundings:
    """Pods among the foreign objects are there for their labels and annotations."""
    objects = list(given)
    pods = {PodRef(ref_of(obj).namespace, ref_of(obj).name): obj["metadata"] for obj in objects if obj["kind"] == "Pod"}
    return Surroundings(
        (obj for obj in objects if obj["kind"] != "Pod"),
        pod_labels={pod: metadata.get("labels", {}) for pod, metadata in pods.items()},
        pod_annotations={pod: metadata.get("annotations", {}) for pod, metadata in pods.items()},
    )


def _units(case: Path) -> list[Unit]:
    documents = yaml.safe_load(Path(case, "units.yaml").read_text())
    return [msgspec.convert(body, _UNITS[kind]) for document in documents for kind, body in document.items()]
