"""The smallest provider: it records what it was asked to make true. Copy it to begin your own.

For each unit it plans one ConfigMap-like object that names the unit, and nothing else. Tests of the framework use it.
"""

from __future__ import annotations

from dataclasses import dataclass

from smeagol.intent import CanaryIntent, MeshIntent, MutualTLSIntent, ServiceIntent, SidecarIntent, Unit
from smeagol.plan import Feature, Plan

__all__ = ["Recorder", "provider"]


@dataclass(frozen=True, slots=True)
class Recorder:
    name: str = "recorder"
    controller_name: str = "smeagol.dev/recorder"
    features: frozenset[Feature] = frozenset({Feature.CANARY, Feature.MUTUAL_TLS})

    def plan(self, unit: Unit) -> Plan:
        match unit:
            case CanaryIntent():
                text = ", ".join(f"{service.name}={weight}m" for service, weight in unit.wanted)
                return _record(unit.root.namespace, f"canary-{unit.ref.name}", f"{unit.root} -> {text}")
            case MutualTLSIntent():
                pods = ", ".join(str(pod) for pod in unit.selection.pods)
                return _record(unit.ref.namespace, f"mutualtls-{unit.ref.name}", f"{unit.mode.value}: {pods}")
            case SidecarIntent():
                pods = ", ".join(str(pod) for pod in unit.selection.pods)
                return _record(unit.ref.namespace, f"sidecar-{unit.ref.name}", pods)
            case ServiceIntent() | MeshIntent():
                return Plan()
            case _:  # a workload has no object of its own here: it is named in the records above
                return Plan()


def _record(namespace: str, name: str, text: str) -> Plan:
    return Plan(
        objects=(
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"namespace": namespace, "name": f"smeagol-{name}"},
                "data": {"intent": text},
            },
        )
    )


provider = Recorder()
