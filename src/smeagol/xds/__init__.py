"""The discovery protocol only: what every proxy should have, and telling it so. It has never heard of a mesh.

`Cache` holds the wanted state, `AdsServer` serves it, `Cache.acks` knows what proxies made of it.
"""

from smeagol.xds import type_urls
from smeagol.xds.acks import AckChanges, Acks, Nack, NodeProgress, Progress, Reach
from smeagol.xds.auth import Authenticator, BearerToken, ClientCertificate
from smeagol.xds.cache import Cache, Key, NodeUpdate
from smeagol.xds.errors import Unauthenticated
from smeagol.xds.resource import Resource
from smeagol.xds.server import AdsServer
from smeagol.xds.stats import Stats
from smeagol.xds.subscription import Standing
from smeagol.xds.tls import TlsConfig, server_credentials

__all__ = [
    "AckChanges",
    "Acks",
    "AdsServer",
    "Authenticator",
    "BearerToken",
    "Cache",
    "ClientCertificate",
    "Key",
    "Nack",
    "NodeProgress",
    "NodeUpdate",
    "Progress",
    "Reach",
    "Resource",
    "Standing",
    "Stats",
    "TlsConfig",
    "Unauthenticated",
    "server_credentials",
    "type_urls",
]
