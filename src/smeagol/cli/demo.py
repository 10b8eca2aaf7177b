"""`smeagol demo`: watch the Service Mesh Interface come true."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Try it")(demo)


def demo(
    once: Annotated[bool, typer.Option("--once", help="Plain lines, also on a terminal.")] = False,
    name: Annotated[str, typer.Option("--name", help="What to call the mesh.")] = "demo",
    state_dir: Annotated[
        Path | None, typer.Option("--state-dir", help="Where running meshes are kept.", show_default=False)
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option("--rate", min=50, max=2000, help="Requests per second. [default: 400]", show_default=False),
    ] = None,
) -> None:
    """Run a real canary rollout on real Envoys, under constant load, and judge every step by counting.

    Starts a mesh of its own, which other terminals can look into (`smeagol top`), and stops it again. Exit code 0 only
    if every step held and no request failed.
    """
    import shutil
    import signal
    import sys
    import tempfile

    from rich.console import Console

    from smeagol.demo.run import Settings, example_folder, perform
    from smeagol.demo.screen import summary
    from smeagol.demo.views import LiveView, PlainView

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    console = Console()
    example = example_folder()
    folder = Path(tempfile.mkdtemp(prefix="smeagol-demo-"))
    settings = Settings(name=name, folder=folder, example=example, state_dir=state_dir, rate=rate)
    try:
        with LiveView(console) if console.is_terminal and not once else PlainView() as view:
            outcome = perform(settings, view)
    except KeyboardInterrupt:
        shutil.rmtree(folder, ignore_errors=True)
        raise typer.Exit(130) from None
    if outcome.held:
        shutil.rmtree(folder, ignore_errors=True)
    for line in summary(
        outcome.model, outcome.verdicts, trouble=outcome.trouble, logs="" if outcome.held else str(folder)
    ):
        print(line)
    if not outcome.held:
        raise typer.Exit(1)
