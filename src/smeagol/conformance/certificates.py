"""Certificates as the suite sees and makes them: what a server shows, and clients whom nobody should trust."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

__all__ = ["Shown", "self_signed", "shown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A certificate that a server has shown."""

    names: frozenset[str]
    server: bool
    """good for serving"""
    client: bool
    lifetime: timedelta


def shown(encoded: str) -> Shown:
    """Read what `call.Result.certificate` holds. Raises ValueError if it is no certificate with names."""
    certificate = x509.load_der_x509_certificate(base64.b64decode(encoded))
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    return Shown(
        names=frozenset(str(name.value) for name in names),
        server=ExtendedKeyUsageOID.SERVER_AUTH in usage,
        client=ExtendedKeyUsageOID.CLIENT_AUTH in usage,
        lifetime=certificate.not_valid_after_utc - certificate.not_valid_before_utc,
    )


def self_signed(name: str) -> tuple[bytes, bytes]:
    """Certificate and key (PEM), good for any purpose, of an authority that nobody knows."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM), key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
