"""How processes get into a Pod: its namespaces, and a container's own view of the file system.

The Pod's first process only holds the namespaces and adopts orphans (Kubernetes' pause container); it is process 1 of
the Pod, so that its end is the end of everything in the Pod. Containers see this machine's files with a /tmp, a /run
and a few files of /etc of their own. Everything here runs in children of the agent, which has one thread.
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import NoReturn

from smeagol.infra.host.linux import (
    Capability,
    Mount,
    Namespace,
    die_with_parent,
    drop_capabilities,
    mount,
    setns,
    unshare,
)
from smeagol.infra.host.wire import File

__all__ = ["LaunchError", "hold_pod", "launch"]

_PRIVATE = (("/run", "0755"), ("/tmp", "1777"))  # noqa: S108  # mount points, not files in a shared folder
_OWN = Path("/run/.pod")
_OF_A_POD = Namespace.NETWORK | Namespace.UTS | Namespace.IPC


class LaunchError(Exception):
    """A child could not get where it should; the text says why."""


def hold_pod(hostname: str) -> int:
    """Make a Pod's namespaces; returns the process that holds them. Raises LaunchError."""

    def hold(report: int) -> NoReturn:
        die_with_parent(signal.SIGKILL)
        unshare(_OF_A_POD | Namespace.MOUNT)
        socket.sethostname(hostname)
        mount("none", "/", flags=Mount.REC | Mount.SLAVE)
        mount("proc", "/proc", "proc", Mount.NOSUID | Mount.NODEV | Mount.NOEXEC)
        with suppress(OSError):  # not every machine has one
            mount("tmpfs", "/dev/shm", "tmpfs", Mount.NOSUID | Mount.NODEV, "mode=1777")  # noqa: S108
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        _close_all_but(report)
        os.close(report)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
        while True:
            signal.sigwait({signal.SIGCHLD})
            with suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass

    own = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    try:
        unshare(Namespace.PID)
        try:
            return _fork(hold)
        finally:
            setns(own, Namespace.PID)
    finally:
        os.close(own)


def launch(
    *,
    pod: int,
    files_of: int | None,
    command: Sequence[str],
    env: Mapping[str, str],
    working_dir: str,
    stdio: tuple[int, int, int],
    etc: Mapping[str, bytes],
    files: Sequence[File],
    kept: Sequence[str],
    hidden: Sequence[str],
    net_admin: bool,
) -> int:
    """Run a command in the Pod that process `pod` holds; returns its pid, which is its group's too.

    It shares the files of process `files_of`, or gets a view of its own. Raises LaunchError if it did not start.
    """

    def run(report: int) -> NoReturn:
        os.setsid()
        for target, source in enumerate(stdio):
            os.dup2(source, target)
        setns(holder, _OF_A_POD)
        setns(files_holder, Namespace.MOUNT)
        if files_of is None:
            unshare(Namespace.MOUNT)
            _own_view(etc, files, kept)
            _hide(hidden)
        os.chdir(working_dir)
        os.umask(0o022)
        for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
            with suppress(OSError):  # the C library keeps two for itself
                signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        program = shutil.which(command[0], path=env.get("PATH"))
        if program is None:
            raise FileNotFoundError(errno.ENOENT, "not found, or not executable", command[0])
        _close_all_but(report)
        drop_capabilities({Capability.NET_ADMIN} if net_admin else ())
        os.execve(program, list(command), dict(env))  # noqa: S606  # running commands is what it is for

    with ExitStack() as opened:
        own = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        opened.callback(os.close, own)
        # Opened here, because these numbers mean other processes to a child in the Pod.
        holder = os.pidfd_open(pod)
        opened.callback(os.close, holder)
        files_holder = os.pidfd_open(pod if files_of is None else files_of)
        opened.callback(os.close, files_holder)
        setns(holder, Namespace.PID)
        try:
            return _fork(run)
        finally:
            setns(own, Namespace.PID)


def _close_all_but(descriptor: int) -> None:
    """Keep nothing of the agent's: neither its connections nor logs nor other Pods' namespaces."""
    os.closerange(3, descriptor)
    os.closerange(descriptor + 1, 1 << 20)


def _fork(child: Callable[[int], NoReturn]) -> int:
    """Run `child` in a new process and wait until it closes the descriptor it is given, or calls exec."""
    report_end, report = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            signal.set_wakeup_fd(-1)
            child(report)
        except BaseException as error:  # the child ends here, whatever it was
            with suppress(OSError):
                os.write(report, _words(error).encode(errors="replace"))
        finally:
            os._exit(127)
    os.close(report)
    with os.fdopen(report_end, "rb") as end:
        problem = end.read()
    if problem:
        os.waitpid(pid, 0)
        raise LaunchError(problem.decode(errors="replace"))
    return pid


def _words(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return f"{type(error).__name__}: {error}"


def _own_view(etc: Mapping[str, bytes], files: Sequence[File], kept: Sequence[str]) -> None:
    """Give this mount namespace its own /run and /tmp, in which only the kept folders go on, and its files."""
    # Some of /etc points into /run (systemd-resolved), so look before it is covered.
    targets = {name: Path(f"/etc/{name}").resolve() for name in etc}
    folders = [(folder, os.open(folder, os.O_PATH | os.O_CLOEXEC)) for folder in kept]
    for point, mode in _PRIVATE:
        if Path(point).is_dir():
            mount("tmpfs", point, "tmpfs", Mount.NOSUID | Mount.NODEV, f"mode={mode}")
    for folder, descriptor in folders:
        Path(folder).mkdir(parents=True, exist_ok=True)
        mount(f"/proc/self/fd/{descriptor}", folder, flags=Mount.BIND | Mount.REC)
        os.close(descriptor)
    _OWN.mkdir(mode=0o755)
    for name, content in etc.items():
        target = targets[name]
        if target.is_relative_to("/run"):
            _write(target, content, 0o644)
        elif target.exists():
            source = _OWN / name
            _write(source, content, 0o644)
            mount(str(source), target, flags=Mount.BIND)
    for file in files:
        _write(Path(file.path), file.content, file.mode)


def _hide(folders: Sequence[str]) -> None:
    """Put nothing in the place of these folders: what is in them is the user's, but not for containers."""
    for folder in folders:
        if Path(folder).is_dir():
            mount("tmpfs", folder, "tmpfs", Mount.NOSUID | Mount.NODEV, "mode=0555,size=4k")


def _write(path: Path, content: bytes, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(mode)
