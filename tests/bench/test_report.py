"""Writing of `bench/results.md`."""

from __future__ import annotations

import pytest

from bench.figures import Goal
from bench.report import HEADING, goals_table, replace_section, table


class TestTable:
    def test_is_markdown_with_figures_to_the_right(self) -> None:
        """The first column names, the others measure."""
        assert table(("server", "last"), [("ours", "12"), ("theirs", "1,200")]) == (
            "| server | last |\n| --- | ---: |\n| ours | 12 |\n| theirs | 1,200 |\n"
        )

    def test_refuses_a_row_that_does_not_fit(self) -> None:
        """A figure under the wrong heading would be worse than none."""
        with pytest.raises(ValueError, match="1 cells under 2 headings"):
            table(("server", "last"), [("ours",)])


class TestGoals:
    def test_say_pass_or_miss_in_plain_words(self) -> None:
        """Limit, measurement and verdict stand side by side."""
        text = goals_table([Goal("speed", 0.5, 0.123), Goal("memory", 1 / 3, 0.4)])
        assert "| speed | 0.50 | 0.12 | **PASS** |" in text
        assert "| memory | 0.33 | 0.40 | **MISS** |" in text


class TestSections:
    """A part that is run alone replaces its own section and no other."""

    def test_are_added_in_the_order_of_measuring(self) -> None:
        document = replace_section(replace_section(HEADING, "xds", "one\n"), "datapath", "two\n")
        assert document.startswith(HEADING)
        assert document.index("one") < document.index("two")

    def test_are_replaced_where_they_are(self) -> None:
        before = replace_section(replace_section(HEADING, "xds", "old"), "datapath", "other")
        after = replace_section(before, "xds", "new")
        assert after == before.replace("old", "new")

    def test_writing_the_same_twice_changes_nothing(self) -> None:
        once = replace_section(replace_section(HEADING, "xds", "one"), "datapath", "two")
        assert replace_section(replace_section(once, "xds", "one"), "datapath", "two") == once
