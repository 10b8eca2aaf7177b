"""An intermediate that is signed on request: what is asked for, how it is kept, when the next one is due."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from smeagol.pki import AuthorityError, IntermediateRequest, PrivateBytes, Supplied, needs_another
from smeagol.pki.certificates import new_intermediate, new_root
from smeagol.pki.pem import read_private_key, to_pem
from smeagol.pki.requested import SHORTEST

NOON = datetime(2030, 6, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = 24 * HOUR
SIGNER = "example.com/mesh"


def answered(request: IntermediateRequest, *, at: datetime, lifetime: timedelta) -> Supplied:
    """What it has led to. Only the certificate's dates and the key are looked at here."""
    made = new_intermediate(new_root("mesh", now=at, lifetime=3650 * DAY), "mesh", now=at, lifetime=lifetime)
    return Supplied(certificate_pem=to_pem([made.certificate]), key_pem=request.key_pem, bundle_pem=b"")


class TestTheRequest:
    def test_it_asks_for_a_ca_that_signs_leaves_only(self) -> None:
        """With proof that whoever asks has the key, and without the key."""
        request = IntermediateRequest.new(SIGNER)
        found = x509.load_pem_x509_csr(request.pem)
        assert found.is_signature_valid
        assert found.public_key() == read_private_key(request.key_pem, "key").public_key()
        (extension,) = found.extensions
        assert extension.value == x509.BasicConstraints(ca=True, path_length=0)
        assert b"PRIVATE" not in request.pem

    def test_each_has_a_key_a_subject_and_a_name_of_its_own(self) -> None:
        """Verifiers that meet two CAs of one subject may try only the first; and a name that can be guessed could be
        taken before."""
        one, two = IntermediateRequest.new(SIGNER), IntermediateRequest.new(SIGNER)
        assert one.key_pem != two.key_pem
        assert one.name != two.name
        assert x509.load_pem_x509_csr(one.pem).subject != x509.load_pem_x509_csr(two.pem).subject

    def test_it_is_kept_whole(self) -> None:
        """Over a restart, or for another replica."""
        request = IntermediateRequest.new(SIGNER)
        assert IntermediateRequest.load(request.dump()) == request

    @pytest.mark.parametrize(
        "saved", [b"", b"{}", b'{"format": 2}', b'{"format": 1, "key": "SECRET"}', b"[1]", b"\xff"]
    )
    def test_what_is_damaged_is_told_without_a_key(self, saved: bytes) -> None:
        """Not even in the traceback's context."""
        with pytest.raises(AuthorityError) as caught:
            IntermediateRequest.load(PrivateBytes(saved))
        assert caught.value.__context__ is None
        assert "SECRET" not in str(caught.value)


class TestTheNext:
    """A third of a life is left in which others can approve and sign."""

    def test_the_first_one_is_due_at_once(self) -> None:
        assert needs_another(None, (), signer=SIGNER, now=NOON)

    def test_one_that_waits_is_waited_for_however_long(self) -> None:
        """Or nobody could approve it: what they see would be replaced under their hands."""
        request = IntermediateRequest.new(SIGNER)
        older = answered(IntermediateRequest.new(SIGNER), at=NOON - 300 * DAY, lifetime=90 * DAY)
        for pairs in ((), (older,)):
            assert not needs_another(request, pairs, signer=SIGNER, now=NOON + 300 * DAY)

    def test_another_signer_is_asked_at_once(self) -> None:
        request = IntermediateRequest.new(SIGNER)
        held = answered(request, at=NOON, lifetime=90 * DAY)
        for pairs in ((), (held,)):
            assert needs_another(request, pairs, signer="example.com/other", now=NOON)

    @given(st.integers(1, 24 * 400), st.integers(0, 24 * 500))
    def test_two_thirds_of_life(self, life_hours: int, age_hours: int) -> None:
        """Never later, and sooner only within the minutes by which certificates are backdated; but no sooner than an
        hour."""
        request = IntermediateRequest.new(SIGNER)
        held = answered(request, at=NOON, lifetime=life_hours * HOUR)
        due = needs_another(request, (held,), signer=SIGNER, now=NOON + age_hours * HOUR)
        if age_hours * HOUR >= max(life_hours * HOUR * 2 / 3, SHORTEST):
            assert due
        if age_hours * HOUR < max(life_hours * HOUR * 2 / 3, SHORTEST) - timedelta(minutes=5):
            assert not due
