"""An authority whose intermediate was made elsewhere, and the checks that what it signs will verify."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import NoReturn, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.x509.oid import ExtendedKeyUsageOID

from smeagol.pki.authority import LEAF_LIFETIME, Chance
from smeagol.pki.certificates import AuthorityError, Issued, Issuer, IssuerKey, new_leaf
from smeagol.pki.pem import read_certificates, read_private_key, to_pem
from smeagol.pki.secret import PrivateBytes
from smeagol.plan import Purpose

__all__ = ["IntermediateAuthority"]

_Extension = TypeVar("_Extension", bound=x509.ExtensionType)


class IntermediateAuthority:
    """Signs with an intermediate that was made elsewhere, as cert-manager hands one over in a Secret.

    Its renewal is the business of who made it: load the new one and use it from then on.
    """

    def __init__(self, issuer: Issuer, bundle: tuple[x509.Certificate, ...], *, chance: Chance) -> None:
        self._issuer = issuer
        self._bundle = bundle
        self._chance = chance

    @classmethod
    def from_pem(
        cls,
        *,
        certificate_pem: bytes,
        key_pem: PrivateBytes,
        bundle_pem: bytes,
        now: datetime,
        chance: Chance = random.random,
    ) -> IntermediateAuthority:
        """`tls.crt` (the intermediate, then any above it), `tls.key` and `ca.crt` (the roots) of such a Secret.

        Raises AuthorityError if they don't make an authority whose certificates verify against the bundle.
        """
        chain = read_certificates(certificate_pem, "tls.crt")
        bundle = read_certificates(bundle_pem, "ca.crt")
        issuer = _check(chain, read_private_key(key_pem, "tls.key"), bundle, now=now)
        return cls(issuer, bundle, chance=chance)

    @property
    def trust_bundle_pem(self) -> bytes:
        return to_pem(self._bundle)

    @property
    def root(self) -> x509.Certificate:
        """Where what it signs leads to."""
        return self._issuer.root

    @property
    def not_after(self) -> datetime:
        """When it can't sign any more."""
        return self._issuer.not_after

    def issue(
        self, names: Iterable[str], purpose: Purpose, *, now: datetime, lifetime: timedelta = LEAF_LIFETIME
    ) -> Issued:
        return new_leaf(self._issuer, names, purpose, now=now, lifetime=lifetime, chance=self._chance())


def _check(
    certificates: Sequence[x509.Certificate], key: IssuerKey, bundle: Sequence[x509.Certificate], *, now: datetime
) -> Issuer:
    """The issuer that this is, if what it signs will verify with TLS clients that trust `bundle` (RFC 5280, 6.1).

    Name constraints are the one thing not looked at: they may fit some leaves and not others.
    """
    if certificates[0].public_key() != key.public_key():
        _unfit(
            "is not the key of the first certificate in tls.crt", "tls.key", "hand over a pair that belongs together"
        )
    for i, certificate in enumerate(certificates):
        _check_ca(certificate, below=i, now=now, where=_place("tls.crt", certificate))
        if i and not _issued(certificates[i - 1], certificate):
            _unfit(
                f"did not issue {certificates[i - 1].subject.rfc4514_string()}, the certificate before it",
                _place("tls.crt", certificate),
                "put the intermediate first, and each issuer behind what it issued",
            )
    top = certificates[-1]
    if _issued(top, top):
        # The root goes into the bundle; a peer that is sent it as well ignores it (RFC 8446, 4.4.2).
        chain, candidates = tuple(certificates[:-1]), [c for c in bundle if c == top]
    else:
        chain, candidates = tuple(certificates), [c for c in bundle if _issued(top, c) and _issued(c, c)]
    if not candidates:
        _unfit(
            f"holds no self-signed root that leads to {top.subject.rfc4514_string()}",
            "ca.crt",
            "put the root there that issued what is in tls.crt",
        )
    root = max(candidates, key=lambda c: c.not_valid_after_utc)
    _check_ca(root, below=len(chain), now=now, where=_place("ca.crt", root))
    return Issuer(certificate=certificates[0], key=key, chain=chain, root=root)


def _check_ca(certificate: x509.Certificate, *, below: int, now: datetime, where: str) -> None:
    """`below`: how many intermediates stand between this CA and a leaf."""
    if certificate.not_valid_after_utc <= now:
        _unfit(f"has expired at {certificate.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}", where, "renew it")
    if certificate.not_valid_before_utc > now:
        _unfit(
            f"is not valid before {certificate.not_valid_before_utc:%Y-%m-%dT%H:%M:%SZ}",
            where,
            "wait, or correct the clock",
        )
    found = certificate.extensions
    basic = _find(found, x509.BasicConstraints)
    usage = _find(found, x509.KeyUsage)
    if basic is None or not basic.ca or (usage is not None and not usage.key_cert_sign):
        _unfit(
            "is not a CA: it may not sign certificates",
            where,
            "issue it with basicConstraints CA:TRUE and keyUsage keyCertSign (cert-manager: isCA: true)",
        )
    if basic.path_length is not None and basic.path_length < below:
        _unfit(
            f"allows {basic.path_length} CAs below it, and there are {below}",
            where,
            "issue it with a longer path length",
        )
    extended = _find(found, x509.ExtendedKeyUsage)
    needed = {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH}
    if (
        extended is not None
        and not needed <= set(extended)
        and ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE not in extended
    ):
        _unfit(
            "has an extendedKeyUsage without clientAuth and serverAuth, which binds all it signs",
            where,
            "issue it with both, or without extendedKeyUsage",
        )


def _find(extensions: x509.Extensions, kind: type[_Extension]) -> _Extension | None:
    try:
        return extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _place(file: str, certificate: x509.Certificate) -> str:
    return f"{file}, {certificate.subject.rfc4514_string()}"


def _unfit(what: str, where: str, fix: str) -> NoReturn:
    raise AuthorityError(what, where=where, fix=fix)
