"""Netlink, as much of it as this room speaks: attributes, messages, and a socket that waits for the kernel's answer.

Pure encoders (rtnl, nft) build `Message` values; `NetlinkSocket` sends them in the network namespace in which it was
opened. Layouts: RFC 3549, <linux/netlink.h>, <linux/netfilter/nfnetlink.h>. Kept in-house because the rules are then
plain values that tests can compare, and the process that changes namespaces stays free of threads and event loops.
"""

from __future__ import annotations

import enum
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

from smeagol.errors import SmeagolError

__all__ = ["Message", "NetlinkError", "NetlinkFlag", "NetlinkSocket", "attribute", "nested", "text", "u32be"]

NETLINK_ROUTE = 0
NETLINK_NETFILTER = 12

_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port id
_ATTRIBUTE = struct.Struct("=HH")  # length, type
_NESTED = 0x8000
_NLMSG_ERROR = 2
_NLMSG_DONE = 3
_BATCH_BEGIN = 0x10
_BATCH_END = 0x11
_SUBSYSTEM_NFTABLES = 10
_RECEIVE_BYTES = 1 << 18


class NetlinkFlag(enum.IntFlag):
    """Flags of a request; CREATE, EXCL, REPLACE and APPEND are for the messages that make something."""

    REQUEST = 0x1
    ACK = 0x4
    REPLACE = 0x100
    EXCL = 0x200
    DUMP = 0x300
    CREATE = 0x400
    APPEND = 0x800


class NetlinkError(SmeagolError):
    """The kernel refused a link, an address, a route or a rule."""

    code = "SMI-H003"

    def __init__(self, number: int, what: str) -> None:
        super().__init__(f"the kernel refused to {what}: {os.strerror(number)}")
        self.errno = number


@dataclass(frozen=True, slots=True)
class Message:
    """One request: its type, its flags beyond REQUEST, its body in bytes, and what it is for (shown if refused)."""

    kind: int
    flags: int
    body: bytes
    purpose: str


def attribute(kind: int, payload: bytes) -> bytes:
    """One attribute (type, length, value), padded to four bytes."""
    return _ATTRIBUTE.pack(len(payload) + _ATTRIBUTE.size, kind) + payload + b"\0" * (-len(payload) % 4)


def nested(kind: int, *attributes: bytes) -> bytes:
    """An attribute that holds attributes."""
    return attribute(kind | _NESTED, b"".join(attributes))


def text(kind: int, value: str) -> bytes:
    """An attribute that holds a zero-terminated string."""
    return attribute(kind, value.encode("ascii") + b"\0")


def u32be(kind: int, value: int) -> bytes:
    """An attribute that holds 32 bits in network order, as nftables has all its numbers."""
    return attribute(kind, struct.pack("!i" if value < 0 else "!I", value))


class NetlinkSocket:
    """A netlink socket in the network namespace in which the caller is when it makes one."""

    def __init__(self, protocol: int) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        self._socket.bind((0, 0))
        self._sequence = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def request(self, *messages: Message) -> None:
        """Carry out the messages one after the other. Raises NetlinkError at the first that is refused."""
        for message in messages:
            self._sequence += 1
            self._socket.send(_pack(message, NetlinkFlag.ACK, self._sequence))
            self._await_answers({self._sequence: message.purpose})

    def batch(self, messages: Sequence[Message]) -> None:
        """Carry out nftables messages as one transaction: all of them or none. Raises NetlinkError if refused."""
        if not messages:
            return
        first = self._sequence + 1
        purposes = {first + index: message.purpose for index, message in enumerate(messages)}
        last = self._sequence = first + len(messages) - 1
        edge = struct.pack("!BBH", socket.AF_UNSPEC, 0, _SUBSYSTEM_NFTABLES)
        parts = [_HEADER.pack(_HEADER.size + 4, _BATCH_BEGIN, NetlinkFlag.REQUEST, first, 0) + edge]
        for sequence, message in enumerate(messages, first):
            # Refusals are always reported; asking only for the last answer keeps the receive queue small.
            parts.append(_pack(message, NetlinkFlag.ACK if sequence == last else NetlinkFlag(0), sequence))
        parts.append(_HEADER.pack(_HEADER.size + 4, _BATCH_END, NetlinkFlag.REQUEST, last, 0) + edge)
        whole = b"".join(parts)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * len(whole))
        self._socket.send(whole)
        self._await_answers({last: purposes[last]}, purposes)

    def dump(self, message: Message) -> Iterator[tuple[int, bytes]]:
        """Ask for a listing; yields the type and body of each answer."""
        self._sequence += 1
        self._socket.send(_pack(message, NetlinkFlag.DUMP, self._sequence))
        while True:
            for kind, _, body in _unpack(self._socket.recv(_RECEIVE_BYTES)):
                if kind == _NLMSG_DONE:
                    return
                if kind == _NLMSG_ERROR:
                    raise NetlinkError(-struct.unpack_from("=i", body)[0], message.purpose)
                yield kind, body

    def _await_answers(self, awaited: dict[int, str], known: dict[int, str] | None = None) -> None:
        """Read until every awaited message is answered; a refusal of any known one is raised."""
        purposes = known or awaited
        open_ = set(awaited)
        while open_:
            for kind, sequence, body in _unpack(self._socket.recv(_RECEIVE_BYTES)):
                if kind != _NLMSG_ERROR:
                    continue
                number = -struct.unpack_from("=i", body)[0]
                if number and sequence in purposes:  # others are left over from an earlier, refused batch
                    raise NetlinkError(number, purposes[sequence])
                open_.discard(sequence)


def _pack(message: Message, extra: NetlinkFlag, sequence: int) -> bytes:
    flags = NetlinkFlag.REQUEST | message.flags | extra
    return (
        _HEADER.pack(_HEADER.size + len(message.body), message.kind, flags, sequence, 0)
        + message.body
        + b"\0" * (-len(message.body) % 4)
    )


def _unpack(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Type, sequence and body of each message in what was received."""
    at = 0
    while at + _HEADER.size <= len(data):
        length, kind, _, sequence, _ = _HEADER.unpack_from(data, at)
        yield kind, sequence, data[at + _HEADER.size : at + length]
        at += (length + 3) & ~3
