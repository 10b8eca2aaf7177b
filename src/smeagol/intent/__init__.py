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
from smeagol.intent.passed import (
    EXCLUDE_INBOUND,
    EXCLUDE_OUTBOUND,
    METRICS_PORT,
    PROXY_PORTS,
    READINESS_PORT,
    excluded_ports,
    port_list,
)
from smeagol.intent.resolver import Changes, Resolver
from smeagol.intent.selection import INJECT_LABEL, PROXY_CONTAINER
from smeagol.intent.units import Key, Settings, UnitKey, UnitKind, key_of

__all__ = [
    "EXCLUDE_INBOUND",
    "EXCLUDE_OUTBOUND",
    "INJECT_LABEL",
    "METRICS_PORT",
    "PROXY_CONTAINER",
    "PROXY_PORTS",
    "READINESS_PORT",
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
    "excluded_ports",
    "key_of",
    "port_list",
]
