"""Our kinds, as Kubernetes is to list and print them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from smeagol.api.canary import Canary
from smeagol.api.mutual_tls import MutualTLS
from smeagol.api.provider_class import ProviderClass
from smeagol.api.sidecar import Sidecar

__all__ = ["KINDS", "Column", "Kind", "SmiObject", "kind_of"]

SmiObject: TypeAlias = MutualTLS | Canary | Sidecar | ProviderClass


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of `kubectl get`. Those with `wide` show only with `-o wide`."""

    name: str
    path: str
    type: str = "string"
    description: str
    wide: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind: its model, and its names on the API server."""

    model: type[MutualTLS | Canary | Sidecar | ProviderClass]
    plural: str
    short_names: tuple[str, ...]
    namespaced: bool = True
    columns: tuple[Column, ...]

    @property
    def name(self) -> str:
        return self.model.__name__


def _condition(name: str) -> str:
    return f'.status.conditions[?(@.type=="{name}")]'


_ACCEPTED = Column(
    name="Accepted", path=f"{_condition('Accepted')}.status", description="Whether a provider has taken it on."
)
_PROGRAMMED = Column(
    name="Programmed",
    path=f"{_condition('Programmed')}.status",
    description="Whether the data plane has taken it over.",
)
_READY = Column(name="Ready", path=".status.ready", description="Proxies that have it, of those that it is for.")
_REASON = Column(
    name="Reason",
    path=f"{_condition('Programmed')}.reason",
    description="Why it is in that state, in one word.",
    wide=True,
)
_AGE = Column(name="Age", path=".metadata.creationTimestamp", type="date", description="When it was created.")

KINDS: tuple[Kind, ...] = (
    Kind(
        model=MutualTLS,
        plural="mutualtls",
        short_names=("mtls",),
        columns=(
            Column(name="Mode", path=".spec.mode", description="What becomes of clients without a certificate."),
            _READY,
            _ACCEPTED,
            _PROGRAMMED,
            Column(
                name="Names",
                path=".spec.clientSubjectNames",
                description="Names in the client certificates.",
                wide=True,
            ),
            _REASON,
            _AGE,
        ),
    ),
    Kind(
        model=Canary,
        plural="canaries",
        short_names=("cny",),
        columns=(
            Column(name="Service", path=".spec.service", description="The root."),
            Column(name="Shares", path=".status.shares", description="Who gets which share of the requests."),
            _READY,
            _ACCEPTED,
            Column(
                name="Resolved",
                path=f"{_condition('ResolvedRefs')}.status",
                description="Whether all that it names exists and fits.",
            ),
            _PROGRAMMED,
            _REASON,
            _AGE,
        ),
    ),
    Kind(
        model=Sidecar,
        plural="sidecars",
        short_names=(),
        columns=(
            _READY,
            _ACCEPTED,
            _PROGRAMMED,
            Column(
                name="Metrics", path=".status.metricsServer", description="The URL that Prometheus scrapes.", wide=True
            ),
            _REASON,
            _AGE,
        ),
    ),
    Kind(
        model=ProviderClass,
        plural="providerclasses",
        short_names=("smiclass",),
        namespaced=False,
        columns=(
            Column(name="Controller", path=".spec.controllerName", description="The provider."),
            Column(
                name="Default",
                path=r".metadata.annotations.smi-spec\.io/is-default-class",
                description="Whether it serves the objects that name none.",
            ),
            _ACCEPTED,
            Column(name="Description", path=".spec.description", description="What it is for.", wide=True),
            _AGE,
        ),
    ),
)


def kind_of(name: str) -> Kind | None:
    """The kind of that name, exactly written."""
    return next((kind for kind in KINDS if kind.name == name), None)
