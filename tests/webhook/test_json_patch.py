"""A patch makes the new value of the old one, and says no more than it must."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from smeagol.webhook.json_patch import Operation, diff
from webhook.patching import patched

KEYS = st.sampled_from(["a", "b", "c/d", "e~f", "~1", ""])
SCALARS: st.SearchStrategy[Any] = st.none() | st.booleans() | st.integers(-2, 2) | st.text("ab", max_size=2)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=12
)


@given(old=VALUES, new=VALUES)
def test_the_patch_makes_the_new_value_of_the_old(old: Any, new: Any) -> None:
    """Whatever the two are: other types, other lengths, keys that need escaping; True is not 1."""
    assert repr(sorted_keys(patched(old, diff(old, new)))) == repr(sorted_keys(new))


def sorted_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: sorted_keys(value[key]) for key in sorted(value)}
    return [sorted_keys(item) for item in value] if isinstance(value, list) else value


@given(value=VALUES)
def test_what_is_equal_needs_no_step(value: Any) -> None:
    assert diff(value, value) == ()


def test_items_put_in_front_are_added_and_nothing_else_is_said() -> None:
    """A Pod's own containers do not travel back to the API server."""
    big = {"name": "app", "env": ["…"] * 1000}
    assert diff({"c": [big]}, {"c": ["init", "proxy", big]}) == (
        Operation("add", "/c/0", "init"),
        Operation("add", "/c/1", "proxy"),
    )
