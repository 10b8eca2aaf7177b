"""Colours and the width of lines, where somebody looks."""

from __future__ import annotations

import os
import shutil
import sys
from typing import TYPE_CHECKING, Literal

import typer

from smeagol.errors import sentence

if TYPE_CHECKING:
    from smeagol.api.problems import Problem

__all__ = ["columns", "paint", "problem_line"]


def paint(text: str, colour: Literal["red", "green", "yellow", "cyan"], *, bold: bool = False) -> str:
    """`text` in colour if standard output is a terminal and NO_COLOR is not set, else as it is."""
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return text
    return typer.style(text, fg=colour, bold=bold)


def columns() -> int | None:
    """How many characters a line of the terminal has; None if standard output is read by a program."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def problem_line(problem: Problem) -> str:
    """The text of a problem, as all surfaces have it, with its parts told apart by colour."""
    parts = (str(problem.object) if problem.object else "", problem.field)
    where = ", ".join(part for part in parts if part)
    text = sentence(problem.what, problem.fix)
    return (
        f"{paint(str(problem.place), 'cyan')}: {paint(where, 'yellow') + ': ' if where else ''}"
        f"{text} {paint(f'[{problem.code}]', 'red')}"
    )
