"""The objects of an installation, as a pure function of its settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from smeagol.api.crd import crd
from smeagol.api.documents import Json
from smeagol.api.kinds import KINDS, Kind
from smeagol.api.meta import DEFAULT_CLASS_ANNOTATION
from smeagol.install import resources
from smeagol.install.access import (
    CLUSTER_RULES,
    CONTROLLER,
    NAMESPACE_RULES,
    RESTARTER,
    RESTARTER_RULES,
    ROOT_PROXIES,
    ROOT_PROXIES_RULES,
    AccessRule,
    handed_over,
    signing,
    trusted,
)
from smeagol.install.adapter_manifests import adapter_manifests
from smeagol.install.parts import HEALTH_PORT, Component
from smeagol.install.resources import OWN_LABELS, Manifest
from smeagol.install.settings import InstallSettings, proxy_option
from smeagol.intent.selection import INJECT_LABEL
from smeagol.plan.proxy_size import CURES

__all__ = [
    "CLASS",
    "CONTROLLER",
    "CONTROLLER_COMPONENT",
    "CONTROLLER_NAME",
    "CONTROL_PORT",
    "DISCOVERY_PORT",
    "DISCOVERY_SERVICE",
    "OPTIONS",
    "SELECTOR",
    "WEBHOOK_PORT",
    "WEBHOOK_SERVICE",
    "manifests",
]

DISCOVERY_SERVICE = "smeagol-discovery"
DISCOVERY_PORT = 18000
CONTROL_PORT = 18003
"""On the Pod's loopback: `smeagol status` and its kin come by port-forward."""

WEBHOOK_SERVICE = "smeagol-webhook"
WEBHOOK_PORT = 9443
PEERS_PORT = 18001
"""Where replicas ask each other; no proxy has anything to do there."""

METRICS_SERVICE = "smeagol-metrics"

CLASS = "envoy"
CONTROLLER_NAME = "smeagol.dev/envoy"

CONTROLLER_COMPONENT = Component(CONTROLLER, "controller")
SELECTOR: Mapping[str, str] = CONTROLLER_COMPONENT.selector
"""The labels that find the control plane's Pods."""


def manifests(settings: InstallSettings, *, default_class: bool = True) -> tuple[Manifest, ...]:
    """Every object, in the order in which they need each other.

    `default_class`: whether our ProviderClass serves the objects that name none, which only one class should.
    """
    objects = (
        _namespace(settings),
        *(_definition(kind) for kind in KINDS),
        *_access(settings),
        _provider_class(default=default_class),
        _discovery_service(settings),
        _webhook_service(settings),
        _metrics_service(settings),
        _network_policy(settings),
        CONTROLLER_COMPONENT.disruption_budget(settings),
        CONTROLLER_COMPONENT.deployment(settings, _container(settings)),
        *adapter_manifests(settings),
    )
    return tuple(sorted(objects, key=lambda manifest: resources.INSTALLED.index(manifest.resource)))


def _namespace(settings: InstallSettings) -> Manifest:
    """Restricted Pod Security, and no proxy for the control plane itself."""
    security = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "audit", "warn")}
    return Manifest(
        resource=resources.NAMESPACE,
        name=settings.namespace,
        labels={**security, INJECT_LABEL: "disabled", **OWN_LABELS},
    )


def _definition(kind: Kind) -> Manifest:
    definition = crd(kind)
    metadata = definition["metadata"]
    assert isinstance(metadata, dict)  # noqa: S101 - crd() writes it
    return Manifest(
        resource=resources.CRD,
        name=str(metadata["name"]),
        labels=OWN_LABELS,
        content={"spec": definition["spec"]},
    )


def _provider_class(*, default: bool) -> Manifest:
    return Manifest(
        resource=resources.PROVIDER_CLASS,
        name=CLASS,
        labels=OWN_LABELS,
        annotations={DEFAULT_CLASS_ANNOTATION: "true"} if default else {},
        content={"spec": {"controllerName": CONTROLLER_NAME, "description": "Smeagol, with Envoy proxies."}},
    )


def _access(settings: InstallSettings) -> tuple[Manifest, ...]:
    at_home = (*NAMESPACE_RULES, *handed_over(settings.ca_secret), *trusted(settings.ca_roots))
    return (
        *CONTROLLER_COMPONENT.access(settings, CLUSTER_RULES + signing(settings.ca_signer), at_home),
        _unbound(RESTARTER, RESTARTER_RULES),
        _unbound(ROOT_PROXIES, ROOT_PROXIES_RULES),
    )


def _unbound(name: str, rules: Sequence[AccessRule]) -> Manifest:
    """What the control plane may do only where users let it."""
    content: dict[str, Json] = {"rules": [rule.to_json() for rule in rules]}
    return Manifest(resource=resources.CLUSTER_ROLE, name=name, labels=OWN_LABELS, content=content)


def _discovery_service(settings: InstallSettings) -> Manifest:
    """Where proxies connect, and replicas to each other."""
    ports: list[Json] = [
        {"name": name, "port": port, "targetPort": name, "protocol": "TCP"}
        for name, port in (("discovery", DISCOVERY_PORT), ("peers", PEERS_PORT))
    ]
    return CONTROLLER_COMPONENT.service(DISCOVERY_SERVICE, settings, *ports)


def _webhook_service(settings: InstallSettings) -> Manifest:
    """Where the API server asks."""
    port: Json = {"name": "webhook", "port": 443, "targetPort": "webhook", "protocol": "TCP"}
    return CONTROLLER_COMPONENT.service(WEBHOOK_SERVICE, settings, port)


def _metrics_service(settings: InstallSettings) -> Manifest:
    """What statuses of Sidecars name: each replica tells what all proxies count."""
    port: Json = {"name": "http-metrics", "port": HEALTH_PORT, "targetPort": "health", "protocol": "TCP"}
    return CONTROLLER_COMPONENT.service(METRICS_SERVICE, settings, port)


def _network_policy(settings: InstallSettings) -> Manifest:
    """In: only what is served, from everywhere, since proxies are everywhere and the API server's address is not known
    here; replicas ask replicas."""
    served: list[Json] = [{"port": port, "protocol": "TCP"} for port in (DISCOVERY_PORT, WEBHOOK_PORT, HEALTH_PORT)]
    return CONTROLLER_COMPONENT.network_policy(
        settings,
        {"ports": served},
        {
            "from": [{"podSelector": {"matchLabels": dict(SELECTOR)}}],
            "ports": [{"port": PEERS_PORT, "protocol": "TCP"}],
        },
    )


def _container(settings: InstallSettings) -> dict[str, Json]:
    return CONTROLLER_COMPONENT.container(
        settings,
        _arguments(settings),
        ports={"discovery": DISCOVERY_PORT, "webhook": WEBHOOK_PORT, "peers": PEERS_PORT},
        env=[
            {"name": "SMEAGOL_PROXY_IMAGE", "value": settings.proxy_image},
            {"name": "SMEAGOL_INIT_IMAGE", "value": settings.image},
        ],
    )


OPTIONS = frozenset(
    {
        "--namespace",
        "--discovery-address",
        "--webhook-address",
        "--control-port",
        "--peers-address",
        "--health-address",
        "--metrics-url",
        "--cluster-domain",
        "--trust-domain",
        "--ca-secret",
        "--ca-signer",
        "--ca-roots",
        "--pod-cidr",
        *map(proxy_option, CURES),
    }
)
"""What `_arguments` writes, each with a value."""


def _arguments(settings: InstallSettings) -> tuple[str, ...]:
    chosen = (
        ("--trust-domain", settings.trust_domain),
        ("--ca-secret", settings.ca_secret),
        ("--ca-signer", settings.ca_signer),
        ("--ca-roots", settings.ca_roots),
        *((proxy_option(field), text) for field, text in settings.proxy_sizes.items()),
    )
    return (
        "controller",
        "--namespace",
        settings.namespace,
        "--discovery-address",
        f"[::]:{DISCOVERY_PORT}",
        "--webhook-address",
        f"[::]:{WEBHOOK_PORT}",
        "--control-port",
        str(CONTROL_PORT),
        "--peers-address",
        f"[::]:{PEERS_PORT}",
        "--health-address",
        f"[::]:{HEALTH_PORT}",
        "--metrics-url",
        f"http://{METRICS_SERVICE}.{settings.namespace}.svc.{settings.cluster_domain}:{HEALTH_PORT}/metrics/traffic",
        "--cluster-domain",
        settings.cluster_domain,
        *(word for option, value in chosen if value for word in (option, value)),
        *(word for cidr in settings.pod_cidrs for word in ("--pod-cidr", cidr)),
        *settings.further,
    )
