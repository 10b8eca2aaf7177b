"""nftables as values: tables, chains, rules and maps, encoded to the kernel's messages.

Only what redirecting and service rules need. Expressions compile to the virtual machine of nf_tables, whose registers
hold what the next expression looks at. Bare numbers are attributes of <linux/netfilter/nf_tables.h>. The `inet` family
serves IPv4 and IPv6.
"""

from __future__ import annotations

import enum
import socket
import struct
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address

from smeagol.infra.host.netlink import Message, NetlinkFlag, attribute, nested, text, u32be

FAMILY = 1  # NFPROTO_INET
_SUBSYSTEM = 10 << 8
_NEWTABLE, _DELTABLE, _NEWCHAIN, _DELCHAIN, _NEWRULE, _DELRULE = 0, 2, 3, 5, 6, 8
_NEWSET, _NEWSETELEM, _DELSETELEM = 9, 12, 14
_SET_ANONYMOUS, _SET_CONSTANT, _SET_MAP = 0x1, 0x2, 0x8
_DATA_IS_VERDICT = 0xFFFFFF00
_MOST_ELEMENTS = 500  # in one message: an attribute holds less than 64 KiB

REGISTER = 8  # NFT_REG32_00; registers are 4 bytes, an IPv6 address takes four in a row
SECOND_REGISTER = 12  # NFT_REG32_04

IPAddress = IPv4Address | IPv6Address


class Protocol(enum.IntEnum):
    """Transport protocols (IANA numbers)."""

    TCP = 6
    UDP = 17


class Hook(enum.IntEnum):
    """Where in a packet's way a base chain sits."""

    PREROUTING = 0
    INPUT = 1
    FORWARD = 2
    OUTPUT = 3
    POSTROUTING = 4


class ChainType(enum.StrEnum):
    """What a base chain may do."""

    FILTER = "filter"
    NAT = "nat"


class Meta(enum.IntEnum):
    """Facts about a packet outside its bytes (NFT_META_*)."""

    MARK = 3
    OUT_NAME = 7
    SOCKET_USER = 10
    FAMILY = 15
    L4PROTO = 16


class Verdict(enum.IntEnum):
    """What a rule answers (NFT_* and NF_*)."""

    ACCEPT = 1
    JUMP = -3
    GOTO = -4
    RETURN = -5


class RejectWith(enum.Enum):
    """How a packet is refused: type and code of nf_tables."""

    TCP_RESET = (1, 0)
    PORT_UNREACHABLE = (2, 1)


class Key(enum.Enum):
    """The types of map keys and values: nft's own numbers (shown by `nft list`) and bytes, padded to four each."""

    IPV4 = ((7, 4),)
    IPV6 = ((8, 16),)
    NUMBER = ((4, 4),)
    IPV4_PAIR = ((7, 4), (7, 4))
    IPV6_PAIR = ((8, 16), (8, 16))
    IPV4_PORT = ((7, 4), (13, 2))
    IPV6_PORT = ((8, 16), (13, 2))
    IPV4_PROTOCOL_PORT = ((7, 4), (12, 1), (13, 2))
    IPV6_PROTOCOL_PORT = ((8, 16), (12, 1), (13, 2))

    @property
    def number(self) -> int:
        """The type as nft writes it: six bits a part."""
        number = 0
        for part, _ in self.value:
            number = number << 6 | part
        return number

    @property
    def length(self) -> int:
        """Bytes of one key in registers."""
        return sum(size + -size % 4 for _, size in self.value)


# --- messages -------------------------------------------------------------------------------------------------------


def _message(kind: int, flags: NetlinkFlag, purpose: str, *attributes: bytes) -> Message:
    return Message(_SUBSYSTEM | kind, flags, struct.pack("!BBH", FAMILY, 0, 0) + b"".join(attributes), purpose)


def add_table(table: str) -> tuple[Message, ...]:
    """Make the table anew: what it held before goes in the same transaction."""
    purpose = f"make the nftables table {table} anew"
    return (
        _message(_NEWTABLE, NetlinkFlag.CREATE, purpose, text(1, table)),
        _message(_DELTABLE, NetlinkFlag(0), purpose, text(1, table)),
        _message(_NEWTABLE, NetlinkFlag.CREATE, purpose, text(1, table)),
    )


def delete_table(table: str) -> tuple[Message, ...]:
    """Remove the table and all it holds, if there is one."""
    return add_table(table)[:2]


def add_chain(
    table: str, chain: str, kind: ChainType | None = None, hook: Hook | None = None, priority: int = 0
) -> Message:
    """Make a chain if it is not there; with a hook it is a base chain that packets enter by themselves."""
    attributes = [text(1, table), text(3, chain)]
    if kind is not None and hook is not None:
        attributes += [nested(4, u32be(1, hook), u32be(2, priority)), text(7, kind)]
    return _message(_NEWCHAIN, NetlinkFlag.CREATE, f"add the nftables chain {table}/{chain}", *attributes)


def flush_chain(table: str, chain: str) -> Message:
    """Take all rules out of a chain."""
    return _message(
        _DELRULE, NetlinkFlag(0), f"flush the nftables chain {table}/{chain}", text(1, table), text(2, chain)
    )


def delete_chain(table: str, chain: str) -> Message:
    """Remove an empty chain that nothing points to."""
    return _message(
        _DELCHAIN, NetlinkFlag(0), f"delete the nftables chain {table}/{chain}", text(1, table), text(3, chain)
    )


def add_rule(table: str, chain: str, *expressions: bytes) -> Message:
    """Put a rule at the end of a chain."""
    return _message(
        _NEWRULE,
        NetlinkFlag.CREATE | NetlinkFlag.APPEND,
        f"add a rule to the nftables chain {table}/{chain}",
        text(1, table),
        text(2, chain),
        nested(4, *expressions),
    )


def add_set(table: str, name: str, key: Key) -> Message:
    """Make a named set."""
    return _add_set(table, name, key)


def add_map(table: str, name: str, key: Key) -> Message:
    """Make a named map from keys to verdicts."""
    return _add_set(table, name, key, flags=_SET_MAP, data=u32be(6, _DATA_IS_VERDICT) + u32be(7, 0))


def _add_set(table: str, name: str, key: Key, *, flags: int = 0, data: bytes = b"", number: int = 1) -> Message:
    return _message(
        _NEWSET,
        NetlinkFlag.CREATE,
        f"add the nftables set {table}/{name}",
        text(1, table),
        text(2, name),
        u32be(3, flags),
        u32be(4, key.number),
        u32be(5, key.length),
        data,
        u32be(10, number),
    )


def add_elements(table: str, name: str, elements: Iterable[tuple[bytes, str | None]]) -> Message:
    """Put elements into a named set, or into a verdict map: (key, chain to go to)."""
    return _elements(
        _NEWSETELEM,
        table,
        name,
        (
            nested(1, attribute(1, key)) + (b"" if chain is None else _verdict(2, Verdict.GOTO, chain))
            for key, chain in elements
        ),
    )


def delete_elements(table: str, name: str, keys: Iterable[bytes]) -> Message:
    """Take elements out of a named set or map."""
    return _elements(_DELSETELEM, table, name, (nested(1, attribute(1, key)) for key in keys))


def _elements(kind: int, table: str, name: str, elements: Iterable[bytes], *, number: int | None = None) -> Message:
    return _message(
        kind,
        NetlinkFlag.CREATE if kind == _NEWSETELEM else NetlinkFlag(0),
        f"change elements of the nftables set {table}/{name}",
        text(1, table),
        text(2, name),
        nested(3, *(nested(1, element) for element in elements)),
        b"" if number is None else u32be(4, number),
    )


def add_choice(
    table: str, chain: str, targets: tuple[tuple[IPAddress, int], ...], number: int, *conditions: bytes
) -> tuple[Message, ...]:
    """A rule that sends each new connection to one of `targets` (address, port) at random, all alike.

    `number` tells the choice's map from others in its transaction; the kernel fills in the `%d` of its name. Targets
    are of one address family and at least one.
    """
    v6 = targets[0][0].version == 6
    name, data = "__map%d", Key.IPV6_PORT if v6 else Key.IPV4_PORT
    new_map = _add_set(
        table,
        name,
        Key.NUMBER,
        flags=_SET_ANONYMOUS | _SET_CONSTANT | _SET_MAP,
        data=u32be(6, data.number) + u32be(7, data.length),
        number=number,
    )
    elements = [
        # numgen writes its number in the machine's own order, so the keys are in it too.
        nested(1, attribute(1, struct.pack("=I", index))) + nested(2, attribute(1, address_port(address, port)))
        for index, (address, port) in enumerate(targets)
    ]
    entries = (
        _elements(_NEWSETELEM, table, name, elements[at : at + _MOST_ELEMENTS], number=number)
        for at in range(0, len(elements), _MOST_ELEMENTS)
    )
    port_register = REGISTER + (4 if v6 else 1)
    rule = add_rule(
        table,
        chain,
        *conditions,
        _expression("numgen", u32be(1, REGISTER), u32be(2, len(targets)), u32be(3, 1), u32be(4, 0)),
        _expression("lookup", text(1, name), u32be(2, REGISTER), u32be(3, REGISTER), u32be(4, number)),
        _expression(
            "nat",
            u32be(1, 1),
            u32be(2, socket.AF_INET6 if v6 else socket.AF_INET),
            u32be(3, REGISTER),
            u32be(5, port_register),
        ),
    )
    return new_map, *entries, rule


# --- expressions ----------------------------------------------------------------------------------------------------


def _expression(name: str, *attributes: bytes) -> bytes:
    return nested(1, text(1, name), nested(2, *attributes))


def _verdict(kind: int, verdict: Verdict, chain: str | None = None) -> bytes:
    return nested(kind, nested(2, u32be(1, verdict), b"" if chain is None else text(2, chain)))


def meta(key: Meta, register: int = REGISTER) -> bytes:
    """Load a fact about the packet."""
    return _expression("meta", u32be(2, key), u32be(1, register))


def payload(base: int, offset: int, length: int, register: int = REGISTER) -> bytes:
    """Load bytes of the packet; base 1 is the network header, 2 the transport header."""
    return _expression("payload", u32be(1, register), u32be(2, base), u32be(3, offset), u32be(4, length))


def compare(value: bytes, *, equal: bool = True, register: int = REGISTER) -> bytes:
    """Go on only if the register equals `value` (or does not)."""
    return _expression("cmp", u32be(1, register), u32be(2, 0 if equal else 1), nested(3, attribute(1, value)))


def immediate(value: bytes, register: int = REGISTER) -> bytes:
    """Load a constant."""
    return _expression("immediate", u32be(1, register), nested(2, attribute(1, value)))


def answer(verdict: Verdict, chain: str | None = None) -> bytes:
    """End the rule with a verdict; JUMP and GOTO name their chain."""
    return _expression("immediate", u32be(1, 0), _verdict(2, verdict, chain))


def lookup(name: str, *, verdict: bool = False, register: int = REGISTER) -> bytes:
    """Go on only if what the registers hold is in the set; with `verdict`, do what the map says for it."""
    return _expression("lookup", text(1, name), u32be(2, register), u32be(3, 0) if verdict else b"")


def redirect_to(port: int) -> bytes:
    """Send the connection to this machine's own `port` instead; SO_ORIGINAL_DST still tells where it was going."""
    return immediate(struct.pack("!H", port)) + _expression("redir", u32be(1, REGISTER), u32be(2, REGISTER))


def source_nat(address: IPAddress) -> bytes:
    """Let the connection come from `address`."""
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    return immediate(address.packed) + _expression("nat", u32be(1, 0), u32be(2, family), u32be(3, REGISTER))


def reject(how: RejectWith) -> bytes:
    """Refuse the packet, telling the sender at once."""
    kind, code = how.value
    return _expression("reject", u32be(1, kind), attribute(2, bytes([code])))


# --- the words rules are written in ---------------------------------------------------------------------------------


def is_family(version: int) -> bytes:
    """Only IPv4 (4) or IPv6 (6) packets; must come before anything that reads the network header."""
    return meta(Meta.FAMILY) + compare(bytes([10 if version == 6 else 2]))


def is_protocol(protocol: Protocol, *, equal: bool = True) -> bytes:
    """Only packets of this transport protocol; must come before anything that reads the transport header."""
    return meta(Meta.L4PROTO) + compare(bytes([protocol]), equal=equal)


def leaves_by(interface: str) -> bytes:
    """Only packets on their way out through `interface`."""
    return meta(Meta.OUT_NAME) + compare(interface.encode("ascii").ljust(16, b"\0"))


def is_marked(mark: int) -> bytes:
    """Only packets of sockets with this SO_MARK."""
    return meta(Meta.MARK) + compare(struct.pack("=I", mark))


def is_of_user(uid: int) -> bytes:
    """Only packets of sockets of this user, as numbered in the network namespace's user namespace."""
    return meta(Meta.SOCKET_USER) + compare(struct.pack("=I", uid))


def load_source(version: int, register: int = REGISTER) -> bytes:
    """Load the source address."""
    return payload(1, 8, 16, register) if version == 6 else payload(1, 12, 4, register)


def load_destination(version: int, register: int = REGISTER) -> bytes:
    """Load the destination address."""
    return payload(1, 24, 16, register) if version == 6 else payload(1, 16, 4, register)


def is_from(address: IPAddress) -> bytes:
    """Only packets from `address`."""
    return is_family(address.version) + load_source(address.version) + compare(address.packed)


def is_to(address: IPAddress, *, equal: bool = True) -> bytes:
    """Only packets to `address` (or, of its family, to any other)."""
    return is_family(address.version) + load_destination(address.version) + compare(address.packed, equal=equal)


def load_destination_port(register: int = REGISTER) -> bytes:
    """Load the destination port of TCP or UDP."""
    return payload(2, 2, 2, register)


def is_to_port(port: int) -> bytes:
    """Only packets to this port; the transport protocol must have been looked at before."""
    return load_destination_port() + compare(struct.pack("!H", port))


def address_port(address: IPAddress, port: int) -> bytes:
    """A map value or key of address and port, each part padded to a register."""
    return address.packed + struct.pack("!Hxx", port)


def address_protocol_port(address: IPAddress, protocol: Protocol, port: int) -> bytes:
    """A map key of address, transport protocol and port, each part padded to a register."""
    return address.packed + struct.pack("!BxxxHxx", protocol, port)
