"""Puts measured figures into `results.md`: tables, goals, and one section for each part that can be run alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from bench.figures import Goal

__all__ = ["HEADING", "goals_table", "replace_section", "table", "versions_line"]

HEADING = """# Benchmark results

Written by `make bench`; every number is measured. A part that is run alone (`python -m bench --only xds`) replaces its
own section. Spreads are `least / median / most` over all rounds.
"""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; the first column is text, the others are aligned to the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    for row in lines:
        if len(row) != len(head):
            raise ValueError(f"a row of {len(row)} cells under {len(head)} headings: {row}")
    return "".join(f"| {' | '.join(row)} |\n" for row in lines)


def goals_table(goals: Iterable[Goal]) -> str:
    """Each goal with its limit and what was measured."""
    return table(
        ("goal", "at most", "measured", "verdict"),
        [(goal.what, f"{goal.limit:.2f}", f"{goal.measured:.2f}", f"**{goal.verdict}**") for goal in goals],
    )


def versions_line(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def replace_section(document: str, name: str, content: str) -> str:
    """`document` with `content` as its section `name`, where that was or at the end; all else stays as it is."""
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"
    section = f"{begin}{content.rstrip()}\n{end}"
    before, found, rest = document.partition(begin)
    if not found:
        return f"{document.rstrip()}\n\n{section}"
    _, _, after = rest.partition(end)
    return f"{before}{section}{after}"
