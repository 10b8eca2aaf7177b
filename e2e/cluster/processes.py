"""Keeps programs running: exactly those whose unit files lie in a folder.

State, not events: a unit file `NAME.json` says that a program should run, so it is started, and started again when it
ends; when the file goes, the program is stopped. SIGHUP means: look at the folder again. The same few lines serve as
the parent of the control plane and as the first process of each node.

All programs end with this process, however it ends (`setpriv --pdeathsig`; in a node, the kernel ends the PID
namespace). Run as `python -m e2e.cluster.processes STATE-FOLDER [--until-stdin-ends]`.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from e2e.cluster import cgroups

__all__ = ["logs_folder", "pid_of", "supervise", "supervisor_of", "unit_file", "write_unit"]

_LOCK = "supervisor.lock"
# Nothing of the user's own: a proxy's address, for one, would stand between the components.
_ENVIRONMENT = {"PATH": os.environ.get("PATH", os.defpath), "HOME": "/", "LANG": "C.UTF-8"}
_GRACE_SECONDS = 5.0
_QUICK_SECONDS = 3.0
_PAUSE_SECONDS = 1.0


def unit_file(folder: Path, name: str) -> Path:
    """The file that says that the program `name` should run."""
    return folder / "units" / f"{name}.json"


def logs_folder(folder: Path) -> Path:
    """What the programs print, one file each."""
    return folder / "logs"


def write_unit(folder: Path, name: str, command: Sequence[str | Path]) -> None:
    """Ask for a program to be run, by its whole command."""
    unit = [str(part) for part in command]
    path = unit_file(folder, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    new.write_text(json.dumps(unit), encoding="utf-8")
    new.replace(path)


def pid_of(folder: Path, name: str) -> int | None:
    """The process of a running program, as its supervisor counts processes."""
    try:
        return int((folder / "pids" / name).read_text())
    except (FileNotFoundError, ValueError):
        return None


def supervisor_of(folder: Path) -> int | None:
    """The process that keeps the programs of `folder` running, as it counts processes itself; None if there is none."""
    try:
        with (folder / _LOCK).open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return None
    except BlockingIOError:
        return int((folder / _LOCK).read_text() or 0) or None
    return None


@dataclass(slots=True)
class _Program:
    pid: int
    started: float
    kill_at: float | None = None  # asked to end, and by when


@dataclass(slots=True)
class _Supervisor:
    folder: Path
    running: dict[str, _Program] = field(default_factory=dict)
    not_before: dict[str, float] = field(default_factory=dict)

    def reconcile(self) -> float | None:
        """Start and stop what should be; return the seconds after which to look again, if time alone brings work."""
        now = time.monotonic()
        wanted = {path.stem: path for path in sorted((self.folder / "units").glob("*.json"))}
        for name, path in wanted.items():
            if name not in self.running and self.not_before.get(name, 0.0) <= now:
                self._start(name, path)
        for name, program in self.running.items():
            if name not in wanted and program.kill_at is None:
                program.kill_at = now + _GRACE_SECONDS
                os.kill(program.pid, signal.SIGTERM)
            elif program.kill_at is not None and program.kill_at <= now:
                os.kill(program.pid, signal.SIGKILL)
        due = [program.kill_at for program in self.running.values() if program.kill_at is not None]
        due += [self.not_before[name] for name in wanted if name not in self.running]
        return max(0.05, min(due) - now) if due else None

    def _start(self, name: str, path: Path) -> None:
        command: list[str] = json.loads(path.read_text(encoding="utf-8"))
        setpriv = shutil.which("setpriv") or "setpriv"
        log = str(logs_folder(self.folder) / f"{name}.log")
        pid = os.posix_spawn(
            setpriv,
            [setpriv, "--pdeathsig", "KILL", *command],
            _ENVIRONMENT,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
            setsigdef=[signal.SIGPIPE],  # Python ignores it, and that would be inherited
        )
        self.running[name] = _Program(pid=pid, started=time.monotonic())
        (self.folder / "pids" / name).write_text(str(pid))

    def reap(self) -> None:
        """Take note of all children that have ended; in a node, orphans of containers are among them."""
        while True:
            try:
                pid, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            for name, program in list(self.running.items()):
                if program.pid == pid:
                    del self.running[name]
                    (self.folder / "pids" / name).unlink(missing_ok=True)
                    quick = time.monotonic() - program.started < _QUICK_SECONDS
                    self.not_before[name] = time.monotonic() + (_PAUSE_SECONDS if quick else 0.0)

    def end(self) -> None:
        """End all programs. Nothing of theirs is kept, so none is asked to tidy up."""
        for program in self.running.values():
            with suppress(ProcessLookupError):
                os.kill(program.pid, signal.SIGKILL)
        for program in self.running.values():
            with suppress(ChildProcessError):
                os.waitpid(program.pid, 0)


def supervise(folder: Path, *, until_stdin_ends: bool = False) -> bool:
    """Keep the programs of `folder` running until SIGTERM or, if asked, until whoever holds our stdin is gone.

    Whether it was the latter.
    """
    for name in ("units", "pids", "logs"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    lifelines = [sys.stdin.fileno()] if until_stdin_ends else []
    with (folder / _LOCK).open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        awake, wake = os.pipe()
        for end in (awake, wake):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(wake)
        for number in (signal.SIGCHLD, signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)  # only to be woken
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()  # from here on we can be signalled
        supervisor = _Supervisor(folder)
        try:
            return _loop(supervisor, awake, lifelines)
        finally:
            supervisor.end()


def _loop(supervisor: _Supervisor, awake: int, lifelines: Sequence[int]) -> bool:
    while True:
        ready, _, _ = select.select([awake, *lifelines], [], [], supervisor.reconcile())
        if set(ready) & set(lifelines):
            return True
        if awake in ready:
            arrived = set(os.read(awake, 4096))
            if arrived & {signal.SIGTERM, signal.SIGINT}:
                return False
            supervisor.reap()


if __name__ == "__main__":
    state = Path(sys.argv[1])
    if supervise(state, until_stdin_ends="--until-stdin-ends" in sys.argv):
        # Nobody is left to do it.
        cgroups.remove(cgroups.of_cluster(state.name))
        shutil.rmtree(state)
