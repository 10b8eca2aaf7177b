"""The project's pages as data: which there are, their headings, links and blocks."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["DOCS", "ROOT", "Block", "assert_golden", "blocks", "links", "pages", "prose", "targets"]

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

_BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<!\\)\[[^\]]*\]\(([^)\s]+)\)")
_HTML_LINK = re.compile(r'(?:src|href)="([^"]+)"')
_HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: its language, its text, and the line of the page on which the text begins."""

    language: str
    text: str
    line: int


def pages() -> list[Path]:
    """Every page that people are meant to read."""
    return [*sorted(ROOT.glob("*.md")), *sorted(DOCS.rglob("*.md"))]


def blocks(page: Path, *languages: str) -> Iterator[Block]:
    """The fenced blocks of these languages (of all, if none is named), in order; indented ones lose their indent."""
    text = page.read_text(encoding="utf-8")
    for match in _BLOCK.finditer(text):
        indent, language, body = match.groups()
        if not languages or language in languages:
            body = re.sub(rf"(?m)^{indent}", "", body) if indent else body
            yield Block(language, body, text.count("\n", 0, match.start(3)) + 1)


def prose(page: Path) -> str:
    """The text of a page without its fenced blocks and without code in a line."""
    text = _BLOCK.sub("", page.read_text(encoding="utf-8"))
    return re.sub(r"`[^`\n]*`", "", text)


def links(page: Path) -> list[str]:
    """The targets of all links and pictures of a page."""
    text = _BLOCK.sub("", page.read_text(encoding="utf-8"))
    return [*_LINK.findall(text), *_HTML_LINK.findall(text)]


def targets(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and the usual site builders make them."""
    text = _BLOCK.sub("", page.read_text(encoding="utf-8"))
    found: set[str] = set()
    for heading in _HEADING.findall(text):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").lower()
        anchor = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        while anchor in found:
            anchor += "-1"
        found.add(anchor)
    return found


def assert_golden(path: Path, text: str) -> None:
    """A page that is written from code equals what the code says; `SMEAGOL_GOLDEN=write` rewrites it."""
    if os.environ.get("SMEAGOL_GOLDEN") == "write":
        path.write_text(text, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == text, f"{path} is out of date; run with SMEAGOL_GOLDEN=write"
