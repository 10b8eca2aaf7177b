"""Certificates in use: an ordinary TLS client and server, made of Python's ssl module, over loopback."""

from __future__ import annotations

import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from smeagol.pki import Issued, LocalAuthority, MemoryKeyStore, Overlap, Purpose, Step
from smeagol.refs import ServiceRef

SERVICE_NAMES = ServiceRef("shop", "web").names()
ADDRESSES = ("127.0.0.1", "::1")
TIMEOUT_SECONDS = 10


@dataclass(frozen=True)
class Met:
    """How a connection went. `heard`: what the client read; `names`: what the server saw in its certificate."""

    heard: bytes = b""
    names: tuple[str, ...] = ()
    client_error: str = ""
    server_error: str = ""

    @property
    def refused(self) -> str:
        assert not self.heard
        return f"{self.client_error} {self.server_error}".strip()


class Meeting:
    """One TLS connection between a server and a client that know nothing but files, as users do."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def context(self, protocol: int, bundle_pem: bytes, own: Issued | None) -> ssl.SSLContext:
        context = ssl.SSLContext(protocol)
        context.verify_mode = ssl.CERT_REQUIRED
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        context.load_verify_locations(cadata=bundle_pem.decode())
        if own is not None:
            file = self.folder / f"{own.serial}.pem"
            file.write_bytes(own.key_pem.reveal() + own.chain_pem)
            context.load_cert_chain(file)
        return context

    def __call__(
        self,
        server: Issued,
        client: Issued | None,
        *,
        server_trusts: bytes,
        client_trusts: bytes,
        call_it: str = "web.shop.svc.cluster.local",
    ) -> Met:
        serving = self.context(ssl.PROTOCOL_TLS_SERVER, server_trusts, server)
        calling = self.context(ssl.PROTOCOL_TLS_CLIENT, client_trusts, client)
        with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:
            listener.settimeout(TIMEOUT_SECONDS)
            served = pool.submit(self.serve, listener, serving)
            heard, client_error = b"", ""
            try:
                with (
                    socket.create_connection(listener.getsockname(), TIMEOUT_SECONDS) as raw,
                    calling.wrap_socket(raw, server_hostname=call_it) as connection,
                ):
                    heard = connection.recv(100)
            except OSError as e:
                client_error = str(e)
            names, server_error = served.result(TIMEOUT_SECONDS)
        return Met(heard, names, client_error, server_error)

    @staticmethod
    def serve(listener: socket.socket, context: ssl.SSLContext) -> tuple[tuple[str, ...], str]:
        raw, _ = listener.accept()
        raw.settimeout(TIMEOUT_SECONDS)
        try:
            with context.wrap_socket(raw, server_side=True) as connection:
                peer = x509.load_der_x509_certificate(connection.getpeercert(binary_form=True) or b"")
                connection.sendall(b"hello")
                names = peer.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
                return tuple(str(n.value) for n in names), ""
        except OSError as e:
            raw.close()
            return (), str(e)


@pytest.fixture
def meet(tmp_path: Path) -> Meeting:
    return Meeting(tmp_path)


@pytest.fixture
def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def authority(now: datetime) -> LocalAuthority:
    return LocalAuthority.open(MemoryKeyStore(), trust_domain="cluster.local", now=now)


@pytest.fixture
def server(authority: LocalAuthority, now: datetime) -> Issued:
    return authority.issue((*ADDRESSES, *SERVICE_NAMES), Purpose.SERVER, now=now)


@pytest.fixture
def client(authority: LocalAuthority, now: datetime) -> Issued:
    return authority.issue(["pay.example", "spiffe://cluster.local/ns/shop/sa/pay"], Purpose.CLIENT, now=now)


class TestMutualTLS:
    @pytest.mark.parametrize("name", [*SERVICE_NAMES, *ADDRESSES])
    def test_both_verify_each_other_under_every_name(
        self, meet: Meeting, authority: LocalAuthority, server: Issued, client: Issued, name: str
    ) -> None:
        """An ordinary TLS client that dials the Pod IP or any of the Service names passes hostname verification."""
        bundle = authority.trust_bundle_pem
        met = meet(server, client, server_trusts=bundle, client_trusts=bundle, call_it=name)
        assert met == Met(b"hello", ("pay.example", "spiffe://cluster.local/ns/shop/sa/pay"))

    def test_a_name_the_server_does_not_carry_is_refused(
        self, meet: Meeting, authority: LocalAuthority, server: Issued, client: Issued
    ) -> None:
        bundle = authority.trust_bundle_pem
        met = meet(server, client, server_trusts=bundle, client_trusts=bundle, call_it="web.pay.svc.cluster.local")
        assert "Hostname mismatch" in met.refused

    def test_a_client_without_certificate_is_refused(
        self, meet: Meeting, authority: LocalAuthority, server: Issued
    ) -> None:
        bundle = authority.trust_bundle_pem
        assert "did not return a certificate" in meet(server, None, server_trusts=bundle, client_trusts=bundle).refused

    def test_a_client_certificate_can_not_serve(
        self, meet: Meeting, authority: LocalAuthority, client: Issued, now: datetime
    ) -> None:
        bundle = authority.trust_bundle_pem
        posing = authority.issue(SERVICE_NAMES, Purpose.CLIENT, now=now)
        assert "certificate purpose" in meet(posing, client, server_trusts=bundle, client_trusts=bundle).refused

    def test_a_server_certificate_is_no_client(self, meet: Meeting, authority: LocalAuthority, server: Issued) -> None:
        bundle = authority.trust_bundle_pem
        assert "certificate purpose" in meet(server, server, server_trusts=bundle, client_trusts=bundle).refused

    def test_an_expired_client_is_refused(
        self, meet: Meeting, authority: LocalAuthority, server: Issued, now: datetime
    ) -> None:
        bundle = authority.trust_bundle_pem
        old = authority.issue(
            ["pay.example"], Purpose.CLIENT, now=now - timedelta(hours=2), lifetime=timedelta(hours=1)
        )
        assert "certificate has expired" in meet(server, old, server_trusts=bundle, client_trusts=bundle).refused

    def test_an_expired_server_is_refused(
        self, meet: Meeting, authority: LocalAuthority, client: Issued, now: datetime
    ) -> None:
        bundle = authority.trust_bundle_pem
        old = authority.issue(SERVICE_NAMES, Purpose.SERVER, now=now - timedelta(hours=2), lifetime=timedelta(hours=1))
        assert "certificate has expired" in meet(old, client, server_trusts=bundle, client_trusts=bundle).refused

    def test_another_authoritys_client_is_refused(
        self, meet: Meeting, authority: LocalAuthority, server: Issued, now: datetime
    ) -> None:
        bundle = authority.trust_bundle_pem
        other = LocalAuthority.open(MemoryKeyStore(), trust_domain="cluster.local", now=now)
        stranger = other.issue(["pay.example"], Purpose.CLIENT, now=now)
        assert "unable to get" in meet(server, stranger, server_trusts=bundle, client_trusts=bundle).refused


class TestRootRotation:
    def test_old_and_new_peers_meet_at_every_step(self, meet: Meeting, now: datetime) -> None:
        """Roots rotate with overlap: whoever has what the step before asked for is understood by all."""
        authority = LocalAuthority.open(
            MemoryKeyStore(), trust_domain="td", now=now, overlap=Overlap(minimum=timedelta(0))
        )

        def peers() -> tuple[Issued, Issued, bytes]:
            return (
                authority.issue(SERVICE_NAMES, Purpose.SERVER, now=now),
                authority.issue(["pay.example"], Purpose.CLIENT, now=now),
                authority.trust_bundle_pem,
            )

        states = [peers()]
        for step in (Step.BEGIN, Step.SWITCH, Step.DROP):
            assert step is authority.maintain(
                now=now, bundle_acknowledged=True, last_old_leaf_expiry=None, rotate_root=step is Step.BEGIN
            )
            states.append(peers())
            before, after = states[-2:]
            for one, other in ((before, after), (after, before), (after, after)):
                assert meet(one[0], other[1], server_trusts=one[2], client_trusts=other[2]).heard == b"hello"
        first, last = states[0], states[-1]
        assert "unable to get" in meet(last[0], first[1], server_trusts=last[2], client_trusts=last[2]).refused
