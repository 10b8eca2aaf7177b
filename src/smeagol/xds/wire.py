"""Messages of `envoy.service.discovery.v3`: requests parsed into values, responses joined from ready bytes.

Responses are written by hand, because the parts that make up nearly all of them are the same for every proxy and
already serialized. The protocol-buffer encoding needs only length-delimited fields here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, Self

from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf.message import DecodeError

from smeagol.xds.errors import MalformedRequest

__all__ = ["DeltaRequest", "WorldRequest", "delta_response", "field_head", "length_delimited", "world_response"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeltaRequest:
    """A `DeltaDiscoveryRequest` without its node, which is about 60 KB of extension names in the first one."""

    node_id: str = ""
    type_url: str
    nonce: str = ""
    refusal: str | None = None  # error_detail.message; None is an ACK or no answer at all
    subscribe: tuple[str, ...] = ()
    unsubscribe: tuple[str, ...] = ()
    known: Mapping[str, str] = field(default_factory=dict)  # initial_resource_versions

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """Raises MalformedRequest if `raw` is no such message or names no type."""
        message = discovery_pb2.DeltaDiscoveryRequest()
        _parse(message, raw)
        return cls(
            node_id=message.node.id,
            type_url=message.type_url,
            nonce=message.response_nonce,
            refusal=_refusal(message),
            subscribe=tuple(message.resource_names_subscribe),
            unsubscribe=tuple(message.resource_names_unsubscribe),
            known=dict(message.initial_resource_versions),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class WorldRequest:
    """A `DiscoveryRequest` of the state-of-the-world variant, without its node."""

    node_id: str = ""
    type_url: str
    nonce: str = ""
    refusal: str | None = None
    version: str = ""  # version_info: empty if the client has nothing of this type
    names: tuple[str, ...] = ()

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """Raises MalformedRequest if `raw` is no such message or names no type."""
        message = discovery_pb2.DiscoveryRequest()
        _parse(message, raw)
        return cls(
            node_id=message.node.id,
            type_url=message.type_url,
            nonce=message.response_nonce,
            refusal=_refusal(message),
            version=message.version_info,
            names=tuple(message.resource_names),
        )


class _Message(Protocol):
    type_url: str

    def ParseFromString(self, serialized: bytes) -> int: ...  # noqa: N802  # protobuf's name
    def HasField(self, field_name: str) -> bool: ...  # noqa: N802  # protobuf's name


def _parse(message: _Message, raw: bytes) -> None:
    try:
        message.ParseFromString(raw)
    except (DecodeError, UnicodeDecodeError) as error:
        raise MalformedRequest(
            "the request is not a discovery message", fix="connect an xDS v3 client to this port"
        ) from error
    if not message.type_url:
        raise MalformedRequest("the request names no type_url", fix="set type_url, as an aggregated stream requires")


def _refusal(message: discovery_pb2.DiscoveryRequest | discovery_pb2.DeltaDiscoveryRequest) -> str | None:
    if not message.HasField("error_detail"):
        return None
    return str(message.error_detail.message)


class _Entry(Protocol):
    @property
    def delta_head(self) -> bytes: ...
    @property
    def any_head(self) -> bytes: ...
    @property
    def body(self) -> bytes: ...


def delta_response(
    *, type_url: str, nonce: str, version: str, entries: Sequence[_Entry], removed: Iterable[str]
) -> bytes:
    """A serialized `DeltaDiscoveryResponse`; `version` is its `system_version_info`, for people who debug."""
    parts = [
        length_delimited(1, version.encode()),
        length_delimited(4, type_url.encode()),
        length_delimited(5, nonce.encode()),
    ]
    for entry in entries:
        parts += (entry.delta_head, entry.any_head, entry.body)
    parts.extend(length_delimited(6, name.encode()) for name in removed)
    return b"".join(parts)


def world_response(*, type_url: str, nonce: str, version: str, entries: Sequence[_Entry]) -> bytes:
    """A serialized `DiscoveryResponse` of the state-of-the-world variant."""
    head = (
        length_delimited(1, version.encode())
        + length_delimited(4, type_url.encode())
        + length_delimited(5, nonce.encode())
    )
    return head + b"".join([part for entry in entries for part in (entry.any_head, entry.body)])


def length_delimited(number: int, content: bytes) -> bytes:
    """A protocol-buffer field that holds a string, bytes or a message."""
    return field_head(number, len(content)) + content


def field_head(number: int, length: int) -> bytes:
    """What precedes the `length` bytes of such a field; the wire type of all of them is 2."""
    return bytes((number << 3 | 2,)) + _varint(length)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
