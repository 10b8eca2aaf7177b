"""The adapters of an installation: beside the control plane, apart from it, and with no more rights than they need."""

from __future__ import annotations

from dataclasses import replace

from smeagol.install import InstallSettings, Manifest, manifests
from smeagol.install.adapter_access import ADAPTERS, adapter_home_rules, adapter_rules
from smeagol.install.resources import (
    CLUSTER_ROLE,
    CRD,
    DEPLOYMENT,
    INSTALLED,
    OWN_LABELS,
    PROVIDER_CLASS,
    ROLE,
    Resource,
)
from smeagol.providers.gateway_api import provider as gateway_api
from smeagol.providers.smi import provider as smi

WITHOUT = InstallSettings(version="1.2.3", image="registry.example/smeagol:1.2.3", pod_cidrs=("10.0.0.0/8",))
SETTINGS = replace(WITHOUT, adapters=(gateway_api, smi))


def added() -> list[Manifest]:
    before = manifests(WITHOUT)
    assert all(manifest in manifests(SETTINGS) for manifest in before), "the control plane stays as it is"
    return [manifest for manifest in manifests(SETTINGS) if manifest not in before]


def the(resource: Resource) -> Manifest:
    (found,) = (manifest for manifest in added() if manifest.resource == resource)
    return found


def test_all_of_it_is_found_again_and_in_order() -> None:
    """As the rest of an installation."""
    assert all(manifest.labels.items() >= OWN_LABELS.items() for manifest in added())
    order = [INSTALLED.index(manifest.resource) for manifest in manifests(SETTINGS)]
    assert order == sorted(order)
    assert not [manifest for manifest in added() if manifest.resource == CRD]


def test_they_run_under_an_account_that_may_do_what_they_do() -> None:
    """The roles that `smeagol providers --access` prints, and no other."""
    assert the(CLUSTER_ROLE).content["rules"] == [rule.to_json() for rule in adapter_rules(SETTINGS.adapters)]
    assert the(ROLE).content["rules"] == [rule.to_json() for rule in adapter_home_rules(SETTINGS.adapters)]
    assert f"'serviceAccountName': '{ADAPTERS}'" in str(the(DEPLOYMENT).content)


def test_each_has_a_class_that_is_nobodys_default() -> None:
    """Objects move to another mesh when their owner says so, not when it is installed."""
    classes = [manifest for manifest in added() if manifest.resource == PROVIDER_CLASS]
    assert [manifest.name for manifest in classes] == ["gateway-api", "smi"]
    assert not any(manifest.annotations for manifest in classes)
