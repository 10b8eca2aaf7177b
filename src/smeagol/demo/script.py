"""The documented rollout (spec: Canary, "The documented rollout"), as data."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from smeagol.quantity import Weight

__all__ = [
    "IDENTITY",
    "NAMESPACE",
    "ROLLOUT",
    "SET_UP",
    "Call",
    "Change",
    "Copy",
    "Delete",
    "Expected",
    "Split",
    "Step",
    "canary",
]

NAMESPACE = "default"
IDENTITY = "client.foobar.example"
"""The name under which the client is known (`clientSubjectNames` in mesh.yaml)."""


@dataclass(frozen=True, slots=True)
class Copy:
    """Copy a manifest of the example into the watched folder."""

    file: str


@dataclass(frozen=True, slots=True)
class Split:
    """Write canary.yaml with these weights, as (version, weight)."""

    weights: tuple[tuple[str, str], ...]
    file: str = "canary.yaml"


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete a manifest from the watched folder."""

    file: str


@dataclass(frozen=True, slots=True)
class Call:
    """Call a URL from the client's Pod; `version` must answer each time."""

    url: str
    version: str
    count: int = 20


Change = Copy | Split | Delete | Call


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """A condition that the mesh must show on an object."""

    kind: str
    name: str
    condition: str
    status: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step: what is changed, and what must hold for the next `requests` requests once the mesh says it is done.

    `desired`: each version's share of the requests to `foobar`.
    """

    title: str
    changes: tuple[Change, ...] = ()
    desired: tuple[tuple[str, Fraction], ...]
    expects: tuple[Expected, ...] = ()
    requests: int = 400


def canary(split: Split) -> str:
    """The manifest that a user would write for these weights."""
    lines = [
        "apiVersion: smi-spec.io/v1beta1",
        "kind: Canary",
        "metadata:",
        "  name: foobar",
        "spec:",
        "  service: foobar",
        "  backends:",
    ]
    for version, weight in split.weights:
        lines += [f"    - service: foobar-{version}", f'      weight: "{weight}"']
    return "\n".join(lines) + "\n"


def _desired(split: Split) -> tuple[tuple[str, Fraction], ...]:
    milli = {version: Weight.parse(weight).milli for version, weight in split.weights}
    return tuple((version, Fraction(weight, sum(milli.values()))) for version, weight in milli.items())


_ONLY_V1 = (("v1", Fraction(1)), ("v2", Fraction(0)))
_ONLY_V2 = (("v1", Fraction(0)), ("v2", Fraction(1)))
_NOTHING_YET = Split((("v1", "1"), ("v2", "0m")))
_TWO_TO_ONE = Split((("v1", "1"), ("v2", "500m")))
_V2_ALONE = Split((("v2", "1"),))

SET_UP: tuple[tuple[Change, ...], ...] = (
    (Copy("mesh.yaml"), Copy("foobar-v1.yaml"), Copy("foobar.yaml")),
    (Copy("client.yaml"),),
)
"""Done before the load is measured; the client starts once there is somebody to answer."""


def _resolved(status: str, reason: str) -> tuple[Expected, ...]:
    return (Expected(kind="Canary", name="foobar", condition="ResolvedRefs", status=status, reason=reason),)


ROLLOUT: tuple[Step, ...] = (
    Step(title="foobar-v1 serves, no Canary yet", desired=_ONLY_V1),
    Step(
        title="Canary v1=1, v2=0m; no v2 there yet",
        changes=(_NOTHING_YET,),
        desired=_desired(_NOTHING_YET),
        expects=_resolved("False", "BackendNotFound"),
    ),
    Step(
        title="Deployment, Service v2 created",
        changes=(Copy("foobar-v2.yaml"),),
        desired=_desired(_NOTHING_YET),
        expects=_resolved("True", "ResolvedRefs"),
        requests=600,
    ),
    Step(
        title="foobar-v2 tried directly",
        changes=(Call("http://foobar-v2/", "v2"),),
        desired=_desired(_NOTHING_YET),
    ),
    Step(
        title="v2=500m: two to one",
        changes=(_TWO_TO_ONE,),
        desired=_desired(_TWO_TO_ONE),
        requests=3000,
    ),
    Step(
        title="v2 alone",
        changes=(_V2_ALONE,),
        desired=(("v1", Fraction(0)), *_desired(_V2_ALONE)),
        requests=600,
    ),
    Step(
        title="Deployment, Service v1 deleted",
        changes=(Delete("foobar-v1.yaml"),),
        desired=_ONLY_V2,
        requests=600,
    ),
    Step(title="Canary deleted", changes=(Delete("canary.yaml"),), desired=_ONLY_V2, requests=600),
)
