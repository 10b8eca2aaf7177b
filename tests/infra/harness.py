"""Run scenarios in sandboxes, as whoever runs the tests and, where that is root, as an ordinary user too."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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


def start(user: str, *argv: str, folder: Path | None = None) -> subprocess.Popen[str]:
    """Start `python ARGV…` as this user, with the project importable; temporary files go to `folder`."""
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": _python_path()}
    if folder is not None:
        environment["TMPDIR"] = str(folder)
    ordinary = user == "nobody"
    if ordinary:
        environment |= {"HOME": "/", "USER": "nobody"}
    return subprocess.Popen(
        [python_for_nobody() if ordinary else sys.executable, *argv],
        text=True,
        env=environment,
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        user=NOBODY if ordinary else None,
        group=NOBODY if ordinary else None,
        extra_groups=[] if ordinary else None,
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


@contextmanager
def folder_for_all() -> Iterator[Path]:
    """A folder into which every user may write, for those who are killed before they can tidy up."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        yield folder


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
