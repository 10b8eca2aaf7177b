"""The log is for people on a terminal, in colour unless they want none, and for programs elsewhere."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator

import pytest
import structlog

from smeagol.runtime.logs import configure


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    before = structlog.get_config()
    yield
    structlog.configure(**before)


def logged(stream: io.StringIO) -> str:
    configure(verbose=False, stream=stream)
    structlog.get_logger().info("mesh is up", name="one")
    return stream.getvalue()


def test_colours_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless NO_COLOR is set (no-color.org)."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[" in logged(Terminal())
    monkeypatch.setenv("NO_COLOR", "1")
    plain = logged(Terminal())
    assert "\x1b[" not in plain
    assert "mesh is up" in plain


def test_json_elsewhere() -> None:
    line = json.loads(logged(io.StringIO()))
    assert (line["event"], line["level"], line["name"]) == ("mesh is up", "info", "one")
