"""The offline check says what the API server says.

`server_answers.jsonl` holds objects and what the validation code of Kubernetes 1.37 (`k8s.io/apiextensions-apiserver`
v0.37.2: pruning, defaulting, schema, list keys, CEL) answered with our CRDs: error type, field, detail. `complete` is
false where it stopped before the CEL rules because the schema was broken; then we may say more.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from smeagol.api import Document, Place, Problem, Refused, parse
from smeagol.errors import sentence

_TYPES = {
    "SMI-V002": "TypeInvalid",
    "SMI-V003": "Required",
    "SMI-V004": "Unknown",
    "SMI-V005": "NotSupported",
    "SMI-V007": "Duplicate",
}


class Answer(msgspec.Struct, frozen=True):
    object: dict[str, Any]  # Any: msgspec knows no recursive alias
    complete: bool
    errors: list[tuple[str, str, str]]


ANSWERS = [
    msgspec.json.decode(line, type=Answer)
    for line in Path(__file__).with_name("server_answers.jsonl").read_text(encoding="utf-8").splitlines()
]


def type_of(problem: Problem) -> str:
    """The server's word for this kind of problem."""
    for start, name in (
        ("Required", "Required"),
        ("Forbidden", "Forbidden"),
        ("Too long", "TooLong"),
        ("Too many", "TooMany"),
    ):
        if problem.what.startswith(start):
            return name
    return _TYPES.get(problem.code, "Invalid")


@pytest.mark.parametrize("answer", ANSWERS, ids=range(len(ANSWERS)))
def test_same_findings_as_the_server(answer: Answer) -> None:
    """Same verdict, same fields, same kinds of error; for our own rules the same text."""
    result = parse(Document(value=answer.object, place=Place(file="x"), lines={}))
    problems = result.problems if isinstance(result, Refused) else ()
    ours = {(type_of(problem), problem.field) for problem in problems}
    # The server writes free keys as .key or as [key], depending on which part of it speaks.
    errors = [
        (type_, re.sub(r"\[(?![0-9]+\])([^\]./]+)\]", r".\1", field), detail) for type_, field, detail in answer.errors
    ]
    theirs = {(type_, field) for type_, field, _detail in errors}
    if answer.complete:
        assert ours == theirs
    else:
        # What is of the wrong type is reported twice by the server, once by us.
        broken = {field for type_, field in theirs if type_ == "TypeInvalid"}
        assert {(type_, field) for type_, field in theirs if type_ == "TypeInvalid" or field not in broken} <= ours
    details = {(field, detail) for type_, field, detail in errors if type_ in {"Invalid", "Forbidden"}}
    for problem in problems:
        if problem.code[4] in "CMSPLQ" and answer.complete:
            text = sentence(problem.what, problem.fix)
            assert any(field == problem.field and text.endswith(detail) for field, detail in details) or (
                type_of(problem) == "Required"
            )
