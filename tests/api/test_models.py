"""The models: what they hold, and the pure questions that they answer."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smeagol.api import (
    Canary,
    Json,
    LabelSelector,
    Mode,
    MutualTLS,
    Operator,
    ProviderClass,
    Refused,
    Requirement,
    RootError,
    Sidecar,
    SmiObject,
    Unknown,
    parse,
    parse_root,
    read_text,
)
from smeagol.api.convert import to_json, to_model
from smeagol.refs import ObjectRef, ServiceRef


def parsed(text: str) -> SmiObject:
    (document,) = read_text(text).documents
    result = parse(document)
    assert not isinstance(result, Refused | Unknown), result
    return result


CANARY = """
apiVersion: smi-spec.io/v1beta1
kind: Canary
metadata: {name: rollout, namespace: shop, generation: 3, creationTimestamp: "2024-01-31T13:45:00Z", labels: {a: b}}
spec:
  service: web
  backends:
  - {service: web-v1, weight: 1e3}
  - {service: web-v2, weight: 500m}
"""


class TestParsing:
    def test_canary(self) -> None:
        canary = parsed(CANARY)
        assert isinstance(canary, Canary)
        assert canary.ref == ObjectRef("Canary", "shop", "rollout")
        assert [(backend.service, backend.weight.milli) for backend in canary.spec.backends] == [
            ("web-v1", 1_000_000),
            ("web-v2", 500),
        ]
        assert canary.metadata.generation == 3
        assert canary.metadata.creation_timestamp == datetime(2024, 1, 31, 13, 45, tzinfo=UTC)
        assert canary.root() == ServiceRef("shop", "web")

    def test_mutual_tls_is_strict_unless_it_says_otherwise(self) -> None:
        head = "apiVersion: smi-spec.io/v1beta1\nkind: MutualTLS\nmetadata: {name: a}\nspec:\n  selector: {}\n"
        for text, mode in ((head, Mode.STRICT), (head + "  mode: Permissive\n", Mode.PERMISSIVE)):
            mutual_tls = parsed(text)
            assert isinstance(mutual_tls, MutualTLS)
            assert mutual_tls.spec.mode is mode

    def test_object_without_a_namespace_is_in_the_default_one(self) -> None:
        (document,) = read_text(CANARY.replace("namespace: shop, ", "")).documents
        result = parse(document, default_namespace="dev")
        assert isinstance(result, Canary)
        assert result.ref.namespace == "dev"

    def test_sidecar(self) -> None:
        sidecar = parsed(
            "apiVersion: smi-spec.io/v1beta1\nkind: Sidecar\nmetadata: {name: a}\nspec:\n  selector: {}\n"
            "  metricLabels: {team: shop}\n  containers: [{name: c, image: i, resources: {limits: {cpu: 1}}}]\n"
        )
        assert isinstance(sidecar, Sidecar)
        assert sidecar.spec.metric_labels == {"team": "shop"}
        assert sidecar.spec.containers[0].resources.limits == {"cpu": 1}

    def test_provider_class_is_default_by_annotation(self) -> None:
        head = (
            "apiVersion: smi-spec.io/v1beta1\nkind: ProviderClass\nspec: {controllerName: a/b}\nmetadata:\n  name: x\n"
        )
        annotated = head + '  annotations: {smi-spec.io/is-default-class: "true"}\n'
        for text, is_default in ((head, False), (annotated, True)):
            provider_class = parsed(text)
            assert isinstance(provider_class, ProviderClass)
            assert provider_class.is_default is is_default
            assert provider_class.ref == ObjectRef("ProviderClass", "", "x")

    def test_other_groups_are_for_others(self) -> None:
        (document,) = read_text("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\n").documents
        result = parse(document)
        assert isinstance(result, Unknown)
        assert (result.api_version, result.kind) == ("apps/v1", "Deployment")

    def test_models_are_values(self) -> None:
        assert parsed(CANARY) == parsed(CANARY)
        with pytest.raises(AttributeError, match="immutable"):
            parsed(CANARY).spec = None  # type: ignore[misc, assignment] # it is what must not work

    def test_written_and_read_again(self) -> None:
        canary = parsed(CANARY)
        assert to_model(to_json(canary), Canary) == canary

    def test_fields_of_newer_versions_are_no_failure(self) -> None:
        """What an API server with a newer CRD stores is read as far as it is known."""
        spec: Json = {"service": "a", "backends": [], "new": 1}
        assert to_model({"metadata": {"name": "a"}, "spec": spec, "status": {"new": []}}, Canary).spec.service == "a"

    @pytest.mark.parametrize("weight", [True, 0.5, None, "-1", "x", []])
    def test_no_weight(self, weight: Json) -> None:
        spec: Json = {"service": "a", "backends": [{"service": "b", "weight": weight}]}
        with pytest.raises(msgspec.ValidationError):
            to_model({"metadata": {}, "spec": spec}, Canary)


labels = st.dictionaries(st.sampled_from(["app", "stage", "team"]), st.sampled_from(["a", "b", ""]))


class TestLabelSelector:
    """Selectors mean what they mean in Kubernetes."""

    @given(labels=labels)
    def test_empty_takes_everything(self, labels: dict[str, str]) -> None:
        assert LabelSelector().matches(labels)

    @given(wanted=labels, labels=labels)
    def test_match_labels_are_a_subset(self, wanted: dict[str, str], labels: dict[str, str]) -> None:
        assert LabelSelector(match_labels=wanted).matches(labels) == (wanted.items() <= labels.items())

    @pytest.mark.parametrize(
        ("operator", "values", "matches_a", "matches_c", "matches_absent"),
        [
            (Operator.IN, ("a", "b"), True, False, False),
            (Operator.NOT_IN, ("a", "b"), False, True, True),
            (Operator.EXISTS, (), True, True, False),
            (Operator.DOES_NOT_EXIST, (), False, False, True),
        ],
    )
    def test_expressions(
        self, operator: Operator, values: tuple[str, ...], matches_a: bool, matches_c: bool, matches_absent: bool
    ) -> None:
        selector = LabelSelector(match_expressions=(Requirement(key="app", operator=operator, values=values),))
        assert selector.matches({"app": "a"}) is matches_a
        assert selector.matches({"app": "c"}) is matches_c
        assert selector.matches({"other": "a"}) is matches_absent

    @given(wanted=labels, labels=labels)
    def test_all_of_it_must_hold(self, wanted: dict[str, str], labels: dict[str, str]) -> None:
        never = Requirement(key="nobody", operator=Operator.EXISTS)
        assert not LabelSelector(match_labels=wanted, match_expressions=(never,)).matches(labels)


class TestRoot:
    """Canary: the root is written as clients write it."""

    @pytest.mark.parametrize(
        "text",
        ["web", "web.shop", "web.shop.svc", "web.shop.svc.cluster.local", "web.shop.svc.cluster.local.", "web.shop."],
    )
    def test_all_forms(self, text: str) -> None:
        assert parse_root(text, "shop") == ServiceRef("shop", "web")

    def test_namespace_is_that_of_the_name(self) -> None:
        assert parse_root("web.shop", "other") == ServiceRef("shop", "web")

    def test_other_cluster_domain(self) -> None:
        assert parse_root("web.shop.svc.example.org", "x", "example.org") == ServiceRef("shop", "web")
        with pytest.raises(RootError, match=r"outside of the cluster domain 'cluster\.local'.*web\.shop\.svc\.cluster"):
            parse_root("web.shop.svc.example.org", "x")

    @pytest.mark.parametrize(
        "text", ["", ".", "Web", "web..shop", "web.shop.pod", "example.com.", "a" * 64, "web/shop"]
    )
    def test_no_service(self, text: str) -> None:
        if text == "example.com.":  # a Service `example` in a namespace `com`, to all that can be known here
            assert parse_root(text, "x") == ServiceRef("com", "example")
        else:
            with pytest.raises(RootError):
                parse_root(text, "x")

    @given(text=st.text(max_size=30))
    def test_any_text_is_a_service_or_refused(self, text: str) -> None:
        with suppress(RootError):
            parse_root(text, "x")
