"""How a mesh that ends by a problem says so."""

from __future__ import annotations

import pytest

from smeagol.errors import SmeagolError
from smeagol.runtime.start import mendable


def test_what_a_user_can_mend_is_told_without_a_traceback() -> None:
    """Tasks wrap what they raise in groups, and those in groups again."""
    one, two = SmeagolError("one"), SmeagolError("two")
    assert mendable(one) == [one]
    assert mendable(ExceptionGroup("", [one, ExceptionGroup("", [two])])) == [one, two]


def test_a_fault_of_ours_is_not_hidden() -> None:
    with pytest.raises(ExceptionGroup) as raised:
        mendable(ExceptionGroup("", [SmeagolError("one"), ExceptionGroup("", [KeyError("x")])]))
    assert raised.value.subgroup(KeyError) is not None
