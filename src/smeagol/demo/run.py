"""The loop of the demo: edits manifests, waits for the mesh to say that it is done, and counts."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from smeagol.client import LogTail, Mesh, MeshNotFoundError
from smeagol.control import Edge, Status, Traffic
from smeagol.demo.awaited import Absent, Awaited, objects_in, present, unmet
from smeagol.demo.judge import Verdict, held, shares
from smeagol.demo.load import Slot, read_slot, total
from smeagol.demo.screen import Model, Stage, StepView, callers
from smeagol.demo.script import IDENTITY, NAMESPACE, ROLLOUT, SET_UP, Call, Change, Copy, Delete, Split, Step, canary
from smeagol.errors import SmeagolError
from smeagol.infra.host.linux import die_with_parent
from smeagol.rates import grown, sum_of_edges

__all__ = ["Demo", "DemoFailedError", "Outcome", "Settings", "View", "example_folder", "perform"]

CLIENT = "client"
PROGRAMS = ("server.py", "client.py")
POLL_SECONDS = 0.2
TRAFFIC_SECONDS = 1.0
START_SECONDS = 60.0
CHANGE_SECONDS = 60.0
STALL_SECONDS = 15.0
"""How long the client may write nothing down before that is called a fault."""
RECENT_SLOTS = 12
RATES_SHOWN = 40


class DemoFailedError(SmeagolError):
    """The demo could not go on: something did not start, or did not come about in time."""

    code = "SMI-T001"


class View(Protocol):
    """Where the demo shows itself."""

    def show(self, model: Model) -> None:
        """Called several times a second."""

    def say(self, line: str) -> None:
        """Something worth keeping has happened."""

    def judged(self, number: int, verdict: Verdict) -> None:
        """Step `number` is done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """`folder` is the demo's own: watched manifests are put below it, and the log of `smeagol up`."""

    name: str
    folder: Path
    example: Path
    state_dir: Path | None = None
    rate: float | None = None
    """requests per second; None keeps what the example says"""

    @property
    def manifests(self) -> Path:
        return self.folder / "manifests"

    @property
    def up_log(self) -> Path:
        return self.folder / "up.log"


def example_folder() -> Path:
    """Where the sample application is: beside the sources in a checkout, inside the package when installed."""
    import smeagol

    package = Path(smeagol.__file__).parent
    for folder in (package.parents[1] / "examples" / "foobar", package / "examples" / "foobar"):
        if folder.is_dir():
            return folder
    raise DemoFailedError("the sample application is not here", fix="Run the demo from a checkout: make demo")


def smeagol_command(*arguments: str) -> list[str]:
    """This installation's own `smeagol`, whatever PATH says."""
    return [sys.executable, "-c", "from smeagol.cli import main; main()", *arguments]


@contextmanager
def running_mesh(settings: Settings) -> Iterator[Mesh]:
    """Start `smeagol up` on the manifests, as a user would in another terminal, and stop it in the end."""
    settings.manifests.mkdir(parents=True)
    # A working directory that the Pods can see: they have a /tmp of their own (HostSettings.seen).
    with settings.up_log.open("wb") as log:
        child = subprocess.Popen(
            smeagol_command("up", "-f", ".", *_named(settings)),
            cwd=settings.manifests,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for the demo, which then stops the mesh
            preexec_fn=lambda: die_with_parent(signal.SIGTERM),  # noqa: PLW1509  (the demo has one thread)
        )
    try:
        with _answering(child, settings) as mesh:
            yield mesh
    finally:
        _stop(child)


def _named(settings: Settings) -> list[str]:
    return ["--name", settings.name, *(["--state-dir", str(settings.state_dir)] if settings.state_dir else [])]


def _answering(child: subprocess.Popen[bytes], settings: Settings) -> Mesh:
    deadline = time.monotonic() + START_SECONDS
    while child.poll() is None and time.monotonic() < deadline:
        try:
            mesh = Mesh.find(settings.name, settings.state_dir)
            if Path(mesh.status().mesh.directory) == settings.manifests.resolve():  # else it is another's, of this name
                return mesh
        except MeshNotFoundError:
            pass
        time.sleep(POLL_SECONDS)
    said = settings.up_log.read_text(errors="replace").strip().splitlines()
    raise DemoFailedError(
        "the mesh did not start" + (f": {said[-1].removeprefix('smeagol: ')}" if said else ""),
        fix=f"All it said is in {settings.up_log}",
    )


def _stop(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is None:
        child.send_signal(signal.SIGINT)
        try:
            child.wait(timeout=15)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How it went. `trouble` says what kept the demo from reaching its end; `model` is the last thing shown."""

    model: Model
    verdicts: tuple[Verdict, ...]
    trouble: str = ""

    @property
    def held(self) -> bool:
        """Every step was reached and held."""
        return not self.trouble and sum(verdict.held for verdict in self.verdicts) == len(ROLLOUT)


def perform(settings: Settings, view: View) -> Outcome:
    """Start a mesh, carry out the script, stop the mesh; if it did not go well, the logs stay in `settings.folder`.

    Raises DemoFailedError if the mesh does not even start.
    """
    view.say(f"starting a mesh named {settings.name}; look into it with: smeagol status --name {settings.name}")
    with running_mesh(settings) as mesh:
        demo, trouble = Demo(settings=settings, mesh=mesh, view=view), ""
        try:
            demo.run()
        except SmeagolError as error:
            trouble = str(error)
        outcome = Outcome(model=demo.model(), verdicts=tuple(demo.verdicts), trouble=trouble)
        if not outcome.held:
            shutil.copytree(mesh.folder / "logs", settings.folder / "logs", dirs_exist_ok=True)
        return outcome


@dataclass(slots=True)
class Demo:
    """One run of the script against a running mesh."""

    settings: Settings
    mesh: Mesh
    view: View
    verdicts: list[Verdict] = field(default_factory=list)
    _started: float = field(default_factory=time.monotonic)
    _status: Status | None = None
    _traffic: Traffic | None = None
    _traffic_at: float = 0.0
    _edges: tuple[Edge, ...] = ()
    """all that ever was; a proxy forgets an edge whose backend is gone"""
    _edges_lately: tuple[Edge, ...] = ()
    _tail: LogTail | None = None
    _slots: list[Slot] = field(default_factory=list)
    _step: int = -1
    _stage: Stage = Stage.AHEAD
    _step_from: int = 0
    """index of the first slot of this step"""
    _in_force: int = 0
    """index of the first slot for which the step must hold"""
    _note: str = ""
    _manifest: tuple[str, str] | None = None

    def run(self) -> None:
        """Carry out the script up to its end or to the first step that does not hold. Raises DemoFailedError."""
        self._set_up()
        for number, step in enumerate(ROLLOUT):
            verdict = self._carry_out(number, step)
            self.verdicts.append(verdict)
            self._stage = Stage.HELD if verdict.held else Stage.BROKEN
            self.view.judged(number + 1, verdict)
            if not verdict.held:
                return

    # --- the script --------------------------------------------------------------------------------------------------

    def _set_up(self) -> None:
        for program in PROGRAMS:
            shutil.copy(self.settings.example / program, self.settings.manifests / program)
        tail = LogTail(self.mesh.logs_of(NAMESPACE, CLIENT) / f"{CLIENT}.log")
        tail.lines()  # of an earlier demo: logs outlive the mesh
        for changes in SET_UP:
            self._change(changes)
        self._tail = tail
        self._wait(lambda: None if self._slots else "the client to call", CHANGE_SECONDS)
        self.view.say(f"foobar-v1 and its client run and speak mutual TLS ({time.monotonic() - self._started:.1f} s)")

    def _carry_out(self, number: int, step: Step) -> Verdict:
        self._step, self._stage = number, Stage.CHANGING
        self._step_from = self._in_force = len(self._slots)
        self._change(step.changes)
        in_force = time.time()
        self._stage = Stage.MEASURING
        while True:
            # Requests begun before this moment may still have met the old state; those begun later may not.
            self._in_force = next((i for i, s in enumerate(self._slots) if s.time >= in_force), len(self._slots))
            counted = total(self._slots[self._in_force :])
            if counted.sent >= step.requests:
                break
            self._note = f"measuring: {counted.sent:,} of {step.requests:,} requests"
            self._tick()
        passing = total(self._slots[self._step_from : self._in_force])
        return held(step, passing, counted, self._now(), identity=IDENTITY)

    def _change(self, changes: Sequence[Change]) -> None:
        """Make changes to the folder and wait until the mesh says that they are true everywhere."""
        before = self._tick()
        awaited: list[Awaited] = []
        for change in changes:
            match change:
                case Copy(file):
                    text = self._text_of(file)
                    self._write(file, text)
                    awaited += present(objects_in(text, NAMESPACE), before)
                case Split():
                    text = canary(change)
                    self._write(change.file, text)
                    awaited += present(objects_in(text, NAMESPACE), before)
                case Delete(file):
                    path = self.settings.manifests / file
                    awaited += [Absent(ref) for ref in objects_in(path.read_text(), NAMESPACE)]
                    path.unlink()
                    self._manifest = (file, "")
                case Call():
                    self._call(change)

        def missing() -> str | None:
            reasons = unmet(tuple(awaited), self._now())
            return ", ".join(reasons) if reasons else None

        self._wait(missing, CHANGE_SECONDS)

    def _text_of(self, file: str) -> str:
        text = (self.settings.example / file).read_text()
        if self.settings.rate is not None:
            text = text.replace('--rate, "400"', f'--rate, "{self.settings.rate:g}"')
        return text

    def _write(self, file: str, text: str) -> None:
        """As editors do: the new file takes the old one's place in one move, so that no half of it is ever read."""
        draft = self.settings.manifests / f".{file}.new"
        draft.write_text(text)
        draft.replace(self.settings.manifests / file)
        self._manifest = (file, text)

    def _call(self, call: Call) -> None:
        """Call a URL from inside the client's Pod, with `smeagol exec`."""
        command = ["exec", *_named(self.settings), f"{NAMESPACE}/{CLIENT}", "--"]
        program = ["python3", "client.py", "get", call.url, "--count", str(call.count)]
        child = subprocess.Popen(
            smeagol_command(*command, *program), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self._note = f"calling {call.url} from the client's Pod"
        try:
            self._wait(lambda: None if child.poll() is not None else f"{call.url} to answer", CHANGE_SECONDS)
            output, errors = child.communicate()
        finally:
            child.kill()
        answers = output.splitlines()
        right = [line for line in answers if f'"version": "{call.version}"' in line]
        if child.returncode or len(right) != call.count:
            raise DemoFailedError(
                f"{len(right)} of {call.count} calls to {call.url} were answered by {call.version}: "
                f"{(errors or output).strip()[-300:]}"
            )
        self.view.say(f"{call.url} answered {call.count} of {call.count} times as {call.version}")

    # --- looking -----------------------------------------------------------------------------------------------------

    def _wait(self, missing: Callable[[], str | None], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while (reason := missing()) is not None:
            if time.monotonic() > deadline:
                raise DemoFailedError(f"waited {seconds:.0f} s for {reason}")
            self._note = f"waiting for {reason}"
            self._tick()

    def _now(self) -> Status:
        return self._status if self._status is not None else self._tick()

    def _tick(self) -> Status:
        """Let a moment pass, look at everything once, show it."""
        time.sleep(POLL_SECONDS)
        self._status = status = self.mesh.status()
        if self._tail is not None:
            self._slots += [slot for line in self._tail.lines() if (slot := read_slot(line)) is not None]
            if self._slots and time.time() - self._slots[-1].time > STALL_SECONDS:
                raise DemoFailedError(f"the client has written nothing down for {STALL_SECONDS:.0f} s")
        if time.monotonic() - self._traffic_at >= TRAFFIC_SECONDS:
            self._look_at_edges()
        self.view.show(self.model())
        return status

    def _look_at_edges(self) -> None:
        traffic, self._traffic_at = self.mesh.traffic(), time.monotonic()
        growth = grown(self._traffic or Traffic(time=traffic.time), traffic)
        self._traffic = traffic
        self._edges = sum_of_edges(self._edges, growth.edges)
        busy = {(edge.client, edge.service, edge.backend) for edge in growth.edges if edge.requests}
        self._edges_lately = tuple(edge for edge in self._edges if (edge.client, edge.service, edge.backend) in busy)

    def model(self) -> Model:
        """What is to be shown now."""
        step = ROLLOUT[max(self._step, 0)]
        window = total(self._slots[self._in_force :]) if self._stage is Stage.MEASURING else None
        recent = total(deque(self._slots, maxlen=RECENT_SLOTS))
        return Model(
            elapsed_seconds=time.monotonic() - self._started,
            note=self._note,
            steps=tuple(self._view_of(number, each) for number, each in enumerate(ROLLOUT)),
            measured=shares(step.desired, window if window is not None and window.sent else recent),
            recent=recent,
            total=total(self._slots),
            rates=tuple(s.sent / s.seconds for s in self._slots[-RATES_SHOWN:] if s.seconds),
            callers=callers(self._edges_lately, self._status) if self._status else (),
            callers_so_far=callers(self._edges, self._status) if self._status else (),
            manifest=self._manifest,
        )

    def _view_of(self, number: int, step: Step) -> StepView:
        if number < len(self.verdicts):
            verdict = self.verdicts[number]
            return StepView(step=step, stage=Stage.HELD if verdict.held else Stage.BROKEN, requests=verdict.sent)
        if number == self._step:
            sent = sum(slot.sent for slot in self._slots[self._step_from :])
            return StepView(step=step, stage=self._stage, requests=sent)
        return StepView(step=step)
