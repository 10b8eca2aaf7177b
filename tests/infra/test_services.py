"""ClusterIPs answer for every Pod, as kube-proxy would have it (Kubernetes: Virtual IPs and Service Proxies)."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.harness import as_every_user, in_sandbox
from infra.pods import FAMILIES, NODE, add_pod, cluster_ip, dial, listening, pod_ip
from smeagol.infra.host.desired import Endpoint, ServiceOnHost, ServicePort, Transport
from smeagol.infra.host.network import apply_rules, set_up_node
from smeagol.infra.host.services import base_rules, pod_added, pod_removed, service_changes
from smeagol.refs import ServiceRef

Services = Mapping[ServiceRef, ServiceOnHost]
WEB = ServiceRef("shop", "web")


def web(*pods: int, number: int = 1, port: int = 80) -> Services:
    """The Service `web` on a ClusterIP of each family, served by these Pods on 8080."""
    endpoints = tuple(Endpoint(pod_ip(pod, family), 8080) for pod in pods for family in FAMILIES)
    ips = tuple(cluster_ip(number, family) for family in FAMILIES)
    return {WEB: ServiceOnHost(ref=WEB, cluster_ips=ips, ports=(ServicePort(port=port, endpoints=endpoints),))}


def change(old: Services, new: Services) -> None:
    for group in service_changes(old, new):
        apply_rules(group)


def node_with_services(services: Services) -> int:
    """A node with these Services and a client Pod (number 10); returns the client's namespace."""
    set_up_node(NODE)
    apply_rules(base_rules(NODE.ips))
    change({}, services)
    return add_pod("client", 10)


def one_of_many() -> None:
    client = node_with_services(web(21, 22))
    pods = {number: add_pod(f"web-{number}", number) for number in (21, 22)}
    for family in FAMILIES:
        with listening(pods[21], 8080) as first, listening(pods[22], 8080) as second:
            for _ in range(40):
                dial(client, cluster_ip(1, family), 80).close()
            first.settimeout(0)
            second.settimeout(0)
            # 40 fair coins fall on one side once in 5 * 10^11 runs.
            first.accept()
            second.accept()


@as_every_user
def test_a_cluster_ip_reaches_all_endpoints(user: str) -> None:
    """A connection to ClusterIP and port reaches one of the ready endpoints, each of them in its turn of luck."""
    in_sandbox(user, one_of_many)


def changing() -> None:
    client = node_with_services(web(21))
    pods = {number: add_pod(f"web-{number}", number) for number in (21, 22)}
    for family in FAMILIES:
        with listening(pods[21], 8080) as first, listening(pods[22], 8080) as second:
            dial(client, cluster_ip(1, family), 80)
            first.accept()
            change(web(21), web(22))
            dial(client, cluster_ip(1, family), 80)
            second.accept()
            change(web(22), web(21))


@as_every_user
def test_endpoints_change(user: str) -> None:
    """New connections go to the endpoints of now."""
    in_sandbox(user, changing)


def nobody_home() -> None:
    client = node_with_services(web())
    for family in FAMILIES:
        with pytest.raises(ConnectionRefusedError):
            dial(client, cluster_ip(1, family), 80)
        with pytest.raises(ConnectionRefusedError):
            dial(client, cluster_ip(1, family), 81)


@as_every_user
def test_without_endpoints_a_connection_is_refused_at_once(user: str) -> None:
    """A Service without ready endpoints, and a port that it does not have, answer with a reset."""
    in_sandbox(user, nobody_home)


def hairpin() -> None:
    node_with_services(web(21))
    pod = add_pod("web-21", 21)
    apply_rules(pod_added([pod_ip(21, family) for family in FAMILIES]))
    for family in FAMILIES:
        with listening(pod, 8080) as server, dial(pod, cluster_ip(1, family), 80):
            server.accept()
    apply_rules(pod_removed([pod_ip(21, family) for family in FAMILIES]))


@as_every_user
def test_a_pod_reaches_itself_through_its_service(user: str) -> None:
    in_sandbox(user, hairpin)


def from_the_node() -> None:
    import os

    node_with_services(web(21))
    pod = add_pod("web-21", 21)
    own = os.open("/proc/self/ns/net", os.O_RDONLY)
    for family in FAMILIES:
        with listening(pod, 8080) as server, dial(own, cluster_ip(1, family), 80):
            _, (source, *_) = server.accept()
            assert source.removeprefix("::ffff:") == str(NODE.ip(family))


@as_every_user
def test_the_node_reaches_services_too(user: str) -> None:
    """Probes and the control plane dial Services from the node's own address."""
    in_sandbox(user, from_the_node)


def coming_and_going() -> None:
    client = node_with_services(web(21))
    pod = add_pod("web-21", 21)
    steps: list[Services] = [web(21), web(21, port=81), web(21, number=2), {}, web(21), web(), web(21)]
    for old, new in pairwise(steps):
        change(old, new)
    for family in FAMILIES:
        with listening(pod, 8080) as server, dial(client, cluster_ip(1, family), 80):
            server.accept()


@as_every_user
def test_ports_and_addresses_come_and_go(user: str) -> None:
    """Whatever way led here, only the state of now counts."""
    in_sandbox(user, coming_and_going)


addresses = st.integers(1, 4).map(lambda number: ip_address(f"10.96.0.{number}"))
endpoints = st.lists(
    st.builds(Endpoint, st.integers(1, 5).map(lambda number: ip_address(f"10.77.0.{number}")), st.just(8080)),
    max_size=3,
    unique=True,
).map(tuple)
ports = st.lists(
    st.builds(ServicePort, port=st.sampled_from([80, 81]), endpoints=endpoints, protocol=st.sampled_from(Transport)),
    max_size=3,
    unique_by=lambda port: (port.port, port.protocol),
).map(tuple)
bodies = st.dictionaries(st.sampled_from(["a", "b", "c"]), st.tuples(addresses, ports))


@st.composite
def states(draw: st.DrawFn) -> Services:
    """Services with different ClusterIPs."""
    taken = set()
    state = {}
    for name, (ip, service_ports) in draw(bodies).items():
        if ip not in taken:
            taken.add(ip)
            ref = ServiceRef("shop", name)
            state[ref] = ServiceOnHost(ref=ref, cluster_ips=(ip,), ports=service_ports)
    return state


@given(states())
def test_no_change_sends_nothing(state: Services) -> None:
    assert list(service_changes(state, dict(state))) == []


@given(states(), states())
def test_a_change_touches_only_services_that_differ(old: Services, new: Services) -> None:
    """The cost of a change is that of what changes: the same messages with and without the others."""
    same = {ref for ref in old if old[ref] == new.get(ref)}
    only_old = {ref: service for ref, service in old.items() if ref not in same}
    only_new = {ref: service for ref, service in new.items() if ref not in same}
    assert list(service_changes(old, new)) == list(service_changes(only_old, only_new))
