"""What a control plane with adapters may do. That it is enough is proved on a real API server (tests/e2e)."""

from __future__ import annotations

from smeagol.install.access import COMMON_RULES
from smeagol.install.adapter_access import ADAPTERS, adapter_access, adapter_rules
from smeagol.providers.gateway_api import provider as gateway_api
from smeagol.providers.smi import provider as smi

MAKE = ("list", "watch", "create", "patch", "delete")


def test_the_kinds_of_these_adapters_and_no_others() -> None:
    """Neither a wildcard nor the right to change anything but what is made."""
    (routes, crds) = adapter_rules([gateway_api])[len(COMMON_RULES) :]
    assert (routes.group, routes.verbs) == ("gateway.networking.k8s.io", MAKE)
    assert routes.resources == ("grpcroutes", "httproutes", "tcproutes")
    assert crds.verbs == ("get",)
    assert set(crds.names) == {f"{plural}.gateway.networking.k8s.io" for plural in routes.resources}


def test_everything_is_bound_to_the_one_account() -> None:
    account, *roles = adapter_access([gateway_api, smi], namespace="mesh")
    assert account["metadata"] == {"name": ADAPTERS, "namespace": "mesh"}
    bound = [role["subjects"] for role in roles if str(role["kind"]).endswith("Binding")]
    assert bound == [[{"kind": "ServiceAccount", "name": ADAPTERS, "namespace": "mesh"}]] * 2
