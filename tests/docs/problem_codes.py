"""Every problem code of the sources, found by reading them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from smeagol.api.problems import CODES
from smeagol.errors import SmeagolError

from .pages import DOCS, ROOT

__all__ = ["PAGES", "codes_in_sources", "error_classes", "index", "title"]

PAGES = DOCS / "problems"

GROUPS = {
    "F": "Files and folders of manifests",
    "V": "Any object",
    "L": "Labels and selectors",
    "M": "MutualTLS",
    "C": "Canary",
    "S": "Sidecar",
    "P": "ProviderClass",
    "Q": "Quantities",
    "D": "Manifests of the early drafts",
    "N": "Names in certificates",
    "K0": "Keys and certificates",
    "K1": "A Kubernetes cluster",
    "I": "Pods that get a proxy",
    "U": "Commands that look into a running mesh",
    "R": "Starting and running a mesh",
    "A": "Adapters to other meshes",
    "H": "This machine and its Pods",
    "E": "Envoy",
    "X": "The discovery server",
    "T": "The demo, and the conformance suite",
}
"""What the beginning of a code says."""

_INTRODUCTION = """# Problem codes

Every problem that Smeagol reports ends with a code in brackets. The text says what is wrong, where, and how to mend it;
the page of the code says why, and shows an example where there is one. Codes keep their meaning for ever.
"""


def title(page: Path) -> str:
    """The title of a code's page, without the code."""
    first = page.read_text(encoding="utf-8").partition("\n")[0]
    return first.removeprefix(f"# {page.stem}: ")


def index() -> str:
    """The page that lists the others, group by group."""
    lines = [_INTRODUCTION]
    for letter, name in GROUPS.items():
        lines += [f"## {name}\n", "| Code | Problem |", "|---|---|"]
        lines += [f"| [{page.stem}]({page.name}) | {title(page)} |" for page in sorted(PAGES.glob(f"SMI-{letter}*.md"))]
        lines.append("")
    return "\n".join(lines)


def error_classes() -> Iterator[tuple[str, Path]]:
    """The code of each error class of the sources, and where it is; the base's own stands for no problem."""
    for path in _sources():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                yield from ((code, path) for code in _class_code(node) if code != SmeagolError.code)


def codes_in_sources() -> set[str]:
    """Every code that a text of the sources can end with."""
    found = set(CODES)
    for path in _sources():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and _is_code(node.value):
                found.add(node.value)
    return found - {SmeagolError.code}


def _sources() -> list[Path]:
    return sorted((ROOT / "src").rglob("*.py"))


def _class_code(node: ast.ClassDef) -> Iterator[str]:
    for statement in node.body:
        targets = statement.targets if isinstance(statement, ast.Assign) else []
        if isinstance(statement, ast.AnnAssign):
            targets = [statement.target]
        value = statement.value if isinstance(statement, ast.Assign | ast.AnnAssign) else None
        named_code = any(isinstance(target, ast.Name) and target.id == "code" for target in targets)
        if named_code and isinstance(value, ast.Constant) and isinstance(value.value, str) and _is_code(value.value):
            yield value.value


def _is_code(text: str) -> bool:
    return len(text) == 8 and text.startswith("SMI-") and text[4].isupper() and text[5:].isdigit()
