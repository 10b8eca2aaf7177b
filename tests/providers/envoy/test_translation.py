"""What holds for every translation, whatever the intent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from providers.envoy.kit import LOCAL, MESH, backend, service, service_port, split, workload
from providers.envoy.real_envoy import AUTHORITY, Json, message, objections, parts
from smeagol.intent import (
    Backend,
    Endpoint,
    InboundPort,
    Protocol,
    ServiceIntent,
    ServicePort,
    Split,
    TLSMode,
    Unit,
    WorkloadIntent,
)
from smeagol.plan import CertificateRequest, ProxyConnection, ProxyProvider, ProxyResource, Purpose
from smeagol.providers.envoy import provider
from smeagol.providers.envoy.bootstrap import BadConnectionError
from smeagol.providers.envoy.split import integer_weights, request_weights
from smeagol.refs import NodeId, SubjectName

BOOTSTRAP_CLUSTERS = {"app", "admin", "xds"}
SECRETS = {"client", "server", "roots"}

ports = st.integers(1, 65535)
addresses = st.one_of(st.ip_addresses(network="10.0.0.0/8"), st.ip_addresses(network="fd00::/8")).map(str)
"""As clusters give them; 0.0.0.0 and its like are refused before they get here."""
endpoints = st.builds(Endpoint, addresses, ports, st.booleans())
some_endpoints = st.lists(endpoints, max_size=4, unique_by=lambda e: (e.address, e.port)).map(
    lambda drawn: tuple(sorted(drawn))
)
of_one_family = some_endpoints.map(
    lambda drawn: tuple(e for e in drawn if (":" in e.address) == (":" in drawn[0].address))
)
weights = st.one_of(st.integers(0, 5000), st.integers(0, 10**21))


@st.composite
def splits(draw: st.DrawFn) -> Split:
    """One to four backends; their endpoints may overlap; at least one weight is positive."""
    drawn = draw(st.lists(st.tuples(weights, of_one_family.filter(bool)), min_size=1, max_size=4))
    backends: list[Backend] = [backend(f"web-v{n}", weight, *members) for n, (weight, members) in enumerate(drawn)]
    if not any(one.weight_milli for one in backends):
        backends[0] = backend("web-v0", draw(st.integers(1, 10**21)), *backends[0].endpoints)
    return split(*backends)


@st.composite
def services(draw: st.DrawFn) -> ServiceIntent:
    numbers = draw(st.lists(ports, max_size=3, unique=True))
    made = [
        service_port(
            *draw(some_endpoints),
            number=number,
            protocol=draw(st.sampled_from(Protocol)),
            divided=draw(st.none() | splits()),
        )
        for number in numbers
    ]
    own = draw(st.lists(addresses, max_size=2, unique=True))
    return service(*made, cluster_ips=tuple(own), name=draw(st.sampled_from(["web", "w", "tcp"])))


@st.composite
def workloads(draw: st.DrawFn) -> WorkloadIntent:
    numbers = draw(st.lists(ports, max_size=5, unique=True))
    return workload(
        *(InboundPort(number, draw(st.sampled_from(Protocol))) for number in sorted(numbers)),
        mode=draw(st.none() | st.sampled_from(TLSMode)),
        addresses=tuple(draw(st.lists(addresses, min_size=1, max_size=2, unique=True))),
    )


def resources(*units: Unit) -> list[ProxyResource]:
    return [resource for unit in units for resource in provider.plan(unit).resources]


def mentioned(value: object, key: str) -> Iterator[str]:
    """All strings under a key, however deep."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name == key and isinstance(inner, str):
                yield inner
            else:
                yield from mentioned(inner, key)
    elif isinstance(value, list):
        for inner in value:
            yield from mentioned(inner, key)


class TestResources:
    @given(unit=st.one_of(services(), workloads()))
    def test_equal_units_give_equal_bytes(self, unit: Unit) -> None:
        """Equal bytes are no change, so no proxy hears of what did not change."""
        assert provider.plan(unit) == provider.plan(unit)

    @given(unit=st.one_of(services(), workloads()))
    def test_a_name_is_used_once(self, unit: Unit) -> None:
        names = [(resource.type_url, resource.name, resource.node) for resource in resources(unit)]
        # A generated headless Service may have two ports with one endpoint; an intent never lists an address twice.
        names = [name for name in names if not name[1].startswith("headless/")]
        assert len(names) == len(set(names))

    @given(unit=services(), owner=workloads())
    def test_what_is_mentioned_exists(self, unit: ServiceIntent, owner: WorkloadIntent) -> None:
        """Clusters, routes, endpoints and secrets that a resource names are planned too, or are in the bootstrap."""
        made = resources(unit, owner, MESH)
        kinds: dict[str, dict[str, Json]] = {}
        for resource in made:
            kinds.setdefault(resource.type_url.rpartition(".")[2], {})[resource.name] = message(resource)
        clusters = set(kinds["Cluster"]) | BOOTSTRAP_CLUSTERS
        routes, loads = kinds.get("RouteConfiguration", {}), kinds.get("ClusterLoadAssignment", {})
        for listener in kinds["Listener"].values():
            assert set(mentioned(listener, "cluster")) <= clusters
            assert set(mentioned(listener, "route_config_name")) <= set(routes)
        for route in routes.values():
            assert set(mentioned(route, "cluster")) <= clusters
            weighted = route["virtual_hosts"][0]["routes"][0]["route"].get("weighted_clusters", {"clusters": []})
            assert {one["name"] for one in weighted["clusters"]} <= clusters
        assert {name for name, one in kinds["Cluster"].items() if one.get("type") == "EDS"} == set(loads)
        for one in (*kinds["Cluster"].values(), *kinds["Listener"].values()):
            for context in _tls(one):
                assert set(mentioned(context, "name")) <= SECRETS

    @given(unit=services())
    def test_shared_resources_belong_to_nobody(self, unit: ServiceIntent) -> None:
        """They are the same bytes for every proxy."""
        assert {resource.node for resource in resources(unit, MESH)} <= {None}

    @pytest.mark.envoy
    @pytest.mark.slow
    @settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(unit=services(), owner=workloads())
    def test_envoy_accepts_whatever_is_planned(
        self, tmp_path: Path, unit: ServiceIntent, owner: WorkloadIntent
    ) -> None:
        distinct = {(resource.type_url, resource.name): resource for resource in resources(unit, owner, MESH)}
        assert objections(distinct.values(), tmp_path) == ""


def _tls(value: object) -> Iterator[object]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in ("tls_certificate_sds_secret_configs", "validation_context_sds_secret_config"):
                yield inner
            else:
                yield from _tls(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _tls(inner)


class TestWeights:
    """Only the ratio counts (spec: Canary). Envoy takes whole numbers whose sum fits in 32 bits."""

    shares = st.lists(st.fractions(min_value=0, max_value=10**21), min_size=1, max_size=20).filter(any)

    @given(shares=shares)
    def test_ratios_hold(self, shares: list[Fraction]) -> None:
        made = integer_weights(shares)
        for share, weight in zip(shares, made, strict=True):
            assert abs(Fraction(weight, sum(made)) - share / sum(shares)) < Fraction(1, 1000)

    @given(shares=shares)
    def test_nothing_positive_becomes_zero_and_nothing_zero_positive(self, shares: list[Fraction]) -> None:
        assert [bool(weight) for weight in integer_weights(shares)] == [bool(share) for share in shares]

    @given(shares=shares)
    def test_the_sum_fits(self, shares: list[Fraction]) -> None:
        assert 0 < sum(integer_weights(shares)) < 2**32

    @given(shares=st.lists(st.integers(0, 10**6), min_size=1, max_size=9).filter(any), factor=st.integers(1, 10**6))
    def test_equal_ratios_are_equal_numbers(self, shares: list[int], factor: int) -> None:
        """So 1 and 1000m against each other, and 5 and 5, are one configuration."""
        small = integer_weights([Fraction(share) for share in shares])
        assert small == integer_weights([Fraction(share * factor) for share in shares])

    def test_examples_of_the_specification(self) -> None:
        assert integer_weights([Fraction(w) for w in (10, 100, 1500)]) == (1, 10, 150)
        assert integer_weights([Fraction(w) for w in (1000, 500)]) == (2, 1)
        assert integer_weights([Fraction(0), Fraction(1)]) == (0, 1)

    @given(divided=splits())
    def test_a_zero_weight_gets_no_request_and_is_nobodys_second_choice(self, divided: Split) -> None:
        port = service_port(divided=divided)
        made = {(r.type_url.rpartition(".")[2], r.name): message(r) for r in resources(service(port))}
        zero = [one for one in divided.backends if not one.weight_milli]
        positive = {(e.address, e.port) for one in divided.backends if one.weight_milli for e in one.endpoints}
        assert {one.service for one, _ in request_weights(divided)}.isdisjoint(one.service for one in zero)
        for one in divided.backends:
            name = f"web.shop.svc.cluster.local:80/{one.service.name}"
            assert ("Cluster", name) in made  # also at weight zero, so that its connections stay
            for rank in made["ClusterLoadAssignment", name]["endpoints"][1:]:
                assert {_address(member) for member in rank["lb_endpoints"]} <= positive

    @given(divided=splits())
    def test_connections_have_the_backends_shares(self, divided: Split) -> None:
        """Within a thousandth, though each backend's weight is spread over its endpoints."""
        port = service_port(protocol=Protocol.TCP, divided=divided)
        [load] = [message(r) for r in resources(service(port)) if r.type_url.endswith("ClusterLoadAssignment")]
        members = load["endpoints"][0]["lb_endpoints"]
        total = sum(member["load_balancing_weight"] for member in members)
        wanted: dict[tuple[str, int], Fraction] = {}
        for one in divided.backends:
            for endpoint in one.endpoints:
                key = (endpoint.address, endpoint.port)
                wanted[key] = wanted.get(key, Fraction()) + Fraction(one.weight_milli, len(one.endpoints))
        for member in members:
            share = wanted.pop(_address(member)) / sum(one.weight_milli for one in divided.backends)
            assert abs(Fraction(member["load_balancing_weight"], total) - share) < Fraction(1, 1000)
        assert not any(wanted.values())


def _address(member: Json) -> tuple[str, int]:
    socket = member["endpoint"]["address"]["socket_address"]
    return socket["address"], socket["port_value"]


class TestCanaryChangesLittle:
    """In-flight requests and open connections survive (spec: Canary); so what they hang on must stay as it is."""

    @given(before=st.none() | splits(), after=st.none() | splits(), protocol=st.sampled_from(Protocol))
    def test_listener_and_cluster_of_the_root_never_change(
        self, before: Split | None, after: Split | None, protocol: Protocol
    ) -> None:
        """Envoy drains a changed listener, and drops the connections and counters of a changed cluster."""

        def stable(divided: Split | None) -> dict[tuple[str, str], bytes]:
            made = resources(service(service_port(Endpoint("10.0.0.1", 80), protocol=protocol, divided=divided)))
            return {
                (r.type_url, r.name): r.body
                for r in made
                if r.type_url.endswith((".Listener", ".Cluster")) and r.name == "web.shop.svc.cluster.local:80"
            }

        assert stable(before) == stable(after)

    @given(divided=splits(), data=st.data())
    def test_weights_and_endpoints_change_no_cluster(self, divided: Split, data: st.DataObject) -> None:
        names = [one.service.name for one in divided.backends]
        other = split(*(backend(name, n + 1, *data.draw(some_endpoints.filter(bool))) for n, name in enumerate(names)))

        def clusters(chosen: Split) -> set[bytes]:
            made = resources(service(service_port(divided=chosen)))
            return {r.body for r in made if r.type_url.endswith(".Cluster")}

        assert clusters(divided) == clusters(other)

    @given(divided=splits(), data=st.data())
    def test_weights_of_requests_move_routes_alone(self, divided: Split, data: st.DataObject) -> None:
        """What a route does not use is not sent: of an HTTP root with new weights, everything else is as it was."""
        weight = st.integers(1, 5_000)
        other = split(*(backend(b.service.name, data.draw(weight), *b.endpoints) for b in divided.backends))

        def root(chosen: Split) -> dict[str, bytes]:
            made = resources(service(service_port(Endpoint("10.0.0.1", 80), protocol=Protocol.HTTP, divided=chosen)))
            return {r.type_url: r.body for r in made if r.name == "web.shop.svc.cluster.local:80"}

        before, after = root(divided), root(other)
        assert {url.rpartition(".")[2] for url in before if before[url] != after[url]} <= {"RouteConfiguration"}


class TestFamilies:
    """SMI-SVC-07: who dials an address of one family is answered by it, as without a mesh: an application may listen
    to one only."""

    @staticmethod
    def answering(unit: ServiceIntent) -> dict[str, list[str]]:
        """What is dialled, and the addresses that answer there."""
        made = {(r.type_url.rpartition(".")[2], r.name): message(r) for r in resources(unit)}
        found: dict[str, list[str]] = {}
        for (kind, _), listener in made.items():
            if kind != "Listener":
                continue
            others = [other["address"] for other in listener.get("additional_addresses", [])]
            (route,) = set(mentioned(listener, "route_config_name"))
            action = made["RouteConfiguration", route]["virtual_hosts"][0]["routes"][0]["route"]
            clusters = [c["name"] for c in action.get("weighted_clusters", {}).get("clusters", [])] or [
                action["cluster"]
            ]
            members = [
                _address(member)[0]
                for cluster in clusters
                for rank in made["ClusterLoadAssignment", cluster].get("endpoints", [])[:1]
                for member in rank["lb_endpoints"]
            ]
            found |= {each["socket_address"]["address"]: members for each in (listener["address"], *others)}
        return found

    BOTH = (Endpoint("10.0.0.1", 80), Endpoint("fd00::1", 80))

    def test_each_family_is_answered_by_its_own(self) -> None:
        port = service_port(*self.BOTH, protocol=Protocol.HTTP)
        unit = service(port, cluster_ips=("10.96.0.1", "fd00:96::1"))
        assert self.answering(unit) == {"10.96.0.1": ["10.0.0.1"], "fd00:96::1": ["fd00::1"]}

    def test_backends_of_a_split_too(self) -> None:
        """Also where the root has one family and its backends have both."""
        divided = split(backend("web-v1", 1, *self.BOTH), backend("web-v2", 1, Endpoint("10.0.0.2", 80)))
        port = service_port(protocol=Protocol.HTTP, divided=divided)
        assert self.answering(service(port, cluster_ips=("10.96.0.1",))) == {"10.96.0.1": ["10.0.0.1", "10.0.0.2"]}
        assert self.answering(service(port, cluster_ips=("10.96.0.1", "fd00:96::1"))) == {
            "10.96.0.1": ["10.0.0.1", "10.0.0.2"],
            "fd00:96::1": ["fd00::1", "10.0.0.2"],
        }

    def test_the_other_family_answers_where_there_is_no_endpoint_of_the_dialled_one(self) -> None:
        port = service_port(Endpoint("10.0.0.1", 80), protocol=Protocol.HTTP)
        unit = service(port, cluster_ips=("10.96.0.1", "fd00:96::1"))
        assert self.answering(unit) == {"10.96.0.1": ["10.0.0.1"], "fd00:96::1": ["10.0.0.1"]}

    @given(unit=services())
    def test_the_primary_family_has_the_plain_names(self, unit: ServiceIntent) -> None:
        """Whatever else is there, since root proxies go by them."""
        names = {r.name for r in resources(unit)}
        assert not unit.cluster_ips or {f"{unit.fqdn}:{port.number}" for port in unit.ports} <= names


class TestWhatCannotBeEnforced:
    @given(spoken=st.lists(st.sampled_from(Protocol), max_size=4))
    def test_a_strict_pod_has_no_way_in_but_mutual_tls(self, spoken: list[Protocol]) -> None:
        """SMI-MTLS-23: each way to the application waits for a certificate; until there is one, nobody gets in."""
        strict = workload(*(InboundPort(8080 + n, protocol) for n, protocol in enumerate(spoken)))
        (listener,) = [message(r) for r in provider.plan(strict).resources if r.name == "inbound"]
        assert "default_filter_chain" not in listener
        for chain in listener["filter_chains"]:
            match = chain["filter_chain_match"]
            if match.get("destination_port") in (15001, 15006):
                continue  # hangs up
            assert match["transport_protocol"] == "tls"
            (context,) = parts(chain["transport_socket"], ".DownstreamTlsContext")
            assert context["require_client_certificate"] is True
            common = context["common_tls_context"]
            assert common["tls_certificate_sds_secret_configs"]
            assert not common.get("tls_certificates")


class TestSecrets:
    def test_an_explained_key_is_redacted(self) -> None:
        """Neither `render` nor `proxy config` shows a private key."""
        request = CertificateRequest(NodeId("shop/web-1"), "server", Purpose.SERVER, (SubjectName("web"),))
        secret = provider.certificate(request, b"the chain", b"the key")
        assert (secret.name, secret.node) == ("server", "shop/web-1")
        shown = provider.explain(secret)
        assert shown == {
            "name": "server",
            "tls_certificate": {"certificate_chain": {"inline_string": "the chain"}, "private_key": "[redacted]"},
        }
        assert message(secret)["tls_certificate"]["private_key"] == {"inline_bytes": "dGhlIGtleQ=="}

    def test_no_server_certificate_where_nothing_is_to_be_proven(self) -> None:
        """Client and server certificates are two; without MutualTLS there is only the client's."""
        assert [r.purpose for r in provider.plan(workload()).certificates] == [Purpose.CLIENT, Purpose.SERVER]
        assert [r.purpose for r in provider.plan(workload(mode=None)).certificates] == [Purpose.CLIENT]


class TestOnDemand:
    """A Pod dialled by its own address is reached by mutual TLS if it is meshed, and as it was if not."""

    cluster = "type.googleapis.com/envoy.config.cluster.v3.Cluster"

    @given(ip=addresses, port=ports, meshed=st.booleans())
    def test_every_pod_port_has_an_answer(self, ip: str, port: int, meshed: bool) -> None:
        name = f"pod/[{ip}]:{port}" if ":" in ip else f"pod/{ip}:{port}"
        answer = provider.on_demand(self.cluster, name, MESH, lambda asked, _port: meshed and asked == ip)
        assert answer is not None
        assert (answer.name, answer.on_demand, "transport_socket" in message(answer)) == (name, True, meshed)

    @given(ip=addresses, port=ports)
    def test_planned_and_asked_answers_are_the_same(self, ip: str, port: int) -> None:
        owner = workload(InboundPort(port, Protocol.HTTP), addresses=(ip,))
        [planned] = [resource for resource in resources(owner) if resource.on_demand]
        assert planned == provider.on_demand(self.cluster, planned.name, MESH, lambda *_: True)

    @pytest.mark.parametrize(
        "name",
        ["", "pod/", "pod/x:80", "pod/10.0.0.1", "pod/10.0.0.1:0", "pod/10.0.0.1:99999", "pod/10.0.0.1:+80",
         "pod/[10.0.0.1]:80", "pod/fd00::1:80", "pod/[fd00:0::1]:80", "web/10.0.0.1:80", "pod/10.0.0.1:80/x"],
    )  # fmt: skip
    def test_there_is_nothing_under_other_names(self, name: str) -> None:
        assert provider.on_demand(self.cluster, name, MESH, lambda *_: True) is None

    def test_there_is_nothing_of_other_types(self) -> None:
        other = "type.googleapis.com/envoy.config.listener.v3.Listener"
        assert provider.on_demand(other, "pod/10.0.0.1:80", MESH, lambda *_: True) is None


class TestBootstrap:
    @pytest.mark.envoy
    @pytest.mark.parametrize(
        "connection",
        [
            ProxyConnection(address="127.0.0.1:18000"),
            ProxyConnection(address="[::1]:18000", socket_mark=77),
            ProxyConnection(address="xds.smeagol:18000", ca_file="{ca}", socket_mark=77),
            ProxyConnection(address="10.0.0.1:18000", ca_file="{ca}", server_name="xds.smeagol"),
            ProxyConnection(address="xds.smeagol:18000", ca_file="{ca}", token_file="{token}", server_name="xds"),
        ],
        ids=["plaintext", "marked", "tls", "tls to an address", "token"],
    )
    def test_envoy_accepts_it(self, connection: ProxyConnection, tmp_path: Path) -> None:
        ca, token = tmp_path / "ca.crt", tmp_path / "token"
        ca.write_bytes(AUTHORITY.trust_bundle_pem)
        token.write_text("token")
        made = provider.bootstrap(workload(), MESH, connection)
        made = made.replace(b"{ca}", str(ca).encode()).replace(b"{token}", str(token).encode())
        assert objections((), tmp_path, made) == ""

    def test_all_own_sockets_carry_the_mark(self) -> None:
        """A cluster's bind configuration replaces that of the cluster manager, so the mark must be in both."""
        made = provider.bootstrap(workload(), MESH, ProxyConnection(address="127.0.0.1:1", socket_mark=77)).decode()
        assert made.count('"int_value": "77"') == 2
        assert '"int_value"' not in provider.bootstrap(workload(), MESH, LOCAL).decode()

    @pytest.mark.parametrize(("own", "ipv6"), [(("10.0.0.1",), False), (("10.0.0.1", "fd00::1"), True), ((), True)])
    def test_a_host_without_ipv6_is_not_asked_for_it(self, own: tuple[str, ...], ipv6: bool) -> None:
        """Envoy refuses to start with an IPv6 address where the kernel has none. Unknown addresses: the mesh's."""
        owner = workload(addresses=own)
        assert ('"::6"' in provider.bootstrap(owner, MESH, LOCAL).decode()) == ipv6
        listener = next(message(r) for r in resources(owner) if r.name == "inbound")
        assert listener["address"]["socket_address"]["address"] == ("::" if ipv6 else "0.0.0.0")

    @pytest.mark.parametrize(
        ("cidrs", "pods_have", "ipv6"),
        [
            (("10.0.0.0/8",), False, False),
            (("10.0.0.0/8",), True, True),
            (("fd00::/8",), False, True),
            ((), False, True),
        ],
    )
    def test_pods_with_ipv6_reach_others_and_are_reached_by_it(
        self, cidrs: tuple[str, ...], pods_have: bool, ipv6: bool
    ) -> None:
        """Although only the IPv4 ranges of Pods are told: redirect rules send IPv6 to the proxy all the same."""
        mesh = replace(MESH, pod_cidrs=cidrs, pods_have_ipv6=pods_have)
        (catcher,) = [message(r) for r in resources(mesh) if r.name == "outbound"]
        assert catcher["address"]["socket_address"]["address"] == ("::" if ipv6 else "0.0.0.0")
        injected = provider.injected_bootstrap(NodeId("shop/web-1"), "10.0.0.1", mesh, LOCAL, ()).decode()
        assert ('"::6"' in injected) == ipv6

    @pytest.mark.parametrize(
        "connection",
        [
            ProxyConnection(address="somewhere"),
            ProxyConnection(address="host:port"),
            ProxyConnection(address="x:1", token_file="t"),
        ],
    )
    def test_what_cannot_be_had_is_said(self, connection: ProxyConnection) -> None:
        with pytest.raises(BadConnectionError) as refused:
            provider.bootstrap(workload(), MESH, connection)
        assert refused.value.fix


class TestProvider:
    def test_it_is_a_provider_of_proxies(self) -> None:
        assert isinstance(provider, ProxyProvider)

    def test_a_service_without_an_address_has_no_listener(self) -> None:
        """An address may come later; the rest is warm then."""
        unaddressed = ServiceIntent(
            ref=service().ref,
            fqdn="web.shop.svc.cluster.local",
            cluster_ips=(),
            headless=False,
            ports=(_one_port(),),
            cluster_domain="cluster.local",
        )
        assert not [r for r in resources(unaddressed) if r.type_url.endswith(".Listener")]


def _one_port() -> ServicePort:
    return service_port(Endpoint("10.0.0.1", 8080, mutual_tls=True))
