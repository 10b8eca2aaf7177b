"""What the figures were measured on: facts that matter to them, and none that name the machine."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path

__all__ = ["machine", "python_versions"]


def machine() -> str:
    """Cores, memory, processor and kernel in one line."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    model = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.machine(),
    )
    release = platform.release().partition("-")[0]
    return f"{os.cpu_count()} cores ({model}), {memory:.0f} GiB of memory, Linux {release}"


def python_versions(*packages: str) -> dict[str, str]:
    """The interpreter and the installed packages that matter."""
    return {"Python": platform.python_version(), **{package: version(package) for package in packages}}


def _lines(path: str) -> list[str]:
    return Path(path).read_text(encoding="utf-8").splitlines()
