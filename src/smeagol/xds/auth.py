"""Who may connect: a proxy shows by a token or by a client certificate that it is the node it names."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Protocol

from smeagol.refs import NodeId
from smeagol.xds.errors import Unauthenticated

__all__ = ["Authenticator", "BearerToken", "ClientCertificate", "check_owner"]

Metadata = Iterable[tuple[str, str | bytes]]
PeerContext = Mapping[str, Iterable[bytes]]


class Authenticator(Protocol):
    """Finds out who opens a stream, before it has said anything."""

    async def __call__(self, metadata: Metadata, peer: PeerContext) -> frozenset[NodeId]:
        """The nodes that the client may say it is: at least one. `metadata` are the request headers, `peer` is gRPC's
        auth context. Raises Unauthenticated."""


class BearerToken:
    """Takes `authorization: Bearer …`; `verify` says whose token it is, or None if it is nobody's."""

    def __init__(self, verify: Callable[[str], Awaitable[NodeId | None]]) -> None:
        self._verify = verify

    async def __call__(self, metadata: Metadata, peer: PeerContext) -> frozenset[NodeId]:
        headers = [value for key, value in metadata if key == "authorization"]
        scheme, _, token = headers[0].partition(" ") if len(headers) == 1 and isinstance(headers[0], str) else ("",) * 3
        if scheme.lower() != "bearer" or not token:
            raise Unauthenticated(
                "the proxy shows no bearer token",
                fix="check that its bootstrap sends the projected token in the authorization header",
            )
        owner = await self._verify(token)
        if owner is None:
            raise Unauthenticated(
                "the proxy's bearer token is not valid",
                fix="check the token's audience and expiry",
            )
        return frozenset((owner,))


class ClientCertificate:
    """Takes the names of a verified client certificate; `node_of` says which node a URI or DNS name stands for.

    The server must be set up to require client certificates (`TlsConfig.client_ca`).
    """

    def __init__(self, node_of: Callable[[str], NodeId | None]) -> None:
        self._node_of = node_of

    async def __call__(self, metadata: Metadata, peer: PeerContext) -> frozenset[NodeId]:
        names = [name.decode("utf-8", "replace") for name in peer.get("x509_subject_alternative_name", ())]
        owners = frozenset(owner for name in names if (owner := self._node_of(name)) is not None)
        if not owners:
            raise Unauthenticated(
                "the proxy shows no client certificate that names a node",
                fix="give its bootstrap a certificate of this mesh",
            )
        return owners


def check_owner(owners: frozenset[NodeId], node: NodeId) -> None:
    """Raises Unauthenticated unless `node` is one of those that the client may be."""
    if node not in owners:
        raise Unauthenticated(
            f"the proxy may only hold the id {min(owners)}",
            where=f"proxy {node}",
            fix="set node.id to the name of the proxy's own Pod",
        )
