"""Which providers are installed, what they can do, and which meshes are there for the adapters."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import httpx2

from smeagol.errors import SmeagolError
from smeagol.plan import Provider, ProxyProvider
from smeagol.plan.peer import Peer, PeerProvider
from smeagol.runtime.offline import provider_named, providers
from smeagol.sources.kubernetes.peers import find_peer

__all__ = ["Found", "installed", "look"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One entry point. `error` says why it is no provider; `peer` is what was found of the mesh, None if not looked."""

    name: str
    provider: Provider | None = None
    peer: Peer | None = None
    error: str = ""

    @property
    def sort(self) -> str:
        """What it makes: `proxies` of ours, `objects of another mesh`, or `objects`; empty for none."""
        match self.provider:
            case None:
                return ""
            case PeerProvider():
                return "another mesh's objects"
            case ProxyProvider():
                return "proxies"
            case _:
                return "objects"

    @property
    def features(self) -> tuple[str, ...]:
        """What it can do, sorted; with this very mesh, if one was looked for."""
        return tuple(sorted(feature.value for feature in self.provider.features)) if self.provider else ()


def installed() -> tuple[Found, ...]:
    """All that are installed, by name. One that cannot be loaded hides none of the others."""
    return tuple(_load(name) for name in providers())


def _load(name: str) -> Found:
    try:
        return Found(name=name, provider=provider_named(name))
    except SmeagolError as error:
        return Found(name=name, error=str(error))


async def look(client: httpx2.AsyncClient, found: Iterable[Found]) -> tuple[Found, ...]:
    """The same with the meshes that a cluster has. Raises httpx2.HTTPError if the cluster does not answer."""
    return tuple([await _look(client, one) for one in found])


async def _look(client: httpx2.AsyncClient, found: Found) -> Found:
    if not isinstance(found.provider, PeerProvider):
        return found
    peer = found.provider.detect(await find_peer(client, found.provider))
    return Found(name=found.name, provider=found.provider.fitted(peer), peer=peer)
