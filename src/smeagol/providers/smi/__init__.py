"""The later SMI: a Canary becomes a TrafficSplit, for the meshes that read one."""

from smeagol.providers.smi.provider import TrafficSplits, provider

__all__ = ["TrafficSplits", "provider"]
