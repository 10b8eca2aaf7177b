"""The node's network: one routed veth a Pod, no bridge, so that every packet between Pods passes the node's rules.

The node is the sandbox's own network namespace. Pods have /32 and /128 addresses and the node as their only
neighbour; there is no way out to the host's network. Must run in a process of one thread, since it changes namespaces.
"""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_network
from pathlib import Path

from smeagol.infra.host.linux import Namespace, setns
from smeagol.infra.host.netlink import NETLINK_NETFILTER, NETLINK_ROUTE, Message, NetlinkSocket
from smeagol.infra.host.redirect import INBOUND_SOURCES
from smeagol.infra.host.rtnl import IPAddress, IPNetwork, add_address, add_route, add_veth, delete_link, set_up

__all__ = ["NodeNetwork", "apply_rules", "connect_pod", "disconnect_pod", "has_ipv6", "inside", "set_up_node"]

_POD_INTERFACE = "eth0"
_SERVICES_INTERFACE = "services"
_GATEWAY_V6 = IPv6Address("fe80::1")


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeNetwork:
    """Addresses of the node: its own (at most one a family), further ones it answers (DNS), and where Services live."""

    ips: tuple[IPAddress, ...]
    extra_ips: tuple[IPAddress, ...] = ()
    service_cidrs: tuple[IPNetwork, ...] = ()

    def ip(self, version: int) -> IPAddress | None:
        """The node's own address of this family."""
        return next((ip for ip in self.ips if ip.version == version), None)


def has_ipv6() -> bool:
    """Whether this kernel speaks IPv6 at all; it does not with `ipv6.disable=1`."""
    return Path("/proc/sys/net/ipv6").exists()


@contextmanager
def inside(netns: int) -> Iterator[None]:
    """Do something in the network namespace behind the descriptor `netns`, then come back."""
    own = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        setns(netns, Namespace.NETWORK)
        try:
            yield
        finally:
            setns(own, Namespace.NETWORK)
    finally:
        os.close(own)


def set_up_node(node: NodeNetwork) -> None:
    """Make the namespace we are in the node: addresses, forwarding, and a way for what goes to ClusterIPs."""
    for name, value in (("ipv4/ip_forward", "1"), ("ipv6/conf/all/forwarding", "1")):
        _sysctl(name, value)
    with NetlinkSocket(NETLINK_ROUTE) as route:
        loopback = socket.if_nametoindex("lo")
        route.request(set_up(loopback), *(add_address(loopback, ip) for ip in (*node.ips, *node.extra_ips)))
        # Packets to ClusterIPs are rewritten before they leave, but need a route to be looked at in the first place;
        # IPv6 does not take one through `lo`. The pair's other end is never read.
        route.request(add_veth(_SERVICES_INTERFACE, f"{_SERVICES_INTERFACE}-end"))
        services, end = (socket.if_nametoindex(f"{_SERVICES_INTERFACE}{suffix}") for suffix in ("", "-end"))
        route.request(set_up(services), set_up(end))
        for cidr in node.service_cidrs:
            route.request(add_route(services, cidr, source=node.ip(cidr.version)))


def interface_of(pod: str) -> str:
    """The name of a Pod's interface on the node: at most 15 characters, the same for the same Pod."""
    return "pod" + hashlib.sha256(pod.encode()).hexdigest()[:12]


def connect_pod(node: NodeNetwork, pod: str, netns: int, ips: Sequence[IPAddress]) -> None:
    """Give the Pod's network namespace its `eth0` with the addresses, reachable from the node and all other Pods."""
    name = interface_of(pod)
    with NetlinkSocket(NETLINK_ROUTE) as route:
        route.request(add_veth(name, _POD_INTERFACE, netns))
        outer = socket.if_nametoindex(name)
        route.request(set_up(outer))
        with inside(netns):
            _configure_pod(node, ips)
        for ip in ips:
            if ip.version == 6:
                route.request(add_address(outer, _GATEWAY_V6, 64))
            route.request(add_route(outer, ip_network(ip), source=node.ip(ip.version)))


def _configure_pod(node: NodeNetwork, ips: Sequence[IPAddress]) -> None:
    # Containers run without capabilities, and still serve port 80 and use ping, as in Kubernetes.
    _sysctl("ipv4/ip_unprivileged_port_start", "0")
    _sysctl("ipv4/ping_group_range", "0 0")
    with NetlinkSocket(NETLINK_ROUTE) as route:
        loopback, eth = socket.if_nametoindex("lo"), socket.if_nametoindex(_POD_INTERFACE)
        route.request(set_up(loopback), set_up(eth), *(add_address(eth, ip) for ip in ips))
        if has_ipv6():
            route.request(*(add_address(loopback, ip) for ip in INBOUND_SOURCES if ip.version == 6))
        for ip in ips:
            gateway = _GATEWAY_V6 if ip.version == 6 else node.ip(4)
            everything = ip_network("::/0" if ip.version == 6 else "0.0.0.0/0")
            route.request(add_route(eth, everything, gateway=gateway))


def disconnect_pod(pod: str) -> None:
    """Remove the Pod's interfaces and routes; its namespace ends with its last process."""
    with NetlinkSocket(NETLINK_ROUTE) as route:
        route.request(delete_link(interface_of(pod)))


def apply_rules(messages: Sequence[Message]) -> None:
    """Carry out nftables messages as one transaction in the network namespace we are in."""
    with NetlinkSocket(NETLINK_NETFILTER) as netfilter:
        netfilter.batch(messages)


def _sysctl(name: str, value: str) -> None:
    path = Path("/proc/sys/net") / name
    if path.exists():
        path.write_text(value, encoding="ascii")
