"""Names of Services (Kubernetes: DNS-Based Service Discovery)."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address

import dns.message
import dns.rcode
import dns.rdatatype
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smeagol.infra.host.desired import Endpoint, ServiceOnHost, ServicePort, Transport
from smeagol.infra.host.dns import DnsServer, Zone, answer
from smeagol.refs import ServiceRef

ONE = Endpoint(ip_address("10.244.0.7"), 8080, "web-0")
TWO = Endpoint(ip_address("fd00::7"), 8080)


def zone(*services: ServiceOnHost) -> Zone:
    return Zone(services={service.ref: service for service in services})


def service(name: str = "web", *ips: str, endpoints: Iterable[Endpoint] = (ONE, TWO)) -> ServiceOnHost:
    port = ServicePort(port=80, name="http", protocol=Transport.TCP, endpoints=tuple(endpoints))
    return ServiceOnHost(ref=ServiceRef("shop", name), cluster_ips=tuple(map(ip_address, ips)), ports=(port,))


def ask(zone: Zone, name: str, kind: str = "A") -> list[str] | str:
    """The answers as text, or the name of the error."""
    response = answer(zone, dns.message.make_query(name, kind))
    if response.rcode() != dns.rcode.NOERROR:
        return dns.rcode.to_text(response.rcode())
    return sorted(str(record) for records in response.answer for record in records)


class TestClusterIP:
    """A Service's name is its ClusterIPs."""

    web = zone(service("web", "10.96.0.1", "fd00:96::1"))

    def test_each_family_has_its_type(self) -> None:
        assert ask(self.web, "web.shop.svc.cluster.local") == ["10.96.0.1"]
        assert ask(self.web, "web.shop.svc.cluster.local", "AAAA") == ["fd00:96::1"]

    def test_case_does_not_matter(self) -> None:
        assert ask(self.web, "WEB.Shop.SVC.cluster.Local.") == ["10.96.0.1"]

    def test_a_type_that_it_has_not_is_empty_and_not_an_error(self) -> None:
        """Else resolvers that ask for AAAA first would give the name up (RFC 2308)."""
        v4 = zone(service("web", "10.96.0.1"))
        assert ask(v4, "web.shop.svc.cluster.local", "AAAA") == []
        assert ask(v4, "web.shop.svc.cluster.local", "TXT") == []

    @pytest.mark.parametrize(
        "name",
        [
            "web.other.svc.cluster.local",
            "web.shop.svc.example",
            "a.web.shop.svc.cluster.local",
            "shop.svc.cluster.local",
            "web.shop",
            "example.com",
            ".",
        ],
    )
    def test_everything_else_does_not_exist(self, name: str) -> None:
        assert ask(self.web, name) == "NXDOMAIN"

    def test_ports_have_records(self) -> None:
        assert ask(self.web, "_http._tcp.web.shop.svc.cluster.local", "SRV") == ["0 100 80 web.shop.svc.cluster.local."]
        assert ask(self.web, "_http._udp.web.shop.svc.cluster.local", "SRV") == "NXDOMAIN"


class TestOtherNames:
    """A Service of type ExternalName is another name for something."""

    @staticmethod
    def named(**names: str) -> Zone:
        others = (ServiceOnHost(ref=ServiceRef("shop", ref), external_name=name) for ref, name in names.items())
        return zone(service("web", "10.96.0.1", "fd00:96::1"), *others)

    def test_it_is_answered_with_what_is_there(self) -> None:
        """A stub resolver asks once, and wants the whole chain (RFC 1034, 4.3.2)."""
        known = self.named(one="two.shop.svc.cluster.local", two="web.shop.svc.cluster.local.")
        chain = ["two.shop.svc.cluster.local.", "web.shop.svc.cluster.local."]
        assert ask(known, "one.shop.svc.cluster.local") == sorted(["10.96.0.1", *chain])
        assert ask(known, "one.shop.svc.cluster.local", "AAAA") == sorted(["fd00:96::1", *chain])
        assert ask(known, "one.shop.svc.cluster.local", "CNAME") == chain[:1]

    @pytest.mark.parametrize("name", ["example.com", "one.shop.svc.cluster.local", "a..b"])
    def test_one_that_leads_nowhere_does_not_exist(self, name: str) -> None:
        """Outside, to itself, or no name at all."""
        assert ask(self.named(one=name), "one.shop.svc.cluster.local") == "NXDOMAIN"


class TestHeadless:
    """Without ClusterIP the name is its ready endpoints."""

    web = zone(service())

    def test_its_endpoints(self) -> None:
        assert ask(self.web, "web.shop.svc.cluster.local") == ["10.244.0.7"]
        assert ask(self.web, "web.shop.svc.cluster.local", "AAAA") == ["fd00::7"]

    def test_one_endpoint_by_its_host_name(self) -> None:
        assert ask(self.web, "web-0.web.shop.svc.cluster.local") == ["10.244.0.7"]
        assert ask(self.web, "web-1.web.shop.svc.cluster.local") == "NXDOMAIN"

    def test_no_ready_endpoint_no_name(self) -> None:
        assert ask(zone(service(endpoints=())), "web.shop.svc.cluster.local") == "NXDOMAIN"

    def test_ports_lead_to_endpoints(self) -> None:
        assert ask(self.web, "_http._tcp.web.shop.svc.cluster.local", "SRV") == [
            "0 100 8080 fd00--7.web.shop.svc.cluster.local.",
            "0 100 8080 web-0.web.shop.svc.cluster.local.",
        ]
        assert ask(self.web, "fd00--7.web.shop.svc.cluster.local", "AAAA") == ["fd00::7"]


def test_too_much_for_udp_is_asked_again_by_tcp() -> None:
    """A long answer is cut and says so (TC), and comes whole by TCP."""
    many = [Endpoint(ip_address(f"10.244.{n // 200}.{n % 200 + 1}"), 80) for n in range(400)]
    server = DnsServer((), zone(service(endpoints=many)))
    query = dns.message.make_query("web.shop.svc.cluster.local", "A").to_wire()
    short, whole = server.respond(query, 1232), server.respond(query, None)
    assert short is not None
    assert whole is not None
    assert len(short) <= 512
    assert dns.message.from_wire(short).flags & dns.flags.TC
    assert len(dns.message.from_wire(whole).answer[0]) == 400


@given(st.binary(max_size=600))
def test_whatever_arrives_is_survived(data: bytes) -> None:
    """Pods may send anything; what is not a query gets no answer."""
    response = DnsServer((), Zone()).respond(data, 1232)
    assert response is None or len(response) <= 1232
