"""Certificates and keys as PEM, the form in which files and Secrets hold them."""

from __future__ import annotations

from collections.abc import Iterable

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from smeagol.pki.certificates import AuthorityError, IssuerKey
from smeagol.pki.secret import PrivateBytes

__all__ = ["read_certificates", "read_private_key", "to_pem"]


def to_pem(certificates: Iterable[x509.Certificate]) -> bytes:
    return b"".join(c.public_bytes(Encoding.PEM) for c in certificates)


def read_certificates(pem: bytes, where: str) -> tuple[x509.Certificate, ...]:
    try:
        return tuple(x509.load_pem_x509_certificates(pem))
    except ValueError:
        raise AuthorityError(
            "holds no PEM certificate that can be read", where=where, fix="give certificates as PEM"
        ) from None


def read_private_key(pem: PrivateBytes, where: str) -> IssuerKey:
    try:
        key = load_pem_private_key(pem.reveal(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise AuthorityError(
            "holds no private key that can be read", where=where, fix="give it as PEM, without a passphrase"
        ) from None
    match key:
        case ec.EllipticCurvePrivateKey() if isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1):
            return key
        case rsa.RSAPrivateKey() if key.key_size >= 2048:
            return key
    raise AuthorityError(
        "is of a kind that not all TLS peers take",
        where=where,
        fix="use EC P-256, EC P-384, or RSA of 2048 bits or more",
    )
