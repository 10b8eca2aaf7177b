"""The pure functions of this room, hung into a graph of derived collections.

Each class below is one stretch of the way from objects to intent, and reads only those above it. What a collection
reads is what makes it run again, so it reads the smallest value that will do: facts instead of objects, one key
instead of all.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from smeagol import api, objects
from smeagol.api.meta import CLASS_NAMESPACE_LABEL
from smeagol.derive import Collection as Derived
from smeagol.derive import Graph, Reader, Source
from smeagol.intent.added import AddedContainer
from smeagol.intent.canaries import CanaryFacts, Division, ServiceState, canary_facts, divide
from smeagol.intent.classes import Classes, ClassFacts, Fate, Served, choose, survey
from smeagol.intent.endpoints import (
    ReadyEndpoints,
    ServiceFacts,
    SliceFacts,
    Targets,
    known_addresses,
    ready_endpoints,
    ready_targets,
    service_facts,
    slice_facts,
)
from smeagol.intent.identities import Claims, Grant, claims_of, granted, lost_claims, zone
from smeagol.intent.model import Fronted, FrontedPort, InboundPort, Selection, TLSMode
from smeagol.intent.root_proxies import listening_ports
from smeagol.intent.selection import (
    AddressFacts,
    Inject,
    PodFacts,
    index_labels,
    inject_choice,
    may_have_proxy,
    owner_of_address,
    pod_facts,
    tried_on,
)
from smeagol.intent.units import Key, Settings, UnitKind
from smeagol.intent.workloads import Membership, SidecarTerms, TLSTerms, containers_of
from smeagol.names import Claim, Conflicted, NamePolicy, NameRule
from smeagol.refs import ObjectRef, PodRef, ServiceRef

__all__ = ["Additions", "Addresses", "Canaries", "Names", "Ours", "Policies", "Services", "Sources", "Terms"]


class Sources:
    """The objects, by (namespace, name), as they are fed from outside."""

    def __init__(self, graph: Graph, settings: Settings) -> None:
        self.settings = settings
        self.namespaces: Source[Key, objects.Namespace] = graph.source("namespaces")
        self.pods: Source[Key, objects.Pod] = graph.source("pods")
        self.services: Source[Key, objects.Service] = graph.source("services")
        self.endpoint_slices: Source[Key, objects.EndpointSlice] = graph.source("endpoint slices")
        self.provider_classes: Source[Key, api.ProviderClass] = graph.source("provider classes")
        self.mutual_tls: Source[Key, api.MutualTLS] = graph.source("mutual tls")
        self.sidecars: Source[Key, api.Sidecar] = graph.source("sidecars")
        self.canaries: Source[Key, api.Canary] = graph.source("canaries")


# Whose the objects are ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NamespaceFacts:
    inject: Inject | None
    class_name: str


class Ours:
    """Namespaces, classes, and the fate of each object under them."""

    def __init__(self, graph: Graph, sources: Sources) -> None:
        settings = sources.settings

        def namespace_facts(_key: Key, namespace: objects.Namespace, _read: Reader) -> NamespaceFacts:
            labels = namespace.metadata.labels
            return NamespaceFacts(inject_choice(labels), labels.get(CLASS_NAMESPACE_LABEL, ""))

        def class_facts(_key: Key, provider_class: api.ProviderClass, _read: Reader) -> ClassFacts:
            return ClassFacts(
                name=provider_class.metadata.name,
                controller=provider_class.spec.controller_name,
                is_default=provider_class.is_default,
                created=_created(provider_class.metadata.creation_timestamp),
                name_rules=tuple(
                    NameRule(
                        pattern=rule.pattern,
                        grant=rule.action is api.NameAction.GRANT,
                        namespaces=rule.namespaces,
                        provider_class=provider_class.metadata.name,
                    )
                    for rule in provider_class.spec.parameters.client_subject_names
                ),
            )

        def name_rules(read: Reader) -> NamePolicy:
            served = (facts for _, facts in read.items(known) if facts.controller in settings.controllers)
            return settings.names(tuple(facts.name_rules for facts in served if facts.name_rules))

        self.namespace_facts = graph.map("namespace facts", sources.namespaces, namespace_facts)
        known = graph.map("class facts", sources.provider_classes, class_facts)
        self.name_policy = graph.value("name policy", name_rules)
        classes = graph.value("classes", lambda read: survey(facts for _, facts in read.items(known)))

        def fate(key: Key, own: str, read: Reader) -> Fate:
            namespace = read.get(self.namespace_facts, ("", key[0]))
            return choose(
                own,
                namespace.class_name if namespace else "",
                read.get(classes, None) or Classes(exist=False, default=""),
                lambda name: read.get(known, ("", name)),
                controllers=settings.controllers,
                serve_unclassed=settings.serve_unclassed,
            )

        self.canaries: Derived[Key, Fate] = graph.map(
            "fate of canaries", sources.canaries, lambda k, o, read: fate(k, o.spec.provider_class_name, read)
        )
        self.mutual_tls: Derived[Key, Fate] = graph.map(
            "fate of mutual tls", sources.mutual_tls, lambda k, o, read: fate(k, o.spec.provider_class_name, read)
        )
        self.sidecars: Derived[Key, Fate] = graph.map(
            "fate of sidecars", sources.sidecars, lambda k, o, read: fate(k, o.spec.provider_class_name, read)
        )


# Which Pods are selected ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Selected:
    """What selects a Pod, in order, and whether it takes effect there."""

    by: tuple[ObjectRef, ...]
    has_proxy: bool


class Policies:
    """The selectors of MutualTLS and Sidecars that are served, and the Pods that they reach, both ways round."""

    def __init__(self, graph: Graph, sources: Sources, ours: Ours) -> None:
        def of_mutual_tls(key: Key, fate: Fate, read: Reader) -> dict[ObjectRef, api.LabelSelector]:
            given = read.get(sources.mutual_tls, key)
            return {given.ref: given.spec.selector} if given is not None and isinstance(fate, Served) else {}

        def of_sidecars(key: Key, fate: Fate, read: Reader) -> dict[ObjectRef, api.LabelSelector]:
            given = read.get(sources.sidecars, key)
            return {given.ref: given.spec.selector} if given is not None and isinstance(fate, Served) else {}

        self.pods = graph.map(
            "pod facts", sources.pods, lambda _key, pod, _read: pod_facts(pod, sources.settings.proxy_containers)
        )
        self.selectors = graph.join(
            "selectors",
            graph.flatten("selectors of mutual tls", ours.mutual_tls, of_mutual_tls),
            graph.flatten("selectors of sidecars", ours.sidecars, of_sidecars),
        )
        self.by_label = graph.group(
            "selectors by label",
            self.selectors,
            lambda ref, selector: [(ref.namespace, *label) for label in index_labels(selector)],
        )

        def selected_by(key: Key, pod: PodFacts, read: Reader) -> Selected | None:
            tried = tried_on(key[0], pod.labels, lambda label: read.get(self.by_label, label))
            if not tried:
                return None
            namespace = read.get(ours.namespace_facts, ("", key[0]))
            if not may_have_proxy(pod, key[0], namespace.inject if namespace else None):
                return None
            selectors = ((ref, read.get(self.selectors, ref)) for ref in tried)
            found = tuple(ref for ref, selector in selectors if selector is not None and selector.matches(pod.labels))
            return Selected(found, pod.has_proxy) if found else None

        self._selected = graph.map("what selects a pod", self.pods, selected_by)
        self._pods_of = graph.group("pods by what selects them", self._selected, lambda _key, pod: pod.by)
        self._uninjected = graph.group(
            "pods without proxy by what selects them", self._selected, lambda _key, pod: () if pod.has_proxy else pod.by
        )

    def of_pod(self, key: Key, read: Reader) -> tuple[ObjectRef, ...]:
        """What selects the Pod, in order."""
        selected = read.get(self._selected, key)
        return selected.by if selected is not None else ()

    def pods_of(self, ref: ObjectRef, read: Reader) -> tuple[Key, ...]:
        """The Pods that `ref` selects, in order."""
        return read.get(self._pods_of, ref) or ()

    def selection(self, ref: ObjectRef, selector: api.LabelSelector, read: Reader) -> Selection:
        return Selection(
            match_labels=tuple(sorted(selector.match_labels.items())),
            match_expressions=tuple((r.key, r.operator.value, r.values) for r in selector.match_expressions),
            pods=tuple(PodRef(*key) for key in self.pods_of(ref, read)),
            uninjected=tuple(PodRef(*key) for key in read.get(self._uninjected, ref) or ()),
        )


class Addresses:
    """Whose each address is, and what answers there."""

    def __init__(self, graph: Graph, policies: Policies) -> None:
        pods_at = graph.group("pods by address", policies.pods, lambda _key, pod: pod.addresses)

        def facts(_address: str, pods: tuple[Key, ...], read: Reader) -> AddressFacts | None:
            living = ((key, read.get(policies.pods, key)) for key in pods)
            owner = owner_of_address((key, pod) for key, pod in living if pod is not None)
            pod = read.get(policies.pods, owner) if owner else None
            if owner is None or pod is None:
                return None
            protected = any(ref.kind == UnitKind.MUTUAL_TLS for ref in policies.of_pod(owner, read))
            return AddressFacts(
                owner, pod.has_proxy, pod.has_proxy and protected, pod.passed_ports, bool(pod.root_proxy_of)
            )

        self.facts = graph.map("address facts", pods_at, facts)

    def of_pod(self, key: Key, pod: PodFacts, read: Reader) -> tuple[str, ...]:
        """Those of the Pod's addresses that are its alone, the primary first."""
        known = ((address, read.get(self.facts, address)) for address in pod.addresses)
        return tuple(address for address, facts in known if facts is not None and facts.pod == key)


# What they may be called ----------------------------------------------------------------------------------------------


class Names:
    """The names that each MutualTLS is granted."""

    def __init__(self, graph: Graph, sources: Sources, policies: Policies, ours: Ours) -> None:
        def claims(key: Key, fate: Fate, read: Reader) -> Claims | None:
            given = read.get(sources.mutual_tls, key)
            if given is None or not isinstance(fate, Served):
                return None
            return claims_of(
                given.ref,
                _created(given.metadata.creation_timestamp),
                given.spec.client_subject_names,
                read.get(ours.name_policy, None) or sources.settings.names(),
                namespaces=_Namespaces(ours, read),
                service_accounts=_ServiceAccounts(policies, given.ref, read),
            )

        self.claims = graph.map("claims", ours.mutual_tls, claims)
        in_zone = graph.group("claims by zone", self.claims, lambda _key, claims: {zone(c.name) for c in claims.claims})

        def lost(found: str, claimants: tuple[Key, ...], read: Reader) -> tuple[tuple[Claim, Conflicted], ...] | None:
            given = (read.get(self.claims, key) for key in claimants)
            rivals = (c for claims in given if claims is not None for c in claims.claims if zone(c.name) == found)
            return lost_claims(rivals) or None

        lost_in_zone = graph.map("lost claims", in_zone, lost)

        def grant(_key: Key, claims: Claims, read: Reader) -> Grant:
            zones = sorted({zone(c.name) for c in claims.claims})
            return granted(claims, [pair for z in zones for pair in read.get(lost_in_zone, z) or ()])

        self.grants = graph.map("granted names", self.claims, grant)


class Terms:
    """What each policy asks of the Pods that it selects."""

    def __init__(self, graph: Graph, sources: Sources, ours: Ours, names: Names) -> None:
        def tls_terms(key: Key, grant: Grant, read: Reader) -> TLSTerms | None:
            given = read.get(sources.mutual_tls, key)
            if given is None:
                return None
            return TLSTerms(mode=TLSMode(given.spec.mode.value), client_names=grant.names)

        def sidecar_terms(key: Key, fate: Fate, read: Reader) -> SidecarTerms | None:
            given = read.get(sources.sidecars, key)
            if given is None or not isinstance(fate, Served):
                return None
            created = _created(given.metadata.creation_timestamp)
            return SidecarTerms(
                rank=(created, *key),
                metric_labels=given.spec.metric_labels or None,
                containers=given.spec.containers,
            )

        self._mutual_tls = graph.map("terms of mutual tls", names.grants, tls_terms)
        self.sidecars = graph.map("terms of sidecars", ours.sidecars, sidecar_terms)

    def of_mutual_tls(self, refs: Iterable[ObjectRef], read: Reader) -> list[TLSTerms]:
        found = (read.get(self._mutual_tls, _key(ref)) for ref in refs if ref.kind == UnitKind.MUTUAL_TLS)
        return [terms for terms in found if terms is not None]

    def strict(self, refs: Iterable[ObjectRef], read: Reader) -> set[ObjectRef]:
        """Those of the MutualTLS among them that are Strict."""
        terms = {ref: read.get(self._mutual_tls, _key(ref)) for ref in refs if ref.kind == UnitKind.MUTUAL_TLS}
        return {ref for ref, found in terms.items() if found is not None and found.mode is TLSMode.STRICT}

    def before(self, sidecar: ObjectRef, refs: Iterable[ObjectRef], read: Reader) -> set[ObjectRef]:
        """Those of the Sidecars among them whose labels come before those of `sidecar`."""
        terms = {ref: read.get(self.sidecars, _key(ref)) for ref in refs if ref.kind == UnitKind.SIDECAR}
        own = read.get(self.sidecars, _key(sidecar))
        return {ref for ref, found in terms.items() if own is not None and found is not None and found.rank < own.rank}

    def of_sidecars(self, refs: Iterable[ObjectRef], read: Reader) -> list[SidecarTerms]:
        found = (read.get(self.sidecars, _key(ref)) for ref in refs if ref.kind == UnitKind.SIDECAR)
        return [terms for terms in found if terms is not None]


class Additions:
    """The containers that Pods are to have from Sidecars, and the Pods that have others."""

    def __init__(self, graph: Graph, policies: Policies, terms: Terms) -> None:
        def wanted(key: Key, pod: PodFacts, read: Reader) -> tuple[AddedContainer, ...] | None:
            found = containers_of(terms.of_sidecars(policies.of_pod(key, read), read))
            return found if pod.has_proxy and (found or pod.added) else None

        def outdated(key: Key, wanted: tuple[AddedContainer, ...], read: Reader) -> tuple[ObjectRef, ...]:
            pod = read.get(policies.pods, key)
            held = pod.added if pod is not None else frozenset()
            differ = {mark.sidecar for mark in held ^ {each.mark for each in wanted}}
            refs = policies.of_pod(key, read)
            return tuple(ref for ref in refs if ref.kind == UnitKind.SIDECAR and ref.name in differ)

        self._wanted = graph.map("containers of pods", policies.pods, wanted)
        self._outdated = graph.group(
            "pods with other containers by sidecar",
            graph.map("sidecars with other containers", self._wanted, outdated),
            lambda _key, sidecars: sidecars,
        )

    def outdated(self, sidecar: ObjectRef, read: Reader) -> tuple[PodRef, ...]:
        """The Pods that run with other containers of this Sidecar's than it says now."""
        return tuple(PodRef(*key) for key in read.get(self._outdated, sidecar) or ())

    def yielded(
        self, own: Mapping[str, api.Container], pods: tuple[Key, ...], read: Reader
    ) -> tuple[tuple[str, ObjectRef], ...]:
        """Those of `own` in whose place some of the Pods get that of an older Sidecar, and which that is."""
        if not own:
            return ()
        return tuple(
            sorted(
                {
                    (name, ObjectRef("Sidecar", key[0], each.sidecar))
                    for key in pods
                    for each in read.get(self._wanted, key) or ()
                    if (name := each.container.name) in own and each.container != own[name]
                }
            )
        )


class _Namespaces(Container[str]):
    """The namespaces that exist; asking is reading."""

    def __init__(self, ours: Ours, read: Reader) -> None:
        self._ours = ours
        self._read = read

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._read.get(self._ours.namespace_facts, ("", name)) is not None


class _ServiceAccounts(Collection[str]):
    """The service accounts of the Pods that a policy selects; read only if somebody asks, which few names do."""

    def __init__(self, policies: Policies, ref: ObjectRef, read: Reader) -> None:
        self._policies = policies
        self._ref = ref
        self._read = read

    def _all(self) -> set[str]:
        keys = self._policies.pods_of(self._ref, self._read)
        pods = (self._read.get(self._policies.pods, key) for key in keys)
        return {pod.service_account for pod in pods if pod is not None}

    def __contains__(self, name: object) -> bool:
        return name in self._all()

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())


# Services -------------------------------------------------------------------------------------------------------------


class Services:
    """Services, where they are answered, and which addresses are behind which."""

    def __init__(self, graph: Graph, sources: Sources, addresses: Addresses) -> None:
        self.facts = graph.map("service facts", sources.services, lambda _key, service, _read: service_facts(service))
        slices = graph.map("slice facts", sources.endpoint_slices, lambda _key, part, _read: slice_facts(part))
        slices_of = graph.group("slices by service", slices, lambda _key, part: [part.service])

        def parts(service: Key, read: Reader) -> list[SliceFacts]:
            found = (read.get(slices, key) for key in read.get(slices_of, service) or ())
            return [part for part in found if part is not None]

        def members(key: Key, service: ServiceFacts, read: Reader) -> dict[tuple[str, Key], tuple[InboundPort, ...]]:
            known = known_addresses(service, parts(key, read))
            return {(address, key): ports for address, ports in known.items()}

        def targets(key: Key, service: ServiceFacts, read: Reader) -> tuple[Targets, ...]:
            return ready_targets(service, parts(key, read))

        def endpoints(key: Key, targets: tuple[Targets, ...], read: Reader) -> ReadyEndpoints:
            known = [address for address, _ in read.get(self._addresses_of, key) or ()]
            return ready_endpoints(targets, known, lambda address: read.get(addresses.facts, address))

        self.members = graph.flatten("members of services", self.facts, members)
        self.services_at = graph.group("services by address", self.members, lambda key, _ports: [key[0]])
        self._addresses_of = graph.group("addresses by service", self.members, lambda key, _ports: [key[1]])
        self.endpoints = graph.map("endpoints", graph.map("targets of services", self.facts, targets), endpoints)

    def state(self, ref: ServiceRef, read: Reader) -> ServiceState | None:
        key = (ref.namespace, ref.name)
        facts, endpoints = read.get(self.facts, key), read.get(self.endpoints, key)
        return (facts, endpoints) if facts is not None and endpoints is not None else None

    def memberships(self, addresses: tuple[str, ...], read: Reader) -> tuple[Membership, ...]:
        members = (key for address in addresses for key in read.get(self.services_at, address) or ())
        return tuple(
            Membership(service=ServiceRef(*key[1]), ports=read.get(self.members, key) or ()) for key in members
        )


# Canaries -------------------------------------------------------------------------------------------------------------


class Canaries:
    """Canaries, who holds which root, and how its traffic is divided."""

    def __init__(self, graph: Graph, sources: Sources, ours: Ours, services: Services) -> None:
        domain = sources.settings.cluster_domain

        def facts(key: Key, fate: Fate, read: Reader) -> CanaryFacts | None:
            given = read.get(sources.canaries, key)
            if given is None or not isinstance(fate, Served):
                return None
            return canary_facts(given, _created(given.metadata.creation_timestamp), domain)

        def roots(_key: Key, canary: CanaryFacts) -> list[ServiceRef]:
            return [canary.root] if canary.root is not None and canary.claims_root else []

        def winner(_root: ServiceRef, rivals: tuple[Key, ...], read: Reader) -> CanaryFacts | None:
            known = (read.get(self.facts, key) for key in rivals)
            return min((canary for canary in known if canary is not None), key=lambda c: c.rank, default=None)

        def division(_root: ServiceRef, canary: CanaryFacts, read: Reader) -> Division:
            return divide(canary, lambda service: services.state(service, read))

        self._domain = domain
        self.facts = graph.map("canary facts", ours.canaries, facts)
        self.winners = graph.map("canary of a root", graph.group("canaries by root", self.facts, roots), winner)
        self.divisions = graph.map("divisions", self.winners, division)
        self.users = graph.group(
            "canaries by service", self.winners, lambda root, canary: [root, *(service for service, _ in canary.wanted)]
        )

    def fronted(self, key: Key, read: Reader, *, ending: bool) -> Fronted | None:
        """What a root proxy of this Canary stands before; None if that divides nothing."""
        canary = read.get(self.facts, key)
        if canary is None or canary.root is None or not canary.claims_root:
            return None
        winner, division = read.get(self.winners, canary.root), read.get(self.divisions, canary.root)
        if winner is None or winner.ref != canary.ref or division is None or not division.ports:
            return None
        protocols = {port.number: port.protocol for port in division.ports}
        ports = listening_ports(protocols)
        return Fronted(
            root=canary.root,
            fqdn=canary.root.fqdn(self._domain),
            ports=tuple(FrontedPort(number, protocols[number], at) for number, at in ports.items()),
            ending=ending,
        )


def _key(ref: ObjectRef) -> Key:
    return ref.namespace, ref.name


def _created(timestamp: datetime | None) -> str:
    """RFC 3339 in UTC, which sorts as text. Empty before the API server has given it, so such objects count as old."""
    return f"{timestamp.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}" if timestamp is not None else ""
