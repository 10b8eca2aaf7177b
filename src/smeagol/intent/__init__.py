"""What should be true, in no provider's words (`model`), and how it follows from the users' objects (`resolve`)."""

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

__all__ = [
    "Backend",
    "CanaryIntent",
    "Condition",
    "ConditionType",
    "Endpoint",
    "InboundPort",
    "LeftOut",
    "MeshIntent",
    "MutualTLSIntent",
    "Protocol",
    "Selection",
    "ServiceIntent",
    "ServicePort",
    "SidecarIntent",
    "Split",
    "TLSMode",
    "Unit",
    "WorkloadIntent",
]
