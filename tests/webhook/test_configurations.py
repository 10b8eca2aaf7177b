"""What the API server is told: whom to ask, whom to believe, and what to do while nobody answers."""

from __future__ import annotations

import base64
import itertools
from typing import Any

import pytest

from smeagol.api.kinds import KINDS
from smeagol.webhook import WebhookPlace, mutating_configuration, trust_config_map, validating_configuration

PLACE = WebhookPlace(namespace="mesh", excluded_namespaces=frozenset({"storage"}))
CA = b"-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"


def webhooks(configuration: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = configuration["webhooks"]
    return found


def matches(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    """As Kubernetes reads matchExpressions."""
    return all((labels.get(e["key"]) in e["values"]) is (e["operator"] == "In") for e in selector["matchExpressions"])


def asked(namespace: str, of_namespace: str | None, of_pod: str | None) -> list[str]:
    """The failure policies of the webhooks that are asked about a Pod."""
    names = {"kubernetes.io/metadata.name": namespace}
    inject = "smi-spec.io/inject"
    return [
        webhook["failurePolicy"]
        for webhook in webhooks(mutating_configuration(PLACE, CA))
        if matches(webhook["namespaceSelector"], names | ({inject: of_namespace} if of_namespace else {}))
        and matches(webhook["objectSelector"], {inject: of_pod} if of_pod else {})
    ]


class TestFailurePolicy:
    """Without the control plane: who asked for a proxy waits, who may be selected does not, the cluster's own never."""

    @pytest.mark.parametrize(
        ("of_namespace", "of_pod", "policies"),
        [
            ("enabled", None, ["Fail"]),
            ("enabled", "enabled", ["Fail"]),
            ("enabled", "disabled", []),
            ("disabled", "enabled", ["Fail"]),
            (None, "enabled", ["Fail"]),
            (None, None, ["Ignore"]),
            ("maybe", None, ["Ignore"]),
            ("disabled", None, []),
            (None, "disabled", []),
        ],
    )
    def test_by_labels(self, of_namespace: str | None, of_pod: str | None, policies: list[str]) -> None:
        assert asked("shop", of_namespace, of_pod) == policies

    @pytest.mark.parametrize("namespace", ["kube-system", "kube-public", "kube-node-lease", "mesh", "storage"])
    def test_never_in_the_way_of_what_a_cluster_needs(self, namespace: str) -> None:
        """Whatever the labels say: else a control plane could not come back, or nodes not join."""
        choices = (None, "enabled", "disabled", "x")
        for of_namespace, of_pod in itertools.product(choices, choices):
            assert asked(namespace, of_namespace, of_pod) == []

    def test_pods_of_the_hosts_network_and_mirrors_are_never_asked_about(self) -> None:
        """Network plugins and static Pods: without them no webhook can be reached."""
        for webhook in webhooks(mutating_configuration(PLACE, CA)):
            conditions = " ".join(condition["expression"] for condition in webhook["matchConditions"])
            assert "hostNetwork" in conditions
            assert "kubernetes.io/config.mirror" in conditions

    def test_users_objects_wait_for_nobody(self) -> None:
        """The CRDs refuse what is wrong; the webhook adds warnings."""
        (webhook,) = webhooks(validating_configuration(PLACE, CA))
        assert webhook["failurePolicy"] == "Ignore"

    @pytest.mark.parametrize("configuration", [mutating_configuration, validating_configuration])
    def test_nobody_waits_long(self, configuration: Any) -> None:
        for webhook in webhooks(configuration(PLACE, CA)):
            assert webhook["timeoutSeconds"] <= 5
            assert webhook["sideEffects"] == "None"


class TestPlace:
    def test_the_api_server_dials_the_service_and_trusts_our_roots(self) -> None:
        for configuration in (mutating_configuration, validating_configuration):
            for webhook in webhooks(configuration(PLACE, CA)):
                client = webhook["clientConfig"]
                service = {**client["service"], "path": ""}
                assert service == {"namespace": "mesh", "name": "smeagol-webhook", "path": "", "port": 443}
                assert base64.b64decode(client["caBundle"]) == CA

    def test_who_asks_by_a_label_is_asked_about_at_a_path_of_its_own(self) -> None:
        """SMI-POD-01: the API server has seen the label, and a replica may be behind: it need not know it."""
        paths = {
            (webhook["failurePolicy"], webhook["clientConfig"]["service"]["path"])
            for webhook in webhooks(mutating_configuration(PLACE, CA))
        }
        assert paths == {("Fail", "/inject/labelled"), ("Ignore", "/inject")}

    def test_the_certificate_must_say_what_is_dialled(self) -> None:
        assert PLACE.dns_names[0] == "smeagol-webhook.mesh.svc"

    def test_pods_are_asked_about_when_they_are_made_and_again_after_other_webhooks(self) -> None:
        for webhook in webhooks(mutating_configuration(PLACE, CA)):
            (rule,) = webhook["rules"]
            assert (rule["resources"], rule["operations"]) == (["pods"], ["CREATE"])
            assert webhook["reinvocationPolicy"] == "IfNeeded"

    def test_all_kinds_are_validated(self) -> None:
        (webhook,) = webhooks(validating_configuration(PLACE, CA))
        assert webhook["rules"][0]["resources"] == [kind.plural for kind in KINDS]

    def test_names_of_webhooks_differ(self) -> None:
        """They are the keys by which server-side apply merges the list."""
        names = [webhook["name"] for webhook in webhooks(mutating_configuration(PLACE, CA))]
        assert len(set(names)) == len(names)
        assert all(name.count(".") >= 2 for name in names)


def test_proxies_find_the_roots_where_their_volume_looks() -> None:
    made: Any = trust_config_map("shop", own=CA, mesh=b"others")
    assert (made["metadata"]["name"], made["metadata"]["namespace"]) == ("smeagol-ca", "shop")
    assert made["data"] == {"control-plane.crt": CA.decode(), "ca.crt": "others"}
