"""What certificates say, judged by OpenSSL (spec: MutualTLS; RFC 5280)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID

from smeagol.names import InvalidNameError, SpiffeId
from smeagol.pki import AuthorityError, CALifetimes, Issued, LocalAuthority, MemoryKeyStore, Purpose
from smeagol.refs import ServiceRef

OpenSSLVerify = Callable[..., str]

ADDRESSES = ("10.0.0.1", "2001:db8::1")
SERVER_NAMES = (*ADDRESSES, *ServiceRef("shop", "web").names())
CLIENT_NAMES = ("pay.example.com", "https://pay.example.com/", str(SpiffeId.workload("cluster.local", "shop", "web")))


def leaf_of(issued: Issued) -> x509.Certificate:
    return x509.load_pem_x509_certificates(issued.chain_pem)[0]


class TestOpenSSL:
    """An ordinary TLS peer accepts a server under every name of its Service and every address of its Pod."""

    @pytest.mark.parametrize("name", ServiceRef("shop", "web").names())
    def test_each_service_name_verifies(
        self, authority: LocalAuthority, noon: datetime, openssl_verify: OpenSSLVerify, name: str
    ) -> None:
        issued = authority.issue(SERVER_NAMES, Purpose.SERVER, now=noon)
        options = ("-purpose", "sslserver", "-verify_hostname", name)
        assert openssl_verify(issued, authority.trust_bundle_pem, *options) == ""

    @pytest.mark.parametrize("address", ADDRESSES)
    def test_each_pod_address_verifies(
        self, authority: LocalAuthority, noon: datetime, openssl_verify: OpenSSLVerify, address: str
    ) -> None:
        issued = authority.issue(SERVER_NAMES, Purpose.SERVER, now=noon)
        options = ("-purpose", "sslserver", "-verify_ip", address)
        assert openssl_verify(issued, authority.trust_bundle_pem, *options) == ""

    def test_other_names_and_addresses_do_not(
        self, authority: LocalAuthority, noon: datetime, openssl_verify: OpenSSLVerify
    ) -> None:
        issued = authority.issue(SERVER_NAMES, Purpose.SERVER, now=noon)
        bundle = authority.trust_bundle_pem
        assert "hostname mismatch" in openssl_verify(issued, bundle, "-verify_hostname", "web.pay")
        assert "IP address mismatch" in openssl_verify(issued, bundle, "-verify_ip", "10.0.0.2")

    def test_a_client_certificate_is_for_clients_only(
        self, authority: LocalAuthority, noon: datetime, openssl_verify: OpenSSLVerify
    ) -> None:
        issued = authority.issue(CLIENT_NAMES, Purpose.CLIENT, now=noon)
        assert openssl_verify(issued, authority.trust_bundle_pem, "-purpose", "sslclient") == ""
        assert "purpose" in openssl_verify(issued, authority.trust_bundle_pem, "-purpose", "sslserver")

    def test_a_server_certificate_is_for_servers_only(
        self, authority: LocalAuthority, noon: datetime, openssl_verify: OpenSSLVerify
    ) -> None:
        issued = authority.issue(SERVER_NAMES, Purpose.SERVER, now=noon)
        assert openssl_verify(issued, authority.trust_bundle_pem, "-purpose", "sslserver") == ""
        assert "purpose" in openssl_verify(issued, authority.trust_bundle_pem, "-purpose", "sslclient")

    def test_another_authority_does_not_vouch(
        self, authority: LocalAuthority, noon: datetime, openssl_verify: OpenSSLVerify
    ) -> None:
        other = LocalAuthority.open(MemoryKeyStore(), trust_domain="cluster.local", now=noon)
        issued = authority.issue(SERVER_NAMES, Purpose.SERVER, now=noon)
        assert "unable to get" in openssl_verify(issued, other.trust_bundle_pem)

    def test_it_holds_from_before_now_until_its_end(
        self, authority: LocalAuthority, noon: datetime, openssl_verify: OpenSSLVerify
    ) -> None:
        """Backdated by five minutes, for peers whose clocks are behind."""
        issued = authority.issue(SERVER_NAMES, Purpose.SERVER, now=noon, lifetime=timedelta(hours=1))
        bundle, second = authority.trust_bundle_pem, timedelta(seconds=1)
        assert (issued.not_before, issued.not_after) == (noon - timedelta(minutes=5), noon + timedelta(hours=1))
        assert openssl_verify(issued, bundle, at=issued.not_before) == ""
        assert openssl_verify(issued, bundle, at=issued.not_after - second) == ""
        assert "not yet valid" in openssl_verify(issued, bundle, at=issued.not_before - second)
        assert "expired" in openssl_verify(issued, bundle, at=issued.not_after + second)


class TestLeaf:
    @pytest.mark.parametrize(
        ("purpose", "usage"),
        [(Purpose.CLIENT, ExtendedKeyUsageOID.CLIENT_AUTH), (Purpose.SERVER, ExtendedKeyUsageOID.SERVER_AUTH)],
    )
    def test_it_has_exactly_one_purpose(
        self, authority: LocalAuthority, noon: datetime, purpose: Purpose, usage: x509.ObjectIdentifier
    ) -> None:
        extensions = leaf_of(authority.issue(CLIENT_NAMES, purpose, now=noon)).extensions
        assert list(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [usage]
        assert extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False

    def test_names_are_all_it_says_about_its_holder(self, authority: LocalAuthority, noon: datetime) -> None:
        """Empty subject, hence critical names (RFC 5280, 4.2.1.6), in the order asked for."""
        leaf = leaf_of(authority.issue((*CLIENT_NAMES, *ADDRESSES), Purpose.CLIENT, now=noon))
        found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        assert leaf.subject == x509.Name([])
        assert found.critical
        assert [type(n).__name__ for n in found.value] == [
            "DNSName",
            "UniformResourceIdentifier",
            "UniformResourceIdentifier",
            "IPAddress",
            "IPAddress",
        ]
        assert tuple(str(n.value) for n in found.value) == (*CLIENT_NAMES, *ADDRESSES)

    def test_each_name_stands_once_and_in_its_one_spelling(self, authority: LocalAuthority, noon: datetime) -> None:
        issued = authority.issue(["Web.Example", "web.example.", "2001:DB8::0:1"], Purpose.SERVER, now=noon)
        assert issued.names == ("web.example", "2001:db8::1")

    @pytest.mark.parametrize("name", ["https://a.example/,spiffe://cluster.local/ns/kube-system/sa/admin", "a b", "*"])
    def test_what_is_no_name_is_not_signed(self, authority: LocalAuthority, noon: datetime, name: str) -> None:
        with pytest.raises(InvalidNameError):
            authority.issue(["ok.example", name], Purpose.CLIENT, now=noon)

    def test_a_certificate_without_names_is_not_made(self, authority: LocalAuthority, noon: datetime) -> None:
        with pytest.raises(AuthorityError, match="without any name"):
            authority.issue([], Purpose.CLIENT, now=noon)

    def test_every_one_has_its_own_key_and_serial(self, authority: LocalAuthority, noon: datetime) -> None:
        one, two = (authority.issue(["web"], Purpose.SERVER, now=noon) for _ in range(2))
        assert one.serial != two.serial
        assert one.serial == leaf_of(one).serial_number
        assert leaf_of(one).public_key() != leaf_of(two).public_key()

    def test_the_key_is_p256_and_the_certificates(self, authority: LocalAuthority, noon: datetime) -> None:
        issued = authority.issue(["web"], Purpose.SERVER, now=noon)
        key = load_pem_private_key(issued.key_pem.reveal(), password=None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        assert isinstance(key.curve, ec.SECP256R1)
        assert key.public_key() == leaf_of(issued).public_key()

    def test_it_brings_its_intermediate_and_not_the_root(self, authority: LocalAuthority, noon: datetime) -> None:
        leaf, intermediate = x509.load_pem_x509_certificates(
            authority.issue(["web"], Purpose.SERVER, now=noon).chain_pem
        )
        (root,) = x509.load_pem_x509_certificates(authority.trust_bundle_pem)
        leaf.verify_directly_issued_by(intermediate)
        intermediate.verify_directly_issued_by(root)

    def test_it_does_not_outlive_its_issuer(self, noon: datetime) -> None:
        lifetimes = CALifetimes(root=timedelta(days=10), intermediate=timedelta(days=2))
        authority = LocalAuthority.open(MemoryKeyStore(), trust_domain="td", now=noon, lifetimes=lifetimes)
        late = noon + timedelta(days=1, hours=12)
        assert authority.issue(["web"], Purpose.SERVER, now=late).not_after == noon + timedelta(days=2)
        with pytest.raises(AuthorityError, match="issuer has expired"):
            authority.issue(["web"], Purpose.SERVER, now=noon + timedelta(days=2))

    def test_renewal_lies_between_issue_and_end_even_for_short_lives(
        self, authority: LocalAuthority, noon: datetime
    ) -> None:
        issued = authority.issue(["web"], Purpose.SERVER, now=noon, lifetime=timedelta(seconds=10))
        assert noon + timedelta(seconds=5) < issued.renew_at < noon + timedelta(seconds=8)


class TestAuthorityCertificates:
    def test_the_intermediate_signs_leaves_for_tls_and_nothing_else(
        self, authority: LocalAuthority, noon: datetime
    ) -> None:
        chain = x509.load_pem_x509_certificates(authority.issue(["web"], Purpose.SERVER, now=noon).chain_pem)
        extensions = chain[1].extensions
        basic = extensions.get_extension_for_class(x509.BasicConstraints)
        assert (basic.critical, basic.value.ca, basic.value.path_length) == (True, True, 0)
        assert set(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == {
            ExtendedKeyUsageOID.CLIENT_AUTH,
            ExtendedKeyUsageOID.SERVER_AUTH,
        }

    def test_both_name_their_trust_domain(self, authority: LocalAuthority, noon: datetime) -> None:
        """X509-SVID, 3.2: a signing certificate carries the trust domain's id, without a path."""
        chain = x509.load_pem_x509_certificates(authority.issue(["web"], Purpose.SERVER, now=noon).chain_pem)
        for ca in (chain[1], x509.load_pem_x509_certificate(authority.trust_bundle_pem)):
            names = ca.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["spiffe://cluster.local"]
