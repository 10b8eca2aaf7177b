"""Istio with sidecars: its own kinds, and HTTPRoute where a Canary needs no more."""

from smeagol.providers.istio.provider import Istio, provider

__all__ = ["Istio", "provider"]
