"""A provider by entry point, with proxies of its own: Envoy's to begin with, under another name, and with one claim."""

from __future__ import annotations

from dataclasses import dataclass

from smeagol.intent import ServiceIntent, Unit
from smeagol.plan import Feature, Plan
from smeagol.providers.envoy import Envoy


@dataclass(frozen=True, slots=True)
class Mine(Envoy):
    name: str = "mine"
    controller_name: str = "example.com/mine"
    features: frozenset[Feature] = frozenset({Feature.CANARY})

    def plan(self, unit: Unit) -> Plan:
        match unit:
            case ServiceIntent():  # what clients' proxies do with what is sent to a Service: make it yours
                return Envoy.plan(self, unit)
            case _:
                return Envoy.plan(self, unit)


provider = Mine()
