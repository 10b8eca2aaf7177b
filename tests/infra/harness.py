"""Run scenarios in sandboxes, as whoever runs the tests and, where that is root, as an ordinary user too."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SOURCES = HERE.parents[1] / "src"
NOBODY = 65534
USERS = ("self", "nobody") if os.getuid() == 0 else ("self",)


def as_every_user(test: Callable[..., None]) -> Callable[..., None]:
    """Run a test that makes namespaces once for each user."""
    each_user: Callable[..., None] = pytest.mark.parametrize("user", USERS)(test)
    marked: Callable[..., None] = pytest.mark.netns(each_user)
    return marked


def start(user: str, *argv: str, **options: object) -> subprocess.Popen[str]:
    """Start `python ARGV…` as this user, with the project importable."""
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": _python_path()}
    python = sys.executable
    extra: dict[str, object] = {}
    if user == "nobody":
        python = python_for_nobody()
        environment |= {"HOME": "/", "USER": "nobody"}
        extra = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
    return subprocess.Popen(  # type: ignore[call-overload,no-any-return]  # options are passed through
        [python, *argv],
        text=True,
        env=environment,
        cwd="/",
        stdin=subprocess.DEVNULL,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, **extra, **options},
    )


def in_sandbox(user: str, scenario: Callable[..., object], *arguments: str) -> str:
    """Run a function of a test module in a sandbox of this user; its failure is the test's. Returns what it printed."""
    file = scenario.__code__.co_filename
    process = start(user, str(HERE / "run_scenario.py"), file, scenario.__name__, *arguments)
    try:
        output, _ = process.communicate(timeout=90)
    finally:
        process.kill()
    assert process.returncode == 0, output
    return output


@functools.cache
def python_for_nobody() -> str:
    """An interpreter of this version that an ordinary user may run; skips the test if there is none."""
    for python in (sys.executable, f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}"):
        try:
            answer = subprocess.run(
                [python, "-c", "import msgspec, dns, smeagol"],
                env={"PYTHONPATH": _python_path(), "PYTHONDONTWRITEBYTECODE": "1"},
                cwd="/",
                user=NOBODY,
                group=NOBODY,
                extra_groups=[],
                capture_output=True,
            )
        except OSError:
            continue
        if answer.returncode == 0:
            return python
    pytest.skip("an ordinary user cannot run this Python or read its packages here")


def _python_path() -> str:
    return f"{SOURCES}:{HERE.parent}:{sysconfig.get_paths()['purelib']}"
