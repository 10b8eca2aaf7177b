"""Every problem code has one meaning and one page."""

from __future__ import annotations

import re

from smeagol.api.problems import CODES

from .pages import assert_golden
from .problem_codes import GROUPS, PAGES, codes_in_sources, error_classes, index


def test_every_code_has_a_page_and_every_page_a_code() -> None:
    """What a message cites can be looked up, and no page speaks of a code that is gone."""
    assert codes_in_sources() == {page.stem for page in PAGES.glob("SMI-*.md")}


RAISED_WHILE_PARSING = {"SMI-C003", "SMI-Q001"}
"""Errors of a parser that become the problem of a manifest, under the same code."""


def test_a_code_means_one_thing() -> None:
    """No two error classes share a code, and none takes one of a manifest's problems for something else."""
    known: dict[str, str] = dict.fromkeys(CODES.keys() - RAISED_WHILE_PARSING, "smeagol.api.problems")
    for code, path in error_classes():
        assert code not in known, f"{code} is in {known[code]} and in {path}"
        known[code] = str(path)


def test_a_page_begins_with_its_code_and_says_what_to_do() -> None:
    """The title repeats the code; below it there is more than the title."""
    for page in PAGES.glob("SMI-*.md"):
        first, _, rest = page.read_text(encoding="utf-8").partition("\n")
        assert re.fullmatch(rf"# {page.stem}: [A-Z].*[^.]", first), page
        assert len(rest.split()) > 10, page


def test_the_index_lists_all() -> None:
    """Each page is in the index, under the one group that its code begins with."""
    for page in PAGES.glob("SMI-*.md"):
        assert sum(page.stem.startswith(f"SMI-{group}") for group in GROUPS) == 1, page
    assert_golden(PAGES / "README.md", index())
