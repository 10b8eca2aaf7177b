"""ClusterIPs: what kube-proxy does on a node, as nftables rules that change by single Services.

A connection to a ClusterIP and port is sent to one of the ready endpoints at random; one that nobody serves is refused
at once. It works for all Pods, meshed or not, and for the node itself. Pure: `service_changes` says which messages
lead from one state to the next, and looks only at Services that differ.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from smeagol.infra.host.desired import ServiceOnHost, Transport
from smeagol.infra.host.netlink import Message
from smeagol.infra.host.nft import (
    REGISTER,
    ChainType,
    Hook,
    Key,
    Meta,
    Protocol,
    RejectWith,
    Verdict,
    add_chain,
    add_choice,
    add_elements,
    add_map,
    add_rule,
    add_set,
    add_table,
    address_protocol_port,
    answer,
    delete_chain,
    delete_elements,
    delete_table,
    flush_chain,
    is_family,
    is_protocol,
    load_destination,
    load_destination_port,
    load_source,
    lookup,
    meta,
    reject,
    source_nat,
)
from smeagol.refs import ServiceRef

__all__ = ["FrontEnd", "base_rules", "pod_added", "pod_removed", "service_changes", "trial_rules"]

IPAddress = IPv4Address | IPv6Address

_TABLE = "smeagol_services"
_DSTNAT, _FILTER, _SRCNAT = -100, 0, 100
_PROTOCOLS = {Transport.TCP: Protocol.TCP, Transport.UDP: Protocol.UDP}


@dataclass(frozen=True, slots=True)
class FrontEnd:
    """What clients dial: a ClusterIP, a protocol and a port."""

    ip: IPAddress
    protocol: Protocol
    port: int

    @property
    def chain(self) -> str:
        """The name of the chain that chooses among its endpoints."""
        return f"{self.protocol.name.lower()}_{self.ip.packed.hex()}_{self.port}"

    def __lt__(self, other: FrontEnd) -> bool:
        return self.key < other.key

    @property
    def key(self) -> bytes:
        """Its key in the map of services."""
        return address_protocol_port(self.ip, self.protocol, self.port)


def base_rules(node_ips: Iterable[IPAddress]) -> tuple[Message, ...]:
    """The frame into which Services are put: maps, hooks, refusal, hairpins. One transaction, for the node."""
    messages: list[Message] = [*add_table(_TABLE), add_chain(_TABLE, "services"), add_chain(_TABLE, "refuse")]
    for chain, kind, hook, priority in (
        ("from_pods", ChainType.NAT, Hook.PREROUTING, _DSTNAT),
        ("from_node", ChainType.NAT, Hook.OUTPUT, _DSTNAT),
        ("to_pods", ChainType.FILTER, Hook.FORWARD, _FILTER),
        ("node_to_pods", ChainType.FILTER, Hook.OUTPUT, _FILTER),
        ("hairpin", ChainType.NAT, Hook.POSTROUTING, _SRCNAT),
    ):
        messages.append(add_chain(_TABLE, chain, kind, hook, priority))
    for version, services, addresses, pairs in (
        (4, Key.IPV4_PROTOCOL_PORT, Key.IPV4, Key.IPV4_PAIR),
        (6, Key.IPV6_PROTOCOL_PORT, Key.IPV6, Key.IPV6_PAIR),
    ):
        width = 4 if version == 6 else 1  # registers of an address
        messages += [
            add_map(_TABLE, f"services{version}", services),
            add_set(_TABLE, f"cluster_ips{version}", addresses),
            add_set(_TABLE, f"hairpins{version}", pairs),
            add_rule(
                _TABLE,
                "services",
                is_family(version),
                load_destination(version),
                meta(Meta.L4PROTO, REGISTER + width),
                load_destination_port(REGISTER + width + 1),
                lookup(f"services{version}", verdict=True),
            ),
            # What still goes to a ClusterIP after the choice found no endpoint, or no such port.
            add_rule(
                _TABLE,
                "refuse",
                is_family(version),
                load_destination(version),
                lookup(f"cluster_ips{version}"),
                is_protocol(Protocol.TCP),
                reject(RejectWith.TCP_RESET),
            ),
            add_rule(
                _TABLE,
                "refuse",
                is_family(version),
                load_destination(version),
                lookup(f"cluster_ips{version}"),
                reject(RejectWith.PORT_UNREACHABLE),
            ),
        ]
    messages += [
        add_rule(_TABLE, "from_pods", answer(Verdict.JUMP, "services")),
        add_rule(_TABLE, "from_node", answer(Verdict.JUMP, "services")),
        add_rule(_TABLE, "to_pods", answer(Verdict.JUMP, "refuse")),
        add_rule(_TABLE, "node_to_pods", answer(Verdict.JUMP, "refuse")),
        # A Pod that reached itself through a Service would see a packet from its own address and drop it.
        *(
            add_rule(
                _TABLE,
                "hairpin",
                is_family(ip.version),
                load_source(ip.version),
                load_destination(ip.version, REGISTER + (4 if ip.version == 6 else 1)),
                lookup(f"hairpins{ip.version}"),
                source_nat(ip),
            )
            for ip in node_ips
        ),
    ]
    return tuple(messages)


def trial_rules() -> tuple[Message, ...]:
    """Rules with every kind of expression that Services need, made and removed again in one transaction."""
    anywhere = IPv4Address("192.0.2.1")  # TEST-NET-1, RFC 5737
    front = FrontEnd(anywhere, Protocol.TCP, 1)
    return (
        *base_rules([anywhere]),
        add_chain(_TABLE, front.chain),
        *_choice(front, ((anywhere, 1),), 1),
        *delete_table(_TABLE),
    )


def service_changes(
    old: Mapping[ServiceRef, ServiceOnHost], new: Mapping[ServiceRef, ServiceOnHost]
) -> Iterator[tuple[Message, ...]]:
    """What leads from `old` to `new`: groups of messages, each to be applied whole; nothing where nothing changed.

    A front end is there before its address refuses what it does not serve, and the refusal outlives it, so that no
    connection gets lost in between. Two Services must not have one ClusterIP.
    """
    changed = [ref for ref in old.keys() | new.keys() if old.get(ref) != new.get(ref)]
    before = [old[ref] for ref in changed if ref in old]
    after = [new[ref] for ref in changed if ref in new]
    old_fronts, new_fronts = _front_ends(before), _front_ends(after)
    old_ips, new_ips = _cluster_ips(before), _cluster_ips(after)
    for number, front in enumerate(sorted(new_fronts), 1):
        targets = new_fronts[front]
        if front not in old_fronts:
            yield (
                add_chain(_TABLE, front.chain),
                *_choice(front, targets, number),
                add_elements(_TABLE, f"services{front.ip.version}", [(front.key, front.chain)]),
            )
        elif old_fronts[front] != targets:
            yield (flush_chain(_TABLE, front.chain), *_choice(front, targets, number))
    for ip in sorted(new_ips - old_ips, key=_order):
        yield (add_elements(_TABLE, f"cluster_ips{ip.version}", [(ip.packed, None)]),)
    for front in sorted(old_fronts.keys() - new_fronts.keys()):
        yield (
            delete_elements(_TABLE, f"services{front.ip.version}", [front.key]),
            flush_chain(_TABLE, front.chain),
            delete_chain(_TABLE, front.chain),
        )
    for ip in sorted(old_ips - new_ips, key=_order):
        yield (delete_elements(_TABLE, f"cluster_ips{ip.version}", [ip.packed]),)


def pod_added(ips: Iterable[IPAddress]) -> tuple[Message, ...]:
    """Let a Pod with these addresses reach itself through Services."""
    return tuple(add_elements(_TABLE, f"hairpins{ip.version}", [(ip.packed * 2, None)]) for ip in ips)


def pod_removed(ips: Iterable[IPAddress]) -> tuple[Message, ...]:
    """Undo `pod_added`."""
    return tuple(delete_elements(_TABLE, f"hairpins{ip.version}", [ip.packed * 2]) for ip in ips)


def _front_ends(services: Iterable[ServiceOnHost]) -> dict[FrontEnd, tuple[tuple[IPAddress, int], ...]]:
    """What clients dial, and the endpoints of the same address family; headless Services have no front end."""
    return {
        FrontEnd(ip, _PROTOCOLS[port.protocol], port.port): tuple(
            sorted((each.ip, each.port) for each in port.endpoints if each.ip.version == ip.version)
        )
        for service in services
        for ip in service.cluster_ips
        for port in service.ports
    }


def _cluster_ips(services: Iterable[ServiceOnHost]) -> set[IPAddress]:
    return {ip for service in services for ip in service.cluster_ips}


def _order(ip: IPAddress) -> tuple[int, bytes]:
    return ip.version, ip.packed


def _choice(front: FrontEnd, targets: tuple[tuple[IPAddress, int], ...], number: int) -> tuple[Message, ...]:
    if not targets:
        return ()
    # The map led here by the protocol, but the kernel wants to see it in each rule that sets a port.
    return add_choice(_TABLE, front.chain, targets, number, is_protocol(front.protocol))
