"""What a MutualTLS makes true of its Pods (SMI-MTLS)."""

from __future__ import annotations

import pytest
from msgspec.structs import replace as replaced

from intent.builders import (
    World,
    condition,
    endpoint,
    grant,
    mutual_tls,
    namespace,
    pod,
    port,
    provider_class,
    service,
    slice_of,
    withhold,
)
from smeagol import api, objects
from smeagol.intent import (
    INBOUND_PASSED,
    INIT_CONTAINER,
    ConditionType,
    Endpoint,
    InboundPort,
    Protocol,
    Settings,
    TLSMode,
)
from smeagol.refs import ObjectRef, ServiceRef

SPIFFE = "spiffe://cluster.local/ns/shop/sa/default"
GRANT_DB = grant("db.pay.svc.cluster.local", "shop")
WEB_NAMES = ("web", "web.shop", "web.shop.svc", "web.shop.svc.cluster.local")


class TestMode:
    @pytest.mark.parametrize("first", [api.Mode.STRICT, api.Mode.PERMISSIVE])
    def test_strict_beats_permissive(self, first: api.Mode) -> None:
        """SMI-MTLS-14: where several MutualTLS select a Pod, Strict beats Permissive, whichever is older."""
        second = api.Mode.PERMISSIVE if first is api.Mode.STRICT else api.Mode.STRICT
        world = World(pod("a", "10.0.0.1"), mutual_tls("m", mode=first, age=1), mutual_tls("n", mode=second, age=2))
        assert world.workload("a").mode is TLSMode.STRICT

    def test_permissive_alone(self) -> None:
        """SMI-MTLS-14: Permissive holds where nothing says Strict; clients speak mutual TLS to it all the same."""
        world = World(
            pod("a", "10.0.0.1"),
            mutual_tls("m", mode=api.Mode.PERMISSIVE),
            service("web"),
            slice_of("web", "10.0.0.1"),
        )
        assert world.workload("a").mode is TLSMode.PERMISSIVE
        assert world.service_port("web").endpoints == (Endpoint("10.0.0.1", 8080, mutual_tls=True),)

    def test_a_permissive_one_knows_who_is_stricter(self) -> None:
        """SMI-MTLS-14, for peers that cannot add up: only those Strict ones count that reach one of its Pods."""
        world = World(
            pod("a", "10.0.0.1", labels={"app": "a"}),
            pod("b", "10.0.0.2", labels={"app": "b"}),
            mutual_tls("all", mode=api.Mode.PERMISSIVE),
            mutual_tls("one", labels={"app": "a"}),
            mutual_tls("none", labels={"app": "c"}),
            mutual_tls("other", labels={"app": "b"}, mode=api.Mode.PERMISSIVE),
        )
        assert world.mutual_tls("all").stricter == (ObjectRef("MutualTLS", "shop", "one"),)
        assert world.mutual_tls("one").stricter == ()
        assert world.mutual_tls("other").stricter == ()

    def test_ports_of_all_its_pods(self) -> None:
        """For peers that protect port by port: what containers declare, and what Services target, each once."""
        world = World(
            pod("a", "10.0.0.1", ports=(9000,)),
            pod("b", "10.0.0.2"),
            mutual_tls("m"),
            service("web", port(80, name="http")),
            slice_of("web", "10.0.0.1", "10.0.0.2", ports={"http": 8080}),
        )
        assert world.mutual_tls("m").ports == (
            InboundPort(8080, Protocol.HTTP),
            InboundPort(9000, Protocol.AUTO),
        )

    def test_deleted(self) -> None:
        """SMI-COMMON-03: with the MutualTLS goes what it made true."""
        given = mutual_tls("m", "cart.example.com")
        world = World(pod("a", "10.0.0.1"), given)
        world.take(given)
        assert world.workload("a").mode is None
        assert world.workload("a").client_names == (SPIFFE,)


class TestClientNames:
    def test_spiffe_id_last(self) -> None:
        """SMI-MTLS-08: names in order, then the SPIFFE id of the Pod's service account."""
        world = World(pod("a", "10.0.0.1", service_account="cart"), mutual_tls("m", "z.example.com", "a.example.com"))
        assert world.workload("a").client_names == (
            "a.example.com",
            "z.example.com",
            "spiffe://cluster.local/ns/shop/sa/cart",
        )

    def test_union(self) -> None:
        """SMI-MTLS-14: the names of several MutualTLS add up, each once."""
        world = World(
            pod("a", "10.0.0.1"),
            mutual_tls("m", "a.example.com", "b.example.com", age=1),
            mutual_tls("n", "b.example.com", "c.example.com", age=2),
        )
        assert world.workload("a").client_names == ("a.example.com", "b.example.com", "c.example.com", SPIFFE)
        assert world.mutual_tls("n").accepted

    def test_own_spiffe_id_is_listed_once(self) -> None:
        """SMI-MTLS-08: naming one's own SPIFFE id changes nothing."""
        world = World(pod("a", "10.0.0.1"), mutual_tls("m", SPIFFE))
        assert world.mutual_tls("m").accepted
        assert world.workload("a").client_names == (SPIFFE,)

    def test_anothers_spiffe_id(self) -> None:
        """SMI-MTLS-09: the SPIFFE id of another service account can't be claimed, nor one's own for other Pods too."""
        world = World(pod("a", "10.0.0.1"), mutual_tls("m", SPIFFE), pod("b", "10.0.0.2", service_account="cart"))
        assert not world.mutual_tls("m").accepted
        assert world.mutual_tls("m").client_names == ()
        assert world.workload("b").client_names == ("spiffe://cluster.local/ns/shop/sa/cart",)

    def test_name_of_another_namespaces_service(self) -> None:
        """SMI-MTLS-09: a name under the cluster domain can't be claimed for what is not one's own."""
        world = World(pod("a", "10.0.0.1"), mutual_tls("m", "db.pay.svc.cluster.local", "db.shop.svc.cluster.local"))
        said = condition(world.mutual_tls("m"), ConditionType.ACCEPTED)
        assert (said.status, said.reason) == (False, "Invalid")
        assert "db.pay.svc.cluster.local" in said.message
        assert world.workload("a").client_names == ("db.shop.svc.cluster.local", SPIFFE)

    def test_short_name_of_another_namespaces_service(self) -> None:
        """SMI-MTLS-09: `db.pay` is such a name as soon as there is a namespace `pay`."""
        world = World(pod("a", "10.0.0.1"), mutual_tls("m", "db.pay"))
        assert world.mutual_tls("m").accepted
        world.add(namespace("pay"))
        assert not world.mutual_tls("m").accepted
        assert world.workload("a").client_names == (SPIFFE,)

    def test_first_namespace_has_it(self) -> None:
        """SMI-MTLS-10: any other name belongs to the namespace that claimed it first; later ones are Conflicted."""
        world = World(
            pod("a", "10.0.0.1"),
            pod("b", "10.0.0.2", namespace="pay"),
            mutual_tls("m", "x.example.com", "y.example.com", age=2),
            mutual_tls("m", "x.example.com", namespace="pay", age=1),
        )
        said = condition(world.mutual_tls("m"), ConditionType.ACCEPTED)
        assert (said.status, said.reason) == (False, "Conflicted")
        assert "MutualTLS pay/m" in said.message
        assert world.workload("a").client_names == ("y.example.com", SPIFFE)
        assert world.workload("b", "pay").client_names[0] == "x.example.com"

    def test_same_age(self) -> None:
        """SMI-COMMON-04: of the same age, the first by namespace and name has it."""
        world = World(mutual_tls("m", "x.example.com", namespace="b"), mutual_tls("z", "x.example.com", namespace="a"))
        assert world.mutual_tls("z", "a").accepted
        assert not world.mutual_tls("m", "b").accepted

    def test_first_claim_goes_away(self) -> None:
        """SMI-MTLS-10: when the first claim goes, the next one has the name."""
        first = mutual_tls("m", "x.example.com", namespace="pay", age=1)
        world = World(pod("a", "10.0.0.1"), first, mutual_tls("m", "x.example.com", age=2))
        world.take(first)
        assert world.mutual_tls("m").accepted
        assert world.workload("a").client_names == ("x.example.com", SPIFFE)

    def test_wildcards_overlap(self) -> None:
        """SMI-MTLS-10: a name and a wildcard that covers it are one claim."""
        world = World(
            mutual_tls("m", "*.example.com", namespace="pay", age=1), mutual_tls("m", "cart.example.com", age=2)
        )
        assert not world.mutual_tls("m").accepted

    def test_refused_names_do_not_switch_off(self) -> None:
        """SMI-MTLS-12: a MutualTLS with refused names is in force without them; else others could open its servers."""
        world = World(
            pod("a", "10.0.0.1"),
            service("web"),
            slice_of("web", "10.0.0.1"),
            mutual_tls("m", "x.example.com", namespace="pay", age=1),
            mutual_tls("m", "x.example.com", age=2),
        )
        unit = world.mutual_tls("m")
        assert not unit.accepted
        assert unit.enforced
        assert world.workload("a").mode is TLSMode.STRICT
        assert world.service_port("web").endpoints[0].mutual_tls

    def test_provider_class_rules(self) -> None:
        """SMI-MTLS-11: the class's rules can withhold a name, or grant one that would be refused; status says which."""
        world = World(pod("a", "10.0.0.1"), mutual_tls("m", "x.example.com", "db.pay.svc.cluster.local"))
        world.add(provider_class("ours", names=[withhold("*.example.com"), GRANT_DB], default=True))
        assert world.workload("a").client_names == ("db.pay.svc.cluster.local", SPIFFE)
        said = condition(world.mutual_tls("m"), ConditionType.ACCEPTED)
        assert (said.status, said.reason) == (False, "Invalid")
        assert "'x.example.com' is withheld from namespace 'shop' by ProviderClass 'ours'" in said.message

    def test_granted_to_a_latecomer(self) -> None:
        """SMI-MTLS-11: whom a name is granted has it, though another claimed it first; that one is Conflicted."""
        world = World(
            pod("a", "10.0.0.1"),
            pod("b", "10.0.0.2", namespace="pay"),
            mutual_tls("m", "x.example.com", namespace="pay", age=1),
            mutual_tls("m", "x.example.com", age=2),
        )
        ours = provider_class("ours", names=[grant("*.example.com", "shop")], default=True)
        world.add(ours)
        assert world.mutual_tls("m").accepted
        assert world.workload("a").client_names == ("x.example.com", SPIFFE)
        said = condition(world.mutual_tls("m", "pay"), ConditionType.ACCEPTED)
        assert (said.status, said.reason) == (False, "Conflicted")
        assert "belongs to namespace 'shop': MutualTLS shop/m has it by a grant of a ProviderClass" in said.message
        world.add(provider_class("ours", default=True))
        assert world.mutual_tls("m", "pay").accepted

    def test_rules_of_another_class(self) -> None:
        """SMI-MTLS-11: rules hold for all objects of the controller, or a user could pick the class that lets more
        pass; those of a class that another controller serves count for nothing."""
        world = World(
            pod("a", "10.0.0.1"),
            provider_class("strict", names=[withhold("*.example.com")]),
            provider_class("lax", default=True),
            provider_class("other", "example.com/other", names=[withhold("x.example.org"), GRANT_DB]),
            mutual_tls("m", "x.example.com", "x.example.org", "db.pay.svc.cluster.local", provider_class="lax"),
        )
        assert world.workload("a").client_names == ("x.example.org", SPIFFE)

    def test_one_spelling(self) -> None:
        """SMI-MTLS-10: names that differ in letter case or a final dot are one name."""
        world = World(
            mutual_tls("m", "X.example.com.", namespace="pay", age=1), mutual_tls("m", "x.example.com", age=2)
        )
        assert world.mutual_tls("m", "pay").client_names == ("x.example.com",)
        assert not world.mutual_tls("m").accepted


class TestServerNames:
    def test_address_and_services(self) -> None:
        """SMI-MTLS-06: the Pod's addresses and all four forms of the name of each of its Services."""
        world = World(
            pod("a", "10.0.0.1"), mutual_tls("all"), service("web"), service("api"), slice_of("web", "10.0.0.1")
        )
        assert world.workload("a").server_names == ("10.0.0.1", *WEB_NAMES)

    def test_follows_membership(self) -> None:
        """SMI-MTLS-06: names come and go with the endpoints."""
        world = World(pod("a", "10.0.0.1"), mutual_tls("all"), service("web"), slice_of("web", "10.0.0.1"))
        world.add(slice_of("web"))
        assert world.workload("a").server_names == ("10.0.0.1",)

    def test_before_it_is_ready(self) -> None:
        """SMI-MTLS-07: a Pod that is not ready yet has the names already, for they may be used the moment it is."""
        world = World(
            pod("a", "10.0.0.1"),
            mutual_tls("all"),
            service("web"),
            slice_of("web", endpoint("10.0.0.1", ready=False)),
        )
        assert world.workload("a").server_names == ("10.0.0.1", *WEB_NAMES)

    def test_service_elsewhere(self) -> None:
        """SMI-MTLS-06: every Service means every Service, also one of another namespace with hand-made endpoints."""
        world = World(
            pod("a", "10.0.0.1"),
            mutual_tls("all"),
            service("web", namespace="pay"),
            slice_of("web", "10.0.0.1", namespace="pay"),
        )
        assert "web.pay.svc.cluster.local" in world.workload("a").server_names

    def test_endpoints_without_service(self) -> None:
        """SMI-MTLS-06: an EndpointSlice whose Service does not exist gives no name."""
        world = World(pod("a", "10.0.0.1"), mutual_tls("all"), slice_of("web", "10.0.0.1"))
        assert world.workload("a").server_names == ("10.0.0.1",)

    def test_cluster_domain(self) -> None:
        """SMI-MTLS-06: the longest form has the cluster's own domain."""
        settings = Settings(serve_unclassed=True, cluster_domain="corp.example", trust_domain="mesh")
        world = World(
            pod("a", "10.0.0.1"), mutual_tls("all"), service("web"), slice_of("web", "10.0.0.1"), settings=settings
        )
        assert "web.shop.svc.corp.example" in world.workload("a").server_names
        assert world.workload("a").client_names == ("spiffe://mesh/ns/shop/sa/default",)
        assert world.service("web").fqdn == "web.shop.svc.corp.example"


class TestInboundPorts:
    def test_declared_by_services(self) -> None:
        """SMI-PORT-01: what a Pod's port speaks is what its Services declare, at the port where the Pod listens."""
        world = World(
            pod("a", "10.0.0.1"),
            service("web", port(80, "http"), port(90, "admin", app="tcp")),
            slice_of("web", "10.0.0.1", ports={"http": 8080, "admin": 9000}),
        )
        assert world.workload("a").inbound_ports == (InboundPort(8080, Protocol.HTTP), InboundPort(9000, Protocol.TCP))

    def test_undeclared(self) -> None:
        """SMI-PORT-02: a port that is not declared is looked at; one that no Service has is not listed."""
        world = World(pod("a", "10.0.0.1"), service("web", port(80, "x")), slice_of("web", "10.0.0.1", ports={"x": 1}))
        assert world.workload("a").inbound_ports == (InboundPort(1, Protocol.AUTO),)

    def test_named_target_ports(self) -> None:
        """SMI-PORT-05: where versions of a Pod listen on different ports, each has its own."""
        world = World(
            pod("a", "10.0.0.1"),
            pod("b", "10.0.0.2"),
            service("web", port(80, "http")),
            slice_of("web", "10.0.0.1", ports={"http": 8080}, name="web-1"),
            slice_of("web", "10.0.0.2", ports={"http": 9090}, name="web-2"),
        )
        assert world.workload("a").inbound_ports == (InboundPort(8080, Protocol.HTTP),)
        assert world.workload("b").inbound_ports == (InboundPort(9090, Protocol.HTTP),)
        assert world.service_port("web").endpoints == (Endpoint("10.0.0.1", 8080), Endpoint("10.0.0.2", 9090))

    def test_contradiction(self) -> None:
        """SMI-PORT-03: HTTP wins over TCP, and the contradiction is told once, however many Pods it concerns."""
        world = World(
            pod("a", "10.0.0.1"),
            pod("b", "10.0.0.2"),
            service("web", port(80, "http")),
            service("raw", port(80, "tcp")),
            slice_of("web", "10.0.0.1", "10.0.0.2", ports={"http": 8080}),
            slice_of("raw", "10.0.0.1", "10.0.0.2", ports={"tcp": 8080}),
        )
        assert world.workload("a").inbound_ports == (InboundPort(8080, Protocol.HTTP),)
        (told,) = world.resolver.contradictions
        assert (told.http, told.opaque, told.port) == (ServiceRef("shop", "web"), ServiceRef("shop", "raw"), 8080)
        assert "appProtocol" in told.message

    def test_service_elsewhere_has_no_say(self) -> None:
        """SMI-PORT-04: a Service of another namespace can't make a port opaque, which would let forged names in."""
        world = World(
            pod("a", "10.0.0.1"),
            service("raw", port(80, "tcp"), namespace="pay"),
            slice_of("raw", "10.0.0.1", ports={"tcp": 8080}, namespace="pay"),
        )
        assert world.workload("a").inbound_ports == ()

    def test_udp(self) -> None:
        """SMI-PORT-06: ports other than TCP are no business of the mesh."""
        world = World(
            pod("a", "10.0.0.1"),
            service("dns", port(53, "dns", protocol="UDP"), port(53, "dns-tcp")),
            slice_of("dns", "10.0.0.1", ports={"dns": 53}, protocol="UDP", name="dns-1"),
            slice_of("dns", "10.0.0.1", ports={"dns-tcp": 54}, name="dns-2"),
        )
        assert [p.name for p in world.service("dns").ports] == ["dns-tcp"]
        assert world.workload("a").inbound_ports == (InboundPort(54, Protocol.AUTO),)


def test_object_as_resolved() -> None:
    """Adapters translate the object itself: its selection, mode, granted names and generation."""
    given = mutual_tls("m", "x.example.com", labels={"app": "web"}, mode=api.Mode.PERMISSIVE)
    world = World(replaced(given, metadata=replaced(given.metadata, generation=7)))
    unit = world.mutual_tls("m")
    assert (unit.generation, unit.mode, unit.client_names) == (7, TLSMode.PERMISSIVE, ("x.example.com",))
    assert unit.selection.match_labels == (("app", "web"),)


class TestPassedPorts:
    def test_of_the_proxy_and_of_its_owner(self) -> None:
        """SMI-MTLS-24: an excluded port is no port of the mesh's, neither to clients of a Service nor to the server."""
        excluded = {"smeagol.dev/exclude-inbound-ports": "9090"}
        world = World(
            pod("a", "10.0.0.1", annotations=excluded),
            service("web", port(80, "http"), port(90, "http-open"), port(15090, "http-metrics")),
            slice_of("web", "10.0.0.1", ports={"http": 8080, "http-open": 9090, "http-metrics": 15090}),
            mutual_tls("m"),
        )
        ports = {p.number: p.endpoints for p in world.service("web").ports}
        assert ports == {
            80: (Endpoint("10.0.0.1", 8080, mutual_tls=True),),
            90: (Endpoint("10.0.0.1", 9090),),
            15090: (Endpoint("10.0.0.1", 15090),),
        }
        assert world.workload("a").passed_ports == (9090, 15021, 15090)
        assert [p.number for p in world.workload("a").inbound_ports] == [8080]
        world.add(pod("a", "10.0.0.1"))
        assert world.service_port("web", 90).endpoints == (Endpoint("10.0.0.1", 9090, mutual_tls=True),)

    @pytest.mark.parametrize("now", ["", "9090", "7070"])
    def test_an_annotation_that_changes_later(self, now: str) -> None:
        """SMI-MTLS-24: the rules of an injected Pod are from its start, so a new annotation neither makes clients dial
        in plaintext where the proxy wants TLS, nor hides that a port is open."""
        init = objects.Container(name=INIT_CONTAINER, args=("--uid", "1337", INBOUND_PASSED, "9090"))
        annotations = {"smeagol.dev/exclude-inbound-ports": now}
        world = World(pod("a", "10.0.0.1", annotations=annotations, init_containers=(init,)), mutual_tls("m"))
        assert world.workload("a").passed_ports == (9090, 15021, 15090)
