"""Redirect rules: all TCP of a Pod passes its proxy, and the proxy's own does not come back to it."""

from __future__ import annotations

import os
import socket

from infra.harness import as_every_user, in_sandbox
from infra.pods import FAMILIES, NODE, add_pod, dial, listening, original_destination, pod_ip
from smeagol.infra.host.network import apply_rules, inside, set_up_node
from smeagol.infra.host.redirect import (
    INBOUND_PORT,
    OUTBOUND_PORT,
    PASSED_PORTS,
    PROXY_MARK,
    redirect_rules,
    without_redirect_rules,
)


def redirected_pod() -> tuple[int, int]:
    set_up_node(NODE)
    meshed, plain = add_pod("meshed", 10), add_pod("plain", 11)
    with inside(meshed):
        apply_rules(redirect_rules())
    return meshed, plain


def outbound() -> None:
    meshed, _ = redirected_pod()
    for family in FAMILIES:
        elsewhere = pod_ip(99, family)
        with listening(meshed, OUTBOUND_PORT) as proxy, dial(meshed, elsewhere, 4242):
            connection, _ = proxy.accept()
            assert original_destination(connection, family) == (elsewhere, 4242)


@as_every_user
def test_connections_a_pod_opens_arrive_at_the_outbound_port(user: str) -> None:
    """Outbound TCP goes to 15001; SO_ORIGINAL_DST tells where it was going, for IPv4 and IPv6."""
    in_sandbox(user, outbound)


def inbound() -> None:
    meshed, plain = redirected_pod()
    for family in FAMILIES:
        own = pod_ip(10, family)
        with listening(meshed, INBOUND_PORT) as proxy, dial(plain, own, 8080) as client:
            connection, (source, *_) = proxy.accept()
            assert original_destination(connection, family) == (own, 8080)
            assert source.removeprefix("::ffff:") == str(pod_ip(11, family)) == client.getsockname()[0]


@as_every_user
def test_connections_to_a_pod_arrive_at_the_inbound_port(user: str) -> None:
    """Inbound TCP goes to 15006, with the client's address and the original destination intact."""
    in_sandbox(user, inbound)


def passed_ports() -> None:
    meshed, plain = redirected_pod()
    for family in FAMILIES:
        for port in PASSED_PORTS:
            with listening(meshed, port) as health, dial(plain, pod_ip(10, family), port):
                health.accept()


@as_every_user
def test_health_and_metrics_ports_are_never_redirected(user: str) -> None:
    """15021 and 15090 reach the listener itself, so probes work whatever the mesh demands."""
    in_sandbox(user, passed_ports)


def marked() -> None:
    meshed, plain = redirected_pod()
    for family in FAMILIES:
        with listening(plain, 8080) as server, dial(meshed, pod_ip(11, family), 8080, mark=PROXY_MARK):
            server.accept()


@as_every_user
def test_the_proxys_own_connections_escape(user: str) -> None:
    """A socket with the proxy's mark leaves as it is: no loop."""
    in_sandbox(user, marked)


def to_the_app() -> None:
    meshed, _ = redirected_pod()
    for family in FAMILIES:
        source = "::6" if family == 6 else "127.0.0.6"
        with listening(meshed, 8080) as app, dial(meshed, pod_ip(10, family), 8080, mark=PROXY_MARK, source=source):
            app.accept()


@as_every_user
def test_the_proxy_reaches_its_app_from_the_inbound_address(user: str) -> None:
    """From 127.0.0.6 or ::6 a connection to the Pod's own address ends at the app."""
    in_sandbox(user, to_the_app)


def to_itself() -> None:
    meshed, _ = redirected_pod()
    for family in FAMILIES:
        own = pod_ip(10, family)
        with listening(meshed, INBOUND_PORT) as proxy, dial(meshed, own, 8080, mark=PROXY_MARK):
            connection, _ = proxy.accept()
            assert original_destination(connection, family) == (own, 8080)


@as_every_user
def test_a_pod_that_reaches_itself_through_the_mesh_is_served_by_its_inbound_side(user: str) -> None:
    """The proxy dialling its own Pod's address, because a Service chose it, is inbound traffic."""
    in_sandbox(user, to_itself)


def localhost() -> None:
    meshed, _ = redirected_pod()
    for family in FAMILIES:
        with listening(meshed, 8080) as app, inside(meshed):
            address = ("::1" if family == 6 else "127.0.0.1", 8080)
            with socket.create_connection(address, timeout=5):
                app.accept()


@as_every_user
def test_localhost_stays_between_the_containers(user: str) -> None:
    in_sandbox(user, localhost)


def node_passes() -> None:
    set_up_node(NODE)
    meshed = add_pod("meshed", 10)
    own = os.open("/proc/self/ns/net", os.O_RDONLY)
    with inside(meshed):
        apply_rules(redirect_rules(NODE.ips))
    for family in FAMILIES:
        node = NODE.ip(family)
        assert node is not None
        with listening(meshed, 8080) as app, dial(own, pod_ip(10, family), 8080):
            app.accept()
        with listening(own, 18000) as control_plane, dial(meshed, node, 18000):
            control_plane.accept()


@as_every_user
def test_the_node_and_its_pods_reach_each_other_past_the_proxy(user: str) -> None:
    """Probes arrive at the app, and the proxy reaches its control plane, with sockets that carry no mark."""
    in_sandbox(user, node_passes)


def undone() -> None:
    meshed, plain = redirected_pod()
    with inside(meshed):
        apply_rules(redirect_rules())
        apply_rules(without_redirect_rules())
        apply_rules(without_redirect_rules())
    for family in FAMILIES:
        with listening(plain, 8080) as server, dial(meshed, pod_ip(11, family), 8080):
            server.accept()


@as_every_user
def test_rules_can_be_set_and_removed_again_and_again(user: str) -> None:
    """Level-based: setting twice and removing twice is as once."""
    in_sandbox(user, undone)
