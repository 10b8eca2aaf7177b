"""What our certificates say: roots, intermediates and leaves (RFC 5280; SPIFFE X509-SVID where it applies).

Keys are EC P-256: every TLS peer takes them, and one is made in microseconds where RSA takes a tenth of a second.

An intermediate signs the leaves, so that it can be replaced without anyone's trust changing; it may sign nothing but
leaves (path length 0) and nothing but TLS (extendedKeyUsage, which OpenSSL and BoringSSL apply to all below). It has
no name constraints on purpose: users put names of their own choice and any Pod's address into certificates, so the
permitted names can't be listed, and excluding some would only repeat, in the most brittle place, what `smeagol.names`
decides before anything is signed.

Client and server leaves have one purpose each, so that a client's name can never serve (spec: MutualTLS). A client
leaf may carry several URIs, so it is a SPIFFE X509-SVID in the strict sense only while the user adds none.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import ClassVar, TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from smeagol.errors import SmeagolError
from smeagol.names import NameKind, kind_of, parse_name
from smeagol.pki.rotation import renewal_time
from smeagol.pki.secret import PrivateBytes
from smeagol.plan import Purpose
from smeagol.refs import SubjectName

__all__ = [
    "AuthorityError",
    "Issued",
    "Issuer",
    "IssuerKey",
    "key_id",
    "new_bridge",
    "new_intermediate",
    "new_intermediate_request",
    "new_leaf",
    "new_root",
]

BACKDATE = timedelta(minutes=5)
"""Certificates begin this long before they are made, for peers whose clocks are behind."""

IssuerKey: TypeAlias = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

_EXTENDED_KEY_USAGE = {
    Purpose.CLIENT: ExtendedKeyUsageOID.CLIENT_AUTH,
    Purpose.SERVER: ExtendedKeyUsageOID.SERVER_AUTH,
}


class AuthorityError(SmeagolError):
    """An authority that can't be used, or can't issue what is asked of it."""

    code: ClassVar[str] = "SMI-K001"


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """A leaf certificate with its key. `chain_pem`: the leaf, then its intermediates, without the root.

    `root`: the key id of the root it leads to. `renew_at`: when to ask for its successor (see `rotation`).
    """

    chain_pem: bytes = field(repr=False)
    key_pem: PrivateBytes
    names: tuple[SubjectName, ...]
    purpose: Purpose
    serial: int
    root: str
    not_before: datetime
    not_after: datetime
    renew_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuer:
    """A CA certificate with its key, and the way up: `chain` is what follows a leaf, `root` where it ends.

    A root is its own `root` and has an empty chain.
    """

    certificate: x509.Certificate
    key: IssuerKey = field(repr=False)
    chain: tuple[x509.Certificate, ...]
    root: x509.Certificate

    @property
    def not_after(self) -> datetime:
        """The end of the first to end on the way up: nothing issued may last longer."""
        return min(c.not_valid_after_utc for c in (self.certificate, *self.chain, self.root))

    @property
    def key_pem(self) -> PrivateBytes:
        return _key_pem(self.key)


def key_id(certificate: x509.Certificate) -> str:
    """The subject key identifier in hex: what tells one generation of a CA from another (RFC 5280, 4.2.1.2)."""
    return x509.SubjectKeyIdentifier.from_public_key(certificate.public_key()).digest.hex()


def new_root(trust_domain: str, *, now: datetime, lifetime: timedelta) -> Issuer:
    """A self-signed root for a trust domain. Without a path length, for bridges to later roots may stand below it."""
    key = _new_key()
    name = _ca_name("root", key)
    certificate = (
        _builder(name, name, key.public_key(), now=now, end=now + lifetime)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_ca_usage(), critical=True)
        .add_extension(_trust_domain_name(trust_domain), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Issuer(certificate=certificate, key=key, chain=(), root=certificate)


def new_intermediate(root: Issuer, trust_domain: str, *, now: datetime, lifetime: timedelta) -> Issuer:
    """An intermediate below `root`; it does not outlive it. Raises AuthorityError if the root has expired."""
    key = _new_key()
    certificate = (
        _builder(
            _ca_name("intermediate", key),
            root.certificate.subject,
            key.public_key(),
            now=now,
            end=_end(root, now=now, lifetime=lifetime),
        )
        .add_extension(_authority_key_id(root.certificate), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_ca_usage(), critical=True)
        .add_extension(x509.ExtendedKeyUsage(_EXTENDED_KEY_USAGE.values()), critical=False)
        .add_extension(_trust_domain_name(trust_domain), critical=False)
        .sign(root.key, hashes.SHA256())
    )
    return Issuer(certificate=certificate, key=key, chain=(certificate,), root=root.certificate)


def new_intermediate_request() -> tuple[PrivateBytes, bytes]:
    """A new key, and a request (PKCS#10, RFC 2986) to have an intermediate for it signed elsewhere; both as PEM.

    It asks for a CA that signs leaves only. Nothing else is in it, for a signer may refuse what it does not know; the
    usages are asked for beside it.
    """
    key = _new_key()
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(_ca_name("intermediate", key))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    return _key_pem(key), request.public_bytes(Encoding.PEM)


def new_bridge(old: Issuer, new: x509.Certificate, trust_domain: str, *, now: datetime) -> x509.Certificate:
    """The new root as the old one vouches for it: who trusts the old root only can follow to what the new one signs.

    It ends with the old root. Raises AuthorityError if that has expired.
    """
    key = new.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)  # noqa: S101 - roots are made here
    lifetime = new.not_valid_after_utc - now
    return (
        _builder(new.subject, old.certificate.subject, key, now=now, end=_end(old, now=now, lifetime=lifetime))
        .add_extension(_authority_key_id(old.certificate), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_ca_usage(), critical=True)
        .add_extension(_trust_domain_name(trust_domain), critical=False)
        .sign(old.key, hashes.SHA256())
    )


def new_leaf(
    issuer: Issuer, names: Iterable[str], purpose: Purpose, *, now: datetime, lifetime: timedelta, chance: float
) -> Issued:
    """A new key and a certificate for it that carries `names`, in order, in their one spelling, each once.

    `chance` in [0, 1) decides how early it is renewed. The certificate does not outlive its issuer.
    Raises InvalidNameError for a name that is none, AuthorityError if there is no name or the issuer has expired.
    """
    subjects = tuple(dict.fromkeys(map(parse_name, names)))
    if not subjects:
        raise AuthorityError(
            f"a {purpose.value} certificate without any name was asked for", fix="give at least one name"
        )
    key = _new_key()
    serial = x509.random_serial_number()
    end = _end(issuer, now=now, lifetime=lifetime)
    certificate = (
        _builder(x509.Name([]), issuer.certificate.subject, key.public_key(), now=now, end=end, serial=serial)
        .add_extension(_authority_key_id(issuer.certificate), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([_EXTENDED_KEY_USAGE[purpose]]), critical=False)
        # Critical because the subject is empty (RFC 5280, 4.2.1.6).
        .add_extension(x509.SubjectAlternativeName(map(_general_name, subjects)), critical=True)
        .sign(issuer.key, hashes.SHA256())
    )
    return Issued(
        chain_pem=b"".join(c.public_bytes(Encoding.PEM) for c in (certificate, *issuer.chain)),
        key_pem=_key_pem(key),
        names=subjects,
        purpose=purpose,
        serial=serial,
        root=key_id(issuer.root),
        not_before=certificate.not_valid_before_utc,
        not_after=end,
        renew_at=renewal_time(now, end, chance=chance),
    )


def _new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _key_pem(key: IssuerKey) -> PrivateBytes:
    return PrivateBytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    *,
    now: datetime,
    end: datetime,
    serial: int | None = None,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(serial or x509.random_serial_number())
        .not_valid_before((now - BACKDATE).astimezone(UTC))
        .not_valid_after(end.astimezone(UTC))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _end(issuer: Issuer, *, now: datetime, lifetime: timedelta) -> datetime:
    """When a certificate made now ends, in whole seconds as X.509 has them."""
    end = min((now + lifetime).astimezone(UTC).replace(microsecond=0), issuer.not_after)
    if end <= now:
        what = f"the issuer has expired at {issuer.not_after:%Y-%m-%dT%H:%M:%SZ}"
        if issuer.not_after > now:
            what = f"a lifetime of {lifetime} leaves no whole second"
        raise AuthorityError(
            what, where=issuer.certificate.subject.rfc4514_string(), fix="renew it or correct the clock"
        )
    return end


def _ca_name(role: str, key: ec.EllipticCurvePrivateKey) -> x509.Name:
    """A subject of its own for each generation: with equal ones, some verifiers try only the first and fail."""
    digest = x509.SubjectKeyIdentifier.from_public_key(key.public_key()).digest.hex()
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Smeagol"),
            x509.NameAttribute(NameOID.COMMON_NAME, f"Smeagol {role} {digest[:12]}"),
        ]
    )


def _trust_domain_name(trust_domain: str) -> x509.SubjectAlternativeName:
    """A signing certificate names its trust domain, without a path (X509-SVID, 3.2)."""
    return x509.SubjectAlternativeName([x509.UniformResourceIdentifier(f"spiffe://{trust_domain}")])


def _authority_key_id(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    """As the issuer's own certificate gives it; other CAs need not derive it as we do."""
    try:
        own = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    except x509.ExtensionNotFound:
        return x509.AuthorityKeyIdentifier(bytes.fromhex(key_id(issuer)), None, None)
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own.value)


def _ca_usage() -> x509.KeyUsage:
    return _usage(key_cert_sign=True, crl_sign=True)


def _usage(*, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name: SubjectName) -> x509.GeneralName:
    match kind_of(name):
        case NameKind.URI:
            return x509.UniformResourceIdentifier(name)
        case NameKind.IP:
            return x509.IPAddress(ip_address(name))
        case NameKind.DNS:
            return x509.DNSName(name)
