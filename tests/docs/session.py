"""Runs the console blocks of a page, as a reader would: command by command, and compares what they print.

A block of language `console` holds commands, which begin with `$ `, and what they print. In the expected text `…`
stands for anything within a line, and a line that is `…` alone for any number of lines. Runs of blanks are equal to
each other, so columns may be wider. A command of smeagol, and curl, is run again until it says what is expected.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from .pages import blocks

__all__ = ["Command", "Session", "commands", "matches"]

PATIENCE_SECONDS = 90.0
STOP_SECONDS = 60.0
BESIDE = ("smeagol up", "python examples/provider/")
"""Commands that do not end."""
_HERE_DOCUMENT = re.compile(r"<<'(\w+)'$")


@dataclass(frozen=True, slots=True)
class Command:
    """A command, what it should print (None where the page does not say), and the line of the page where it stands."""

    text: str
    expected: str | None
    line: int


def commands(page: Path) -> Iterator[Command]:
    """All commands of a page's console blocks, in order."""
    for block in blocks(page, "console"):
        lines = list(enumerate(block.text.splitlines(), block.line))
        while lines:
            number, first = lines.pop(0)
            assert first.startswith("$ "), f"{page.name}:{number}: a console block begins with a command"
            text = first.removeprefix("$ ")
            if end := _HERE_DOCUMENT.search(text):
                while lines and (line := lines.pop(0)[1]) is not None:
                    text += f"\n{line}"
                    if line == end[1]:
                        break
            printed = []
            while lines and not lines[0][1].startswith("$ "):
                printed.append(lines.pop(0)[1])
            yield Command(re.sub(r" {2,}# .*", "", text), "\n".join(printed) if printed else None, number)


def matches(expected: str, printed: str) -> bool:
    """Whether a text is what a page shows."""
    pattern = ""
    for line in expected.splitlines():
        if line == "…":
            pattern += r"(?:.*\n)*?"
        else:
            words = (re.escape(word).replace("…", ".*") for word in line.split())
            pattern += r"[ \t]*" + r"[ \t]+".join(words) + r"[ \t]*\n"
    return re.fullmatch(pattern, printed.rstrip("\n") + "\n") is not None


@dataclass(slots=True)
class Session:
    """A reader's shell in `folder`. A command that does not end goes on beside the others."""

    folder: Path
    environment: Mapping[str, str]
    _beside: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._beside:
            os.killpg(process.pid, signal.SIGINT)
        for process in self._beside:
            process.wait(STOP_SECONDS)

    def run(self, command: Command) -> None:
        """Run a command until it prints what is expected; fails if it does not in time."""
        if command.text.startswith(BESIDE):
            self._start(command)
            return
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            done = subprocess.run(
                ["bash", "-c", command.text],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
            )
            if command.expected is None:
                good = done.returncode == 0
            else:
                good = matches(command.expected, done.stdout) or matches(command.expected, done.stderr + done.stdout)
            if good:
                return
            again = command.text.startswith(("smeagol", "curl")) and time.monotonic() < deadline
            assert again, (
                f"line {command.line}: $ {command.text}\nshould print\n{command.expected}\nand printed\n"
                f"{done.stdout}{done.stderr}(exit code {done.returncode})"
            )
            time.sleep(0.2)

    def _start(self, command: Command) -> None:
        with (self.folder / "up.log").open("ab") as log:
            process = subprocess.Popen(
                ["bash", "-c", f"exec {command.text}"],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._beside.append(process)
