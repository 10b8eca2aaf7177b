"""Every problem has a page that explains it, and the page is right."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from smeagol.api import KINDS, Document, Json, Place, Refused, parse, read_text
from smeagol.api.problems import CODES, Problem, path_text
from smeagol.api.schema import rules_of, schema_of
from smeagol.api.validate import check_change
from smeagol.refs import ObjectRef

from .golden import ROOT

PAGES = {code: ROOT / "docs/problems" / f"{code}.md" for code in CODES}
_BLOCK = re.compile(r"^(Refused|Mended):\n\n```yaml\n(.*?)```", re.MULTILINE | re.DOTALL)


def examples(page: Path) -> dict[str, str]:
    return dict(_BLOCK.findall(page.read_text(encoding="utf-8")))


WITH_EXAMPLES = [code for code, page in PAGES.items() if page.exists() and examples(page)]


def codes_of(text: str) -> set[str]:
    reading = read_text(text)
    found = {problem.code for problem in reading.problems}
    for document in reading.documents:
        result = parse(document)
        if isinstance(result, Refused):
            found |= {problem.code for problem in result.problems}
    return found


@pytest.mark.parametrize("code", CODES)
def test_has_a_page_of_its_title(code: str) -> None:
    assert PAGES[code].read_text(encoding="utf-8").startswith(f"# {code}: {CODES[code]}\n")


@pytest.mark.parametrize("code", WITH_EXAMPLES)
def test_page_shows_what_is_refused_and_how_it_is_mended(code: str) -> None:
    """The first example has this problem and no other, the second has none."""
    shown = examples(PAGES[code])
    refused = codes_of(shown["Refused"])
    # An empty root is too short as well as no name.
    assert code in refused
    assert refused <= {code, "SMI-C003"}
    assert codes_of(shown["Mended"]) == set()


def test_every_rule_is_shown() -> None:
    """Each rule of the CRDs has an object that it refuses and one that it accepts, but for those about changes."""
    rules = {rule.code for kind in KINDS for rule in rules_of(schema_of(kind.model)) if not rule.is_transition}
    assert rules <= set(WITH_EXAMPLES)


def test_controller_of_a_class_cannot_be_changed() -> None:
    """The one rule about changes."""
    provider_class = next(kind for kind in KINDS if kind.name == "ProviderClass")
    schema = schema_of(provider_class.model)
    old: Json = {"spec": {"controllerName": "smi-spec.io/envoy"}}
    described: Json = {"spec": {"controllerName": "smi-spec.io/envoy", "description": "x"}}
    changed: Json = {"spec": {"controllerName": "smi-spec.io/recorder"}}
    assert check_change(schema, old, described) == ()
    (finding,) = check_change(schema, old, changed)
    assert (finding.code, finding.path) == ("SMI-P002", ("spec", "controllerName"))


def test_one_text_on_all_surfaces() -> None:
    """Place, object, field, cause, cure, code: in this order."""
    problem = Problem(
        code="SMI-C005",
        what="Invalid value: -1: the weight is negative",
        fix="Use 0",
        place=Place(file="shop.yaml", line=12),
        object=ObjectRef("Canary", "shop", "web"),
        path=("spec", "backends", 1, "weight"),
    )
    assert str(problem) == (
        "shop.yaml:12: Canary shop/web, spec.backends[1].weight: Invalid value: -1: the weight is negative. "
        "Use 0. [SMI-C005]"
    )


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ((), ""),
        (("spec", "backends", 0), "spec.backends[0]"),
        (("metadata", "labels", "app.kubernetes.io/name"), "metadata.labels[app.kubernetes.io/name]"),
        (("spec", "x" * 1000), f"spec.{'x' * 80}…"),
    ],
)
def test_paths_read_as_those_of_the_server(path: tuple[str | int, ...], text: str) -> None:
    assert path_text(path) == text


def test_every_problem_at_once() -> None:
    """All problems of an object are reported, in the order of their lines, not the first only."""
    text = """apiVersion: smi-spec.io/v1beta1
kind: Canary
metadata:
  name: Web
spec:
  service: web
  colour: blue
  backends:
  - service: web
    weight: -1
  - service: web-v2
    weight: [1]
"""
    result = parse(read_text(text, file="shop.yaml").documents[0], default_namespace="shop")
    assert isinstance(result, Refused)
    assert [(problem.code, problem.place.line, problem.field) for problem in result.problems] == [
        ("SMI-V008", 4, "metadata.name"),
        ("SMI-V004", 7, "spec.colour"),
        ("SMI-C005", 10, "spec.backends[0].weight"),
        ("SMI-V002", 12, "spec.backends[1].weight"),
    ]


def test_too_many_problems_are_cut_off() -> None:
    spec: Json = {f"field{number}": 1 for number in range(1000)}
    value: Json = {"apiVersion": "smi-spec.io/v1beta1", "kind": "MutualTLS", "metadata": {"name": "a"}, "spec": spec}
    result = parse(Document(value=value, place=Place(file="x"), lines={}))
    assert isinstance(result, Refused)
    assert len(result.problems) == 101
    assert result.problems[-1].code == "SMI-V011"
