"""Providers that are deliberately wrong, for `smeagol up --provider conformance.mutants:is_NAME`.

Each is Envoy's provider with one lie: in what it is told (`change` of a unit), or in a part of the process that it runs
in (`break_`, called before the mesh is built). `BREAKS` says which cases must fail for it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import msgspec

from smeagol.intent import MeshIntent, ServiceIntent, TLSMode, Unit, WorkloadIntent
from smeagol.intent import Protocol as Spoken
from smeagol.plan import (
    JSON,
    AppProbe,
    CertificateRequest,
    Feature,
    Plan,
    ProxyConnection,
    ProxyResource,
)
from smeagol.providers.envoy import provider as envoy
from smeagol.refs import NodeId, SubjectName

__all__ = ["BREAKS", "MUTANTS"]


@dataclass(frozen=True, slots=True)
class Mutant:
    """Envoy's provider, told something else than what is."""

    change: Callable[[Unit], Unit]
    name: str = "envoy"
    controller_name: str = "smeagol.dev/envoy"
    features: frozenset[Feature] = field(default_factory=lambda: envoy.features)

    def plan(self, unit: Unit) -> Plan:
        return envoy.plan(self.change(unit))

    def bootstrap(self, workload: WorkloadIntent, mesh: MeshIntent, connection: ProxyConnection) -> bytes:
        return envoy.bootstrap(workload, mesh, connection)

    def injected_bootstrap(
        self, node: NodeId, address: str, mesh: MeshIntent, connection: ProxyConnection, probes: Sequence[AppProbe]
    ) -> bytes:
        return envoy.injected_bootstrap(node, address, mesh, connection, probes)

    def certificate(self, request: CertificateRequest, chain_pem: bytes, key_pem: bytes) -> ProxyResource:
        return envoy.certificate(request, chain_pem, key_pem)

    def trust_bundle(self, bundle_pem: bytes) -> ProxyResource:
        return envoy.trust_bundle(bundle_pem)

    def on_demand(
        self, type_url: str, name: str, mesh: MeshIntent, meshed: Callable[[str, int], bool]
    ) -> ProxyResource | None:
        return envoy.on_demand(type_url, name, mesh, meshed)

    def explain(self, resource: ProxyResource) -> JSON:
        return envoy.explain(resource)


def _ports(unit: Unit, change: Callable[[Any], Any]) -> Unit:
    """Change the ports of a Service."""
    return replace(unit, ports=tuple(change(port) for port in unit.ports)) if isinstance(unit, ServiceIntent) else unit


def _workload(change: Callable[[WorkloadIntent], WorkloadIntent]) -> Callable[[Unit], Unit]:
    return lambda unit: change(unit) if isinstance(unit, WorkloadIntent) else unit


# What is told wrong.


def ignores_weights(unit: Unit) -> Unit:
    """Every backend that is listed gets the same, zero or not."""

    def even(port: Any) -> Any:
        if port.split is None:
            return port
        backends = tuple(replace(backend, weight_milli=1000) for backend in port.split.backends)
        return replace(port, split=replace(port.split, backends=backends))

    return _ports(unit, even)


def ignores_canaries(unit: Unit) -> Unit:
    return _ports(unit, lambda port: replace(port, split=None))


def wrong_target_port(unit: Unit) -> Unit:
    """A backend is called at the root's target port."""

    def moved(port: Any) -> Any:
        if port.split is None:
            return port
        backends = tuple(
            replace(b, endpoints=tuple(replace(e, port=8080 if e.port == 7777 else e.port) for e in b.endpoints))
            for b in port.split.backends
        )
        return replace(port, split=replace(port.split, backends=backends))

    return _ports(unit, moved)


def takes_http_for_bytes(unit: Unit) -> Unit:
    """A port that is declared to be HTTP of any kind is read as bytes."""

    def raw(port: Any) -> Any:
        return replace(port, protocol=Spoken.TCP) if port.protocol.is_http else port

    if isinstance(unit, WorkloadIntent):
        return replace(unit, inbound_ports=tuple(raw(port) for port in unit.inbound_ports))
    return _ports(unit, raw)


def one_target_port(unit: Unit) -> Unit:
    """All Pods of a Service are called at the port of the first."""

    def same(endpoints: Any) -> Any:
        return tuple(replace(endpoint, port=endpoints[0].port) for endpoint in endpoints)

    def like_the_first(port: Any) -> Any:
        if port.split is not None:
            backends = tuple(replace(b, endpoints=same(b.endpoints)) for b in port.split.backends)
            port = replace(port, split=replace(port.split, backends=backends))
        return replace(port, endpoints=same(port.endpoints))

    return _ports(unit, like_the_first)


def serves_splits_alone(unit: Unit) -> Unit:
    """A Service that no Canary divides has nobody."""
    return _ports(unit, lambda port: port if port.split is not None else replace(port, endpoints=()))


def one_behind() -> Callable[[Unit], Unit]:
    seen: dict[object, ServiceIntent] = {}

    def change(unit: Unit) -> Unit:
        if not isinstance(unit, ServiceIntent):
            return unit
        before, seen[unit.ref] = seen.get(unit.ref, unit), unit
        return before

    return change


def _secured(unit: Unit, *, secured: bool) -> Unit:
    """Take every endpoint for one that ends mutual TLS, or none."""

    def marked(endpoints: Any) -> Any:
        return tuple(replace(endpoint, mutual_tls=secured) for endpoint in endpoints)

    return _ports(unit, lambda port: replace(port, endpoints=marked(port.endpoints), dialled=marked(port.dialled)))


def no_mutual_tls(unit: Unit) -> Unit:
    unit = _secured(unit, secured=False)
    return replace(unit, mode=None) if isinstance(unit, WorkloadIntent) else unit


def takes_all_for_meshed(unit: Unit) -> Unit:
    return _secured(unit, secured=True)


def always_strict(workload: WorkloadIntent) -> WorkloadIntent:
    return replace(workload, mode=workload.mode and TLSMode.STRICT)


def never_strict(workload: WorkloadIntent) -> WorkloadIntent:
    return replace(workload, mode=workload.mode and TLSMode.PERMISSIVE)


def wrong_server_names(workload: WorkloadIntent) -> WorkloadIntent:
    return replace(workload, server_names=(SubjectName("wrong.example"),))


def drops_client_names(workload: WorkloadIntent) -> WorkloadIntent:
    return replace(workload, client_names=workload.client_names[-1:])


def takes_bytes_for_http(unit: Unit) -> Unit:
    """A port that is declared to be bytes is read as HTTP."""
    if isinstance(unit, WorkloadIntent):
        return replace(unit, inbound_ports=tuple(replace(p, protocol=Spoken.HTTP) for p in unit.inbound_ports))
    return _ports(unit, lambda port: replace(port, protocol=Spoken.HTTP))


# What is broken around it.


def _wrap(place: object, name: str, wrapper: Callable[[Any], Any]) -> None:
    """Put something in the place of a function that others call by this name."""
    setattr(place, name, wrapper(getattr(place, name)))


def says_all_is_well() -> None:
    """Every condition is true, no reason is given, and features are listed as they come."""
    from smeagol.api import ConditionStatus
    from smeagol.runtime import reporting

    def well(honest: Any) -> Any:
        def status_of(*args: Any, **kwargs: Any) -> Any:
            status = honest(*args, **kwargs)
            true = ConditionStatus.TRUE
            conditions = tuple(msgspec.structs.replace(c, status=true, reason=c.type) for c in status.conditions)
            return msgspec.structs.replace(status, conditions=conditions)

        return status_of

    def unsorted(honest: Any) -> Any:
        def class_status(*args: Any, **kwargs: Any) -> Any:
            status = honest(*args, **kwargs)
            return msgspec.structs.replace(status, supported_features=tuple(reversed(status.supported_features)))

        return class_status

    _wrap(reporting, "status_of", well)
    _wrap(reporting.Reporter, "class_status", unsorted)


def takes_any_object() -> None:
    from smeagol.sources.files import FolderReader

    _wrap(FolderReader, "scan", lambda scan: lambda reader: replace(scan(reader), problems=()))


def asks_for_no_certificate() -> None:
    """Servers do not ask who calls."""
    from smeagol.providers.envoy import tls

    def lax(real: Any) -> Any:
        def context(*, common_tls_context: dict[str, Any], **_: Any) -> Any:
            rest = {key: value for key, value in common_tls_context.items() if not key.startswith("validation")}
            return real(common_tls_context=rest)

        return context

    _wrap(tls, "DownstreamTlsContext", lax)


def believes_the_header() -> None:
    """The identity header is neither removed nor set."""
    from smeagol.providers.envoy import inbound

    _wrap(inbound, "IDENTITY", lambda _: "x-something-else")


def believes_strangers() -> None:
    """A root proxy passes on what a client says that its name is."""
    from smeagol.providers.envoy import root_proxy

    _wrap(root_proxy, "IDENTITY", lambda _: "x-something-else")


def long_lived_certificates() -> None:
    from smeagol.runtime.certificates import Certificates

    def long(init: Any) -> Any:
        return lambda self, **kwargs: init(self, **{**kwargs, "lifetime": timedelta(days=80)})

    _wrap(Certificates, "__init__", long)


def asks_only_once() -> None:
    """A Pod that was ready once is ready for ever."""
    from smeagol.objects.core import PodCondition
    from smeagol.sources.cluster import Cluster

    ready = (PodCondition(type="Ready", status="True"),)

    def sticky(honest: Any) -> Any:
        def observe(cluster: Any, key: Any, status: Any) -> None:
            if (pod := cluster.pods.get(key)) is not None and pod.ready:
                status = msgspec.structs.replace(status, conditions=ready)
            honest(cluster, key, status)

        return observe

    _wrap(Cluster, "observe", sticky)


def calls_ready_pods_only() -> None:
    """What a Service says of Pods that are not ready is not read."""
    from smeagol.intent import wiring
    from smeagol.objects.core import Service
    from smeagol.sources import cluster

    def plain(service: Service) -> Service:
        spec = msgspec.structs.replace(service.spec, publish_not_ready_addresses=False)
        return msgspec.structs.replace(service, spec=spec)

    _wrap(wiring, "service_facts", lambda honest: lambda service: honest(plain(service)))
    _wrap(cluster, "endpoint_slices", lambda honest: lambda service, pods: honest(plain(service), pods))


def drops_pods_that_end() -> None:
    """A Pod gets nothing once it is being deleted, whatever it serves."""
    from smeagol.intent import wiring

    def gone(honest: Any) -> Any:
        def facts(part: Any) -> Any:
            found = honest(part)
            return found and replace(found, terminating=())

        return facts

    _wrap(wiring, "slice_facts", gone)


def gives_names_addresses() -> None:
    """A Service that is a name is given an address as any other, and nobody answers there."""
    from smeagol.sources.cluster import Cluster

    def any_other(honest: Any) -> Any:
        def addressed(cluster: Any, key: Any, service: Any) -> Any:
            spec = msgspec.structs.replace(service.spec, type="ClusterIP")
            return honest(cluster, key, msgspec.structs.replace(service, spec=spec))

        return addressed

    _wrap(Cluster, "_addressed", any_other)


def lets_anybody_declare() -> None:
    """What a Service says of a port counts, wherever the Service is."""
    from smeagol.intent import workloads

    def own(pod: Any, membership: Any) -> Any:
        return replace(membership, service=replace(membership.service, namespace=pod.namespace))

    _wrap(
        workloads,
        "_declarations",
        lambda honest: lambda pod, memberships: honest(pod, [own(pod, each) for each in memberships]),
    )


def reads_no_percentages() -> None:
    """Backends of an early draft get the same, whatever it says."""
    from smeagol.api import drafts

    _wrap(drafts, "_weight", lambda _: lambda share, path: 1)


def overlooks_namespaces() -> None:
    """Which class a namespace names is not read."""
    from smeagol.intent import wiring

    _wrap(wiring, "NamespaceFacts", lambda honest: lambda inject, _class: honest(inject, ""))


def stops_datagrams() -> None:
    """What comes to a Pod by UDP goes where TCP would, and nobody listens."""
    from smeagol.infra.host import nft, pod, redirect

    udp = nft.is_protocol(nft.Protocol.UDP)
    passed = nft.add_rule(
        "smeagol_redirect", "inbound", nft.is_protocol(nft.Protocol.TCP, equal=False), nft.answer(nft.Verdict.RETURN)
    )
    stopped = nft.add_rule("smeagol_redirect", "inbound", udp, nft.redirect_to(redirect.INBOUND_PORT))
    _wrap(
        pod,
        "redirect_rules",
        lambda honest: (
            lambda *args, **kwargs: tuple(stopped if rule == passed else rule for rule in honest(*args, **kwargs))
        ),
    )


def adds_no_containers() -> None:
    from smeagol.sources import cluster

    _wrap(cluster, "with_containers", lambda _: lambda pod, added: pod)


def gives_everyone_a_proxy() -> None:
    from smeagol.sources import cluster

    _wrap(cluster, "INJECT_LABEL", lambda _: "example.com/none")


def no_metric_labels() -> None:
    from smeagol.runtime import traffic

    _wrap(traffic, "series", lambda honest: lambda text, pod, labels: honest(text, pod, ()))


def counts_half() -> None:
    """Series say half of what was, and each scrape makes new ones."""
    from smeagol.runtime import traffic

    scrapes = itertools.count()

    def half(honest: Any) -> Any:
        def series(*args: Any, **kwargs: Any) -> Any:
            mark = ("scrape", str(next(scrapes)))
            return tuple(
                replace(sample, value=sample.value // 2, labels=(*sample.labels, mark))
                for sample in honest(*args, **kwargs)
            )

        return series

    _wrap(traffic, "series", half)


def _broken(break_: Callable[[], None], *without: Feature) -> Callable[[], Mutant]:
    def made() -> Mutant:
        break_()
        return Mutant(lambda unit: unit, features=envoy.features - set(without))

    return made


MUTANTS: dict[str, Callable[[], Mutant]] = {
    "ignores_weights": lambda: Mutant(ignores_weights),
    "ignores_canaries": lambda: Mutant(ignores_canaries),
    "wrong_target_port": lambda: Mutant(wrong_target_port),
    "takes_http_for_bytes": lambda: Mutant(takes_http_for_bytes),
    "one_target_port": lambda: Mutant(one_target_port),
    "serves_splits_alone": lambda: Mutant(serves_splits_alone),
    "one_behind": lambda: Mutant(one_behind()),
    "no_mutual_tls": lambda: Mutant(no_mutual_tls),
    "takes_all_for_meshed": lambda: Mutant(takes_all_for_meshed),
    "always_strict": lambda: Mutant(_workload(always_strict)),
    "never_strict": lambda: Mutant(_workload(never_strict)),
    "wrong_server_names": lambda: Mutant(_workload(wrong_server_names)),
    "drops_client_names": lambda: Mutant(_workload(drops_client_names)),
    "takes_bytes_for_http": lambda: Mutant(takes_bytes_for_http),
    "says_all_is_well": _broken(says_all_is_well),
    "says_it_can_do_all": _broken(
        says_all_is_well, Feature.SIDECAR_CONTAINERS, Feature.CANARY_HEADLESS, Feature.MUTUAL_TLS_CLIENT_NAMES
    ),
    "says_it_can_do_anything": _broken(says_all_is_well, Feature.MUTUAL_TLS, Feature.SIDECAR_METRICS),
    "takes_any_object": _broken(takes_any_object),
    "asks_for_no_certificate": _broken(asks_for_no_certificate),
    "believes_the_header": _broken(believes_the_header),
    "believes_strangers": _broken(believes_strangers),
    "long_lived_certificates": _broken(long_lived_certificates),
    "asks_only_once": _broken(asks_only_once),
    "calls_ready_pods_only": _broken(calls_ready_pods_only),
    "drops_pods_that_end": _broken(drops_pods_that_end),
    "gives_names_addresses": _broken(gives_names_addresses),
    "lets_anybody_declare": _broken(lets_anybody_declare),
    "reads_no_percentages": _broken(reads_no_percentages),
    "overlooks_namespaces": _broken(overlooks_namespaces),
    "stops_datagrams": _broken(stops_datagrams),
    "adds_no_containers": _broken(adds_no_containers),
    "gives_everyone_a_proxy": _broken(gives_everyone_a_proxy),
    "no_metric_labels": _broken(no_metric_labels),
    "counts_half": _broken(counts_half),
}

BREAKS: dict[str, tuple[str, ...]] = {
    "ignores_weights": (
        "canary-weights",
        "canary-zero-weight",
        "canary-connections",
        "canary-rollout",
        "canary-root-proxy",
    ),
    "ignores_canaries": (
        "canary-headless",
        "canary-by-address",
        "canary-host-header",
        "canary-root-names",
        "canary-root-without-endpoints",
        "canary-new-version",
        "canary-not-followed",
        "canary-and-clients-without-a-proxy",
        "canary-changes-under-load",
        "canary-matrix",
    ),
    "wrong_target_port": ("canary-target-port",),
    "takes_http_for_bytes": ("canary-grpc", "identity-on-contested-ports"),
    "one_target_port": ("canary-named-target-port",),
    "calls_ready_pods_only": ("canary-backend-that-publishes-all",),
    "serves_splits_alone": ("canary-none-left", "canary-deleted", "canary-backend-by-name"),
    "one_behind": ("canary-status",),
    "says_all_is_well": (
        "canary-missing-backend",
        "canary-no-ready-endpoint",
        "canary-port-mismatch",
        "canary-before-its-root",
        "canary-of-an-external-name",
        "canary-of-another-namespace",
        "canary-conflict",
        "canary-events",
        "class-of-another-controller",
        "features-are-declared",
        "mutual-tls-selects-by-labels",
        "mutual-tls-and-pods-that-run",
        "client-names-of-others",
    ),
    "says_it_can_do_all": (
        "sidecar-says-what-it-cannot-do",
        "canary-says-what-it-cannot-do",
        "mutual-tls-says-what-it-cannot-do",
    ),
    "says_it_can_do_anything": ("mutual-tls-that-cannot-be-enforced", "sidecar-that-cannot-be-measured"),
    "takes_any_object": ("canary-refused-at-admission",),
    "no_mutual_tls": ("mutual-tls-ends-with-its-object", "mutual-tls-and-pods-once-selected", "identity-header"),
    "takes_all_for_meshed": ("mutual-tls-between-pods",),
    "always_strict": ("permissive", "strict-beats-permissive", "permissive-matrix"),
    "never_strict": ("mutual-tls-refuses-plaintext", "mutual-tls-matrix"),
    "wrong_server_names": (
        "mutual-tls-by-each-address",
        "server-names",
        "server-names-follow",
        "server-names-before-ready",
    ),
    "drops_client_names": ("client-names",),
    "takes_bytes_for_http": ("mutual-tls-and-other-protocols", "canary-undeclared-ports"),
    "asks_for_no_certificate": ("mutual-tls-refuses-strangers-with-tls",),
    "believes_the_header": ("identity-cannot-be-forged", "identity-of-outsiders"),
    "believes_strangers": ("canary-root-proxy-and-names",),
    "long_lived_certificates": ("certificates-are-short-lived",),
    "gives_everyone_a_proxy": ("mutual-tls-and-pods-kept-out",),
    "asks_only_once": ("mutual-tls-and-probes", "service-of-ready-pods"),
    "drops_pods_that_end": ("service-of-pods-that-end",),
    "gives_names_addresses": ("service-that-is-a-name",),
    "lets_anybody_declare": ("identity-and-services-of-others",),
    "reads_no_percentages": ("canary-of-an-early-draft",),
    "overlooks_namespaces": ("class-by-namespace",),
    "stops_datagrams": ("mutual-tls-and-datagrams",),
    "counts_half": ("sidecar-status-codes", "sidecar-latency", "sidecar-bounded-series"),
    "adds_no_containers": ("sidecar-containers",),
    "no_metric_labels": ("sidecar-own-labels", "sidecar-given-labels"),
}
"""By mutant: the cases that must fail for it."""


def __getattr__(name: str) -> Mutant:
    """The provider `is_NAME`, made when it is asked for: some break the process that they are made in."""
    if name.removeprefix("is_") not in MUTANTS:
        raise AttributeError(name)
    return MUTANTS[name.removeprefix("is_")]()
