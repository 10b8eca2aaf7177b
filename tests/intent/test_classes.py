"""Whose an object is (SMI-CLASS)."""

from __future__ import annotations

import pytest

from intent.builders import (
    CONTROLLER,
    World,
    canary,
    condition,
    mutual_tls,
    namespace,
    pod,
    provider_class,
    service,
    sidecar,
    slice_of,
)
from smeagol.intent import ConditionType, Settings, UnitKind

IN_CLUSTER = Settings(controllers=frozenset({CONTROLLER}))


def shop() -> World:
    return World(pod("a", "10.0.0.1"), settings=IN_CLUSTER)


def test_own_choice_first() -> None:
    """SMI-CLASS-01: `spec.providerClassName` counts before the namespace's label and the default class."""
    world = shop()
    world.add(
        provider_class("other", "example.com/other", default=True),
        provider_class("ours"),
        namespace("shop", **{"smi-spec.io/provider-class": "other"}),
        mutual_tls("all", provider_class="ours"),
    )
    assert world.mutual_tls("all").accepted


def test_namespace_label_next() -> None:
    """SMI-CLASS-01: without a choice of its own an object takes the class of its namespace's label."""
    world = shop()
    labelled = namespace("shop", **{"smi-spec.io/provider-class": "ours"})
    world.add(provider_class("other", "example.com/other", default=True), provider_class("ours"), labelled)
    world.add(mutual_tls("all"))
    assert world.mutual_tls("all").accepted


def test_default_class_last() -> None:
    """SMI-CLASS-01: without either it takes the default class."""
    world = shop()
    world.add(provider_class("ours", default=True), mutual_tls("all"))
    assert world.mutual_tls("all").accepted


def test_oldest_default() -> None:
    """SMI-CLASS-05: of several default classes the oldest is the default."""
    world = shop()
    world.add(
        provider_class("a-newer", "example.com/other", default=True, age=2),
        provider_class("z-older", default=True, age=1),
        mutual_tls("all"),
    )
    assert world.mutual_tls("all").accepted


@pytest.mark.parametrize("told_by", ["spec", "namespace"])
def test_unknown_class(told_by: str) -> None:
    """SMI-CLASS-02: an unknown class is answered NoMatchingProvider, never by a fall-back to the default."""
    world = shop()
    world.add(provider_class("ours", default=True))
    if told_by == "spec":
        world.add(mutual_tls("all", provider_class="gone"))
    else:
        world.add(namespace("shop", **{"smi-spec.io/provider-class": "gone"}), mutual_tls("all"))
    unit = world.mutual_tls("all")
    said = condition(unit, ConditionType.ACCEPTED)
    assert (said.status, said.reason) == (False, "NoMatchingProvider")
    assert "'gone'" in said.message
    assert not unit.enforced
    assert world.workload("a").mode is None


def test_no_class_at_all() -> None:
    """SMI-CLASS-03: an object that picks nothing, where no class is the default, has no provider."""
    world = shop()
    world.add(
        mutual_tls("all"),
        sidecar("all"),
        canary("roll", "web", {"web-v1": "1"}),
        service("web"),
        service("web-v1"),
        slice_of("web-v1", "10.9.9.9"),
    )
    for unit in (world.mutual_tls("all"), world.sidecar("all"), world.canary("roll")):
        assert [c.reason for c in unit.conditions] == ["NoMatchingProvider"]
    assert world.find_service("web") is None
    assert not world.workload("a").monitored


def test_other_controllers_object() -> None:
    """SMI-CLASS-04: what another controller serves is none of ours: no unit, no condition, no effect."""
    world = shop()
    world.add(
        provider_class("other", "example.com/other"),
        mutual_tls("all", provider_class="other"),
        sidecar("all", provider_class="other"),
        canary("roll", "web", {"web-v1": "1"}, provider_class="other"),
        service("web"),
        service("web-v1"),
        slice_of("web-v1", "10.9.9.9"),
    )
    kinds = {key.kind for key in world.resolver.units}
    assert kinds == {UnitKind.MESH, UnitKind.WORKLOAD}
    assert world.workload("a").mode is None


def test_other_controllers_canary_does_not_conflict() -> None:
    """SMI-CLASS-04: an older Canary of another controller does not hold the root against ours."""
    world = shop()
    world.add(
        provider_class("other", "example.com/other"),
        provider_class("ours", default=True),
        canary("old", "web", {"web-v1": "1"}, provider_class="other", age=1),
        canary("new", "web", {"web-v1": "1"}, age=2),
        service("web"),
        service("web-v1"),
        slice_of("web-v1", "10.9.9.9"),
    )
    assert world.canary("new").accepted
    assert world.weights("web") == {"web-v1": 1000}


def test_class_that_comes_later() -> None:
    """SMI-COMMON-02: order of creation is free; the object is taken on when its class appears, and let go with it."""
    world = shop()
    world.add(mutual_tls("all", provider_class="ours"))
    assert world.workload("a").mode is None
    world.add(provider_class("ours"))
    assert world.workload("a").mode is not None
    world.take(provider_class("ours"))
    assert world.workload("a").mode is None


def test_without_classes() -> None:
    """SMI-CLASS-06: a provider that runs alone may serve what picks no class, as long as there is no ProviderClass."""
    world = World(pod("a", "10.0.0.1"), mutual_tls("all"))
    assert world.mutual_tls("all").accepted
    world.add(provider_class("ours"))
    assert not world.mutual_tls("all").accepted
