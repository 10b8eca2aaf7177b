"""The CRDs: what they say, and that they can be afforded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from smeagol.api import KINDS, Kind
from smeagol.api.cel import judge
from smeagol.api.crd import crd
from smeagol.api.documents import read_text, write_text
from smeagol.api.problems import CODES
from smeagol.api.reference import reference
from smeagol.api.rules import Rule
from smeagol.api.schema import Schema, rules_of, schema_of

from .golden import ROOT, assert_golden

kinds = pytest.mark.parametrize("kind", KINDS, ids=[kind.name for kind in KINDS])


@kinds
class TestGolden:
    def test_crd(self, kind: Kind) -> None:
        """Every change of the API shows as a change of its CRD."""
        assert_golden(ROOT / f"tests/golden/crds/{kind.plural}.yaml", write_text(crd(kind)))

    def test_reference(self, kind: Kind) -> None:
        """The reference pages are those of this code."""
        assert_golden(ROOT / f"docs/reference/{kind.plural}.md", reference(kind))

    def test_yaml_reads_back(self, kind: Kind) -> None:
        (document,) = read_text(write_text(crd(kind))).documents
        assert document.value == crd(kind)


def parts(schema: Schema, path: str = "") -> Iterator[tuple[str, Schema]]:
    yield path, schema
    for name, field in schema.properties.items():
        yield from parts(field, f"{path}.{name}")
    for inner in (schema.items, schema.values):
        if inner is not None:
            yield from parts(inner, f"{path}[]")


@kinds
def test_where_a_kind_belongs(kind: Kind) -> None:
    """SMI-COMMON-01: group, version and scope of each kind, as the cluster has them."""
    spec: Any = crd(kind)["spec"]
    assert spec["group"] == "smi-spec.io"
    assert [(v["name"], v["served"], v["storage"]) for v in spec["versions"]] == [("v1beta1", True, True)]
    assert spec["scope"] == ("Cluster" if kind.name == "ProviderClass" else "Namespaced")


@pytest.mark.parametrize(("new", "refused"), [("a.example/one", False), ("a.example/two", True)])
def test_a_class_keeps_its_controller(new: str, refused: bool) -> None:
    """SMI-CLASS-07: a CRD has the rule, about changes, and it refuses another controller and nothing else."""
    (kind,) = [kind for kind in KINDS if kind.name == "ProviderClass"]
    field = schema_of(kind.model).properties["spec"].properties["controllerName"]
    (rule,) = [rule for rule in field.rules if rule.is_transition]
    assert rule.expression in write_text(crd(kind))
    assert (judge(rule, new, "a.example/one") is not None) is refused


@kinds
class TestShape:
    def test_everything_is_bounded(self, kind: Kind) -> None:
        """CEL costs are estimated from bounds, and so is what a hostile object can cost."""
        for path, schema in parts(schema_of(kind.model)):
            bounded = schema.max_length is not None or schema.enum or schema.format == "date-time"
            if schema.type in {"string", "array", "int-or-string"} or schema.values is not None:
                assert bounded, path

    def test_every_list_says_how_it_is_merged(self, kind: Kind) -> None:
        """Server-side apply needs it."""
        for path, schema in parts(schema_of(kind.model)):
            assert (schema.type == "array") == bool(schema.list_type), path
            assert (schema.list_type == "map") == bool(schema.list_keys), path

    def test_everything_is_described(self, kind: Kind) -> None:
        for path, schema in parts(schema_of(kind.model)):
            assert schema.description or schema.is_draft or "services[]" in path or "subjectNames[]" in path, path


ALL_RULES = [rule for kind in KINDS for rule in rules_of(schema_of(kind.model))]


@pytest.mark.parametrize("rule", ALL_RULES, ids=lambda rule: rule.code)
class TestRules:
    def test_says_what_and_how_to_mend_it(self, rule: Rule) -> None:
        """Kubernetes shows the message alone, so it holds cause and cure, in sentences of one line."""
        assert rule.code in CODES
        assert rule.what
        assert rule.fix
        assert "\n" not in rule.message
        assert rule.message.endswith(".")

    def test_is_readable_by_both_regular_expression_engines(self, rule: Rule) -> None:
        """No backslash: CEL, YAML and Python would each take one away."""
        assert "\\" not in rule.expression
