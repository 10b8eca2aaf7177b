"""Manifests from the places that a command line names: files, folders, `-` for standard input."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from smeagol.api.documents import Reading

__all__ = ["read_inputs"]


def read_inputs(names: list[str]) -> Reading:
    """All documents of these places. A place that holds none is a problem: it is a slip, and silence would hide it."""
    from smeagol.api.documents import Reading

    readings = [_read(name) for name in names]
    return Reading(
        documents=tuple(document for reading in readings for document in reading.documents),
        problems=tuple(problem for reading in readings for problem in reading.problems),
    )


def _read(name: str) -> Reading:
    from smeagol.api.documents import MAX_BYTES, STDIN, Reading, read_path, read_text
    from smeagol.api.problems import Place, Problem

    reading = read_text(sys.stdin.buffer.read(MAX_BYTES + 1)) if name == STDIN else read_path(Path(name))
    if reading.documents or reading.problems:
        return reading
    problem = Problem(
        code="SMI-F007",
        what="there are no manifests here",
        fix="Name a file, or a folder with files that end in .yaml, .yml or .json",
        place=Place(file=name),
    )
    return Reading(problems=(problem,))
