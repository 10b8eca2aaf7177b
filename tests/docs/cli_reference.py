"""The reference page of the `smeagol` command, written from the code that parses its arguments."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Iterator
from enum import Enum
from pathlib import Path

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from smeagol.cli import build

__all__ = ["cli_page", "commands"]

_INTRODUCTION = """# Command line

`smeagol COMMAND -h` shows the same. Exit codes: 0 means done; 1 that there is a problem, which standard error explains
with its cure and [code](../problems/README.md); 2 that the command was called wrongly. `smeagol exec` ends as what it
ran ended.

Commands that look into a mesh find it below `--state-dir`, else `$XDG_RUNTIME_DIR/smeagol`, else `/tmp/smeagol-UID`.
`--name` is needed only where several are running. With `--kubeconfig` or `--context`, as `kubectl smeagol …`, and where
no standalone mesh is running, it is the [mesh of a cluster](../operations.md#look).
"""
_PANELS = ("Try it", "Standalone mode", "Look into a mesh", "Manifests", "In a cluster", "Provider authors")


def commands() -> dict[str, TyperCommand]:
    """Every command by its full name, such as `smeagol ca issue`."""
    return dict(_commands("smeagol", _root()))


def cli_page() -> str:
    """The whole page, in the order of the panels of `smeagol --help`."""
    panels = {
        name: found.rich_help_panel
        for name, found in _root().commands.items()
        if isinstance(found, TyperCommand | TyperGroup)
    }
    assert set(panels.values()) == set(_PANELS), "a panel of commands has no place on the page yet"
    lines = [_INTRODUCTION]
    for panel in _PANELS:
        lines.append(f"## {panel}\n")
        for name, command in commands().items():
            if panels[name.split(" ")[1]] == panel:
                lines += _command(name, command)
    return "\n".join(lines)


def _root() -> TyperGroup:
    root = typer.main.get_command(build())
    assert isinstance(root, TyperGroup)
    return root


def _commands(prefix: str, group: TyperGroup) -> Iterator[tuple[str, TyperCommand]]:
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from _commands(f"{prefix} {name}", command)
        elif isinstance(command, TyperCommand):
            yield f"{prefix} {name}", command


def _command(name: str, command: TyperCommand) -> Iterator[str]:
    arguments = [param for param in command.params if isinstance(param, TyperArgument)]
    options = [param for param in command.params if isinstance(param, TyperOption) and "--help" not in param.opts]
    usage = " ".join([name, *(["[OPTIONS]"] if options else []), *map(_usage, arguments)])
    yield f"### {name}\n"
    yield f"```text\n{usage}\n```\n"
    yield f"{_paragraphs(inspect.getdoc(command.callback))}\n"
    if options or any(argument.help for argument in arguments):
        yield "| Argument | Meaning |"
        yield "|---|---|"
        yield from (f"| `{argument.metavar}` | {argument.help} |" for argument in arguments if argument.help)
        yield from map(_option, options)
        yield ""


def _usage(argument: TyperArgument) -> str:
    text = f"{argument.metavar}{'...' if argument.nargs == -1 else ''}"
    text = f"-- {text}" if argument.name == "command" else text
    return text if argument.required else f"[{text}]"


def _option(option: TyperOption) -> str:
    kind = _plain(option.type_descriptor.annotation)
    spelled = ", ".join(f"`{name}`" for name in option.opts)
    meaning = option.help or ""
    if issubclass(kind, Enum):
        meaning = f"{meaning} One of {', '.join(f'`{choice.value}`' for choice in kind)}."
        value = ""
    else:
        value = "" if kind is bool else f" {option.metavar or _VALUES[kind]}"
    default = option.default.value if isinstance(option.default, Enum) else option.default
    if option.show_default and default not in (None, False, "", ()):
        meaning = f"{meaning} Default: `{default}`."
    return f"| {spelled}{value} | {meaning} |"


_VALUES = {str: "TEXT", int: "NUMBER", float: "NUMBER", Path: "PATH"}


def _plain(annotation: object) -> type:
    """`X` of `X` and of `X | None`."""
    parts = typing.get_args(annotation) or (annotation,)
    plain = next(part for part in parts if part is not types.NoneType)
    assert isinstance(plain, type)
    return plain


def _paragraphs(help_text: str | None) -> str:
    """The text of `--help`; a paragraph that is a command line becomes a block."""
    parts = inspect.cleandoc(help_text or "").split("\n\n")
    return "\n\n".join(f"```text\n{part}\n```" if part.startswith("curl ") else part for part in parts)
