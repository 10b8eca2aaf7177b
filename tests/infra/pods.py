"""Bare Pods for tests of the network: namespaces with addresses, and sockets inside them, all in this one process."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from smeagol.infra.host.linux import Namespace, setns, unshare
from smeagol.infra.host.network import NodeNetwork, connect_pod, has_ipv6, inside

IPAddress = IPv4Address | IPv6Address

FAMILIES = (4, 6) if has_ipv6() else (4,)
NODE = NodeNetwork(
    ips=tuple(ip_address({4: "10.77.0.1", 6: "fd77::1"}[family]) for family in FAMILIES),
    service_cidrs=tuple(ip_network({4: "10.96.0.0/16", 6: "fd96::/112"}[family]) for family in FAMILIES),
)


def pod_ip(number: int, family: int) -> IPAddress:
    return ip_address(f"10.77.0.{number}" if family == 4 else f"fd77::{number}")


def cluster_ip(number: int, family: int) -> IPAddress:
    return ip_address(f"10.96.0.{number}" if family == 4 else f"fd96::{number}")


def add_pod(name: str, number: int) -> int:
    """Make a Pod; returns a descriptor of its network namespace."""
    own = os.open("/proc/self/ns/net", os.O_RDONLY)
    unshare(Namespace.NETWORK)
    netns = os.open("/proc/self/ns/net", os.O_RDONLY)
    setns(own, Namespace.NETWORK)
    os.close(own)
    connect_pod(NODE, f"test/{name}", netns, [pod_ip(number, family) for family in FAMILIES])
    return netns


@contextmanager
def listening(netns: int, port: int) -> Iterator[socket.socket]:
    """A socket that listens on all addresses of a Pod, of both families."""
    with inside(netns):
        server = (
            socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
            if has_ipv6()
            else (socket.create_server(("", port)))
        )
    with server:
        server.settimeout(5)
        yield server


def dial(netns: int, ip: IPAddress, port: int, *, mark: int = 0, source: str = "") -> socket.socket:
    """A connection from inside a Pod; raises as connect does."""
    with inside(netns):
        client = socket.socket(socket.AF_INET6 if ip.version == 6 else socket.AF_INET)
    client.settimeout(5)
    try:
        if mark:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
        if source:
            client.bind((source, 0))
        client.connect((str(ip), port))
    except OSError:
        client.close()
        raise
    return client


def original_destination(connection: socket.socket, family: int) -> tuple[IPAddress, int]:
    """SO_ORIGINAL_DST of an accepted connection: where its client was going (linux/netfilter_ipv4.h, …_ipv6)."""
    if family == 6:
        raw = connection.getsockopt(socket.IPPROTO_IPV6, 80, 28)
        return IPv6Address(raw[8:24]), int.from_bytes(raw[2:4], "big")
    raw = connection.getsockopt(socket.SOL_IP, 80, 16)
    return IPv4Address(raw[4:8]), int.from_bytes(raw[2:4], "big")
