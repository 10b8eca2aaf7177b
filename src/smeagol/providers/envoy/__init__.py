"""The provider that makes the mesh true with vanilla Envoy proxies (see docs/architecture)."""

from __future__ import annotations

from smeagol.providers.envoy.provider import Envoy, provider

__all__ = ["Envoy", "provider"]
