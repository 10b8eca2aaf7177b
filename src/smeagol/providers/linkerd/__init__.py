"""Linkerd: its policies for MutualTLS, routes of the Gateway API for Canaries."""

from smeagol.providers.linkerd.provider import Linkerd, provider

__all__ = ["Linkerd", "provider"]
