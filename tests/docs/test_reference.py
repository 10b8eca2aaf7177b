"""Reference pages say what the code says."""

from __future__ import annotations

from .cli_reference import cli_page, commands
from .manifest_reference import manifest_page
from .pages import DOCS, assert_golden
from .provider_protocol import protocol_page, protocol_schema
from .providers_page import providers_page


def test_the_command_line() -> None:
    """Every command, argument, option and default."""
    assert_golden(DOCS / "reference/cli.md", cli_page())


def test_help_fills_the_terminal() -> None:
    """Every paragraph of a help text is one line, which the terminal breaks where it ends."""
    for name, command in commands().items():
        assert "\n" not in (command.help or "").replace("\n\n", ""), name


def test_the_manifests_of_standalone_mode() -> None:
    """Every kind and field that is carried out."""
    assert_golden(DOCS / "reference/files.md", manifest_page())


def test_the_protocol_of_providers() -> None:
    """Every field that is sent and taken: none changes unnoticed."""
    assert_golden(DOCS / "provider-protocol.schema.json", protocol_schema())
    assert_golden(DOCS / "provider-protocol.md", protocol_page())


def test_who_supports_what() -> None:
    """What the reports prove and what the providers claim, each called by its name."""
    assert_golden(DOCS / "providers.md", providers_page())
