"""How an error reads, which is the same everywhere."""

from __future__ import annotations

import re
from pathlib import Path

from smeagol.errors import sentence

SOURCES = Path(__file__).parents[1] / "src"


def test_cause_and_cure_are_two_sentences() -> None:
    """A command in backquotes stays as it is typed."""
    assert sentence("it is away", "start it.") == "it is away. Start it."
    assert sentence("it is away", "`smeagol up` starts it") == "it is away. `smeagol up` starts it."


def test_no_cure_begins_with_a_bare_command() -> None:
    """Its first letter would become a capital: a command stands in backquotes, or after a word such as 'See'."""
    bare = re.compile(r"""\bfix\s*=\s*\(?\s*f?["'](?:kubectl|smeagol|helm|pip)\b.*""")
    texts = ((path.name, path.read_text(encoding="utf-8")) for path in sorted(SOURCES.rglob("*.py")))
    assert [(name, found) for name, text in texts for found in bare.findall(text)] == []
