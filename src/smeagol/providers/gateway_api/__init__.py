"""The Gateway API, as service meshes read it (GAMMA): a Canary becomes routes whose parent is the root Service."""

from smeagol.providers.gateway_api.provider import GatewayAPI, provider

__all__ = ["GatewayAPI", "provider"]
