"""How a Canary divides the traffic of its root: which backends take part on which port, and why others do not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from smeagol.api import Canary, RootError
from smeagol.errors import sentence
from smeagol.intent.endpoints import Port, ReadyEndpoints, ServiceFacts
from smeagol.intent.model import Backend, Condition, ConditionType, LeftOut, Split
from smeagol.refs import ObjectRef, ServiceRef

__all__ = [
    "CanaryFacts",
    "Division",
    "canary_accepted",
    "canary_facts",
    "divide",
    "resolved_refs",
]

ServiceState = tuple[ServiceFacts, ReadyEndpoints]
"""A Service that exists, and where it is answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryFacts:
    """What counts of one Canary, apart from what else exists.

    `root` is None if the text names no Service of this cluster. `fault` says why the Canary contradicts itself, and is
    empty if it does not. `wanted`: (backend, weight in milliunits), by name. `created` is RFC 3339 text.
    """

    ref: ObjectRef
    generation: int
    created: str
    root: ServiceRef | None
    wanted: tuple[tuple[ServiceRef, int], ...]
    fault: str
    root_proxies: int = 0

    @property
    def foreign_root(self) -> bool:
        """Is the root another namespace's? Whoever may write Canaries here has no say about its traffic."""
        return self.root is not None and self.root.namespace != self.ref.namespace

    @property
    def claims_root(self) -> bool:
        """Does it compete with other Canaries of its root?"""
        return not self.fault and not self.foreign_root

    @property
    def rank(self) -> tuple[str, str, str]:
        """The oldest first, then namespace and name (spec: Common to all kinds)."""
        return self.created, self.ref.namespace, self.ref.name


def canary_facts(canary: Canary, created: str, cluster_domain: str) -> CanaryFacts:
    """Read a Canary. What the CRD refuses is judged once more: the object may be older than its CRD's rules."""
    namespace = canary.metadata.namespace
    root: ServiceRef | None = None
    fault = ""
    try:
        root = canary.root(cluster_domain)
    except RootError as error:
        fault = f"spec.service: {sentence(error.what, error.fix)}"
    wanted = tuple(sorted((ServiceRef(namespace, b.service), b.weight.milli) for b in canary.spec.backends))
    return CanaryFacts(
        ref=canary.ref,
        generation=canary.metadata.generation,
        created=created,
        root=root,
        wanted=wanted,
        fault=fault or _fault(root, wanted),
        root_proxies=canary.spec.root_proxy.replicas if canary.spec.root_proxy is not None else 0,
    )


def _fault(root: ServiceRef | None, wanted: tuple[tuple[ServiceRef, int], ...]) -> str:
    twice = next((service.name for service, count in Counter(s for s, _ in wanted).items() if count > 1), "")
    if twice:
        return sentence(f"spec.backends: '{twice}' is listed twice", "List each backend once")
    if any(service == root for service, _ in wanted):
        return sentence(
            f"spec.backends: '{root.name if root else ''}' is also the root service",
            "Name the versioned Services behind it, for example web-v1 and web-v2",
        )
    if not any(weight > 0 for _, weight in wanted):
        return sentence(
            "spec.backends: no weight is above zero", "Give one backend a weight, or delete the Canary to end the split"
        )
    return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Division:
    """What has become of a Canary's wish: a split for each port of the root, in its order, or None."""

    root_exists: bool
    root_external: bool
    root_headless: bool = False
    root_selects: bool = False
    ports: tuple[Port, ...]
    splits: tuple[Split | None, ...]
    left_out: tuple[LeftOut, ...]


def divide(canary: CanaryFacts, state: Callable[[ServiceRef], ServiceState | None]) -> Division:
    """Divide each port of the root among the backends that have it and can answer there.

    A backend without the port, or without a ready endpoint, is left out and the others keep their ratio. Where no
    backend with a positive weight is left there is no split, and the root's own endpoints serve. A backend's own
    endpoints are used even if it is another Canary's root: splits do not follow each other.
    """
    found = state(canary.root) if canary.root is not None else None
    if found is None or found[0].external:
        return Division(
            root_exists=found is not None, root_external=found is not None, ports=(), splits=(), left_out=()
        )
    ports = found[0].ports
    backends = tuple((service, weight, state(service)) for service, weight in canary.wanted)
    splits: list[Split | None] = []
    left_out: list[LeftOut] = []
    for port in ports:
        taking_part: list[Backend] = []
        for service, weight, backend in backends:
            outcome = _part(port, service, weight, backend)
            if isinstance(outcome, Backend):
                taking_part.append(outcome)
            else:
                left_out.append(outcome)
        possible = any(b.weight_milli > 0 for b in taking_part)
        splits.append(Split(canary=canary.ref, backends=tuple(taking_part)) if possible else None)
    return Division(
        root_exists=True,
        root_external=False,
        root_headless=found[0].headless,
        root_selects=found[0].selects,
        ports=ports,
        splits=tuple(splits),
        left_out=tuple(sorted(left_out)),
    )


def _part(root_port: Port, service: ServiceRef, weight: int, backend: ServiceState | None) -> Backend | LeftOut:
    number = root_port.number

    def without(reason: str, what: str, fix: str) -> LeftOut:
        return LeftOut(service=service, port=number, reason=reason, message=sentence(what, fix))

    if backend is None:
        return without("BackendNotFound", f"Service {service} does not exist", "Create it to give it its share")
    facts, endpoints = backend
    if facts.external:
        return without(
            "BackendNotFound",
            f"Service {service} is of type ExternalName and has no endpoints",
            "Name a Service with endpoints",
        )
    at = next((i for i, port in enumerate(facts.ports) if port.number == number), None)
    if at is None:
        return without("PortMismatch", f"Service {service} has no TCP port {number}", f"Give it a port {number}")
    ready = endpoints.ready[at]
    if not ready:
        return without(
            "NoReadyEndpoints",
            f"Service {service} has no ready endpoint on port {number}",
            "Its share goes to the others until a Pod is ready",
        )
    return Backend(service=service, weight_milli=weight, endpoints=ready)


def canary_accepted(canary: CanaryFacts, division: Division | None, winner: ObjectRef | None) -> Condition:
    """Condition Accepted. `winner` is the Canary that holds the root, `division` what became of this one if it does."""

    def refused(reason: str, message: str) -> Condition:
        return Condition(type=ConditionType.ACCEPTED, status=False, reason=reason, message=message)

    if canary.fault:
        return refused("Invalid", canary.fault)
    if not canary.foreign_root and winner is not None and winner != canary.ref:
        return refused(
            "Conflicted",
            sentence(
                f"the root {canary.root} is already split by {winner}, which is older",
                "Delete one of the two, or merge their backends",
            ),
        )
    if division is not None and division.root_external:
        return refused(
            "Invalid",
            sentence(
                f"spec.service: the root {canary.root} is of type ExternalName, so nothing in the cluster is dialled",
                "Name a Service with a cluster address or a headless one",
            ),
        )
    return Condition(
        type=ConditionType.ACCEPTED,
        status=True,
        reason="Accepted",
        message="The Canary is valid." if canary.foreign_root else f"The Canary holds the root {canary.root}.",
    )


def resolved_refs(canary: CanaryFacts, division: Division | None) -> Condition | None:
    """Condition ResolvedRefs: the root and every backend exist and have the ports. The gravest problem is the reason.

    A backend that only waits for a ready Pod resolves, and the reason says so. None where nothing was looked up.
    """

    def refused(reason: str, message: str) -> Condition:
        return Condition(type=ConditionType.RESOLVED_REFS, status=False, reason=reason, message=message)

    if canary.root is not None and canary.foreign_root and not canary.fault:
        return refused(
            "RefNotPermitted",
            sentence(
                f"spec.service: the root {canary.root} is in another namespace",
                f"Create the Canary in namespace '{canary.root.namespace}'",
            ),
        )
    if division is None or division.root_external:
        return None
    if not division.root_exists:
        return refused(
            "BackendNotFound",
            sentence(f"spec.service: the root Service {canary.root} does not exist", "Create it, or correct the name"),
        )
    # One sentence a backend and reason, not one a port.
    messages = tuple(dict.fromkeys(left.message for left in division.left_out))
    reasons = {left.reason for left in division.left_out}
    for reason in ("BackendNotFound", "PortMismatch"):
        if reason in reasons:
            return refused(reason, " ".join(messages))
    waiting = bool(division.left_out)
    return Condition(
        type=ConditionType.RESOLVED_REFS,
        status=True,
        reason="NoReadyEndpoints" if waiting else "ResolvedRefs",
        message=" ".join(messages) if waiting else "The root and all backends exist.",
    )
