"""What the mesh must say of the changed objects before a step is measured. Pure: a question to one status."""

from __future__ import annotations

from dataclasses import dataclass

from smeagol.api import read_text
from smeagol.control import Pod, SmiObject, Status
from smeagol.refs import ObjectRef

__all__ = ["Absent", "Awaited", "Present", "objects_in", "present", "unmet"]

_SMI = frozenset({"MutualTLS", "Canary", "Sidecar"})


@dataclass(frozen=True, slots=True)
class Present:
    """The object works: its Pods are ready, it has an endpoint, a later generation of it is programmed."""

    ref: ObjectRef
    after_generation: int = 0


@dataclass(frozen=True, slots=True)
class Absent:
    """The object is gone, and what belonged to it."""

    ref: ObjectRef


Awaited = Present | Absent


def objects_in(text: str, namespace: str) -> tuple[ObjectRef, ...]:
    """The objects of a manifest, in their order; those without a namespace are in `namespace`."""
    found = []
    for document in read_text(text).documents:
        match document.value:
            case {"kind": str(kind), "metadata": {"name": str(name), **metadata}}:
                found.append(ObjectRef(kind, str(metadata.get("namespace", namespace)), name))
    return tuple(found)


def present(refs: tuple[ObjectRef, ...], before: Status) -> tuple[Present, ...]:
    """What to wait for once `refs` have been written, given what the mesh said before that."""
    return tuple(
        Present(ref, found.generation if (found := _smi_object(ref, before)) is not None else 0) for ref in refs
    )


def unmet(awaited: tuple[Awaited, ...], status: Status) -> tuple[str, ...]:
    """What is still missing, in words; empty when the mesh is where it should be."""
    missing = [reason for each in awaited if (reason := _missing(each, status))]
    lagging = [str(_ref(pod)) for pod in status.pods if pod.proxy is not None and pod.ready and not pod.proxy.synced]
    if not missing and lagging:
        missing.append(f"proxies of {', '.join(lagging)} to acknowledge")
    return tuple(missing)


def _missing(awaited: Awaited, status: Status) -> str:
    match awaited:
        case Absent(ref):
            return "" if _is_gone(ref, status) else f"{ref.kind} {ref.name} to be gone"
        case Present(ref, after):
            return _not_yet(ref, after, status)


def _is_gone(ref: ObjectRef, status: Status) -> bool:
    match ref.kind:
        case "Deployment" | "Pod":
            return not _pods_of(ref, status)
        case "Service":
            return all((s.namespace, s.name) != (ref.namespace, ref.name) for s in status.services)
        case _:
            return _smi_object(ref, status) is None


def _not_yet(ref: ObjectRef, after_generation: int, status: Status) -> str:
    name = f"{ref.kind} {ref.name}"
    match ref.kind:
        case "Deployment" | "Pod":
            pods = _pods_of(ref, status)
            return "" if pods and all(pod.ready for pod in pods) else f"{name} to be ready"
        case "Service":
            ports = [p for s in status.services if (s.namespace, s.name) == (ref.namespace, ref.name) for p in s.ports]
            return "" if any(port.endpoints for port in ports) else f"{name} to have an endpoint"
        case kind if kind in _SMI:
            found = _smi_object(ref, status)
            if found is None or found.generation <= after_generation:
                return f"{name} to be read"
            condition = found.status.condition("Programmed")
            if found.status.observed_generation != found.generation or condition is None:
                return f"{name} to be programmed"
            return "" if condition.status == "True" else f"{name} to be programmed ({condition.message})"
        case _:
            return ""


def _smi_object(ref: ObjectRef, status: Status) -> SmiObject | None:
    wanted = (ref.kind, ref.namespace, ref.name)
    return next((o for o in status.objects if (o.kind, o.namespace, o.name) == wanted), None)


def _pods_of(ref: ObjectRef, status: Status) -> list[Pod]:
    return [
        pod
        for pod in status.pods
        if pod.namespace == ref.namespace and ref.name == (pod.name if ref.kind == "Pod" else pod.workload)
    ]


def _ref(pod: Pod) -> str:
    return f"{pod.namespace}/{pod.name}"
