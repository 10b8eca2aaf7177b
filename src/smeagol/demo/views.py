"""Where the demo shows itself: a live picture on a terminal, plain lines everywhere else."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live

from smeagol.demo.judge import Verdict
from smeagol.demo.screen import Model, screen, step_line

__all__ = ["LiveView", "PlainView"]


class PlainView:
    """One line for all that is worth keeping, at once, so that it can be watched through a pipe."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, model: Model) -> None:
        pass

    def say(self, line: str) -> None:
        print(line, flush=True)

    def judged(self, number: int, verdict: Verdict) -> None:
        self.say(step_line(number, verdict))


class LiveView:
    """A full-screen picture, gone when the demo ends: the summary is printed after it."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, screen=True, auto_refresh=False)

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.__exit__(kind, error, trace)

    def show(self, model: Model) -> None:
        picture = screen(model, width=self._console.width, height=self._console.height)
        self._live.update(picture, refresh=True)

    def say(self, line: str) -> None:
        pass

    def judged(self, number: int, verdict: Verdict) -> None:
        pass
