"""The control plane proper: objects in, proxies configured. Nothing in it must last.

Whatever feeds it (files, a Kubernetes API server) can build it anew at any time: the authority's keys come from their
store, all else follows from the objects, and the proxies go on with what they have meanwhile.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import structlog

from smeagol.intent import Resolver, Settings, UnitKey
from smeagol.pki import KeptAuthority
from smeagol.plan import ProxyProvider
from smeagol.refs import NodeId
from smeagol.runtime.mesh import Mesh
from smeagol.runtime.own_view import OwnView
from smeagol.runtime.progress import View
from smeagol.xds import AdsServer, BearerToken, TlsConfig

__all__ = ["ControlPlane", "now"]

log = structlog.get_logger(__name__)


def now() -> datetime:
    return datetime.now(UTC)


class ControlPlane:
    """One resolver, one mesh, one discovery server. Feed `resolver`, then `settle`."""

    def __init__(
        self,
        *,
        name: str,
        settings: Settings,
        provider: ProxyProvider,
        authority: KeptAuthority,
        owner_of: Callable[[str], Awaitable[NodeId | None]],
        tls: TlsConfig,
        changed: Callable[[], None],
        alone: bool = True,
    ) -> None:
        """`name`: this replica's. `authority` signs for the mesh. `owner_of` tells whose bearer token it is; `tls` is
        the discovery server's identity; `changed` is called when proxies have answered. `alone`: no other replica
        serves proxies of this mesh.
        """
        self.resolver = Resolver(settings)
        self.authority = authority
        self.mesh: Mesh[UnitKey] = Mesh(
            provider=provider, authority=self.authority, mesh=settings.mesh, clock=now, alone=alone
        )
        self.mesh.cache.acks.observe(changed)
        self._view = OwnView(self.mesh, name)
        self._server = AdsServer(self.mesh.cache, authenticator=BearerToken(owner_of), tls=tls)

    async def start(self, address: str) -> None:
        await self._server.start(address)

    def use_tls(self, tls: TlsConfig) -> None:
        """Show another identity from the next connection on."""
        self._server.use_tls(tls)

    async def stop(self, grace: float = 0) -> None:
        await self._server.stop(grace)

    def settle(self) -> tuple[UnitKey, ...]:
        """Carry what changed in the objects over to the proxies; the units that changed."""
        outcome = self.resolver.settle()
        for failure in outcome.failures:
            # A fault of ours: what it would have given is missing, the rest goes on.
            log.error("computation failed", collection=failure.collection.name, key=failure.key, error=failure.error)
        self.mesh.carry_out(outcome.changed, self.resolver.units)
        self._view.note_units(outcome.changed)
        return outcome.changed

    def take_answers(self) -> None:
        """Of proxies, for the next look; from now on, new ones are told by `changed`."""
        self._view.note_answers(self.mesh.cache.acks.take_changes())

    def look(self) -> View:
        """What our proxies have of each object now: who is connected is told as of now, so what they lack must be."""
        self.take_answers()
        return self._view.look(self.resolver.units)
