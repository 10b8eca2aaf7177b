"""Golden pairs: `units.yaml` in, what the provider plans for them out, one file for each kind of resource."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import yaml

from smeagol.intent import MeshIntent, ServiceIntent, SidecarIntent, Unit, WorkloadIntent
from smeagol.plan import CertificateRequest, Plan, ProxyResource
from smeagol.providers.envoy import provider

__all__ = ["CASES", "describe", "units"]

CASES = sorted(Path(__file__, "../../../golden/envoy").resolve().iterdir())

_UNITS: dict[str, type[ServiceIntent | WorkloadIntent | SidecarIntent | MeshIntent]] = {
    "service": ServiceIntent,
    "workload": WorkloadIntent,
    "sidecar": SidecarIntent,
    "mesh": MeshIntent,
}


def units(case: Path) -> list[Unit]:
    """The units of a case: a list of mappings with one key each, the kind of the unit."""
    documents = yaml.safe_load(Path(case, "units.yaml").read_text())
    return [msgspec.convert(body, _UNITS[kind]) for document in documents for kind, body in document.items()]


def describe(plans: list[Plan]) -> dict[str, str]:
    """The right-hand side of a pair: file names with their YAML."""
    files: dict[str, list[object]] = {}
    for plan in plans:
        for resource in plan.resources:
            files.setdefault(_file(resource), []).append(_resource(resource))
        for request in plan.certificates:
            files.setdefault("certificates", []).append(_request(request))
        for unsupported in plan.unsupported:
            files.setdefault("unsupported", []).append(msgspec.to_builtins(unsupported))
    return {f"{name}.yaml": yaml.safe_dump(found, sort_keys=False, width=120) for name, found in files.items()}


def _file(resource: ProxyResource) -> str:
    kinds = {
        "Cluster": "clusters",
        "ClusterLoadAssignment": "endpoints",
        "Listener": "listeners",
        "RouteConfiguration": "routes",
    }
    return kinds[resource.type_url.rpartition(".")[2]]


def _resource(resource: ProxyResource) -> dict[str, Any]:
    shown: dict[str, Any] = {"name": resource.name}
    if resource.node:
        shown["node"] = resource.node
    if resource.on_demand:
        shown["on_demand"] = True
    return {**shown, "resource": provider.explain(resource)}


def _request(request: CertificateRequest) -> dict[str, Any]:
    return {
        "node": request.node,
        "secret": request.secret,
        "purpose": request.purpose.value,
        "names": list(request.names),
    }
