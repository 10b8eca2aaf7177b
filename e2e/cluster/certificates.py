"""The keys of a cluster: its authorities, who its components are, and the kubeconfig files that carry that.

They live as long as the cluster does, which is why they are never renewed.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

__all__ = ["Authority", "KeyPair", "new_authority", "write_kubeconfig", "write_service_account_key"]

_BACKDATE = timedelta(minutes=5)
_LIFETIME = timedelta(days=365)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPair:
    """The files of a certificate and its key."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """A certificate authority whose files are `files`, and which writes what it issues beside them."""

    files: KeyPair
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def issue(
        self, file: str, common_name: str, *, organization: str = "", names: Sequence[str] = (), serving: bool = False
    ) -> KeyPair:
        """Issue a certificate: a user (`common_name`) of a group (`organization`), or a server under `names`."""
        key = ec.generate_private_key(ec.SECP256R1())
        usage = ExtendedKeyUsageOID.SERVER_AUTH if serving else ExtendedKeyUsageOID.CLIENT_AUTH
        builder = (
            _builder(_name(common_name, organization), self.certificate.subject, key)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
        )
        if names:
            alternatives = x509.SubjectAlternativeName([_general_name(name) for name in names])
            builder = builder.add_extension(alternatives, critical=False)
        return _write(self.files.certificate.parent, file, builder.sign(self.key, hashes.SHA256()), key)


def new_authority(folder: Path, file: str, common_name: str) -> Authority:
    """Make an authority of its own."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(common_name)
    certificate = (
        _builder(name, name, key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_SIGNS, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Authority(files=_write(folder, file, certificate, key), certificate=certificate, key=key)


def write_service_account_key(folder: Path) -> KeyPair:
    """The key that signs the tokens of ServiceAccounts; `certificate` is its bare public half."""
    key = ec.generate_private_key(ec.SECP256R1())
    pair = KeyPair(certificate=folder / "service-account.pub", key=folder / "service-account.key")
    _write_secret(pair.key, _pem(key))
    pair.certificate.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return pair


def write_kubeconfig(path: Path, *, server: str, authority: Authority, user: str, keys: KeyPair) -> None:
    """A kubeconfig that is complete in itself, so that it can be copied. JSON is YAML."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": "smeagol",
                "cluster": {"server": server, "certificate-authority-data": _data(authority.files.certificate)},
            }
        ],
        "users": [
            {
                "name": user,
                "user": {"client-certificate-data": _data(keys.certificate), "client-key-data": _data(keys.key)},
            }
        ],
        "contexts": [{"name": "smeagol", "context": {"cluster": "smeagol", "user": user}}],
        "current-context": "smeagol",
    }
    _write_secret(path, json.dumps(config, indent=2).encode())


_SIGNS = x509.KeyUsage(
    digital_signature=True,
    key_cert_sign=True,
    crl_sign=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    encipher_only=False,
    decipher_only=False,
)


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATE)
        .not_valid_after(now + _LIFETIME)
    )


def _name(common_name: str, organization: str = "") -> x509.Name:
    parts = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization)] if organization else []
    return x509.Name([*parts, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _write(folder: Path, file: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> KeyPair:
    pair = KeyPair(certificate=folder / f"{file}.crt", key=folder / f"{file}.key")
    pair.certificate.write_bytes(certificate.public_bytes(Encoding.PEM))
    _write_secret(pair.key, _pem(key))
    return pair


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _write_secret(path: Path, data: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(data)


def _data(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
