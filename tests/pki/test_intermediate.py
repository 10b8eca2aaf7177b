"""An intermediate handed over from outside, as cert-manager writes a Secret: tls.crt, tls.key, ca.crt."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from smeagol.pki import AuthorityError, IntermediateAuthority, PrivateBytes, Purpose

OpenSSLVerify = Callable[..., str]

NOON = datetime(2030, 6, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


def p256() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


class CA:
    """A CA of somebody else's making: no more extensions than it must have."""

    def __init__(
        self,
        name: str,
        issuer: CA | None = None,
        *,
        key: Key | None = None,
        ca: bool = True,
        path_length: int | None = None,
        usages: tuple[x509.ObjectIdentifier, ...] = (),
        start: datetime = NOON - DAY,
        end: datetime = NOON + 30 * DAY,
    ) -> None:
        self.key = key or p256()
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = (
            x509.CertificateBuilder()
            .subject_name(self.name)
            .issuer_name(issuer.name if issuer else self.name)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(ca, path_length), critical=True)
        )
        if usages:
            builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        signer = issuer.key if issuer else self.key
        algorithm = None if isinstance(signer, ed25519.Ed25519PrivateKey) else hashes.SHA256()
        self.certificate = builder.sign(signer, algorithm)
        self.pem = self.certificate.public_bytes(Encoding.PEM)

    def key_pem(self, encryption: KeySerializationEncryption | None = None) -> PrivateBytes:
        return PrivateBytes(self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption()))


def hand_over(
    *chain: CA, bundle: bytes, key: PrivateBytes | None = None, now: datetime = NOON
) -> IntermediateAuthority:
    return IntermediateAuthority.from_pem(
        certificate_pem=b"".join(c.pem for c in chain),
        key_pem=key or chain[0].key_pem(),
        bundle_pem=bundle,
        now=now,
    )


ROOT = CA("root")
MIDDLE = CA("middle", ROOT)
LOWER = CA("lower", MIDDLE)


class TestAccepted:
    @pytest.mark.parametrize(
        ("chain", "length"),
        [((MIDDLE,), 2), ((LOWER, MIDDLE), 3), ((MIDDLE, ROOT), 2), ((LOWER, MIDDLE, ROOT), 3), ((ROOT,), 1)],
        ids=["intermediate", "two intermediates", "with its root", "two with their root", "a root alone"],
    )
    def test_what_it_signs_verifies_against_the_roots(
        self, chain: tuple[CA, ...], length: int, openssl_verify: OpenSSLVerify
    ) -> None:
        """SMI-MTLS-21: an authority from outside may stand in for the mesh's own."""
        authority = hand_over(*chain, bundle=ROOT.pem)
        assert authority.trust_bundle_pem == ROOT.pem
        for purpose, option in ((Purpose.SERVER, "sslserver"), (Purpose.CLIENT, "sslclient")):
            issued = authority.issue(["web"], purpose, now=NOON)
            assert len(x509.load_pem_x509_certificates(issued.chain_pem)) == length
            # Not strict: these CAs lack key identifiers, as many in use do.
            assert openssl_verify(issued, ROOT.pem, "-purpose", option, strict=False) == ""

    @pytest.mark.parametrize(
        "key", [ec.generate_private_key(ec.SECP384R1()), rsa.generate_private_key(65537, 2048)], ids=["P-384", "RSA"]
    )
    def test_other_kinds_of_keys(self, key: Key, openssl_verify: OpenSSLVerify) -> None:
        authority = hand_over(CA("middle", ROOT, key=key), bundle=ROOT.pem)
        assert openssl_verify(authority.issue(["web"], Purpose.SERVER, now=NOON), ROOT.pem, strict=False) == ""

    def test_a_bundle_with_other_roots_is_kept_whole(self) -> None:
        bundle = CA("other").pem + ROOT.pem
        assert hand_over(MIDDLE, bundle=bundle).trust_bundle_pem == bundle

    def test_leaves_end_with_the_first_that_ends_on_the_way_up(self) -> None:
        root = CA("root", end=NOON + DAY / 2)
        authority = hand_over(CA("middle", root), bundle=root.pem)
        assert authority.not_after == NOON + DAY / 2
        assert authority.issue(["web"], Purpose.SERVER, now=NOON).not_after == NOON + DAY / 2


class TestRefused:
    """Each refusal names the entry of the Secret, what is wrong with it, and the cure."""

    @pytest.mark.parametrize(
        ("chain", "bundle", "where", "what"),
        [
            ((CA("leaf", ROOT, ca=False),), ROOT, "tls.crt, CN=leaf", "is not a CA"),
            ((CA("old", ROOT, end=NOON),), ROOT, "tls.crt, CN=old", "has expired"),
            ((CA("young", ROOT, start=NOON + DAY),), ROOT, "tls.crt, CN=young", "not valid before"),
            ((MIDDLE,), CA("other"), "ca.crt", "no self-signed root that leads to CN=middle"),
            ((MIDDLE,), CA("root"), "ca.crt", "no self-signed root"),  # same name, another key
            ((LOWER,), MIDDLE, "ca.crt", "no self-signed root"),
            ((LOWER, CA("middle", ROOT)), ROOT, "tls.crt, CN=middle", "did not issue CN=lower"),
            ((MIDDLE, LOWER), ROOT, "tls.crt, CN=lower", "did not issue CN=middle"),
            ((CA("web", ROOT, usages=(ExtendedKeyUsageOID.SERVER_AUTH,)),), ROOT, "tls.crt, CN=web", "clientAuth"),
        ],
    )
    def test_what_would_not_verify(self, chain: tuple[CA, ...], bundle: CA, where: str, what: str) -> None:
        with pytest.raises(AuthorityError) as caught:
            hand_over(*chain, bundle=bundle.pem)
        assert caught.value.where == where
        assert what in caught.value.what
        assert caught.value.fix

    def test_an_expired_root(self) -> None:
        root = CA("root", end=NOON)
        with pytest.raises(AuthorityError, match=r"ca\.crt, CN=root: has expired"):
            hand_over(CA("middle", root), bundle=root.pem)

    def test_a_path_that_is_too_long_for_a_ca_above(self) -> None:
        root = CA("root", path_length=1)
        middle = CA("middle", root, path_length=0)
        hand_over(middle, bundle=root.pem)
        with pytest.raises(AuthorityError, match="allows 0 CAs below it, and there are 1"):
            hand_over(CA("lower", middle), middle, bundle=root.pem)

    def test_a_key_that_does_not_match(self) -> None:
        with pytest.raises(AuthorityError, match=r"tls\.key: is not the key"):
            hand_over(MIDDLE, bundle=ROOT.pem, key=ROOT.key_pem())

    @pytest.mark.parametrize(
        "key",
        [
            PrivateBytes(b""),
            PrivateBytes(b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"),
            MIDDLE.key_pem(BestAvailableEncryption(b"passphrase")),
        ],
    )
    def test_a_key_that_can_not_be_read(self, key: PrivateBytes) -> None:
        with pytest.raises(AuthorityError, match=r"tls\.key: holds no private key that can be read"):
            hand_over(MIDDLE, bundle=ROOT.pem, key=key)

    @pytest.mark.parametrize("key", [ed25519.Ed25519PrivateKey.generate(), ec.generate_private_key(ec.SECP521R1())])
    def test_keys_that_not_all_peers_take(self, key: Key) -> None:
        with pytest.raises(AuthorityError, match=r"tls\.key: is of a kind"):
            hand_over(CA("middle", ROOT, key=key), bundle=ROOT.pem)

    def test_files_without_certificates(self) -> None:
        with pytest.raises(AuthorityError, match=r"tls\.crt: holds no PEM certificate"):
            hand_over(bundle=ROOT.pem, key=MIDDLE.key_pem())
        with pytest.raises(AuthorityError, match=r"ca\.crt: holds no PEM certificate"):
            hand_over(MIDDLE, bundle=b"")
