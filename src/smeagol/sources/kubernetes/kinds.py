"""The kinds the mesh reads from an API server, and how their JSON becomes our narrow values."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from smeagol import api, objects
from smeagol.api.convert import to_model
from smeagol.api.meta import GROUP, VERSION
from smeagol.sources.kubernetes.collection import Kind

__all__ = [
    "CANARIES",
    "ENDPOINT_SLICES",
    "MUTUAL_TLS",
    "NAMESPACES",
    "PODS",
    "PROVIDER_CLASSES",
    "SERVICES",
    "SIDECARS",
]

S = TypeVar("S", api.Canary, api.MutualTLS, api.Sidecar, api.ProviderClass)
O = TypeVar("O", objects.Pod, objects.Service, objects.EndpointSlice, objects.Namespace)  # noqa: E741 - an object


def _core(group_version: str, plural: str, model: type[O]) -> Kind[O]:
    decoder = msgspec.json.Decoder(model)

    def decode(body: bytes) -> O:
        try:
            return decoder.decode(body)
        except msgspec.ValidationError:
            # Go writes an empty list or map as null now and then; to Kubernetes that is the same as absent.
            return msgspec.convert(_without_nulls(msgspec.json.decode(body)), model)

    return Kind(group_version=group_version, plural=plural, decode=decode)


def _without_nulls(value: api.Json) -> api.Json:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def _smi(plural: str, model: type[S]) -> Kind[S]:
    def decode(body: bytes) -> S:
        return to_model(_without_nulls(msgspec.json.decode(body)), model)

    return Kind(group_version=f"{GROUP}/{VERSION}", plural=plural, decode=decode)


PODS = _core("v1", "pods", objects.Pod)
SERVICES = _core("v1", "services", objects.Service)
NAMESPACES = _core("v1", "namespaces", objects.Namespace)
ENDPOINT_SLICES = _core("discovery.k8s.io/v1", "endpointslices", objects.EndpointSlice)
CANARIES = _smi("canaries", api.Canary)
MUTUAL_TLS = _smi("mutualtls", api.MutualTLS)
SIDECARS = _smi("sidecars", api.Sidecar)
PROVIDER_CLASSES = _smi("providerclasses", api.ProviderClass)
