"""Every command on a page is run, and prints what the page shows."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .cli_reference import commands as known_commands
from .pages import DOCS, ROOT, blocks, pages
from .session import Session, commands, matches

NOT_RUN = ("make ", ". .venv/bin/activate")
"""The set-up, and targets that run this very test."""

SHOP = ROOT / "examples/shop/README.md"


@pytest.fixture
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """A checkout with its environment active, and meshes of its own."""
    folder = tmp_path_factory.mktemp("reader")
    shutil.copytree(ROOT / "examples", folder / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "XDG_RUNTIME_DIR": str(folder), "COLUMNS": "200"}
    with Session(folder, environment) as session:
        yield session


def follow(session: Session, page: Path) -> None:
    """Do what a page says, from top to bottom."""
    for command in commands(page):
        if not command.text.startswith(NOT_RUN):
            session.run(command)


@pytest.mark.envoy
@pytest.mark.netns
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(shutil.which("curl") is None, reason="the tutorial uses curl")
def test_tutorial(reader: Session) -> None:
    """docs/tutorial.md: a rollout by hand, a stranger, a slip."""
    follow(reader, DOCS / "tutorial.md")


@pytest.mark.envoy
@pytest.mark.netns
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("page", ["README.md", "docs/standalone.md", "docs/tutorial-provider.md"])
def test_page(reader: Session, page: str) -> None:
    """A mesh of the sample and each look into it that the page shows; a provider up to its first green case."""
    follow(reader, ROOT / page)


def test_every_page_with_commands_is_followed() -> None:
    """Commands elsewhere would be run by nobody; those of the metrics page are those of standalone mode."""
    followed = {DOCS / name for name in ("tutorial.md", "standalone.md", "metrics.md", "tutorial-provider.md")}
    followed |= {ROOT / "README.md"}
    on_a_cluster = {DOCS / "development-cluster.md", DOCS / "install.md"}  # `make e2e` has their commands
    rendered = {DOCS / "adapters.md"}  # tests/examples renders the examples for every provider
    found = {page for page in pages() if any(True for _ in blocks(page, "console"))}
    assert found - on_a_cluster - rendered == followed


@pytest.mark.parametrize("page", [*pages(), SHOP], ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_are_understood(page: Path) -> None:
    """Every `smeagol …` in a console block is a command that there is, with options that it has."""
    known = known_commands()
    for command in commands(page):
        for part in command.text.split("\n")[0].split(" | "):
            words = part.split(" -- ")[0].split()
            if words[0] != "smeagol":
                continue
            name = " ".join(words[: 3 if " ".join(words[:3]) in known else 2])
            assert name in known, f"{page.name}:{command.line}: {part}"
            options = {option for parameter in known[name].params for option in parameter.opts}
            used = {word.partition("=")[0] for word in words if word.startswith("-")}
            assert used <= options, f"{page.name}:{command.line}: {part}"


class TestMatching:
    """What `…` stands for."""

    def test_within_a_line(self) -> None:
        assert matches("up … ago: …", "up 7s ago: x y\n")
        assert not matches("up … ago", "up 7s before\n")

    def test_for_lines(self) -> None:
        assert matches("a\n…\nd", "a\nb\nc\nd\n")
        assert matches("…\nd", "d")
        assert not matches("a\n…\nd", "a\nb\n")

    def test_blanks_are_equal(self) -> None:
        assert matches("a  b   c", "a b          c")
        assert not matches("a b", "ab")

    def test_signs_are_taken_as_they_are(self) -> None:
        assert matches("{a} (b)? [c]*", "{a} (b)? [c]*")
        assert not matches("a.c", "abc")
