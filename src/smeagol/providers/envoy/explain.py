"""Envoy resources as readable JSON, for `render` and `proxy config`."""

from __future__ import annotations

from google.protobuf.json_format import MessageToDict
from google.protobuf.message_factory import GetMessageClass

from smeagol.plan import JSON, ProxyResource
from smeagol.providers.envoy.protos import POOL

__all__ = ["explain"]

_REDACTED = "[redacted]"


def explain(resource: ProxyResource) -> JSON:
    """The resource with field names as in Envoy's documentation; a private key is never shown."""
    descriptor = POOL.FindMessageTypeByName(resource.type_url.rpartition("/")[2])
    message = GetMessageClass(descriptor).FromString(resource.body)
    return _readable(MessageToDict(message, preserving_proto_field_name=True, descriptor_pool=POOL))


def _readable(value: JSON) -> JSON:
    if isinstance(value, dict):
        return {key: _REDACTED if key == "private_key" else _readable(inner) for key, inner in value.items()}
    return [_readable(inner) for inner in value] if isinstance(value, list) else value
