"""What should be true, in no provider's words (`model`), and how it follows from the users' objects (`resolver`)."""

from __future__ import annotations

from smeagol.intent.model import (
    Backend,
    CanaryIntent,
    Condition,
    ConditionType,
    Endpoint,
    InboundPort,
    LeftOut,
    MeshIntent,
    MutualTLSIntent,
    Protocol,
    Selection,
    ServiceIntent,
    ServicePort,
    SidecarIntent,
    Split,
    TLSMode,
    Unit,
    WorkloadIntent,
)
from smeagol.intent.resolver import Changes, Resolver
from smeagol.intent.selection import INJECT_LABEL, PROXY_CONTAINER
from smeagol.intent.units import Key, Settings, UnitKey, UnitKind, key_of

__all__ = [
    "INJECT_LABEL",
    "PROXY_CONTAINER",
    "Backend",
    "CanaryIntent",
    "Changes",
    "Condition",
    "ConditionType",
    "Endpoint",
    "InboundPort",
    "Key",
    "LeftOut",
    "MeshIntent",
    "MutualTLSIntent",
    "Protocol",
    "Resolver",
    "Selection",
    "ServiceIntent",
    "ServicePort",
    "Settings",
    "SidecarIntent",
    "Split",
    "TLSMode",
    "Unit",
    "UnitKey",
    "UnitKind",
    "WorkloadIntent",
    "key_of",
]
