"""`smeagol convert`: manifests of the early drafts, to those of today."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Manifests")(convert)


def convert(
    files: Annotated[list[str], typer.Argument(metavar="FILE", help="Files or folders; - is standard input.")],
) -> None:
    """Print manifests of the early drafts (TLSConfig, Monitor, Canary with percentages) as those of today.

    Standard error says what was decided. Other documents come out unchanged, but for their comments and layout. Exit
    code 1 if something cannot be converted, or would be refused by the API server; it is then left out.
    """
    from smeagol.api.decode import Refused, parse
    from smeagol.api.documents import Json, write_text
    from smeagol.api.drafts import modernize
    from smeagol.cli.inputs import read_inputs

    reading = read_inputs(files)
    problems = list(reading.problems)
    converted: list[Json] = []
    for document in reading.documents:
        modern = modernize(document)
        if isinstance(modern, Refused):
            problems += modern.problems
            continue
        for note in modern.notes:
            typer.echo(f"{document.place}: {note}", err=True)
        result = parse(modern.document)
        if isinstance(result, Refused):
            problems += result.problems
        else:
            converted.append(modern.document.value)
    if converted:
        typer.echo(write_text(*converted), nl=False)
    for problem in problems:
        typer.echo(str(problem), err=True)
    if problems:
        raise typer.Exit(1)
