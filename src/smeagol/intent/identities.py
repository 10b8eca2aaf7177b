"""Which names the Pods of a MutualTLS carry: what it claims, less what it may not have."""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable
from dataclasses import dataclass

from smeagol.names import (
    Allowed,
    Claim,
    Conflicted,
    InvalidNameError,
    NameKind,
    NamePolicy,
    Refused,
    kind_of,
    parse_name,
    settle,
    verdict,
)
from smeagol.refs import ObjectRef, SubjectName

__all__ = ["Claims", "Grant", "claims_of", "granted", "lost_claims", "zone"]


@dataclass(frozen=True, slots=True)
class Claims:
    """What one MutualTLS may claim at all, and why it may not claim the rest: (name as written, reason)."""

    claims: tuple[Claim, ...]
    refused: tuple[tuple[str, str], ...]


def claims_of(
    ref: ObjectRef,
    created: str,
    names: Iterable[str],
    policy: NamePolicy,
    *,
    namespaces: Container[str],
    service_accounts: Collection[str],
) -> Claims:
    """Judge each name by itself, without regard to the claims of others."""
    claims: set[Claim] = set()
    refused: set[tuple[str, str]] = set()
    for text in names:
        try:
            name = parse_name(text)
        except InvalidNameError as error:
            refused.add((text, str(error)))
            continue
        match verdict(name, ref.namespace, policy, namespaces=namespaces, service_accounts=service_accounts):
            case Allowed(by_rule):
                claims.add(Claim(name, ref, created, granted=by_rule))
            case Refused(reason):
                refused.add((text, reason))
    return Claims(tuple(sorted(claims, key=lambda c: c.name)), tuple(sorted(refused)))


def zone(name: SubjectName) -> str:
    """What a name shares with every other that overlaps it, so that claims of different zones never meet.

    A wildcard covers one label, so names overlap only below one parent domain.
    """
    parent = name.partition(".")[2]
    return parent if parent and kind_of(name) is NameKind.DNS else name


def lost_claims(claims: Iterable[Claim]) -> tuple[tuple[Claim, Conflicted], ...]:
    """The claims of one zone that came too late, in order of rank, each with the claim it lost to."""
    fates = settle(claims)
    lost = ((claim, fate) for claim, fate in fates.items() if isinstance(fate, Conflicted))
    return tuple(sorted(lost, key=lambda pair: pair[0].rank))


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """The names that a MutualTLS gets, sorted, and why it does not get others: (name, reason), sorted by name."""

    names: tuple[SubjectName, ...]
    invalid: tuple[tuple[str, str], ...]
    conflicted: tuple[tuple[str, str], ...]


def granted(claims: Claims, lost: Iterable[tuple[Claim, Conflicted]]) -> Grant:
    """What is left of `claims`. `lost` may hold claims of other objects too."""
    own = {claim: fate for claim, fate in lost if claim in claims.claims}
    return Grant(
        names=tuple(c.name for c in claims.claims if c not in own),
        invalid=claims.refused,
        conflicted=tuple(sorted((claim.name, fate.reason) for claim, fate in own.items())),
    )
