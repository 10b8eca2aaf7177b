"""One configured thing that a proxy can hold, and the ready bytes of it that all proxies share."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import blake2b

from smeagol.xds.wire import field_head, length_delimited

__all__ = ["Entry", "Resource"]


@dataclass(frozen=True, slots=True)
class Resource:
    """A resource as the rest of the program gives it.

    `body` is the serialized message of type `type_url`; equal bytes are equal versions, so serialize
    deterministically. An `on_demand` resource is never part of a wildcard: only who names it gets it.
    """

    type_url: str
    name: str
    body: bytes = field(repr=False)  # may be a private key
    on_demand: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """A resource in wire form, built once and sent to every proxy as it is.

    `body` is the object that was given, which its maker may keep too: nothing is copied. `any_head` makes it a
    `google.protobuf.Any`, framed as field 2; both variants put it under that number (`DiscoveryResponse.resources`,
    `Resource.resource`). `delta_head` is what comes before both in a `DeltaDiscoveryResponse`: the frame of the
    `discovery.v3.Resource`, its name and its version.
    """

    name: str
    version: str
    on_demand: bool
    delta_head: bytes = field(repr=False)
    any_head: bytes = field(repr=False)
    body: bytes = field(repr=False)
    size: int  # bytes that it adds to a response

    @classmethod
    def of(cls, resource: Resource) -> Entry:
        body = resource.body
        version = blake2b(body, digest_size=8).hexdigest()
        packing = length_delimited(1, resource.type_url.encode()) + field_head(2, len(body))
        any_head = field_head(2, len(packing) + len(body)) + packing
        labels = length_delimited(1, version.encode()) + length_delimited(3, resource.name.encode())
        delta_head = field_head(2, len(labels) + len(any_head) + len(body)) + labels
        size = len(delta_head) + len(any_head) + len(body)
        return cls(resource.name, version, resource.on_demand, delta_head, any_head, body, size)

    def same_as(self, other: Entry | None) -> bool:
        """Whether a proxy that has `other` needs nothing."""
        return other is not None and self.version == other.version and self.on_demand == other.on_demand
