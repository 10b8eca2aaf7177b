"""Intermediates that are handed over, and what is signed with them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from smeagol.pki import Issued, KeptAuthority, Purpose, StoreError, Supplied
from smeagol.pki.certificates import Issuer, new_intermediate
from smeagol.pki.pem import to_pem

__all__ = ["DAY", "HOUR", "NOON", "Hand", "leaf", "pair"]

NOON = datetime(2030, 6, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = 24 * HOUR


def pair(of: Issuer, *, now: datetime = NOON, lifetime: timedelta = 90 * DAY, also: Iterable[Issuer] = ()) -> Supplied:
    """A new intermediate of that root, handed over with it, and perhaps with further roots."""
    made = new_intermediate(of, "cluster.local", now=now, lifetime=lifetime)
    bundle = to_pem([of.certificate, *(issuer.certificate for issuer in also)])
    return Supplied(certificate_pem=to_pem([made.certificate]), key_pem=made.key_pem, bundle_pem=bundle)


@dataclass
class Hand:
    """Where it is handed over; None: not yet."""

    pair: Supplied | None = None

    def load(self, held: tuple[Supplied, ...]) -> Supplied:
        if self.pair is None:
            raise StoreError("nothing there")
        return self.pair


def leaf(authority: KeptAuthority, now: datetime = NOON) -> Issued:
    return authority.issue(["web.shop.svc.cluster.local"], Purpose.SERVER, now=now)
