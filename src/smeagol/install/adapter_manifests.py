"""The adapters of an installation: a Deployment of their own, under an account that may do just what they do.

They are kept apart from the control plane with proxies, which may not write the objects of other meshes.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from smeagol.api.documents import Json
from smeagol.install import resources
from smeagol.install.adapter_access import ADAPTERS, adapter_home_rules, adapter_rules
from smeagol.install.api_server import ApiServer
from smeagol.install.facts import Workload
from smeagol.install.parts import HEALTH_PORT, Component, own
from smeagol.install.resources import OWN_LABELS, Manifest
from smeagol.install.settings import InstallSettings
from smeagol.plan.peer import PeerProvider

__all__ = ["ADAPTERS_COMPONENT", "adapter_manifests", "installed_adapters"]

ADAPTERS_COMPONENT = Component(ADAPTERS, "adapters")


def adapter_manifests(settings: InstallSettings) -> tuple[Manifest, ...]:
    """None without adapters."""
    if not settings.adapters:
        return ()
    component = ADAPTERS_COMPONENT
    asked: list[Json] = [{"port": HEALTH_PORT, "protocol": "TCP"}]
    return (
        *component.access(settings, adapter_rules(settings.adapters), adapter_home_rules(settings.adapters)),
        *(_provider_class(adapter, settings) for adapter in settings.adapters),
        component.network_policy(settings, {"ports": asked}),
        component.disruption_budget(settings),
        component.deployment(settings, component.container(settings, _arguments(settings), ports={})),
    )


def _provider_class(adapter: PeerProvider, settings: InstallSettings) -> Manifest:
    """By the adapter's name, and never the default: that is for users to say."""
    return own(
        resources.PROVIDER_CLASS,
        adapter.name,
        settings,
        OWN_LABELS,
        {"spec": {"controllerName": adapter.controller_name, "description": f"Smeagol's adapter {adapter.name}."}},
    )


def _arguments(settings: InstallSettings) -> Sequence[str]:
    trust_domain = ("--trust-domain", settings.trust_domain) if settings.trust_domain else ()
    return (
        "controller",
        *(word for adapter in settings.adapters for word in ("--provider", adapter.name)),
        "--namespace",
        settings.namespace,
        "--health-address",
        f"[::]:{HEALTH_PORT}",
        "--cluster-domain",
        settings.cluster_domain,
        *trust_domain,
        *(word for cidr in settings.pod_cidrs for word in ("--pod-cidr", cidr)),
    )


def installed_adapters(server: ApiServer) -> tuple[str, ...]:
    """Names of the adapters that an installation runs."""
    found = [live for live in server.list(resources.DEPLOYMENT, labels=OWN_LABELS) if live.ref.name == ADAPTERS]
    arguments = [live.as_(Workload).spec.template.spec.containers[0].args for live in found]
    pairs = itertools.chain.from_iterable(map(itertools.pairwise, arguments))
    return tuple(name for option, name in pairs if option == "--provider")
