"""What the demo shows: a picture of a `Model` for a terminal, and plain lines. Pure: same model, same picture."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from ipaddress import ip_address

from rich.console import Group, RenderableType
from rich.layout import Layout
from rich.panel import Panel
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from smeagol.control import Edge, Status
from smeagol.demo.judge import Share, Verdict
from smeagol.demo.load import Counts
from smeagol.demo.script import Step

__all__ = ["Caller", "Model", "Stage", "StepView", "callers", "screen", "step_line", "summary"]

_COLOURS = ("cyan", "magenta", "yellow", "green")
_SPARKS = "▁▂▃▄▅▆▇█"


class Stage(enum.Enum):
    """Where a step is."""

    AHEAD = "ahead"
    CHANGING = "changing"
    MEASURING = "measuring"
    HELD = "held"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepView:
    """A step and how far it is. `requests`: how many were sent in it so far."""

    step: Step
    stage: Stage = Stage.AHEAD
    requests: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who speaks to whom, and under which names."""

    client: str
    server: str
    mutual_tls: bool
    requests: int
    client_names: tuple[str, ...]
    server_names: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """All that is on the screen.

    `recent` is the load of the last seconds, `total` all of it, `rates` requests per second lately, oldest first.
    `callers` are those who sent something just now, `callers_so_far` all there ever were.
    `manifest` is the file changed last, as name and text; an empty text means deleted.
    """

    elapsed_seconds: float
    note: str
    steps: tuple[StepView, ...]
    measured: tuple[Share, ...]
    recent: Counts
    total: Counts
    rates: tuple[float, ...] = ()
    callers: tuple[Caller, ...] = ()
    callers_so_far: tuple[Caller, ...] = ()
    manifest: tuple[str, str] | None = None


def callers(edges: Iterable[Edge], status: Status) -> tuple[Caller, ...]:
    """Who has sent requests to whom, in name order. Server names are those that the backend's Pods carry."""
    found: dict[tuple[str, str], Caller] = {}
    for edge in edges:
        backend = edge.backend or edge.service
        names = {
            name
            for pod in status.pods
            if ".".join(reversed(backend.split("/"))) in pod.server_names
            for name in pod.server_names
            if not _is_address(name)
        }
        key = (_short(edge.client), _short(backend))
        known = found.get(key)
        found[key] = Caller(
            client=key[0],
            server=key[1],
            mutual_tls=edge.mutual_tls and (known is None or known.mutual_tls),
            requests=int(edge.requests) + (known.requests if known else 0),
            client_names=edge.client_names or (known.client_names if known else ()),
            server_names=tuple(sorted(names, key=lambda name: (len(name), name))),
        )
    return tuple(caller for _, caller in sorted(found.items()) if caller.requests)


# --- a terminal ------------------------------------------------------------------------------------------------------


def screen(model: Model, *, width: int, height: int) -> Layout:
    """The picture, filling `width` x `height` characters; made for 80x24 and more."""
    steps_height = len(model.steps) + 2
    shares_height = max(len(model.measured), 2) + 2
    spare = height - 2 - steps_height - shares_height
    roomy = spare >= 20
    layout = Layout()
    top = Layout(size=steps_height)
    top.split_row(
        Layout(_panel("rollout", _steps(model.steps)), ratio=3),
        Layout(_panel("load", _load(model)), ratio=2, minimum_size=28),
    )
    who = _panel("who speaks to whom", _callers(model.callers))
    rows = [
        Layout(_header(model, width), size=1),
        top,
        Layout(_panel("share of requests to foobar", _shares(model, width - 4)), size=shares_height),
        Layout(who, size=10) if roomy else Layout(who),
        Layout(Text(f" {model.note}", style="bold", no_wrap=True, overflow="ellipsis"), size=1),
    ]
    if roomy:
        rows.insert(4, Layout(_manifest(model.manifest)))
    layout.split_column(*rows)
    return layout


def _panel(title: str, content: RenderableType) -> Panel:
    return Panel(content, title=title, title_align="left", border_style="dim")


def _header(model: Model, width: int) -> Text:
    title = " smeagol demo  "
    clock = f"{int(model.elapsed_seconds) // 60:02d}:{int(model.elapsed_seconds) % 60:02d} "
    words = "the documented rollout, on real Envoys, under load"
    gap = max(1, width - len(title) - len(words) - len(clock))
    return Text.assemble((title, "bold"), (words, "dim"), " " * gap, clock)


_MARKS = {
    Stage.AHEAD: ("·", "dim"),
    Stage.CHANGING: ("▸", "bold yellow"),
    Stage.MEASURING: ("▸", "bold cyan"),
    Stage.HELD: ("✓", "green"),
    Stage.BROKEN: ("✗", "bold red"),
}


def _steps(steps: Iterable[StepView]) -> Table:
    table = Table.grid(padding=(0, 1), expand=True)
    table.add_column(width=1)
    table.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    table.add_column(justify="right", no_wrap=True)
    for view in steps:
        mark, style = _MARKS[view.stage]
        done = f"{view.requests:,}" if view.stage is not Stage.AHEAD else ""
        words = "" if view.stage is Stage.HELD else style
        table.add_row(Text(mark, style=style), Text(view.step.title, style=words), Text(done, style="dim"))
    return table


def _load(model: Model) -> Group:
    table = Table.grid(padding=(0, 1))
    table.add_column(style="dim")
    table.add_column(justify="right")
    failed = Text(f"{model.total.failed:,}", style="bold red" if model.total.failed else "bold green")
    table.add_row("requests", f"{model.total.sent:,}")
    table.add_row("failed", failed)
    table.add_row("per second", f"{model.recent.rate:,.0f}")
    for label, q in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
        table.add_row(label, milliseconds(model.recent.quantile(q)))
    return Group(table, Text(_spark(model.rates), style="cyan", no_wrap=True, overflow="crop"))


def _spark(values: tuple[float, ...]) -> str:
    top = max(values, default=0.0)
    if not top:
        return ""
    return "".join(_SPARKS[min(len(_SPARKS) - 1, int(value / top * len(_SPARKS)))] for value in values)


def _shares(model: Model, width: int) -> Table:
    table = Table.grid(padding=(0, 1))
    bar_width = max(10, width - 35)
    for index, share in enumerate(model.measured):
        colour = _COLOURS[index % len(_COLOURS)]
        table.add_row(
            Text(share.version, style=f"bold {colour}"),
            Text(f"desired {percent(share.desired):>6}", style="dim"),
            f"measured {percent(share.measured) if share.answered else '-':>6}",
            _bar(share, colour, bar_width),
        )
    return table


def _bar(share: Share, colour: str, width: int) -> Text:
    """A bar as long as the measured share; `│` stands where the desired one is."""
    filled = round(share.measured * width)
    mark = min(width - 1, round(float(share.desired) * width))
    bar = Text()
    for cell in range(width):
        if cell == mark:
            bar.append("│", style="bold")
        else:
            bar.append("█" if cell < filled else "─", style=colour if cell < filled else "dim")
    return bar


def _callers(found: tuple[Caller, ...]) -> RenderableType:
    if not found:
        return Text("nobody yet", style="dim")
    lines = Text(no_wrap=True, overflow="ellipsis")
    for caller in found:
        how = ("mutual TLS", "green") if caller.mutual_tls else ("plain text", "yellow")
        lines.append_text(
            Text.assemble(
                (f"{caller.client} → {caller.server}", "bold"), "  ", how, (f"  {caller.requests:,} requests\n", "dim")
            )
        )
        if caller.mutual_tls:
            lines.append_text(Text.assemble(("  as ", "dim"), _names(caller.client_names, 2), "\n"))
            lines.append_text(Text.assemble(("  to ", "dim"), _names(caller.server_names, 2), "\n"))
    lines.rstrip()
    return lines


def _names(names: tuple[str, ...], shown: int) -> str:
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


def _manifest(manifest: tuple[str, str] | None) -> Panel:
    file, text = manifest or ("", "")
    if not text:
        return _panel(file, Text("deleted" if file else "", style="yellow"))
    return _panel(file, Syntax(text, "yaml", theme="ansi_dark", background_color="default"))


# --- plain lines -----------------------------------------------------------------------------------------------------


def step_line(number: int, verdict: Verdict) -> str:
    """One line for a step that is done."""
    word = "held" if verdict.held else "DID NOT HOLD"
    return (
        f"{number} {verdict.step.title}: {word}; {_measured(verdict)} of {verdict.counts.answered:,}, "
        f"{verdict.failed} failed, p99 {milliseconds(verdict.counts.quantile(0.99))}"
    )


def summary(model: Model, verdicts: tuple[Verdict, ...], *, trouble: str = "", logs: str = "") -> tuple[str, ...]:
    """What is printed at the end, line by line; the last line states requests, failures and steps.

    `trouble` is what kept the demo from going on, `logs` where to read more if something went wrong.
    """
    lines = [f"{'step':<38}{'desired, measured %':<28}{'sent':>6}{'failed':>7}"]
    for number, verdict in enumerate(verdicts, 1):
        name = f"{number} {verdict.step.title}"
        lines.append(f"{name:<38}{_desired_and_measured(verdict):<28}{verdict.sent:>6,}{verdict.failed:>7,}")
    for caller in model.callers_so_far:
        how = f"mutual TLS as {''.join(caller.client_names[:1])}" if caller.mutual_tls else "plain text"
        lines.append(f"{caller.client} -> {caller.server}: {caller.requests:,} requests, {how}")
    latency = " ".join(f"p{int(q * 100)} {milliseconds(model.total.quantile(q))}" for q in (0.5, 0.95, 0.99))
    lines.append(f"{model.total.rate:,.0f} requests per second, {latency}")
    for number, verdict in enumerate(verdicts, 1):
        lines += [f"step {number} did not hold: {complaint}" for complaint in verdict.complaints]
    if trouble:
        lines.append(trouble)
    if logs:
        lines.append(f"what everybody wrote down is in {logs}")
    kept, steps = sum(verdict.held for verdict in verdicts), len(model.steps)
    steps_held = f"{kept} steps held" if kept == steps else f"{kept} of {steps} steps held"
    lines.append(f"demo: {model.total.sent:,} requests, {model.total.failed:,} failed, {steps_held}")
    return tuple(lines)


def _desired_and_measured(verdict: Verdict) -> str:
    """Such as `v1 66.7, 66.8 v2 33.3, 33.2`: two versions fit a line of 80 columns."""
    seen = (s for s in verdict.shares if s.desired or s.count)
    return " ".join(f"{s.version} {float(s.desired) * 100:.1f}, {float(s.measured) * 100:.1f}" for s in seen)


def _measured(verdict: Verdict) -> str:
    return " ".join(f"{s.version} {percent(s.measured)}" for s in verdict.shares if s.desired or s.count)


def percent(share: Fraction | float) -> str:
    return f"{float(share) * 100:.1f}%"


def milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.1f} ms"


def _short(name: str) -> str:
    return name.rpartition("/")[2]


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
