"""Links lead somewhere."""

from __future__ import annotations

import posixpath
from pathlib import Path

import pytest

from .pages import DOCS, ROOT, links, pages, targets

IDS = [str(page.relative_to(ROOT)) for page in pages()]


@pytest.mark.parametrize("page", pages(), ids=IDS)
def test_links_resolve(page: Path) -> None:
    """Files exist, and so do the headings that are pointed at. Only others' sites are linked by address."""
    for link in links(page):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name}: {link}"
        assert target.is_relative_to(ROOT), f"{page.name}: {link}"
        assert not anchor or anchor in targets(target), f"{page.name}: {link}"


def test_every_page_can_be_reached() -> None:
    """From README.md, by links alone."""
    reached, ahead = set[Path](), [ROOT / "README.md"]
    while ahead:
        page = ahead.pop()
        if page in reached or page.suffix != ".md" or not page.exists():
            continue
        reached.add(page)
        local = (link.partition("#")[0] for link in links(page) if "://" not in link)
        ahead += [Path(posixpath.normpath(page.parent / link)) for link in local if link]
    assert set(DOCS.rglob("*.md")) <= reached
