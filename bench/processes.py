"""The programs that are measured or that measure, and what the kernel says about them."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

__all__ = ["Program", "Usage", "build_go", "cache_folder", "descendants", "python_module"]

ROOT = Path(__file__).parents[1]
GO_SOURCES = Path(__file__).parent / "go"
_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


class Usage:
    """What one process has used so far; times in seconds, memory in bytes."""

    def __init__(self, pid: int) -> None:
        self._proc = Path("/proc") / str(pid)

    @property
    def cpu_seconds(self) -> float:
        """User and system time of all threads, those that have ended included."""
        fields = (self._proc / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS_A_SECOND

    @property
    def resident_bytes(self) -> int:
        return self._status("VmRSS")

    @property
    def peak_bytes(self) -> int:
        return self._status("VmHWM")

    def _status(self, name: str) -> int:
        for line in (self._proc / "status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
        raise RuntimeError(f"the kernel does not say {name} of {self._proc}")


def descendants(pid: int) -> tuple[int, ...]:
    """All processes that this one has started, and those that they have, as of now."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(FileNotFoundError, ProcessLookupError):
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                children.setdefault(int(fields[1]), []).append(int(folder.name))
    found = list(children.get(pid, ()))
    for child in found:
        found.extend(children.get(child, ()))
    return tuple(found)


class Program:
    """A program that takes commands on stdin and answers on stdout, a JSON object a line.

    `hello` is its first line, which it prints when it is ready. Its stderr is ours: what it complains of is seen.
    """

    def __init__(self, *command: str | Path) -> None:
        self._process = subprocess.Popen(
            [str(part) for part in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, text=True
        )
        self.usage = Usage(self._process.pid)
        try:
            self.hello = self._answer()
        except BaseException:
            self._end()
            raise

    # What is in an answer is between the two programs, as with any JSON.
    def ask(self, **command: Any) -> dict[str, Any]:
        """Send a command and return its answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait()
            raise RuntimeError(f"{self._process.args} has ended with {code}")  # type: ignore[str-bytes-safe]  # a list
        answer: dict[str, Any] = json.loads(line)
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        self._process.kill()
        self._process.wait()


def python_module(module: str, *arguments: str | Path) -> Program:
    """A module of this package as a program of its own."""
    return Program(sys.executable, "-m", module, *arguments)


def cache_folder() -> Path:
    """Where built programs are kept from run to run, outside the checkout."""
    base = os.environ.get("XDG_CACHE_HOME")
    folder = (Path(base) if base else Path.home() / ".cache") / "smeagol" / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def build_go(names: Sequence[str]) -> dict[str, Path]:
    """Build the Go programs, once for each state of their sources, and return where they are."""
    digest = hashlib.sha256()
    for source in sorted(GO_SOURCES.rglob("*")):
        if source.is_file():
            digest.update(str(source.relative_to(GO_SOURCES)).encode() + b"\0" + source.read_bytes())
    folder = cache_folder() / digest.hexdigest()[:16]
    missing = [name for name in names if not (folder / name).exists()]
    if missing:
        print(f"building {', '.join(missing)} (Go, first run only) …", file=sys.stderr)
        folder.mkdir(parents=True, exist_ok=True)
        packages = [f"./{name}" for name in missing]
        # Static, so that they run in any Pod.
        environment = {**os.environ, "CGO_ENABLED": "0"}
        command = ["nice", "go", "build", "-trimpath", "-o", f"{folder}/", *packages]
        try:
            subprocess.run(command, cwd=GO_SOURCES, env=environment, check=True)
        except FileNotFoundError:
            raise SystemExit("the benchmark needs Go 1.26 or newer on PATH") from None
    return {name: folder / name for name in names}
