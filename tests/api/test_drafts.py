"""The early drafts of 2019, as they were committed, are read as what they mean today."""

from __future__ import annotations

import pytest

from smeagol.api import Document, Json, Refused, Unknown, modernize, parse, read_text


def document_of(text: str) -> Document:
    (document,) = read_text(text).documents
    return document


def modern_of(text: str) -> Json:
    """The modern value, once it is sure that the server would take it and that a second conversion changes nothing."""
    modern = modernize(document_of(text))
    assert not isinstance(modern, Refused), modern
    assert modern.notes
    assert not isinstance(parse(modern.document), Refused | Unknown)
    again = modernize(modern.document)
    assert not isinstance(again, Refused)
    assert (again.document, again.notes) == (modern.document, ())
    return modern.document.value


TLS_CONFIG = """
apiVersion: v1beta1
kind: TLSConfig
name: backend
spec:
  subjectNames:
  - foo
  - bar
  selector:
    matchLabels:
      role: frontend
      stage: production
"""
CANARY = """
apiVersion: v1beta1
kind: Canary
name: my-canary
spec:
  services:
  - service-1: 50%
  - service-2: 20%
  - service-3: 2.5%
"""
MONITOR = """
apiVersion: v1beta1
kind: Monitor
name: web
spec:
  selector:
    matchLabels: {app: web}
  metricLabels: {team: a, region: west}
"""
LATER_CANARY = """
apiVersion: v1beta1
kind: Canary
metadata:
  name: my-canary
spec:
  service: website
  backends:
  - {service: website-v1, weight: 10m}
  - {service: website-v2, weight: 100m}
"""


class TestDrafts:
    def test_tls_config(self) -> None:
        assert modern_of(TLS_CONFIG) == {
            "apiVersion": "smi-spec.io/v1beta1",
            "kind": "MutualTLS",
            "metadata": {"name": "backend"},
            "spec": {
                "clientSubjectNames": ["foo", "bar"],
                "selector": {"matchLabels": {"role": "frontend", "stage": "production"}},
            },
        }

    def test_canary_with_percentages(self) -> None:
        """The Canary was a Service itself, of its own name; shares did not have to add up to 100."""
        assert modern_of(CANARY) == {
            "apiVersion": "smi-spec.io/v1beta1",
            "kind": "Canary",
            "metadata": {"name": "my-canary"},
            "spec": {
                "service": "my-canary",
                "backends": [
                    {"service": "service-1", "weight": 50},
                    {"service": "service-2", "weight": 20},
                    {"service": "service-3", "weight": "2.5"},
                ],
            },
        }

    def test_monitor(self) -> None:
        assert modern_of(MONITOR) == {
            "apiVersion": "smi-spec.io/v1beta1",
            "kind": "Sidecar",
            "metadata": {"name": "web"},
            "spec": {"selector": {"matchLabels": {"app": "web"}}, "metricLabels": {"team": "a", "region": "west"}},
        }

    def test_canary_that_lacks_only_the_group(self) -> None:
        value = modern_of(LATER_CANARY)
        assert isinstance(value, dict)
        assert value["apiVersion"] == "smi-spec.io/v1beta1"

    def test_half_way(self) -> None:
        """Somebody changed the group and the name by hand, but not the fields."""
        text = CANARY.replace("v1beta1", "smi-spec.io/v1beta1").replace(
            "name: my-canary", "metadata: {name: my-canary}"
        )
        assert modern_of(text) == modern_of(CANARY)
        renamed = TLS_CONFIG.replace("v1beta1", "smi-spec.io/v1beta1").replace("TLSConfig", "MutualTLS")
        assert modern_of(renamed.replace("name: backend", "metadata: {name: backend}")) == modern_of(TLS_CONFIG)

    @pytest.mark.parametrize("text", [TLS_CONFIG, CANARY, MONITOR, LATER_CANARY])
    def test_refused_unconverted(self, text: str) -> None:
        """With a message that says what to do."""
        result = parse(document_of(text))
        assert isinstance(result, Refused)
        (problem,) = result.problems
        assert problem.code == "SMI-V010"
        assert "smeagol convert" in problem.fix

    @pytest.mark.parametrize("text", ["a: 1", "- 1", "apiVersion: v1\nkind: Service\nmetadata: {name: a}", "x"])
    def test_what_is_no_draft_is_left_alone(self, text: str) -> None:
        document = document_of(text)
        modern = modernize(document)
        assert not isinstance(modern, Refused)
        assert (modern.document, modern.notes) == (document, ())


class TestUnconvertible:
    @pytest.mark.parametrize(
        ("text", "field", "line"),
        [
            (CANARY.replace("50%", "half"), "spec.services[0].service-1", 7),
            (CANARY.replace("- service-2: 20%", "- service-2"), "spec.services[1]", 8),
            (CANARY + "  backends: []\n", "spec.services", 6),
            (TLS_CONFIG + "  clientSubjectNames: []\n", "spec.subjectNames", 6),
            (MONITOR + "extra: 1\n", "extra", 9),
            ("apiVersion: v1beta1\nkind: Monitor\nname: a\n", "spec", 1),
            ("apiVersion: v1beta1\nkind: Canary\nname: a\nspec: {services: 5}\n", "spec.services", 4),
        ],
    )
    def test_says_what_cannot_be_carried_over(self, text: str, field: str, line: int) -> None:
        result = modernize(document_of(text))
        assert isinstance(result, Refused)
        (problem,) = result.problems
        assert (problem.code, problem.field, problem.place.line) == ("SMI-D001", field, line)
        assert problem.fix
