"""Clients outside the mesh that have a certificate, good or bad, as for `curl --cacert --cert --key`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from datapath.apps.wire import Tls
from datapath.harness import Mesh
from smeagol.pki import FileKeyStore, LocalAuthority, MemoryKeyStore, Purpose

__all__ = ["TRUST_DOMAIN", "authority_of", "credentials", "expired", "from_wrong_authority", "server_as_client"]

TRUST_DOMAIN = "cluster.local"
NAMES = ("stranger.example",)


def authority_of(mesh: Mesh) -> LocalAuthority:
    """The running mesh's own: its keys lie in its state folder."""
    return LocalAuthority.open(FileKeyStore(mesh.state / "keys"), trust_domain=TRUST_DOMAIN, now=datetime.now(UTC))


def credentials(mesh: Mesh, *names: str, alpn: Sequence[str] = (), server_name: str = "") -> Tls:
    """Verifies the server by the mesh's roots and shows a client certificate with these names."""
    return _tls(authority_of(mesh), names or NAMES, Purpose.CLIENT, alpn=alpn, server_name=server_name)


def expired(mesh: Mesh) -> Tls:
    before = datetime.now(UTC) - timedelta(minutes=30)
    return _tls(authority_of(mesh), NAMES, Purpose.CLIENT, now=before, lifetime=timedelta(minutes=20))


def server_as_client(mesh: Mesh) -> Tls:
    return _tls(authority_of(mesh), NAMES, Purpose.SERVER)


def from_wrong_authority(mesh: Mesh) -> Tls:
    """Another authority of the same trust domain; only the mesh's own is trusted by this client as well."""
    other = LocalAuthority.open(MemoryKeyStore(), trust_domain=TRUST_DOMAIN, now=datetime.now(UTC))
    return _tls(other, NAMES, Purpose.CLIENT, roots=authority_of(mesh).trust_bundle_pem)


def _tls(
    authority: LocalAuthority,
    names: Sequence[str],
    purpose: Purpose,
    *,
    now: datetime | None = None,
    lifetime: timedelta = timedelta(hours=1),
    roots: bytes = b"",
    alpn: Sequence[str] = (),
    server_name: str = "",
) -> Tls:
    issued = authority.issue(names, purpose, now=now or datetime.now(UTC), lifetime=lifetime)
    return Tls(
        server_name=server_name,
        roots=roots or authority.trust_bundle_pem,
        certificate=issued.chain_pem,
        key=issued.key_pem.reveal(),
        alpn=tuple(alpn),
    )
