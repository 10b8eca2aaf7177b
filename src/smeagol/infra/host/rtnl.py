"""Links, addresses and routes as values, encoded to rtnetlink messages (rtnetlink(7), <linux/rtnetlink.h>).

Interfaces are given by index, which is meaningful only in the namespace in which the message is sent.
"""

from __future__ import annotations

import socket
import struct
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from smeagol.infra.host.netlink import Message, NetlinkFlag, attribute, nested, text

__all__ = ["IPAddress", "IPNetwork", "add_address", "add_route", "add_veth", "delete_link", "set_up"]

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network

_NEWLINK, _DELLINK, _NEWADDR, _NEWROUTE = 16, 17, 20, 24
_CREATE = NetlinkFlag.CREATE | NetlinkFlag.EXCL
_IFF_UP = 1
_IFA_F_NODAD = 2
_MAIN_TABLE = 254
_STATIC = 4
_SCOPE_UNIVERSE, _SCOPE_LINK = 0, 253
_UNICAST = 1
_ONLINK = 4


def _link(index: int = 0, flags: int = 0) -> bytes:
    return struct.pack("=BxHiII", socket.AF_UNSPEC, 0, index, flags, flags)


def _family(version: int) -> int:
    return socket.AF_INET6 if version == 6 else socket.AF_INET


def _u32(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("=I", value))


def add_veth(name: str, peer: str, peer_netns: int | None = None) -> Message:
    """Make a pair of connected interfaces; the peer appears in the namespace behind the descriptor `peer_netns`."""
    where = b"" if peer_netns is None else _u32(28, peer_netns)
    pair = nested(18, text(1, "veth"), nested(2, attribute(1, _link() + text(3, peer) + where)))
    return Message(_NEWLINK, _CREATE, _link() + text(3, name) + pair, f"add the interface {name} (veth)")


def delete_link(name: str) -> Message:
    """Remove an interface and its peer."""
    return Message(_DELLINK, NetlinkFlag(0), _link() + text(3, name), f"delete the interface {name}")


def set_up(index: int) -> Message:
    """Switch an interface on."""
    return Message(_NEWLINK, NetlinkFlag(0), _link(index, _IFF_UP), f"switch on interface {index}")


def add_address(index: int, address: IPAddress, prefix: int | None = None) -> Message:
    """Give an interface an address, without the second that IPv6 would wait for duplicates."""
    bits = address.max_prefixlen if prefix is None else prefix
    head = struct.pack("=BBBBI", _family(address.version), bits, 0, 0, index)
    no_wait = _u32(8, _IFA_F_NODAD) if address.version == 6 else b""
    body = head + attribute(2, address.packed) + attribute(1, address.packed) + no_wait
    return Message(_NEWADDR, _CREATE, body, f"add the address {address} to interface {index}")


def add_route(
    index: int, destination: IPNetwork, *, gateway: IPAddress | None = None, source: IPAddress | None = None
) -> Message:
    """Send what goes to `destination` out by an interface, through `gateway` if given, from `source` if it is ours."""
    scope = _SCOPE_LINK if gateway is None and destination.version == 4 else _SCOPE_UNIVERSE
    flags = 0 if gateway is None else _ONLINK
    head = struct.pack(
        "=BBBBBBBBI",
        _family(destination.version),
        destination.prefixlen,
        0,
        0,
        _MAIN_TABLE,
        _STATIC,
        scope,
        _UNICAST,
        flags,
    )
    body = head + attribute(1, destination.network_address.packed) + _u32(4, index)
    if gateway is not None:
        body += attribute(5, gateway.packed)
    if source is not None:
        body += attribute(7, source.packed)
    return Message(_NEWROUTE, _CREATE, body, f"add a route to {destination}")
