"""Record the demo: run it and write what its screen shows as an animated picture.

    python docs/images/record.py docs/images/demo.svg

One frame for each step of the rollout, the last that was shown while it was measured. Viewers that do not animate
show the frame of the split. The terminal is not needed: the frames are the demo's own screen, drawn at a fixed size.
"""

from __future__ import annotations

import argparse
import io
import re
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console

from smeagol.demo.judge import Verdict
from smeagol.demo.run import Settings, example_folder, perform
from smeagol.demo.screen import Model, Stage, screen

WIDTH, HEIGHT = 104, 40
SECONDS_A_FRAME = 2.5
KEY_FRAME = 4
"""The step that splits two to one: what viewers show that do not animate."""

_FRAME = """<g class="frame" style="animation-name:f{number}{shown}">
<style>{{styles}}</style><g class="{{unique_id}}-matrix">{{backgrounds}}{{matrix}}</g></g>"""


class Recorder:
    """A view that keeps, for each step, the last picture while it was measured."""

    def __init__(self) -> None:
        self.models: dict[int, Model] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def show(self, model: Model) -> None:
        measuring = [i for i, view in enumerate(model.steps) if view.stage is Stage.MEASURING]
        if measuring:
            self.models[measuring[0]] = model

    def say(self, line: str) -> None:
        pass

    def judged(self, number: int, verdict: Verdict) -> None:
        pass


def frame(model: Model, number: int) -> str:
    """One picture as a group of SVG elements."""
    console = Console(record=True, force_terminal=True, width=WIDTH, height=HEIGHT, file=io.StringIO())
    console.print(screen(model, width=WIDTH, height=HEIGHT))
    shown = ";visibility:visible" if number == KEY_FRAME else ""
    template = _FRAME.format(number=number, shown=shown)
    drawn = console.export_svg(title="", code_format=template, unique_id=f"f{number}")
    # Each line has a clip path of its own, which only cuts off what a font draws too far to the right.
    return re.sub(r' clip-path="[^"]*"', "", drawn)


def picture(models: list[Model]) -> str:
    """The animated picture; frames follow each other without an end."""
    char_height, line_height, pad = 20, 20 * 1.22, 12
    width, height = round(WIDTH * char_height * 0.61 + 2 * pad), round(HEIGHT * line_height + 2 * pad)
    share = 100 / len(models)
    keyframes = "".join(
        f"@keyframes f{i}{{0%{{visibility:{'visible' if i == 0 else 'hidden'}}}"
        f"{i * share:.3f}%{{visibility:visible}}{(i + 1) * share:.3f}%{{visibility:hidden}}}}\n"
        for i in range(len(models))
    )
    style = (
        f".frame{{visibility:hidden;animation-duration:{len(models) * SECONDS_A_FRAME}s;"
        "animation-timing-function:step-end;animation-iteration-count:infinite}\n"
        "text{font-family:'DejaVu Sans Mono',Menlo,Consolas,monospace;font-size:20px;white-space:pre}\n"
        "@media (prefers-reduced-motion:reduce){.frame{animation:none}}\n"
    )
    frames = "\n".join(frame(model, number) for number, model in enumerate(models))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">\n'
        "<title>The demo: a canary rollout on real Envoys, under load</title>\n"
        f"<style>{style}{keyframes}</style>\n"
        f'<rect width="{width}" height="{height}" rx="8" fill="#292929"/>\n'
        f'<g transform="translate({pad},{pad})">\n{frames}\n</g>\n</svg>\n'
    )


def main() -> None:
    arguments = argparse.ArgumentParser(description="Record the demo as a picture.")
    arguments.add_argument("target", type=Path)
    target: Path = arguments.parse_args().target
    recorder = Recorder()
    with tempfile.TemporaryDirectory(prefix="smeagol-record-") as folder:
        settings = Settings(name="record", folder=Path(folder), example=example_folder())
        outcome = perform(settings, recorder)
    if not outcome.held:
        raise SystemExit(outcome.trouble or "a step did not hold")
    target.write_text(picture([model for _, model in sorted(recorder.models.items())]), encoding="utf-8")


if __name__ == "__main__":
    main()
