"""Who has applied what of an object (Kubernetes: server-side apply, field management)."""

from __future__ import annotations

import msgspec

__all__ = ["appliers_of"]


class _Managed(msgspec.Struct, frozen=True):
    manager: str = ""
    operation: str = ""
    subresource: str = ""
    fields: msgspec.Raw = msgspec.field(default=msgspec.Raw(b"{}"), name="fieldsV1")


class _Metadata(msgspec.Struct, frozen=True, rename="camel"):
    managed_fields: tuple[_Managed, ...] = ()


class _Object(msgspec.Struct, frozen=True):
    metadata: _Metadata = _Metadata()


def appliers_of(body: bytes) -> dict[str, bytes]:
    """By field manager, the fields that it has applied to the object itself, as JSON.

    A field that another changes, or takes away, is no longer among them: of metadata too, and of kinds that count no
    generations. Raises msgspec.MsgspecError.
    """
    managed = msgspec.json.decode(body, type=_Object).metadata.managed_fields
    return {each.manager: bytes(each.fields) for each in managed if (each.operation, each.subresource) == ("Apply", "")}
