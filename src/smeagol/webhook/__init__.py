"""Admission over HTTPS: gives Pods their proxy, and says of users' objects what no schema can.

`inject` decides nothing about selection and knows no Envoy: whether a Pod is to have a proxy, and what the proxy starts
with, is asked of those who know. Everything but `server` and `certificate` is pure.
"""

from __future__ import annotations

from smeagol.webhook.admission import InjectionReview, ValidationReview
from smeagol.webhook.certificate import KeyPair, ServingCertificate
from smeagol.webhook.configurations import (
    WebhookPlace,
    mutating_configuration,
    trust_config_map,
    validating_configuration,
)
from smeagol.webhook.foresight import foresee
from smeagol.webhook.inject import Bootstrap, InjectionRefusedError, inject, injected, is_injected, uninjected
from smeagol.webhook.server import Reviews, serve, webhook_app
from smeagol.webhook.settings import InjectionSettings
from smeagol.webhook.template import bootstrap_template

__all__ = [
    "Bootstrap",
    "InjectionRefusedError",
    "InjectionReview",
    "InjectionSettings",
    "KeyPair",
    "Reviews",
    "ServingCertificate",
    "ValidationReview",
    "WebhookPlace",
    "bootstrap_template",
    "foresee",
    "inject",
    "injected",
    "is_injected",
    "mutating_configuration",
    "serve",
    "trust_config_map",
    "uninjected",
    "validating_configuration",
    "webhook_app",
]
