"""The mesh's authority where its intermediate comes from elsewhere (cert-manager, Vault, by hand), and who renews it is
a matter of how it is handed over.

What is handed over is looked at again at each tending. An intermediate of a root that is trusted already signs from
then on: leaves bring their intermediate along, so nobody has to learn of it. One of another root goes through the steps
of `roots`: first everybody trusts both, then the new one signs, then the old one is forgotten. For that the last pair
of the old root is kept in the KeyStore, so that a restart in the middle of it loses nothing.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

from cryptography import x509

from smeagol.errors import SmeagolError
from smeagol.pki import roots
from smeagol.pki.authority import DEFAULT_OVERLAP, LEAF_LIFETIME, Chance, LocalAuthority
from smeagol.pki.certificates import AuthorityError, Issued, key_id
from smeagol.pki.intermediate import IntermediateAuthority
from smeagol.pki.pem import read_certificates, to_pem
from smeagol.pki.roots import Generation, Overlap, Phase, RootState, Step
from smeagol.pki.secret import PrivateBytes
from smeagol.pki.store import KeyStore, StoreError
from smeagol.plan import Purpose

__all__ = ["FileSupply", "Supplied", "SuppliedAuthority", "Supply", "forget", "judge", "kept_state", "own_pair"]

_FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Supplied:
    """`tls.crt` (the intermediate, then any above it), `tls.key`, `ca.crt` (the roots), each as PEM.

    `place`: where it was handed over, for errors; it is not kept.
    """

    certificate_pem: bytes
    key_pem: PrivateBytes
    bundle_pem: bytes
    place: str = field(default="", compare=False)


class Supply(Protocol):
    """Where an intermediate is handed over."""

    def load(self, held: tuple[Supplied, ...]) -> Supplied:
        """What is there now. Blocks. `held`: what was handed over before and is kept, the one of the newest root last.

        Raises StoreError if it can't be read or isn't there yet, AuthorityError if it can't be used.
        """
        ...


class FileSupply:
    """The three as files of a directory, named as in a Secret; a mounted one is such a directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def load(self, held: tuple[Supplied, ...]) -> Supplied:
        try:
            certificate, key, bundle = (
                (self._directory / name).read_bytes() for name in ("tls.crt", "tls.key", "ca.crt")
            )
        except OSError as error:
            raise StoreError(
                f"the intermediate can't be read: {error.strerror}",
                where=str(error.filename or self._directory),
                fix="put the intermediate into tls.crt, its key into tls.key, the roots into ca.crt",
            ) from None
        place = str(self._directory)
        return Supplied(certificate_pem=certificate, key_pem=PrivateBytes(key), bundle_pem=bundle, place=place)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Document:
    """All that is kept: the state of the roots, and for each that is trusted the pair last handed over, in order."""

    state: RootState
    pairs: tuple[Supplied, ...]


class SuppliedAuthority:
    """Issues from memory; `open` and `maintain` read the supply and the store and block, as those of LocalAuthority."""

    def __init__(
        self, store: KeyStore, supply: Supply, document: _Document, *, now: datetime, overlap: Overlap, chance: Chance
    ) -> None:
        self._store = store
        self._supply = supply
        self._overlap = overlap
        self._chance = chance
        self._adopt(document, now)

    @classmethod
    def open(
        cls,
        store: KeyStore,
        supply: Supply,
        *,
        now: datetime,
        overlap: Overlap = DEFAULT_OVERLAP,
        chance: Chance = random.random,
        before: LocalAuthority | None = None,
    ) -> SuppliedAuthority:
        """Goes on where the store says, or begins with what is handed over. `before`: the mesh's own authority, where
        it has signed so far; it goes on to until all trust the root that is handed over.

        Raises AuthorityError if there is neither an intermediate that can be used nor one that is kept, StoreError.
        """
        with store.lock():
            document = _load(store.load(), now)
            if document is None:
                document = _first(supply.load(()), before, now)
                store.save(_dump(document))
        return cls(store, supply, document, now=now, overlap=overlap, chance=chance)

    @property
    def state(self) -> RootState:
        """Which roots are trusted, and which one signs."""
        return self._document.state

    @property
    def trust_bundle_pem(self) -> bytes:
        """All roots that were handed over with those that are trusted now: there may be more than sign."""
        certificates = (c for pair in self._document.pairs for c in read_certificates(pair.bundle_pem, "ca.crt"))
        return to_pem(dict.fromkeys(certificates))

    @property
    def is_own(self) -> bool:
        return False

    @property
    def not_after(self) -> datetime:
        """When it can't sign any more, unless another intermediate is handed over."""
        return self._signer.not_after

    def issue(
        self, names: Iterable[str], purpose: Purpose, *, now: datetime, lifetime: timedelta = LEAF_LIFETIME
    ) -> Issued:
        return self._signer.issue(names, purpose, now=now, lifetime=lifetime)

    def maintain(
        self,
        *,
        now: datetime,
        bundle_acknowledged: bool,
        last_old_leaf_expiry: datetime | None,
        rotate_root: bool = False,
    ) -> Step:
        """Look at what is handed over, and take the step that is due. Arguments as in `roots.next_step`.

        Raises AuthorityError for an intermediate that can't be used, after all else is done: the last good one signs.
        `rotate_root` does nothing: the next root is for others to hand over.
        """
        with self._store.lock():
            saved = self._store.load()
            current = _load(saved, now) or self._document
            if current.state != self._document.state:
                self._adopt(current, now)
                return Step.WAIT
            step, _ = self._due(now, bundle_acknowledged, last_old_leaf_expiry)
            following, refused = _following(current, step, now), None
            if step is Step.WAIT:
                try:
                    following, step = _with(current, self._supply.load(current.pairs), now)
                except SmeagolError as error:
                    refused = error
            if saved is None or following != current:
                self._store.save(_dump(following))
            self._adopt(following, now)
        if refused is not None:
            raise refused
        return step

    def next_maintenance(self, *, bundle_acknowledged: bool, last_old_leaf_expiry: datetime | None) -> datetime | None:
        """When time alone calls for `maintain`; what is handed over comes at any time."""
        step, when = self._due(self.state.since, bundle_acknowledged, last_old_leaf_expiry)
        return when if step is Step.WAIT else self.state.since

    def _due(
        self, now: datetime, bundle_acknowledged: bool, last_old_leaf_expiry: datetime | None
    ) -> tuple[Step, datetime | None]:
        """As `roots.next_step`, but that a root begins when it is handed over and not by its age, and does not come to
        sign if its intermediate has ended meanwhile.
        """
        if self.state.phase is Phase.STEADY or _ended_too_soon(self.state, now):
            return Step.WAIT, None
        return roots.next_step(
            self.state,
            now=now,
            bundle_acknowledged=bundle_acknowledged,
            last_old_leaf_expiry=last_old_leaf_expiry,
            overlap=self._overlap,
        )

    def _adopt(self, document: _Document, now: datetime) -> None:
        index = [generation.id for generation in document.state.trusted].index(document.state.signer)
        pair = document.pairs[index]
        # Without its bundle's and its own end being looked at: what has expired can't sign, which `issue` says.
        self._signer = IntermediateAuthority.from_pem(
            certificate_pem=pair.certificate_pem,
            key_pem=pair.key_pem,
            bundle_pem=pair.bundle_pem,
            now=min(now, document.state.trusted[index].expires - timedelta(seconds=1)),
            chance=self._chance,
        )
        self._document = document  # last: who reads the state is signed for by no earlier one


def own_pair(own: LocalAuthority) -> Supplied:
    """What the mesh's own authority signs with, as if it were handed over."""
    certificate, key = own.signing_pem
    return Supplied(certificate_pem=certificate, key_pem=key, bundle_pem=own.trust_bundle_pem)


def _first(pair: Supplied, before: LocalAuthority | None, now: datetime) -> _Document:
    """Raises AuthorityError if the pair can't be used."""
    found = _generation(_read(pair, now))
    if before is None or found.id in (known.id for known in before.state.trusted):
        return _Document(state=RootState(trusted=(found,), signer=found.id, since=now), pairs=(pair,))
    held = own_pair(before)
    old = _generation(_read(held, now))
    return _Document(state=RootState(trusted=(old, found), signer=old.id, since=now), pairs=(held, pair))


def _following(document: _Document, step: Step, now: datetime) -> _Document:
    match step:
        case Step.SWITCH:
            return replace(document, state=roots.switch(document.state, now=now))
        case Step.DROP:
            return _Document(state=roots.drop(document.state, now=now), pairs=document.pairs[1:])
        case _:
            return document


def _with(document: _Document, pair: Supplied, now: datetime) -> tuple[_Document, Step]:
    """What comes of a pair that is handed over. Raises AuthorityError if it can't be used."""
    state, pairs = document.state, document.pairs
    if pair in pairs:
        if state.trusted[pairs.index(pair)].expires <= now:
            _read(pair, now)  # which says what has ended
        return document, Step.WAIT
    found = _generation(_read(pair, now))
    for i, known in enumerate(state.trusted):
        if known.id == found.id:
            trusted = (*state.trusted[:i], found, *state.trusted[i + 1 :])
            pairs = (*pairs[:i], pair, *pairs[i + 1 :])
            return _Document(state=replace(state, trusted=trusted), pairs=pairs), Step.WAIT
    if _ended_too_soon(state, now):
        state, pairs = replace(state, trusted=state.trusted[:1]), pairs[:1]
    elif state.phase is not Phase.STEADY:
        return document, Step.WAIT  # one root after the other
    return _Document(state=roots.begin(state, found, now=now), pairs=(*pairs, pair)), Step.BEGIN


def _ended_too_soon(state: RootState, now: datetime) -> bool:
    """What is introduced could not sign any more."""
    return state.phase is Phase.INTRODUCING and state.trusted[-1].expires <= now


def judge(store: KeyStore, supply: Supply, *, now: datetime) -> tuple[SmeagolError | None, datetime | None]:
    """Why what is handed over can't be used, None if it can; and until when what is kept signs, None if it can't.

    Looks, and changes nothing.
    """
    fault, until = None, None
    try:
        document = _load(store.load(), now)
        if document is not None:
            signer = next(each for each in document.state.trusted if each.id == document.state.signer)
            until = signer.expires if signer.expires > now else None
        _read(supply.load(document.pairs if document is not None else ()), now)
    except SmeagolError as error:
        fault = error
    return fault, until


def _read(pair: Supplied, now: datetime) -> IntermediateAuthority:
    try:
        return IntermediateAuthority.from_pem(
            certificate_pem=pair.certificate_pem, key_pem=pair.key_pem, bundle_pem=pair.bundle_pem, now=now
        )
    except AuthorityError as error:
        where = ", ".join(filter(None, (pair.place, error.where)))
        raise AuthorityError(error.what, where=where, fix=error.fix) from None


def _generation(authority: IntermediateAuthority) -> Generation:
    """It ends with whatever ends first on the way up: from then on it can't sign."""
    root: x509.Certificate = authority.root
    return Generation(key_id(root), root.not_valid_before_utc, authority.not_after)


def _dump(document: _Document) -> PrivateBytes:
    return PrivateBytes(
        json.dumps(
            {
                "format": _FORMAT,
                "signer": document.state.signer,
                "since": document.state.since.isoformat(),
                "generations": [
                    {
                        "id": generation.id,
                        "created": generation.created.isoformat(),
                        "expires": generation.expires.isoformat(),
                        "certificate": pair.certificate_pem.decode(),
                        "bundle": pair.bundle_pem.decode(),
                        "key": pair.key_pem.reveal().decode(),
                    }
                    for generation, pair in zip(document.state.trusted, document.pairs, strict=True)
                ],
            },
            indent=1,
        ).encode()
    )


def forget(store: KeyStore) -> None:
    """Keep that nothing is kept. Who finds nothing at all, since somebody has deleted it, keeps again what it knows."""
    store.save(PrivateBytes(b""))


def kept_state(store: KeyStore) -> RootState | None:
    """What is kept says of the roots, whether it is of use or not. Raises AuthorityError and StoreError."""
    document = _parsed(store.load())
    return document.state if document is not None else None


def _load(saved: PrivateBytes | None, now: datetime) -> _Document | None:
    """What was kept; None if that is nothing of use any more. Raises AuthorityError, which holds nothing of it."""
    document = _parsed(saved)
    # An authority that was away until all had expired begins anew: nobody holds a leaf of it any more.
    if document is None or all(root.expires <= now for root in document.state.trusted):
        return None
    return document


def _parsed(saved: PrivateBytes | None) -> _Document | None:
    if saved is None or not saved.reveal():
        return None
    try:
        # Wrapped while parsing: a traceback that prints local variables must find no key.
        data = json.loads(
            saved.reveal(),
            object_hook=lambda found: {k: PrivateBytes(v.encode()) if k == "key" else v for k, v in found.items()},
        )
        if data["format"] == _FORMAT:
            trusted, pairs = [], []
            for found in data["generations"]:
                created, expires = (datetime.fromisoformat(found[key]) for key in ("created", "expires"))
                trusted.append(Generation(found["id"], created, expires))
                pem, bundle = found["certificate"].encode(), found["bundle"].encode()
                pairs.append(Supplied(certificate_pem=pem, key_pem=found["key"], bundle_pem=bundle))
            since = datetime.fromisoformat(data["since"])
            state = RootState(trusted=tuple(trusted), signer=data["signer"], since=since)
            return _Document(state=state, pairs=tuple(pairs))
        problem = f"its format is {data['format']!r}, and this version knows {_FORMAT}"
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        problem = f"it is damaged ({type(error).__name__})"
    # Outside of the handler: JSONDecodeError carries the whole document, and would come along as the context.
    raise AuthorityError(
        f"what is kept of the intermediates can't be used: {problem}",
        fix="restore it from a copy; where it is removed, the mesh's own authority signs first",
    )
