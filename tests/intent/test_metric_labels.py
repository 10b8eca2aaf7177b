"""Labels on the series of a workload (SMI-SIDE)."""

from __future__ import annotations

import re

from hypothesis import example, given
from hypothesis import strategies as st

from smeagol.intent.metric_labels import legal, merged

LABELS = st.dictionaries(st.text(alphabet="aA0_-./é", max_size=6), st.text(max_size=3), max_size=8)


def test_illegal_characters() -> None:
    """SMI-SIDE-04: what Prometheus does not take in a label's name becomes an underscore."""
    assert legal({"app.kubernetes.io/name": "web", "team": "shop"}) == (
        ("app_kubernetes_io_name", "web"),
        ("team", "shop"),
    )


def test_two_that_fall_together_are_told_apart() -> None:
    """SMI-SIDE-04: `a.b` and `a-b` do not become one label, and the legal `a_b` keeps its name."""
    names = dict(legal({"a.b": "1", "a-b": "2", "a_b": "3"}))
    assert sorted(names.values()) == ["1", "2", "3"]
    assert names["a_b"] == "3"


def test_name_that_is_taken_on_purpose() -> None:
    """SMI-SIDE-04: nobody can write a label that takes away the name of another one."""
    first = {v: k for k, v in legal({"a.b": "1", "a-b": "2"})}
    names = dict(legal({"a.b": "1", "a-b": "2", first["1"]: "3"}))
    assert sorted(names.values()) == ["1", "2", "3"]


def test_reserved_names() -> None:
    """SMI-SIDE-04: names with a leading digit or `__`, `le` and `quantile` get a prefix: they are Prometheus' own."""
    assert [name for name, _ in legal({"0day": "", "__name__": "", "le": "", "quantile": ""})] == [
        "label_0day",
        "label___name__",
        "label_le",
        "label_quantile",
    ]


@given(LABELS)
@example({"": "x", "_": "y"})
def test_always_legal_and_nothing_lost(labels: dict[str, str]) -> None:
    """SMI-SIDE-04: every label comes out, under a legal name of its own, in name order."""
    made = legal(labels)
    names = [name for name, _ in made]
    assert names == sorted(set(names))
    assert sorted(value for _, value in made) == sorted(labels.values())
    for name in names:
        assert re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]*", name)
        assert not name.startswith("__")
        assert name not in ("le", "quantile")


@given(LABELS)
def test_order_does_not_matter(labels: dict[str, str]) -> None:
    """SMI-SIDE-04: the names follow from the labels, not from the order in which they are written."""
    assert legal(labels) == legal(dict(reversed(labels.items())))


def test_oldest_wins() -> None:
    """SMI-SIDE-05: several Sidecars add up, and where two give one label the older one's value stands."""
    assert merged([{"team": "old", "app": "web"}, {"team": "new", "tier": "1"}]) == (
        ("app", "web"),
        ("team", "old"),
        ("tier", "1"),
    )
