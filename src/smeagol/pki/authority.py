"""Who signs: what every authority can do, and the mesh's own one, which renews itself.

An authority elsewhere is anything with the two members of `Authority`.
"""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol

from cryptography import x509

from smeagol.names import parse_trust_domain
from smeagol.pki import roots
from smeagol.pki.certificates import (
    BACKDATE,
    AuthorityError,
    Issued,
    Issuer,
    IssuerKey,
    key_id,
    new_bridge,
    new_intermediate,
    new_leaf,
    new_root,
)
from smeagol.pki.pem import read_certificates, read_private_key, to_pem
from smeagol.pki.roots import Generation, Overlap, RootState, Step
from smeagol.pki.rotation import RENEW_AT
from smeagol.pki.secret import PrivateBytes
from smeagol.pki.store import KeyStore
from smeagol.plan import Purpose

__all__ = ["LEAF_LIFETIME", "Authority", "CALifetimes", "KeptAuthority", "LocalAuthority"]

LEAF_LIFETIME = timedelta(hours=24)

MAX_BRIDGES = 16
"""A peer that knows no later root must read them anew: what is sent at each handshake has to end somewhere."""

_FORMAT = 1
_PUBLIC_TEXT = frozenset({"trustDomain", "signer", "since", "certificate"})

Chance = Callable[[], float]
"""Uniform in [0, 1): the source of jitter. Keys and serials never come from it."""


class Authority(Protocol):
    """Signs certificates for the mesh."""

    @property
    def trust_bundle_pem(self) -> bytes:
        """The roots that all peers must trust now."""
        ...

    def issue(
        self, names: Iterable[str], purpose: Purpose, *, now: datetime, lifetime: timedelta = LEAF_LIFETIME
    ) -> Issued:
        """A new key and certificate. Raises InvalidNameError, AuthorityError."""
        ...


class KeptAuthority(Authority, Protocol):
    """One whose roots are replaced in steps, which the runtime drives (see `roots`)."""

    @property
    def state(self) -> RootState: ...

    @property
    def not_after(self) -> datetime:
        """When it can't sign any more, unless it is renewed before."""
        ...

    @property
    def is_own(self) -> bool:
        """Whether the root is ours to replace."""
        ...

    def maintain(
        self,
        *,
        now: datetime,
        bundle_acknowledged: bool,
        last_old_leaf_expiry: datetime | None,
        rotate_root: bool = False,
    ) -> Step:
        """Do what is due and tell which step was taken. Blocks; arguments as in `roots.next_step`."""
        ...

    def next_maintenance(self, *, bundle_acknowledged: bool, last_old_leaf_expiry: datetime | None) -> datetime | None:
        """When time alone calls for `maintain`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class CALifetimes:
    """A root is long-lived because people copy it to clients outside the mesh; the intermediate changes unseen."""

    root: timedelta = timedelta(days=3650)
    intermediate: timedelta = timedelta(days=90)


DEFAULT_LIFETIMES = CALifetimes()
DEFAULT_OVERLAP = Overlap()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Keys:
    """One generation with its keys."""

    root: Issuer
    intermediate: Issuer

    @property
    def generation(self) -> Generation:
        own = self.root.certificate
        return Generation(key_id(own), own.not_valid_before_utc + BACKDATE, own.not_valid_after_utc)

    @property
    def renew_intermediate_at(self) -> datetime | None:
        """None for one that ends with its root already: a successor would live no longer."""
        own = self.intermediate.certificate
        if own.not_valid_after_utc >= self.root.not_after:
            return None
        created = own.not_valid_before_utc + BACKDATE
        return created + (own.not_valid_after_utc - created) * RENEW_AT


@dataclass(frozen=True, slots=True, kw_only=True)
class _Document:
    """All that is kept: the state of the roots, and the keys of each that is trusted, in the same order."""

    trust_domain: str
    state: RootState
    keys: tuple[_Keys, ...]
    bridges: tuple[x509.Certificate, ...] = ()
    """Each root's successor as that root vouched for it, oldest first; the last one is of the newest root."""

    @property
    def signer(self) -> _Keys:
        return next(k for k in self.keys if k.generation.id == self.state.signer)


class LocalAuthority:
    """The mesh's own authority: a root and an intermediate, replaced in time, in a KeyStore that outlives it.

    `issue` works from memory. `maintain` and `open` read and write the store under its lock, so any number of
    processes may share one; they block on it, so call them off the event loop.
    """

    def __init__(
        self, store: KeyStore, document: _Document, *, lifetimes: CALifetimes, overlap: Overlap, chance: Chance
    ) -> None:
        self._store = store
        self._document = document
        self._lifetimes = lifetimes
        self._overlap = overlap
        self._chance = chance

    @classmethod
    def open(
        cls,
        store: KeyStore,
        *,
        trust_domain: str,
        now: datetime,
        lifetimes: CALifetimes = DEFAULT_LIFETIMES,
        overlap: Overlap = DEFAULT_OVERLAP,
        chance: Chance = random.random,
    ) -> LocalAuthority:
        """The authority in the store; the first to open an empty store makes it. An intermediate that has had its time
        while nobody saw to it is renewed, so that there is one to sign with.

        Raises AuthorityError for a store of another trust domain or one that can't be understood, StoreError.
        """
        trust_domain = parse_trust_domain(trust_domain)
        with store.lock():
            saved = store.load()
            if saved is None:
                keys = _new_keys(trust_domain, lifetimes, now=now)
                state = RootState(trusted=(keys.generation,), signer=keys.generation.id, since=now)
                document = _Document(trust_domain=trust_domain, state=state, keys=(keys,))
                store.save(_dump(document))
            else:
                kept = _load(saved)
                if kept.trust_domain != trust_domain:
                    raise AuthorityError(
                        f"the keys kept are for trust domain '{kept.trust_domain}', not '{trust_domain}'",
                        fix="use another store, or the old trust domain",
                    )
                document = _with_intermediate(kept, lifetimes, now=now)
                if document != kept:
                    store.save(_dump(document))
        return cls(store, document, lifetimes=lifetimes, overlap=overlap, chance=chance)

    @property
    def trust_domain(self) -> str:
        return self._document.trust_domain

    @property
    def state(self) -> RootState:
        """Which roots are trusted, and which one signs."""
        return self._document.state

    @property
    def not_after(self) -> datetime:
        return self._document.signer.intermediate.not_after

    @property
    def trust_bundle_pem(self) -> bytes:
        return to_pem(k.root.certificate for k in self._document.keys)

    @property
    def bridge_pem(self) -> bytes:
        """What to send after a chain, for peers that have read the roots once and never again: it leads from any root
        that they may know to the one that signs. Empty where no earlier root has vouched for it."""
        signer = self._document.signer.root.certificate.subject
        subjects = [bridge.subject for bridge in self._document.bridges]
        to_signer = subjects.index(signer) + 1 if signer in subjects else 0
        return to_pem(reversed(self._document.bridges[:to_signer]))

    @property
    def is_own(self) -> bool:
        return True

    @property
    def signing_pem(self) -> tuple[bytes, PrivateBytes]:
        """The intermediate and its key, for an authority that takes this one's place."""
        intermediate = self._document.signer.intermediate
        return to_pem([intermediate.certificate]), intermediate.key_pem

    def issue(
        self, names: Iterable[str], purpose: Purpose, *, now: datetime, lifetime: timedelta = LEAF_LIFETIME
    ) -> Issued:
        signer = self._document.signer.intermediate
        return new_leaf(signer, names, purpose, now=now, lifetime=lifetime, chance=self._chance())

    def maintain(
        self,
        *,
        now: datetime,
        bundle_acknowledged: bool,
        last_old_leaf_expiry: datetime | None,
        rotate_root: bool = False,
    ) -> Step:
        """Do what is due and tell which step of a root rotation was taken; at most one, since the next one needs
        acknowledgements of what this one changes. Arguments as in `roots.next_step`; `rotate_root` begins a rotation
        before its time. Intermediates are renewed unseen.

        If another process has taken a step since, its state is adopted and nothing else is done.
        """
        with self._store.lock():
            saved = self._store.load()
            current = _load(saved) if saved is not None else self._document
            if current.state != self._document.state:
                self._document = current
                return Step.WAIT
            step, _ = roots.next_step(
                current.state,
                now=now,
                bundle_acknowledged=bundle_acknowledged,
                last_old_leaf_expiry=last_old_leaf_expiry,
                overlap=self._overlap,
            )
            if rotate_root and current.state.phase is roots.Phase.STEADY:
                step = Step.BEGIN
            following = _with_intermediate(self._take(step, current, now), self._lifetimes, now=now)
            if saved is None or following != current:
                self._store.save(_dump(following))
            self._document = following
        return step

    def begin_rotation(self, *, now: datetime, hurried: bool = False) -> bool:
        """Have the root replaced by whoever maintains the store: trust a new one beside it. One that is being replaced
        may be hurried. False if there is nothing to do any more. Raises as `maintain`.
        """
        with self._store.lock():
            saved = self._store.load()
            document = _load(saved) if saved is not None else self._document
            if document.state.phase is roots.Phase.STEADY:
                document = self._begin(document, now, hurried=hurried)
            elif hurried and not document.state.hurried:
                document = replace(document, state=replace(document.state, hurried=True))
            else:
                return False
            self._store.save(_dump(document))
            self._document = document
        return True

    def next_maintenance(self, *, bundle_acknowledged: bool, last_old_leaf_expiry: datetime | None) -> datetime | None:
        """When time alone calls for `maintain`; None if nothing but an acknowledgement or a renewed leaf does."""
        state = self._document.state
        step, when = roots.next_step(
            state,
            now=state.since,
            bundle_acknowledged=bundle_acknowledged,
            last_old_leaf_expiry=last_old_leaf_expiry,
            overlap=self._overlap,
        )
        if step is not Step.WAIT:
            when = state.since
        return min(filter(None, (when, self._document.signer.renew_intermediate_at)), default=None)

    def _take(self, step: Step, document: _Document, now: datetime) -> _Document:
        match step:
            case Step.WAIT:
                return document
            case Step.BEGIN:
                return self._begin(document, now)
            case Step.SWITCH:
                return replace(document, state=roots.switch(document.state, now=now))
            case Step.DROP:
                return replace(document, state=roots.drop(document.state, now=now), keys=document.keys[1:])

    def _begin(self, document: _Document, now: datetime, *, hurried: bool = False) -> _Document:
        new = _new_keys(document.trust_domain, self._lifetimes, now=now)
        state = roots.begin(document.state, new.generation, now=now, hurried=hurried)
        bridges = self._bridges(document, new.root.certificate, now)
        return replace(document, state=state, keys=(*document.keys, new), bridges=bridges)

    def _bridges(self, document: _Document, new: x509.Certificate, now: datetime) -> tuple[x509.Certificate, ...]:
        """With one to a new root. Nothing leads on from a root that has expired, so what led to it goes as well."""
        old = document.keys[-1].root
        if old.not_after <= now:
            return ()
        made = new_bridge(old, new, document.trust_domain, now=now)
        lasting = itertools.dropwhile(lambda bridge: bridge.not_valid_after_utc <= now, document.bridges)
        return (*lasting, made)[-MAX_BRIDGES:]


def _with_intermediate(document: _Document, lifetimes: CALifetimes, *, now: datetime) -> _Document:
    """Renewed, if it is time. Leaves bring their intermediate along, so a new one needs no overlap: it just signs."""
    signer = document.signer
    if signer.renew_intermediate_at is None or now < signer.renew_intermediate_at or now >= signer.root.not_after:
        return document
    intermediate = new_intermediate(signer.root, document.trust_domain, now=now, lifetime=lifetimes.intermediate)
    renewed = replace(signer, intermediate=intermediate)
    return replace(document, keys=tuple(renewed if k is signer else k for k in document.keys))


def _new_keys(trust_domain: str, lifetimes: CALifetimes, *, now: datetime) -> _Keys:
    root = new_root(trust_domain, now=now, lifetime=lifetimes.root)
    return _Keys(root=root, intermediate=new_intermediate(root, trust_domain, now=now, lifetime=lifetimes.intermediate))


def _dump(document: _Document) -> PrivateBytes:
    return PrivateBytes(
        json.dumps(
            {
                "format": _FORMAT,
                "trustDomain": document.trust_domain,
                "signer": document.state.signer,
                "since": document.state.since.isoformat(),
                "hurried": document.state.hurried,
                "generations": [
                    {
                        role: {"certificate": to_pem([i.certificate]).decode(), "key": i.key_pem.reveal().decode()}
                        for role, i in (("root", k.root), ("intermediate", k.intermediate))
                    }
                    for k in document.keys
                ],
                "bridges": [{"certificate": to_pem([bridge]).decode()} for bridge in document.bridges],
            },
            indent=1,
        ).encode()
    )


def _load(saved: PrivateBytes) -> _Document:
    """Raises AuthorityError, which holds nothing of the document."""
    try:
        # Wrapped while parsing: a traceback that prints local variables must find no key, in a damaged document either.
        data = json.loads(
            saved.reveal(),
            object_hook=lambda found: {
                k: PrivateBytes(v.encode()) if isinstance(v, str) and k not in _PUBLIC_TEXT else v
                for k, v in found.items()
            },
        )
        if data["format"] == _FORMAT:
            keys = tuple(_load_keys(**generation) for generation in data["generations"])
            state = RootState(
                trusted=tuple(k.generation for k in keys),
                signer=data["signer"],
                since=datetime.fromisoformat(data["since"]),
                hurried=data.get("hurried", False),
            )
            bridges = tuple(
                found
                for b in data.get("bridges", ())
                for found in read_certificates(b["certificate"].encode(), "bridge")
            )
            return _Document(trust_domain=data["trustDomain"], state=state, keys=keys, bridges=bridges)
        problem = f"its format is {data['format']!r}, and this version knows {_FORMAT}"
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        problem = f"it is damaged ({type(e).__name__})"
    # Outside of the handler: JSONDecodeError carries the whole document, and would come along as the context.
    raise AuthorityError(
        f"the authority's document can't be used: {problem}", fix="restore it from a copy, or remove it to start anew"
    )


def _load_keys(*, root: dict[str, str | PrivateBytes], intermediate: dict[str, str | PrivateBytes]) -> _Keys:
    def read(role: dict[str, str | PrivateBytes], name: str) -> tuple[x509.Certificate, IssuerKey]:
        pem, secret = role["certificate"], role["key"]
        if not isinstance(pem, str) or not isinstance(secret, PrivateBytes):
            raise TypeError
        (certificate,) = read_certificates(pem.encode(), name)
        key = read_private_key(secret, name)
        if certificate.public_key() != key.public_key():
            raise ValueError
        return certificate, key

    top, top_key = read(root, "root")
    middle, middle_key = read(intermediate, "intermediate")
    middle.verify_directly_issued_by(top)
    return _Keys(
        root=Issuer(certificate=top, key=top_key, chain=(), root=top),
        intermediate=Issuer(certificate=middle, key=middle_key, chain=(middle,), root=top),
    )
