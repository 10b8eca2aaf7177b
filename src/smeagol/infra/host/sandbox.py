"""The sandbox: a process tree with namespaces of its own that leaves nothing behind, however it ends.

Three processes besides the caller:

    caller (host) ── keeper (new user namespace) ── init (process 1 of the sandbox) ── worker (runs `main`)

The keeper dies with the caller and init with the keeper (PR_SET_PDEATHSIG, SIGKILL), also when the caller is killed
with -9; when init ends, the kernel ends every process in its PID namespace, and with the last of them the network
namespaces, their interfaces and rules, and the mounts. Nothing is written to the host, so nothing needs tidying up.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn

from smeagol.errors import SmeagolError
from smeagol.infra.host.diagnosis import Facts, Finding, SandboxUnavailableError, Step, explain
from smeagol.infra.host.linux import Capability, Mount, Namespace, capabilities, die_with_parent, mount, unshare
from smeagol.infra.host.netlink import NETLINK_NETFILTER, NETLINK_ROUTE, NetlinkError, NetlinkSocket
from smeagol.infra.host.redirect import redirect_rules, without_redirect_rules
from smeagol.infra.host.rtnl import add_veth, delete_link
from smeagol.infra.host.services import trial_rules

__all__ = ["OutsideSandboxError", "diagnose", "enter", "is_inside", "needs_user_namespace", "require_inside"]

_MARK = "SMEAGOL_SANDBOX"
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

Main = Callable[[Sequence[socket.socket]], int]


class OutsideSandboxError(SmeagolError):
    """Something that changes network and mounts was started where it would change the host's."""

    code = "SMI-H001"


def enter(main: Main, *, host_sockets: Sequence[socket.socket] = ()) -> int:
    """Run `main(host_sockets)` in a sandbox and return its exit code (128 + signal if one ended it).

    `host_sockets` were bound on the host before and go on serving there, since a socket stays in the network namespace
    in which it was made; the caller's own copies are closed. SIGINT, SIGTERM or SIGHUP to the caller reach `main` as
    one SIGTERM; a second one ends everything at once. `main` itself never sees the terminal's SIGINT.

    Must be called by a process of one thread (before gRPC is used), because it forks. Where this machine does not
    allow a sandbox, SandboxUnavailableError says what to enable.
    """
    if threading.active_count() > 1:
        msg = "a sandbox must be entered before threads are started"
        raise RuntimeError(msg)
    sys.stdout.flush()
    sys.stderr.flush()
    caller = os.getpid()
    report_end, report = os.pipe()
    previous = {number: signal.getsignal(number) for number in _STOP_SIGNALS}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)  # what comes before there is a sandbox waits for it
    try:
        keeper = os.fork()
        if keeper == 0:
            for number in _STOP_SIGNALS:
                signal.signal(number, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            os.close(report_end)
            _keeper(caller, report, main, host_sockets)
        os.close(report)
        for each in host_sockets:
            each.close()
        init = _await_start(report_end)
        if init is None:
            return _exit_code(os.waitpid(keeper, 0)[1])
        stops = 0

        def stop(_number: int, _frame: FrameType | None) -> None:
            nonlocal stops
            stops += 1
            with suppress(ProcessLookupError):  # it may just have ended by itself
                signal.pidfd_send_signal(init, signal.SIGTERM if stops == 1 else signal.SIGKILL)

        for number in _STOP_SIGNALS:
            signal.signal(number, stop)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        try:
            return _exit_code(os.waitpid(keeper, 0)[1])
        finally:
            for number in _STOP_SIGNALS:
                signal.signal(number, signal.SIG_IGN)
            os.close(init)
    finally:
        os.close(report_end)
        for number, handler in previous.items():
            signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def diagnose() -> Finding | None:
    """Try to make a sandbox, and say what stands in the way; None if nothing does."""
    try:
        enter(lambda _sockets: 0)
    except SandboxUnavailableError as problem:
        return problem.finding
    return None


def is_inside() -> bool:
    """Whether this process runs in a sandbox's own network namespace."""
    return os.environ.get(_MARK) == _network()


def _network() -> str:
    return str(Path("/proc/self/ns/net").stat().st_ino)


def require_inside() -> None:
    """Refuse to go on where addresses, rules and mounts would be the host's own."""
    if not is_inside():
        raise OutsideSandboxError(
            "this would change the network of the host itself", fix="run it through sandbox.enter"
        )


def needs_user_namespace() -> bool:
    """Whether this process lacks the capabilities and has to make a user namespace in which it has them."""
    return not {Capability.SYS_ADMIN, Capability.NET_ADMIN} <= capabilities()


def _await_start(report_end: int) -> int | None:
    """A descriptor of init once `main` is about to start; None if it all ended before that without a complaint."""
    with os.fdopen(os.dup(report_end), encoding="ascii") as report:
        init: int | None = None
        for line in report:
            match line.split():
                case ["init", pid]:
                    init = os.pidfd_open(int(pid))
                case ["ready"]:
                    return init
                case ["failed", step, errno]:
                    raise SandboxUnavailableError(explain(Step(step), int(errno), Facts.read()))
    return None


def _exit_code(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


# --- the keeper: outside the sandbox's PID namespace ----------------------------------------------------------------


def _keeper(caller: int, report: int, main: Main, host_sockets: Sequence[socket.socket]) -> NoReturn:
    try:
        make_namespaces(lambda step, errno: os.write(report, f"failed {step} {errno}\n".encode()))
        die_with_parent(signal.SIGKILL)
        if os.getppid() != caller:
            os._exit(128 + signal.SIGKILL)
        alive, life = os.pipe()  # closes when the keeper dies: tells init whether it has already
        init = os.fork()
        if init == 0:
            os.close(life)
            _init(alive, report, main, host_sockets)
        os.write(report, f"init {init}\n".encode())
        os.close(report)
        os._exit(_exit_code(os.waitpid(init, 0)[1]))
    except OSError:
        os._exit(1)


def make_namespaces(failed: Callable[[Step, int], object]) -> None:
    """Move this process into namespaces of its own; its next child is process 1 in there.

    Where something is refused, `failed(step, errno)` is told and the OSError raised.
    """
    step = Step.USER_NAMESPACE
    try:
        if needs_user_namespace():
            uid, gid = os.geteuid(), os.getegid()
            unshare(Namespace.USER)
            step = Step.USER_MAP
            for name, value in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
                Path(f"/proc/self/{name}").write_text(value, encoding="ascii")
        step = Step.NAMESPACES
        unshare(Namespace.NETWORK | Namespace.MOUNT | Namespace.PID | Namespace.UTS | Namespace.IPC)
        # The host's later mounts still arrive here, ours never go there.
        mount("none", "/", flags=Mount.REC | Mount.SLAVE)
    except OSError as error:
        failed(step, error.errno or 0)
        raise


# --- init: process 1 of the sandbox ---------------------------------------------------------------------------------


def _init(alive: int, report: int, main: Main, host_sockets: Sequence[socket.socket]) -> NoReturn:
    try:
        die_with_parent(signal.SIGKILL)
        os.set_blocking(alive, False)
        try:
            keeper_is_dead = os.read(alive, 1) == b""
        except BlockingIOError:
            keeper_is_dead = False
        if keeper_is_dead:
            os._exit(128 + signal.SIGKILL)
        _try_out(lambda step, errno: os.write(report, f"failed {step} {errno}\n".encode()))
        os.environ[_MARK] = _network()
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # until there is somebody to pass it on to
        worker = os.fork()
        if worker == 0:
            os.close(alive)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
            os.write(report, b"ready\n")
            os.close(report)
            _worker(main, host_sockets)
        os.close(report)
        for each in host_sockets:
            each.close()
        signal.signal(signal.SIGTERM, lambda *_: os.kill(worker, signal.SIGTERM))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        while True:
            pid, status = os.wait()  # orphans end here too
            if pid == worker:
                os._exit(_exit_code(status))
    except OSError:
        os._exit(1)


def _try_out(failed: Callable[[Step, int], object]) -> None:
    """Show in /proc the sandbox's processes only, and try whether the kernel has what Pods will need.

    Where something is refused, `failed(step, errno)` is told and the OSError raised.
    """
    step = Step.PROC
    try:
        mount("proc", "/proc", "proc", Mount.NOSUID | Mount.NODEV | Mount.NOEXEC)
        step = Step.VETH
        with NetlinkSocket(NETLINK_ROUTE) as route:
            route.request(add_veth("try", "try-end"), delete_link("try"))
        step = Step.RULES
        with NetlinkSocket(NETLINK_NETFILTER) as netfilter:
            netfilter.batch((*redirect_rules(), *without_redirect_rules(), *trial_rules()))
    except OSError as error:
        failed(step, error.errno or 0)
        raise
    except NetlinkError as error:
        failed(step, error.errno)
        raise OSError(error.errno, error.what) from error


def _worker(main: Main, host_sockets: Sequence[socket.socket]) -> NoReturn:
    code = 1
    try:
        code = main(host_sockets)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # the process ends here: nothing above could show it
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
