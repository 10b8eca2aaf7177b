"""Writes what the image is built from: the parts of `requirements/dev.lock` that it needs, with their hashes.

    .venv/bin/python deploy/lock.py

`requirements.lock` is what runs, `build.lock` what makes the wheel. Both are functions of the development lock and of
the packages' own metadata, so that the image holds what the tests ran with.
"""

from __future__ import annotations

import re
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

__all__ = ["LOCKS", "lock_of"]

HERE = Path(__file__).parent
DEVELOPMENT_LOCK = HERE.parent / "requirements" / "dev.lock"

LOCKS = {"requirements.lock": "smeagol[kubernetes]", "build.lock": "hatchling"}
"""The files, and the package whose needs each holds."""

ENVIRONMENT = {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix"}
"""The image's, as far as the packages' conditions ask for it; its Python is that which runs this, or newer."""

_HEADER = "# Written by deploy/lock.py from requirements/dev.lock.\n"


def lock_of(root: str) -> str:
    """The pinned, hashed lines of all that `root` needs, without `root` itself if that is this project."""
    blocks = _blocks(DEVELOPMENT_LOCK.read_text(encoding="utf-8"))
    needed = sorted(_closure(Requirement(root)) - {"smeagol"})
    return _HEADER + "".join(blocks[name] for name in needed)


def _blocks(lock: str) -> dict[str, str]:
    """Each package's lines, without the comments that say who needs it."""
    found: dict[str, str] = {}
    for block in re.split(r"\n(?=[a-z0-9])", lock.strip()):
        lines = [line for line in block.splitlines() if not line.lstrip().startswith("#")]
        found[canonicalize_name(re.split(r"[=\[; ]", block)[0])] = "\n".join(lines) + "\n"
    return found


def _closure(root: Requirement) -> set[str]:
    found: set[str] = set()
    asked: set[tuple[str, str]] = set()
    ahead = [root]
    while ahead:
        requirement = ahead.pop()
        name = canonicalize_name(requirement.name)
        found.add(name)
        for extra in ("", *sorted(requirement.extras)):
            if (name, extra) not in asked:
                asked.add((name, extra))
                ahead += _needs(name, extra)
    return found


def _needs(name: str, extra: str) -> list[Requirement]:
    needs = [Requirement(text) for text in distribution(name).requires or ()]
    environment = {**ENVIRONMENT, "extra": extra}
    return [need for need in needs if need.marker is None or need.marker.evaluate(environment)]


if __name__ == "__main__":
    for file, package in LOCKS.items():
        (HERE / file).write_text(lock_of(package), encoding="utf-8")
