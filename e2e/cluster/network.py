"""Which addresses a cluster has, and the switch that joins this machine and the nodes.

The switch is a bridge in a network namespace that a process of its own holds: when that ends, the bridge, all links and
all routes through them are gone, on this machine too.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from pathlib import Path

from e2e.cluster.commands import run
from e2e.cluster.errors import ClusterError

__all__ = ["Network", "Ranges", "connect_host", "connect_node", "free_networks", "make_bridge", "versions_here"]

_COUNT = 9
_SETTINGS_6 = Path("/proc/sys/net/ipv6/conf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranges:
    """A cluster's addresses of one family."""

    services: IPv4Network | IPv6Network
    """ClusterIPs"""
    machines: IPv4Network | IPv6Network
    """this machine and the nodes"""
    pods: IPv4Network | IPv6Network
    pods_prefix: int
    """length of the prefix of one node's Pods"""

    @property
    def host(self) -> IPv4Address | IPv6Address:
        """This machine, where the API server listens, as Pods and nodes reach it."""
        return self.machines[1]

    def node(self, number: int) -> IPv4Address | IPv6Address:
        """The address of a node; numbers start at 1."""
        return self.machines[1 + number]

    def pods_of(self, number: int) -> IPv4Network | IPv6Network:
        """The Pods of one node."""
        first = self.pods[number << (self.pods.max_prefixlen - self.pods_prefix)]
        return ip_network(f"{first}/{self.pods_prefix}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """The address plan of the cluster that is number `index` on this machine, 0 to 8; none overlaps another."""

    index: int
    versions: tuple[int, ...]
    """families of the addresses of Pods, nodes and Services, 4 and 6, the primary one first"""

    @classmethod
    def of(cls, services: str) -> Network:
        """The plan with these ClusterIPs of its primary family. Raises ClusterError if no plan has them."""
        for versions in (versions_here(), (6,)):
            for plan in _plans(versions):
                if str(plan.primary.services) == services:
                    return plan
        raise ClusterError(f"no cluster of this machine has the ClusterIPs {services}")

    @property
    def ipv4(self) -> Ranges:
        """ClusterIPs of the first cluster: 10.96.0.0/12, as is usual."""
        return Ranges(
            services=IPv4Network(f"10.{96 + 16 * self.index}.0.0/12"),
            machines=IPv4Network(f"10.{80 + self.index}.0.0/24"),
            pods=IPv4Network(f"10.{64 + self.index}.0.0/16"),
            pods_prefix=24,
        )

    @property
    def ipv6(self) -> Ranges:
        """Unique local addresses (RFC 4193)."""
        prefix = f"fd73:6d65:6167:{self.index}"
        return Ranges(
            services=IPv6Network(f"{prefix}100::/112"),
            machines=IPv6Network(f"{prefix}000::/64"),
            pods=IPv6Network(f"{prefix}200::/56"),
            pods_prefix=64,
        )

    @property
    def families(self) -> tuple[Ranges, ...]:
        """Those that the cluster has."""
        return tuple(self.ipv4 if version == 4 else self.ipv6 for version in self.versions)

    @property
    def primary(self) -> Ranges:
        """The family that components are reached by, and that a Service has if it asks for none."""
        return self.families[0]

    @property
    def api_service(self) -> IPv4Address | IPv6Address:
        """The ClusterIP of the Service `kubernetes`, which the API server takes by itself."""
        return self.primary.services[1]

    @property
    def dns(self) -> IPv4Address | IPv6Address:
        """The ClusterIP of the Service `kube-dns`."""
        return self.primary.services[10]

    @property
    def host_link(self) -> str:
        """The only interface that this machine gets."""
        return f"smeagol{self.index}"


def versions_here() -> tuple[int, ...]:
    """IPv4, and IPv6 where a new interface of this machine can have such an address."""
    try:
        has_ipv6 = (_SETTINGS_6 / "default" / "disable_ipv6").read_text().strip() == "0"
    except FileNotFoundError:
        has_ipv6 = False
    return (4, 6) if has_ipv6 else (4,)


def _plans(versions: tuple[int, ...]) -> list[Network]:
    return [Network(index=index, versions=versions) for index in range(_COUNT)]


def free_networks(versions: tuple[int, ...]) -> list[Network]:
    """The plans of which no address is routed anywhere yet, be it of a family that is not wanted: clusters are told
    apart by their numbers. Raises ClusterError if there is none.
    """
    routes = [
        route
        for version in versions_here()
        for route in json.loads(run("ip", "-json", f"-{version}", "route", "show", "table", "all"))
    ]
    taken = [ip_network(route["dst"]) for route in routes if route["dst"] != "default"]

    def is_free(ours: IPv4Network | IPv6Network) -> bool:
        return not any(ours.version == theirs.version and ours.overlaps(theirs) for theirs in taken)

    free = [
        plan
        for plan in _plans(versions)
        if all(
            is_free(part)
            for ranges in (plan.ipv4, plan.ipv6)
            for part in (ranges.services, ranges.machines, ranges.pods)
        )
    ]
    if not free:
        raise ClusterError("no network is free: this machine routes all of 10.64.0.0/10 and 10.128.0.0/9 already")
    return free


def make_bridge(switch: int) -> None:
    """In the namespace of the process `switch`."""
    _in(switch, "link", "add", "bridge", "type", "bridge")
    _in(switch, "link", "set", "bridge", "up")


def connect_host(network: Network, switch: int, *, nodes: int) -> bool:
    """Make this machine's link and routes through the bridge; False if another cluster has taken the network since it
    was found free.
    """
    try:
        run("ip", "link", "add", network.host_link, "type", "veth", "peer", "name", "host", "netns", str(switch))
    except ClusterError:
        if not Path("/sys/class/net", network.host_link).exists():
            raise
        return False
    _in(switch, "link", "set", "host", "master", "bridge", "up")
    run("ip", "link", "set", network.host_link, "up")
    for ranges in network.families:
        _add_address(ranges.host, ranges, network.host_link)
        # Services of the cluster work from here too: the first node's kube-proxy translates for us.
        run("ip", "route", "add", str(ranges.services), "via", str(ranges.node(1)))
        for number in range(1, nodes + 1):
            run("ip", "route", "add", str(ranges.pods_of(number)), "via", str(ranges.node(number)))
    return True


def connect_node(network: Network, switch: int, own: int, *, number: int, nodes: int) -> None:
    """Give the network namespace that we are in, that of the process `own`, its link to the switch and its routes."""
    link = f"node-{number}"
    if link in _in(switch, "-br", "link", "show"):
        _in(switch, "link", "delete", link)  # of the node's previous life, which the kernel is still taking down
    if 6 in network.versions:
        # No address is looked for a second time: that takes a second or two, in which a new Pod reaches nobody.
        for scope in ("all", "default"):
            (_SETTINGS_6 / scope / "accept_dad").write_text("0")
    _in(switch, "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", str(own))
    _in(switch, "link", "set", link, "master", "bridge", "up")
    run("ip", "link", "set", "lo", "up")
    run("ip", "link", "set", "eth0", "up")
    for ranges in network.families:
        _add_address(ranges.node(number), ranges, "eth0")
        run("ip", f"-{ranges.pods.version}", "route", "add", "default", "via", str(ranges.host))
        for other in range(1, nodes + 1):
            if other != number:
                run("ip", "route", "add", str(ranges.pods_of(other)), "via", str(ranges.node(other)))


def _add_address(address: IPv4Address | IPv6Address, ranges: Ranges, link: str) -> None:
    at_once = ["nodad"] if address.version == 6 else []
    run("ip", "address", "add", f"{address}/{ranges.machines.prefixlen}", "dev", link, *at_once)


def _in(process: int, *arguments: str) -> str:
    return run("nsenter", "--target", str(process), "--net", "ip", *arguments)
