"""An intermediate that an authority elsewhere signs on request: what is asked for, and when the next one is.

The key is made here and never leaves; what goes out is a certification request (PKCS#10, RFC 2986). Whoever asks keeps
it until it is answered, so that a restart, or another replica, goes on with the same one.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256

from smeagol.pki.certificates import AuthorityError, new_intermediate_request
from smeagol.pki.pem import read_certificates
from smeagol.pki.rotation import RENEW_AT
from smeagol.pki.secret import PrivateBytes
from smeagol.pki.supplied import Supplied

__all__ = ["IntermediateRequest", "needs_another"]

SHORTEST = timedelta(hours=1)
"""No successor is asked for sooner: near the end of a root, each one lives for a part of what is left."""

_FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class IntermediateRequest:
    """`signer`: who is asked. `pem`: the request itself."""

    signer: str
    key_pem: PrivateBytes
    pem: bytes

    @classmethod
    def new(cls, signer: str) -> IntermediateRequest:
        """With a key of its own."""
        key_pem, pem = new_intermediate_request()
        return cls(signer=signer, key_pem=key_pem, pem=pem)

    @property
    def name(self) -> str:
        """Of the object by which it is asked; nobody can know it before."""
        return f"smeagol-intermediate-{sha256(self.pem).hexdigest()[:16]}"

    def answered(self, pairs: Collection[Supplied]) -> Supplied | None:
        """The one of these that it has led to."""
        return next((pair for pair in pairs if pair.key_pem == self.key_pem), None)

    def dump(self) -> PrivateBytes:
        found = {"format": _FORMAT, "signer": self.signer, "request": self.pem.decode()}
        return PrivateBytes(json.dumps(found | {"key": self.key_pem.reveal().decode()}, indent=1).encode())

    @classmethod
    def load(cls, saved: PrivateBytes) -> IntermediateRequest:
        """Raises AuthorityError, which holds nothing of what was saved."""
        try:
            # Wrapped while parsing: a traceback that prints local variables must find no key.
            data = json.loads(
                saved.reveal(),
                object_hook=lambda found: {k: PrivateBytes(v.encode()) if k == "key" else v for k, v in found.items()},
            )
            if data["format"] == _FORMAT:
                return cls(signer=data["signer"], key_pem=data["key"], pem=data["request"].encode())
            problem = f"its format is {data['format']!r}, and this version knows {_FORMAT}"
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            problem = f"it is damaged ({type(error).__name__})"
        # Outside of the handler: JSONDecodeError carries the whole document, and would come along as the context.
        raise AuthorityError(
            f"what is kept of the request for an intermediate can't be used: {problem}",
            fix="remove it to have another one made",
        )


def needs_another(
    request: IntermediateRequest | None, pairs: Collection[Supplied], *, signer: str, now: datetime
) -> bool:
    """Whether a new request is due: there is none, it was meant for somebody else, or what it led to is two thirds
    through its life. `pairs`: what signs, or will, or did."""
    if request is None or request.signer != signer:
        return True
    held = request.answered(pairs)
    if held is None:
        return False
    own = read_certificates(held.certificate_pem, "tls.crt")[0]
    begun, end = own.not_valid_before_utc, own.not_valid_after_utc
    return now >= begun + max((end - begun) * RENEW_AT, SHORTEST)
