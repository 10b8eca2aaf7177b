"""Which addresses a cluster has, and the switch that joins this machine and the nodes.

The switch is a bridge in a network namespace that a process of its own holds: when that ends, the bridge, all links and
all routes through them are gone, on this machine too.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

from e2e.cluster.commands import run
from e2e.cluster.errors import ClusterError

__all__ = ["Network", "connect_host", "connect_node", "free_networks"]

_COUNT = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """The address plan of the cluster that is number `index` on this machine, 0 to 8; none overlaps another."""

    index: int

    @classmethod
    def of(cls, services: str) -> Network:
        """The plan with these ClusterIPs. Raises ClusterError if no plan has them."""
        for plan in (cls(index=index) for index in range(_COUNT)):
            if str(plan.services) == services:
                return plan
        raise ClusterError(f"no cluster of this machine has the ClusterIPs {services}")

    @property
    def services(self) -> IPv4Network:
        """ClusterIPs. Of the first cluster: 10.96.0.0/12, as is usual."""
        return IPv4Network(f"10.{96 + 16 * self.index}.0.0/12")

    @property
    def api_service(self) -> IPv4Address:
        """The ClusterIP of the Service `kubernetes`, which the API server takes by itself."""
        return self.services[1]

    @property
    def dns(self) -> IPv4Address:
        """The ClusterIP of the Service `kube-dns`."""
        return self.services[10]

    @property
    def machines(self) -> IPv4Network:
        """This machine and the nodes."""
        return IPv4Network(f"10.{80 + self.index}.0.0/24")

    @property
    def host(self) -> IPv4Address:
        """This machine, where the API server listens, as Pods and nodes reach it."""
        return self.machines[1]

    def node(self, number: int) -> IPv4Address:
        """The address of a node; numbers start at 1."""
        return self.machines[1 + number]

    @property
    def pods(self) -> IPv4Network:
        return IPv4Network(f"10.{64 + self.index}.0.0/16")

    def pods_of(self, number: int) -> IPv4Network:
        """The Pods of one node."""
        return IPv4Network(f"10.{64 + self.index}.{number}.0/24")

    @property
    def host_link(self) -> str:
        """The only interface that this machine gets."""
        return f"smeagol{self.index}"


def free_networks() -> list[Network]:
    """The plans of which no address is routed anywhere yet. Raises ClusterError if there is none."""
    routes = json.loads(run("ip", "-json", "-4", "route", "show", "table", "all"))
    taken = [IPv4Network(route["dst"]) for route in routes if route["dst"][0].isdigit()]
    plans = [Network(index=index) for index in range(_COUNT)]
    free = [
        plan
        for plan in plans
        if not any(ours.overlaps(theirs) for ours in (plan.services, plan.machines, plan.pods) for theirs in taken)
    ]
    if not free:
        raise ClusterError("no network is free: this machine routes all of 10.64.0.0/10 and 10.128.0.0/9 already")
    return free


def connect_host(network: Network, switch: int, *, nodes: int) -> None:
    """Make the bridge in the namespace of the process `switch`, and this machine's link and routes through it."""
    _in(switch, "link", "add", "bridge", "type", "bridge")
    _in(switch, "link", "set", "bridge", "up")
    run("ip", "link", "add", network.host_link, "type", "veth", "peer", "name", "host", "netns", str(switch))
    _in(switch, "link", "set", "host", "master", "bridge", "up")
    run("ip", "address", "add", f"{network.host}/{network.machines.prefixlen}", "dev", network.host_link)
    run("ip", "link", "set", network.host_link, "up")
    # Services of the cluster work from here too: the first node's kube-proxy translates for us.
    run("ip", "route", "add", str(network.services), "via", str(network.node(1)))
    for number in range(1, nodes + 1):
        run("ip", "route", "add", str(network.pods_of(number)), "via", str(network.node(number)))


def connect_node(network: Network, switch: int, own: int, *, number: int, nodes: int) -> None:
    """Give the network namespace that we are in, that of the process `own`, its link to the switch and its routes."""
    link = f"node-{number}"
    if link in _in(switch, "-br", "link", "show"):
        _in(switch, "link", "delete", link)  # of the node's previous life, which the kernel is still taking down
    _in(switch, "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", str(own))
    _in(switch, "link", "set", link, "master", "bridge", "up")
    run("ip", "link", "set", "lo", "up")
    run("ip", "address", "add", f"{network.node(number)}/{network.machines.prefixlen}", "dev", "eth0")
    run("ip", "link", "set", "eth0", "up")
    run("ip", "route", "add", "default", "via", str(network.host))
    for other in range(1, nodes + 1):
        if other != number:
            run("ip", "route", "add", str(network.pods_of(other)), "via", str(network.node(other)))


def _in(process: int, *arguments: str) -> str:
    return run("nsenter", "--target", str(process), "--net", "ip", *arguments)
