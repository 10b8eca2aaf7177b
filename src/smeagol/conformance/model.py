"""What a case, a profile and a result are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, TypeAlias

from smeagol.errors import SmeagolError

if TYPE_CHECKING:
    from smeagol.conformance.bench import Bench

__all__ = [
    "PROFILES",
    "Case",
    "ConformanceError",
    "Maker",
    "NoImageError",
    "NotAllowedError",
    "NotHereError",
    "Outcome",
    "Profile",
    "Result",
    "UnmetError",
    "case_of",
]


class ConformanceError(SmeagolError):
    """The suite could not run: the platform or its own Pods are not there."""

    code = "SMI-T002"


class NoImageError(ConformanceError):
    """The image of the suite's Pods is not to be had: no case can run."""


class NotAllowedError(ConformanceError):
    """The platform does not let whoever runs the suite have this object."""


class UnmetError(Exception):
    """A provider does not do what a rule says."""

    def __init__(self, what: str, *, expected: object = "", seen: object = "") -> None:
        super().__init__(what)
        self.what = what
        self.expected = str(expected)
        self.seen = str(seen)

    def __str__(self) -> str:
        lines = [self.what]
        if self.expected or self.seen:
            lines += [f"expected: {self.expected}", f"seen:     {self.seen}"]
        return "\n".join(lines)


class NotHereError(Exception):
    """A case needs something that this platform does not offer to those outside. It ends there, and says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A set of features that belong together: `core` is what every provider of the profile has."""

    name: str
    core: frozenset[str]
    extended: frozenset[str]

    @property
    def features(self) -> frozenset[str]:
        return self.core | self.extended


PROFILES = {
    profile.name: profile
    for profile in (
        Profile(
            name="SMI-MUTUALTLS",
            core=frozenset({"MutualTLS"}),
            extended=frozenset(
                {"MutualTLSServerNames", "MutualTLSClientNames", "MutualTLSIdentityHeader", "MutualTLSPermissive"}
            ),
        ),
        Profile(
            name="SMI-CANARY",
            core=frozenset({"Canary"}),
            extended=frozenset({"CanaryTCP", "CanaryHeadless", "CanaryRootProxy"}),
        ),
        Profile(
            name="SMI-SIDECAR",
            core=frozenset({"SidecarMetrics"}),
            extended=frozenset({"SidecarMetricLabels", "SidecarContainers"}),
        ),
    )
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One check. `features`: all that it needs; `stage`: the files of `manifests/` whose Pods it uses.

    `lacking`: features that a provider must lack, since the case is about what it then says.
    """

    name: str
    profile: str
    rules: tuple[str, ...]
    features: frozenset[str]
    stage: tuple[str, ...]
    about: str
    check: Callable[[Bench], None]
    lacking: frozenset[str] = frozenset()

    @property
    def core(self) -> bool:
        return self.features <= PROFILES[self.profile].core


Maker: TypeAlias = "Callable[[Callable[[Bench], None]], Case]"


def case_of(
    profile: str, *rules: str, features: tuple[str, ...], stage: tuple[str, ...], lacking: tuple[str, ...] = ()
) -> Maker:
    """Make a case of a function: its name becomes the case's, with `-` for `_`, its docstring what it is about."""

    def made(check: Callable[[Bench], None]) -> Case:
        about = " ".join((check.__doc__ or "").split())
        return Case(
            name=check.__name__.replace("_", "-"),
            profile=profile,
            rules=rules,
            features=frozenset(features),
            stage=stage,
            about=about,
            check=check,
            lacking=frozenset(lacking),
        )

    return made


class Outcome(Enum):
    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"
    PARTLY = "partly"
    """what was judged is as the rules say, but a part of the case was not run"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What became of a case. `applied`: its manifests.

    `message`: why it was skipped, what was not run and what was judged all the same, or what was expected and seen.
    """

    case: Case
    outcome: Outcome
    seconds: float = 0.0
    message: str = ""
    applied: str = ""
