"""From objects to intent: which pure function is computed from what, and no more.

The functions live in the modules beside this one, `wiring` hangs them into a graph of derived collections, and here
the units come out of it.

    resolver = Resolver(Settings(controllers=frozenset({"smi-spec.io/envoy"})))
    resolver.pods.set(("shop", "cart-1"), pod)
    changes = resolver.settle()
    for key in changes.changed:
        plan(key, resolver.units.get(key))           # None: the unit is gone
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from smeagol import objects
from smeagol.derive import Collection as Derived
from smeagol.derive import Failure, Graph, Reader
from smeagol.intent.added import AddedContainer
from smeagol.intent.canaries import CanaryFacts, Division, canary_accepted, canary_facts, resolved_refs
from smeagol.intent.classes import Fate, Foreign, Served, Unmatched
from smeagol.intent.conditions import in_force, names_condition, pods_condition, unmatched
from smeagol.intent.endpoints import Port, ReadyEndpoints, ServiceFacts
from smeagol.intent.model import (
    CanaryIntent,
    Condition,
    Endpoint,
    InboundPort,
    MutualTLSIntent,
    ServiceIntent,
    ServicePort,
    SidecarIntent,
    TLSMode,
    Unit,
    WorkloadIntent,
)
from smeagol.intent.selection import PodFacts, pod_facts, tried_on, wants_proxy
from smeagol.intent.units import Key, Settings, UnitKey, UnitKind, key_of
from smeagol.intent.wiring import Additions, Addresses, Canaries, Names, Ours, Policies, Services, Sources, Terms
from smeagol.intent.workloads import Contradiction, containers_of, contradictions, known_ports, united, workload_intent
from smeagol.refs import ObjectRef, PodRef, ServiceRef

__all__ = ["Changes", "Resolver"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What one settle changed: units added, updated or removed, in order.

    `failures` are computations that raised, all that stand as of now: a fault of ours, never of a user's object. What
    they would have given is missing; everything else goes on.
    """

    changed: tuple[UnitKey, ...] = ()
    failures: tuple[Failure, ...] = field(default=(), compare=False)

    def __bool__(self) -> bool:
        return bool(self.changed)


class Resolver:
    """The intent that follows from the objects put into its sources, kept up to date by `settle`.

    Feed the sources by (namespace, name), a cluster-scoped object by ("", name). `units` is what is true as of the
    last `settle`.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        graph = self.graph = Graph()
        sources = Sources(graph, settings)
        self.namespaces = sources.namespaces
        self.pods = sources.pods
        self.services = sources.services
        self.endpoint_slices = sources.endpoint_slices
        self.provider_classes = sources.provider_classes
        self.mutual_tls = sources.mutual_tls
        self.sidecars = sources.sidecars
        self.canaries = sources.canaries
        ours = Ours(graph, sources)
        policies = Policies(graph, sources, ours)
        addresses = Addresses(graph, policies)
        names = Names(graph, sources, policies, ours)
        terms = Terms(graph, sources, ours, names)
        services = Services(graph, sources, addresses)
        canaries = Canaries(graph, sources, ours, services)
        self._policies = policies
        self._terms = terms
        self._ours = ours

        self._contradictions = _contradictions(graph, policies, addresses, services)
        self._collections: dict[UnitKind, Derived[Key, Unit]] = {
            UnitKind.SERVICE: _service_intents(graph, settings, services, canaries),
            UnitKind.WORKLOAD: _workload_intents(
                graph, policies, addresses, services, terms=terms, canaries=canaries, settings=settings
            ),
            UnitKind.CANARY: _canary_intents(graph, sources, ours, canaries),
            UnitKind.MUTUAL_TLS: _mutual_tls_intents(
                graph,
                sources,
                ours,
                policies,
                names=names,
                terms=terms,
                ports=_pod_ports(graph, policies, addresses, services),
            ),
            UnitKind.SIDECAR: _sidecar_intents(
                graph, sources, ours, policies, terms=terms, additions=Additions(graph, policies, terms)
            ),
        }
        self._units: dict[UnitKey, Unit] = {key_of(settings.mesh): settings.mesh}
        self._new: tuple[UnitKey, ...] = tuple(self._units)

    @property
    def units(self) -> Mapping[UnitKey, Unit]:
        """All units as of the last `settle`; a live view."""
        return MappingProxyType(self._units)

    @property
    def contradictions(self) -> tuple[Contradiction, ...]:
        """Services that contradict each other about a port of their Pods, as of the last `settle`."""
        return self._contradictions.keys()

    def settle(self) -> Changes:
        """Bring `units` up to date with the sources, and say which of them changed."""
        changes = self.graph.settle()
        keys = set(self._new)
        self._new = ()
        for kind, collection in self._collections.items():
            for namespace, name in changes[collection]:
                key = UnitKey(kind, namespace, name)
                unit = collection.get((namespace, name))
                keys.add(key)
                if unit is None:
                    self._units.pop(key, None)
                else:
                    self._units[key] = unit
        return Changes(changed=tuple(sorted(keys)), failures=self.graph.failures)

    def wants_proxy(self, pod: objects.Pod) -> bool:
        """Should a Pod that is about to start get a proxy? It need not be in the sources yet.

        Judged by the state of the last `settle`.
        """
        return self._wants_proxy(pod, self._selecting(pod))

    def containers_for(self, pod: objects.Pod) -> tuple[AddedContainer, ...]:
        """The containers of Sidecars that a Pod which is about to start gets beside its proxy, if it has one.

        Judged by the state of the last `settle`.
        """
        return self._containers(self._selecting(pod))

    def injection_for(self, pod: objects.Pod) -> tuple[AddedContainer, ...] | None:
        """What a Pod that is about to start gets beside its proxy; None if it is to have no proxy."""
        selecting = self._selecting(pod)
        return self._containers(selecting) if self._wants_proxy(pod, selecting) else None

    def _wants_proxy(self, pod: objects.Pod, selecting: Sequence[ObjectRef]) -> bool:
        facts = pod_facts(pod, self.settings.proxy_containers)
        if facts is None:
            return False
        namespace = pod.metadata.namespace
        namespace_facts = self._ours.namespace_facts.get(("", namespace))
        choice = namespace_facts.inject if namespace_facts else None
        return wants_proxy(facts, namespace, choice, selected=bool(selecting))

    def _containers(self, selecting: Iterable[ObjectRef]) -> tuple[AddedContainer, ...]:
        refs = (ref for ref in selecting if ref.kind == UnitKind.SIDECAR)
        found = (self._terms.sidecars.get((ref.namespace, ref.name)) for ref in refs)
        return containers_of(terms for terms in found if terms is not None)

    def _selecting(self, pod: objects.Pod) -> list[ObjectRef]:
        """What selects a Pod that need not be in the sources."""
        refs = tried_on(pod.metadata.namespace, pod.metadata.labels, self._policies.by_label.get)
        selectors = ((ref, self._policies.selectors.get(ref)) for ref in refs)
        return [ref for ref, selector in selectors if selector is not None and selector.matches(pod.metadata.labels)]


def _class_name(fate: Fate) -> str:
    return fate.class_name if isinstance(fate, Served) else ""


def _unserved(fate: Fate) -> tuple[Condition, ...]:
    return (unmatched(fate.message),) if isinstance(fate, Unmatched) else ()


# The units ------------------------------------------------------------------------------------------------------------


def _canary_intents(graph: Graph, sources: Sources, ours: Ours, canaries: Canaries) -> Derived[Key, CanaryIntent]:
    def intent(key: Key, fate: Fate, read: Reader) -> CanaryIntent | None:
        given = read.get(sources.canaries, key)
        if given is None or isinstance(fate, Foreign):
            return None
        if isinstance(fate, Unmatched):
            return build(canary_facts(given, "", sources.settings.cluster_domain), fate, None, _unserved(fate))
        canary = read.get(canaries.facts, key)
        return resolved(canary, fate, read) if canary is not None else None

    def resolved(canary: CanaryFacts, fate: Fate, read: Reader) -> CanaryIntent:
        winner = read.get(canaries.winners, canary.root) if canary.root is not None else None
        held = canary.root is not None and winner is not None and winner.ref == canary.ref
        division = read.get(canaries.divisions, canary.root) if held and canary.root is not None else None
        accepted = canary_accepted(canary, division, winner.ref if winner is not None else None)
        refs = resolved_refs(canary, division)
        return build(canary, fate, division, (accepted, refs) if refs is not None else (accepted,))

    def build(
        canary: CanaryFacts, fate: Fate, division: Division | None, conditions: tuple[Condition, ...]
    ) -> CanaryIntent:
        return CanaryIntent(
            ref=canary.ref,
            generation=canary.generation,
            root=canary.root or ServiceRef(canary.ref.namespace, ""),
            wanted=canary.wanted,
            ports=tuple((port.number, port.protocol) for port in division.ports) if division else (),
            port_names=tuple(port.name for port in division.ports) if division else (),
            left_out=division.left_out if division else (),
            root_headless=division.root_headless if division else False,
            root_selects=division.root_selects if division else False,
            root_proxies=canary.root_proxies,
            cluster_domain=sources.settings.cluster_domain,
            conditions=conditions,
            provider_class=_class_name(fate),
        )

    return graph.map("canary intents", ours.canaries, intent)


def _service_intents(
    graph: Graph, settings: Settings, services: Services, canaries: Canaries
) -> Derived[Key, ServiceIntent]:
    headless = _headless_addresses(graph, services, canaries)

    def dialled(key: Key, port: Port, own: tuple[Endpoint, ...], read: Reader) -> tuple[Endpoint, ...]:
        return tuple(e for e in own if read.get(headless, (e.address, e.port)) == (key, port.number))

    def intent(key: Key, service: ServiceFacts, read: Reader) -> ServiceIntent | None:
        ref = ServiceRef(*key)
        endpoints = read.get(services.endpoints, key)
        needed = (endpoints is not None and endpoints.meshed) or bool(read.get(canaries.users, ref))
        if endpoints is None or service.external or not needed:
            return None
        division = read.get(canaries.divisions, ref)
        splits = division.splits if division is not None else (None,) * len(service.ports)
        return ServiceIntent(
            ref=ref,
            fqdn=ref.fqdn(settings.cluster_domain),
            cluster_ips=service.cluster_ips,
            headless=service.headless,
            ports=tuple(
                ServicePort(
                    number=port.number,
                    name=port.name,
                    protocol=port.protocol,
                    endpoints=own,
                    split=split,
                    dialled=dialled(key, port, own, read) if service.headless else (),
                )
                for port, own, split in zip(service.ports, endpoints.own, splits, strict=True)
            ),
            cluster_domain=settings.cluster_domain,
        )

    return graph.map("service intents", services.facts, intent)


def _headless_addresses(
    graph: Graph, services: Services, canaries: Canaries
) -> Derived[tuple[str, int], tuple[Key, int]]:
    """Which Service port is meant by the address and port of an endpoint of headless Services."""

    def claimed(key: Key, endpoints: ReadyEndpoints, read: Reader) -> dict[tuple[str, int], tuple[Key, int]]:
        service = read.get(services.facts, key)
        if service is None or not service.headless:
            return {}
        claims: dict[tuple[str, int], tuple[Key, int]] = {}
        for port, own in zip(service.ports, endpoints.own, strict=True):
            for endpoint in own:
                claims.setdefault((endpoint.address, endpoint.port), (key, port.number))
        return claims

    def by_roots(key: Key, endpoints: ReadyEndpoints, read: Reader) -> dict[tuple[str, int], tuple[Key, int]]:
        is_root = read.get(canaries.divisions, ServiceRef(*key)) is not None
        return claimed(key, endpoints, read) if is_root else {}

    # A key that several give is the smallest owner's, and the first collection's: just the order that is wanted.
    return graph.join(
        "headless addresses",
        graph.flatten("headless addresses of roots", services.endpoints, by_roots),
        graph.flatten("headless addresses of all", services.endpoints, claimed),
    )


def _workload_intents(
    graph: Graph,
    policies: Policies,
    addresses: Addresses,
    services: Services,
    *,
    terms: Terms,
    canaries: Canaries,
    settings: Settings,
) -> Derived[Key, WorkloadIntent]:
    def intent(key: Key, pod: PodFacts, read: Reader) -> WorkloadIntent | None:
        own = addresses.of_pod(key, pod, read)
        if not pod.has_proxy or not own:
            return None
        refs = policies.of_pod(key, read)
        return workload_intent(
            PodRef(*key),
            pod,
            own,
            memberships=services.memberships(own, read),
            mutual_tls=terms.of_mutual_tls(refs, read),
            sidecars=terms.of_sidecars(refs, read),
            fronted=canaries.fronted((key[0], pod.root_proxy_of), read, ending=pod.terminating)
            if pod.root_proxy_of
            else None,
            trust_domain=settings.trust_domain,
            cluster_domain=settings.cluster_domain,
        )

    return graph.map("workload intents", policies.pods, intent)


def _pod_ports(
    graph: Graph, policies: Policies, addresses: Addresses, services: Services
) -> Derived[Key, tuple[InboundPort, ...]]:
    """The ports of each Pod that something selects."""

    def ports(key: Key, pod: PodFacts, read: Reader) -> tuple[InboundPort, ...] | None:
        if not policies.of_pod(key, read):
            return None
        return known_ports(PodRef(*key), pod, services.memberships(addresses.of_pod(key, pod, read), read))

    return graph.map("ports of pods", policies.pods, ports)


def _mutual_tls_intents(
    graph: Graph,
    sources: Sources,
    ours: Ours,
    policies: Policies,
    *,
    names: Names,
    terms: Terms,
    ports: Derived[Key, tuple[InboundPort, ...]],
) -> Derived[Key, MutualTLSIntent]:
    def stricter(pods: tuple[Key, ...], read: Reader) -> tuple[ObjectRef, ...]:
        return tuple(sorted({ref for pod in pods for ref in terms.strict(policies.of_pod(pod, read), read)}))

    def intent(key: Key, fate: Fate, read: Reader) -> MutualTLSIntent | None:
        given = read.get(sources.mutual_tls, key)
        if given is None or isinstance(fate, Foreign):
            return None
        selection = policies.selection(given.ref, given.spec.selector, read)
        pods = policies.pods_of(given.ref, read)
        mode = TLSMode(given.spec.mode.value)
        grant = read.get(names.grants, key)
        if isinstance(fate, Unmatched) or grant is None:
            conditions: tuple[Condition, ...] = _unserved(fate)
        else:
            conditions = (names_condition(grant), pods_condition(len(selection.pods), key[0]))
        return MutualTLSIntent(
            ref=given.ref,
            generation=given.metadata.generation,
            selection=selection,
            mode=mode,
            client_names=grant.names if grant is not None else (),
            ports=united(read.get(ports, pod) or () for pod in pods),
            stricter=stricter(pods, read) if mode is TLSMode.PERMISSIVE else (),
            conditions=conditions,
            provider_class=_class_name(fate),
        )

    return graph.map("mutual tls intents", ours.mutual_tls, intent)


def _sidecar_intents(
    graph: Graph, sources: Sources, ours: Ours, policies: Policies, *, terms: Terms, additions: Additions
) -> Derived[Key, SidecarIntent]:
    def older(sidecar: ObjectRef, read: Reader) -> tuple[ObjectRef, ...]:
        pods = policies.pods_of(sidecar, read)
        return tuple(sorted({ref for pod in pods for ref in terms.before(sidecar, policies.of_pod(pod, read), read)}))

    def intent(key: Key, fate: Fate, read: Reader) -> SidecarIntent | None:
        given = read.get(sources.sidecars, key)
        if given is None or isinstance(fate, Foreign):
            return None
        selection = policies.selection(given.ref, given.spec.selector, read)
        if isinstance(fate, Unmatched):
            conditions: tuple[Condition, ...] = _unserved(fate)
        else:
            conditions = (in_force("The Sidecar is in force."), pods_condition(len(selection.pods), key[0]))
        return SidecarIntent(
            ref=given.ref,
            generation=given.metadata.generation,
            selection=selection,
            metric_labels=tuple(sorted(given.spec.metric_labels.items())) or None,
            containers=given.spec.containers,
            outdated=additions.outdated(given.ref, read),
            yielded=additions.yielded(
                {container.name: container for container in given.spec.containers},
                policies.pods_of(given.ref, read),
                read,
            ),
            restart=given.spec.restart,
            conditions=conditions,
            older=older(given.ref, read),
            provider_class=_class_name(fate),
        )

    return graph.map("sidecar intents", ours.sidecars, intent)


def _contradictions(
    graph: Graph, policies: Policies, addresses: Addresses, services: Services
) -> Derived[Contradiction, bool]:
    def found(key: Key, pod: PodFacts, read: Reader) -> dict[Contradiction, bool]:
        if not pod.has_proxy:
            return {}
        memberships = services.memberships(addresses.of_pod(key, pod, read), read)
        return dict.fromkeys(contradictions(PodRef(*key), memberships), True)

    # The Pods of one Deployment all say the same; it is one contradiction.
    return graph.flatten("contradictions", policies.pods, found)
