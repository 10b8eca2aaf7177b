"""What a provider would do for manifests, without running anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from smeagol.intent import ServiceIntent, UnitKind
from smeagol.runtime.offline import NoSuchProviderError, Rendered, provider_named, providers, render
from smeagol.sources.files import FolderReader

MANIFESTS = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web-v1, namespace: shop}
spec: {replicas: 2, template: {metadata: {labels: {app: web}}, spec: {containers: [{name: app, command: [serve]}]}}}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {selector: {app: web}, ports: [{port: 80, name: http, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: web-v1, namespace: shop}
spec: {selector: {app: web}, ports: [{port: 80, name: http, targetPort: 8080}]}
---
apiVersion: smi-spec.io/v1beta1
kind: Canary
metadata: {name: web, namespace: shop}
spec: {service: web, backends: [{service: web-v1, weight: 1}, {service: web-v2, weight: 1}]}
---
apiVersion: smi-spec.io/v1beta1
kind: MutualTLS
metadata: {name: all, namespace: shop}
spec: {selector: {}}
"""


def rendered(folder: Path, provider: str) -> tuple[Rendered, ...]:
    (folder / "all.yaml").write_text(MANIFESTS)
    return render(FolderReader(folder).scan(), provider_named(provider))


def test_every_pod_counts_as_ready(tmp_path: Path) -> None:
    units = {(one.key.kind, one.key.name): one.unit for one in rendered(tmp_path, "recorder")}
    web = units[UnitKind.SERVICE, "web"]
    assert isinstance(web, ServiceIntent)
    assert len(web.ports[0].endpoints) == 2
    assert all(endpoint.mutual_tls for endpoint in web.ports[0].endpoints)
    assert len([key for key in units if key[0] is UnitKind.WORKLOAD]) == 2


@pytest.mark.parametrize("provider", ["envoy", "recorder"])
def test_the_same_manifests_give_the_same_plans(tmp_path: Path, provider: str) -> None:
    """So a diff of two renderings shows what an edit would do, and nothing else."""
    assert rendered(tmp_path, provider) == rendered(tmp_path, provider)


@pytest.mark.parametrize("provider", ["envoy", "recorder"])
def test_nothing_fails_to_be_planned(tmp_path: Path, provider: str) -> None:
    found = rendered(tmp_path, provider)
    assert [one.error for one in found if one.error] == []
    assert any(one.plan.planned for one in found)


def test_both_providers_of_the_tree_are_installed() -> None:
    assert {"envoy", "recorder"} <= providers().keys()


def test_an_unknown_provider_is_answered_with_those_there_are() -> None:
    with pytest.raises(NoSuchProviderError, match=r"envoy, .*recorder"):
        provider_named("nginx")
