"""The drawing of the house is the house."""

from __future__ import annotations

import configparser
import re

from .pages import DOCS, ROOT, blocks

PAGE = DOCS / "architecture.md"


def drawn_layers() -> list[set[str]]:
    """The lines of the drawing that are layers: those that are not indented."""
    house = next(blocks(PAGE, "text")).text.splitlines()
    return [set(re.split(r" \| ", re.split(r"  +", line)[0])) for line in house if not line.startswith(" ")]


def checked_layers() -> list[set[str]]:
    """The layers of the import contract, as far as their rooms are built. It is exhaustive: no room is outside."""
    contracts = configparser.ConfigParser()
    contracts.read(ROOT / ".importlinter")
    contract = contracts["importlinter:contract:layers"]
    assert contract.getboolean("exhaustive")
    lines = contract["layers"].split("\n")
    return [{room for room in re.findall(r"\w+", line) if is_built(room)} for line in lines if line.strip()]


def is_built(room: str) -> bool:
    source = ROOT / "src/smeagol"
    return (source / room / "__init__.py").exists() or (source / f"{room}.py").exists()


def test_the_drawing_has_the_arrows_that_are_checked() -> None:
    """Same rooms, same order; none that is planned only."""
    assert drawn_layers() == checked_layers()


def test_files_that_are_named_exist() -> None:
    """Paths in the text are paths of the sources."""
    for path in re.findall(r"`([a-z_/]+/[a-z_]+(?:\.py)?)`", PAGE.read_text(encoding="utf-8")):
        assert (ROOT / "src/smeagol" / path).exists(), path
