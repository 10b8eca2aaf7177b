"""What the status of an object would say, before the object is there: the resolution itself, tried on a copy.

So a warning at `kubectl apply` and the condition that follows it are the same sentence, whatever it takes to find out:
other claims to a name, another Canary of the root, a Service that is not there yet.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeVar

import msgspec

from smeagol import api
from smeagol.derive import Source
from smeagol.errors import sentence
from smeagol.intent import (
    CanaryIntent,
    Condition,
    ConditionType,
    Key,
    MutualTLSIntent,
    Resolver,
    SidecarIntent,
    UnitKey,
    UnitKind,
)
from smeagol.webhook.root_proxy import unfit

__all__ = ["foresee"]

V = TypeVar("V")

PAIRS_AT_MOST = 10_000
"""Pods and selectors that are held together, some tenths of a second: no review may hold up the whole control plane,
and the API server would not wait for it (`configurations`)."""

_YOUNGEST = datetime(9999, 12, 31, tzinfo=UTC)
"""An object that is not stored yet has no age; all others are older."""


def foresee(resolver: Resolver, given: api.SmiObject) -> tuple[Condition, ...]:
    """The conditions that follow from `given` and the objects in `resolver`, which is only read.

    None for an object that another provider serves, and none where it would take long to know: the status tells them
    later. Costs as much as the objects of its namespace, of Pods those that it selects; a MutualTLS looks at those of
    all namespaces too, since names are claimed across them.
    """
    key = (given.metadata.namespace, given.metadata.name)
    trial = Resolver(resolver.settings)

    def in_namespace(key: Key) -> bool:
        return key[0] == given.metadata.namespace

    _copy(resolver.namespaces, trial.namespaces)
    _copy(resolver.provider_classes, trial.provider_classes)
    if isinstance(given, api.MutualTLS | api.Sidecar):
        pods = {
            name: pod
            for name, pod in resolver.pods.items()
            if in_namespace(name) and given.spec.selector.matches(pod.metadata.labels)
        }
        beside = resolver.mutual_tls.items() if isinstance(given, api.MutualTLS) else ()
        if len(pods) * (1 + sum(in_namespace(name) for name, _ in beside)) > PAIRS_AT_MOST:
            return ()
        trial.pods.update(pods)
    match given:
        case api.MutualTLS():
            _copy(resolver.mutual_tls, trial.mutual_tls)
            trial.mutual_tls.set(key, _aged(given, resolver.mutual_tls.get(key)))
        case api.Canary():
            _copy(resolver.services, trial.services, in_namespace)
            _copy(resolver.endpoint_slices, trial.endpoint_slices, in_namespace)
            _copy(resolver.canaries, trial.canaries, in_namespace)
            trial.canaries.set(key, _aged(given, resolver.canaries.get(key)))
        case api.Sidecar():
            trial.sidecars.set(key, given)
        case api.ProviderClass():
            return ()
    trial.settle()
    unit = trial.units.get(UnitKey(UnitKind(type(given).__name__), *key))
    match unit:
        case CanaryIntent():
            return (*unit.conditions, *_of_root_proxies(unit))
        case MutualTLSIntent() | SidecarIntent():
            return unit.conditions
        case _:
            return ()


def _of_root_proxies(canary: CanaryIntent) -> tuple[Condition, ...]:
    """Why those that a Canary asks for will not be made, where its root alone keeps them from it (spec: SMI-CAN-22)."""
    why = unfit(canary) if canary.accepted and canary.root_proxies and canary.ports else ""
    if not why:
        return ()
    return (Condition(type=ConditionType.PROGRAMMED, status=False, reason="Pending", message=sentence(why)),)


def _copy(whole: Source[Key, V], part: Source[Key, V], wanted: Callable[[Key], bool] = lambda _: True) -> None:
    for key, value in whole.items():
        if wanted(key):
            part.set(key, value)


Aged = TypeVar("Aged", api.MutualTLS, api.Canary)


def _aged(given: Aged, stored: Aged | None) -> Aged:
    """`given` with the age it has or will have: precedence goes by it."""
    created = given.metadata.creation_timestamp or (stored.metadata.creation_timestamp if stored else None)
    metadata = msgspec.structs.replace(given.metadata, creation_timestamp=created or _YOUNGEST)
    return msgspec.structs.replace(given, metadata=metadata)
