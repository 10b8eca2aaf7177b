"""The page about installing says what there is."""

from __future__ import annotations

import re

from docs.cli_reference import commands
from docs.pages import DOCS, blocks
from smeagol.install import InstallSettings, manifests
from smeagol.install.access import AUTHORITY_SECRET, LEASE

PAGE = DOCS / "install.md"
TEXT = PAGE.read_text(encoding="utf-8")


def test_its_commands_are_understood() -> None:
    """The commands and their options exist; what they do is proved on a real API server (`tests/e2e`)."""
    lines = [line.split() for block in blocks(PAGE, "sh") for line in block.text.splitlines()]
    ours = [words for words in lines if words[0] == "smeagol"]
    assert {words[1] for words in ours} == {"check", "install", "uninstall"}
    for words in ours:
        known = {option for parameter in commands()[f"smeagol {words[1]}"].params for option in parameter.opts}
        assert {word for word in words if word.startswith("-")} <= known


def test_it_names_what_is_installed() -> None:
    """Every kind of object, and the two that the control plane makes itself."""
    for manifest in manifests(InstallSettings(version="1", image="i")):
        if not manifest.resource.kind.endswith("Binding"):
            assert manifest.resource.kind in TEXT, manifest.ref
    assert f"`{LEASE}`" in TEXT
    assert f"`{AUTHORITY_SECRET}`" in TEXT


def test_its_table_of_options_is_of_options() -> None:
    """Those in the first column."""
    known = {option for parameter in commands()["smeagol install"].params for option in parameter.opts}
    table = TEXT[TEXT.index("| Option |") : TEXT.index("### What is installed")]
    named = re.findall(r"^\| `(-[\w-]+)", table, re.MULTILINE)
    assert len(named) > 3
    assert set(named) <= known
