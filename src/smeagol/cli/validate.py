"""`smeagol validate`: what the API server would say of manifests, without one."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer

__all__ = ["register"]


class Output(Enum):
    TEXT = "text"
    JSON = "json"


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Manifests")(validate)


def validate(
    files: Annotated[list[str], typer.Argument(metavar="FILE", help="Files or folders; - is standard input.")],
    output: Annotated[Output, typer.Option("-o", "--output", help="How to report.")] = Output.TEXT,
) -> None:
    """Check manifests as the API server would, and report every problem: object, field, cause and cure.

    Exit code 0 if there is none, 1 if there is one. Objects of other groups are counted, not checked.
    """
    import json

    from smeagol.api.decode import Refused, Unknown, parse
    from smeagol.cli.inputs import read_inputs
    from smeagol.cli.terminal import paint, problem_line

    reading = read_inputs(files)
    parsed = [parse(document) for document in reading.documents]
    problems = list(reading.problems)
    for result in parsed:
        if isinstance(result, Refused):
            problems += result.problems
    problems.sort(key=lambda problem: problem.place.file)  # stable: in a file, what the text has comes first
    others = sum(isinstance(result, Unknown) for result in parsed)
    objects = len(parsed) - others

    if output is Output.JSON:
        report = {
            "objects": objects,
            "others": others,
            "problems": [
                {
                    "code": problem.code,
                    "file": problem.place.file,
                    "line": problem.place.line,
                    "object": {
                        "kind": problem.object.kind,
                        "namespace": problem.object.namespace,
                        "name": problem.object.name,
                    }
                    if problem.object
                    else None,
                    "field": problem.field,
                    "cause": problem.what,
                    "cure": problem.fix,
                }
                for problem in problems
            ],
        }
        typer.echo(json.dumps(report, indent=2, ensure_ascii=False))
    else:
        for problem in problems:
            typer.echo(problem_line(problem))
        summary = f"{_count(objects, 'object')}, {_count(len(problems), 'problem')}"
        rest = f" ({others} of other groups not checked)" if others else ""
        typer.echo(paint(summary, "red" if problems else "green", bold=True) + rest)
    if problems:
        raise typer.Exit(1)


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
