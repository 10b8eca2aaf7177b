"""The `smeagol` command. Each module here is one command: it reads arguments, calls the rooms below, prints results.

A module adds itself by a function `register(app)`; what it needs beyond that it imports inside the command, so that
`smeagol --help` stays fast.
"""

from __future__ import annotations

import importlib
import inspect
import os
import pkgutil
import sys
from typing import Annotated

import typer

from smeagol.errors import SmeagolError

__all__ = ["build", "kubectl_complete", "main"]


def main() -> None:
    """Entry point. Problems that a user can mend end with a sentence and exit code 1, wrong usage with 2."""
    from smeagol.cli.meshes import as_plugin

    try:
        build()(prog_name="kubectl smeagol" if as_plugin() else "smeagol")
    except SmeagolError as error:
        print(f"smeagol: {error}", file=sys.stderr)
        sys.exit(1)
    except BrokenPipeError:  # `smeagol crds | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)


def kubectl_complete() -> None:
    """What kubectl runs to complete `kubectl smeagol …`: candidates, then what else the shell may do; `:0` leaves it
    file names too (kubectl: plugin completion; cobra: ShellCompDirectiveDefault).
    """
    words = sys.argv[1:]
    os.environ |= {
        "_SMEAGOL_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(["smeagol", *words]),
        "COMP_CWORD": str(len(words)),
    }
    try:
        build()(prog_name="smeagol")
    finally:
        print(":0")


def build() -> typer.Typer:
    """The whole command, made of the modules of this package in the order of their names."""
    app = typer.Typer(
        name="smeagol",
        no_args_is_help=True,
        pretty_exceptions_enable=False,  # tracebacks with local variables could show secrets
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_smeagol)
    for module in sorted(found.name for found in pkgutil.iter_modules(__path__)):
        register = getattr(importlib.import_module(f"{__name__}.{module}"), "register", None)
        if register is not None:
            register(app)
    _unwrap(app)
    return app


def _unwrap(app: typer.Typer) -> None:
    """Let help texts fill the terminal: Typer keeps the line breaks of every paragraph of a docstring but the first."""
    for command in app.registered_commands:
        if command.callback is not None:
            text = inspect.getdoc(command.callback) or ""
            command.help = "\n\n".join(paragraph.replace("\n", " ") for paragraph in text.split("\n\n"))
    for group in app.registered_groups:
        if group.typer_instance is not None:
            _unwrap(group.typer_instance)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"smeagol {version('smeagol')}")
        raise typer.Exit


def _smeagol(
    _version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """The Service Mesh Interface made real: portable mesh APIs, and providers that make them true."""
