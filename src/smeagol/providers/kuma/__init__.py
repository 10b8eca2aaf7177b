"""Kuma: its policies, with labels for targets, which 2.13 and later versions read."""

from smeagol.providers.kuma.provider import Kuma, provider

__all__ = ["Kuma", "provider"]
