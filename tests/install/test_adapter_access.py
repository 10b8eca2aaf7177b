"""What a control plane with adapters may do. That it is enough is proved on a real API server (tests/e2e)."""

from __future__ import annotations

from smeagol.install.access import COMMON_RULES
from smeagol.install.adapter_access import ADAPTERS, adapter_access, adapter_rules
from smeagol.plan.peer import Peer, PeerKind
from smeagol.plan.protocol import introduction
from smeagol.providers.gateway_api import provider as gateway_api
from smeagol.providers.smi import provider as smi
from smeagol.runtime.remote import Calls, RemoteProvider

MAKE = ("list", "watch", "create", "patch", "delete")


def test_the_kinds_of_these_adapters_and_no_others() -> None:
    """Neither a wildcard nor the right to change anything but what is made."""
    (routes, read, crds) = adapter_rules([gateway_api])[len(COMMON_RULES) :]
    assert (routes.group, routes.verbs) == ("gateway.networking.k8s.io", MAKE)
    assert routes.resources == ("grpcroutes", "httproutes", "tcproutes")
    assert (read.group, read.resources, read.verbs) == (routes.group, ("tlsroutes",), ("list", "watch"))
    assert crds.verbs == ("get",)
    assert set(crds.names) == {f"{plural}.{routes.group}" for plural in (*routes.resources, *read.resources)}


def test_everything_is_bound_to_the_one_account() -> None:
    account, *roles = adapter_access([gateway_api, smi], namespace="mesh")
    assert account["metadata"] == {"name": ADAPTERS, "namespace": "mesh"}
    bound = [role["subjects"] for role in roles if str(role["kind"]).endswith("Binding")]
    assert bound == [[{"kind": "ServiceAccount", "name": ADAPTERS, "namespace": "mesh"}]] * 2


def test_what_no_definition_says_needs_no_look_at_definitions() -> None:
    """A rule without names would be about every CustomResourceDefinition."""
    config_maps = PeerKind("v1", "ConfigMap", "configmaps")
    said = introduction(
        b'{"name": "a", "controllerName": "b.c/d", "features": [],'
        b' "kinds": [{"apiVersion": "v1", "kind": "ConfigMap", "plural": "configmaps"}]}'
    )
    provider = RemoteProvider(Calls("", said), Peer(name="a", served=frozenset({config_maps})))
    (made,) = adapter_rules([provider])[len(COMMON_RULES) :]
    assert (made.group, made.resources, made.verbs) == ("", ("configmaps",), MAKE)
