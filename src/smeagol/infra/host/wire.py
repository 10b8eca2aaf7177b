"""What the control plane and the host's agent say to each other, and what `smeagol exec` says to the agent.

Structs in MessagePack. Towards the agent each request has a number that its answer repeats. Addresses travel as text.
"""

from __future__ import annotations

import struct

import msgspec

from smeagol.infra.host.netlink import Message

__all__ = [
    "AddPod",
    "Answer",
    "AnsweredRequest",
    "ApplyRules",
    "Done",
    "ExecEnded",
    "ExecRequest",
    "ExecSignal",
    "Exited",
    "Failed",
    "File",
    "RemovePod",
    "Request",
    "SendSignal",
    "SetUp",
    "Start",
    "frame",
    "unframe",
]

_LENGTH = struct.Struct("!I")


class File(msgspec.Struct, frozen=True):
    """A file that a container sees."""

    path: str
    content: bytes
    mode: int

    def __repr__(self) -> str:
        return f"File({self.path})"


class _Numbered(msgspec.Struct, frozen=True, kw_only=True):
    """A request that is answered."""

    number: int = 0


class SetUp(_Numbered, frozen=True, tag=True, kw_only=True):
    """Make the sandbox a node. Pods go on seeing the `kept` folders beneath /run and /tmp; `hidden` ones are empty."""

    node_ips: tuple[str, ...]
    extra_ips: tuple[str, ...]
    service_cidrs: tuple[str, ...]
    kept: tuple[str, ...]
    hidden: tuple[str, ...]
    log_bytes: int
    exec_socket: str


class AddPod(_Numbered, frozen=True, tag=True, kw_only=True):
    """Make a Pod's namespaces and connect them. `etc` are files of /etc by name; the first container is exec's."""

    pod: str
    ips: tuple[str, ...]
    hostname: str
    etc: dict[str, bytes]
    containers: tuple[str, ...]


class RemovePod(_Numbered, frozen=True, tag=True, kw_only=True):
    """End everything in a Pod; answered when the last of it is gone."""

    pod: str


class ApplyRules(_Numbered, frozen=True, tag=True, kw_only=True):
    """Carry out nftables messages as one transaction, in a Pod or (without a name) on the node."""

    pod: str
    messages: tuple[Message, ...]


class Start(_Numbered, frozen=True, tag=True, kw_only=True):
    """Run a command in a Pod as process `process`. With `within` it joins that process's files, else it gets its own.

    `log` is the file that takes its output; without one the output is dropped.
    """

    process: int
    pod: str
    container: str
    command: tuple[str, ...]
    env: dict[str, str]
    working_dir: str
    files: tuple[File, ...]
    log: str
    net_admin: bool
    within: int | None


class SendSignal(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """Send a signal to a process and its group. Not answered; nothing happens if it has ended."""

    process: int
    signal: int


AnsweredRequest = SetUp | AddPod | RemovePod | ApplyRules | Start
Request = AnsweredRequest | SendSignal


class Done(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """The request succeeded."""

    number: int


class Failed(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """The request failed: why."""

    number: int
    why: str


class Exited(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """A process ended; 128 + number for a signal."""

    process: int
    exit_code: int


Answer = Done | Failed | Exited


class ExecRequest(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """Run a command in a running container; its standard input, output and error come with it as descriptors."""

    pod: str
    container: str
    command: tuple[str, ...]
    env: dict[str, str]


class ExecSignal(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """Pass on a signal."""

    signal: int


class ExecEnded(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """How it ended; `why` is set if it could not be started."""

    exit_code: int
    why: str = ""


def frame(message: Request | Answer) -> bytes:
    """One message with its length before it."""
    body = msgspec.msgpack.encode(message)
    return _LENGTH.pack(len(body)) + body


def unframe(buffer: bytearray) -> bytes | None:
    """Take the first whole message out of what has been received so far; None if there is none."""
    if len(buffer) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack_from(buffer)
    if len(buffer) < _LENGTH.size + length:
        return None
    body = bytes(buffer[_LENGTH.size : _LENGTH.size + length])
    del buffer[: _LENGTH.size + length]
    return body
