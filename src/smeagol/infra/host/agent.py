"""The host's agent: one process of one thread that does what needs namespaces, for the control plane beside it.

It changes namespaces to configure Pods and forks their processes, which a process with threads (gRPC's, for one)
cannot do safely. It keeps no wishes: it does what it is told, keeps logs, and reports what ended. It also serves the
socket of `smeagol exec`. Started as `python -m smeagol.infra.host.agent DESCRIPTOR`.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import assert_never

import msgspec

from smeagol.errors import SmeagolError
from smeagol.infra.host.launch import LaunchError, hold_pod, launch
from smeagol.infra.host.linux import become_subreaper
from smeagol.infra.host.logs import LogFile
from smeagol.infra.host.netlink import NetlinkError
from smeagol.infra.host.network import NodeNetwork, apply_rules, connect_pod, disconnect_pod, inside, set_up_node
from smeagol.infra.host.rtnl import IPAddress
from smeagol.infra.host.sandbox import require_inside
from smeagol.infra.host.services import base_rules, pod_added, pod_removed
from smeagol.infra.host.unix import listen
from smeagol.infra.host.wire import (
    AddPod,
    Answer,
    ApplyRules,
    Done,
    ExecEnded,
    ExecRequest,
    ExecSignal,
    Exited,
    Failed,
    RemovePod,
    Request,
    SendSignal,
    SetUp,
    Start,
    frame,
    unframe,
)

_READ_BYTES = 1 << 16
_NOT_FOUND = 127


@dataclass(slots=True)
class _Pod:
    """The namespaces of one Pod, held by `holder`."""

    request: AddPod
    ips: tuple[IPAddress, ...]
    holder: int
    netns: int
    containers: dict[str, Start] = field(default_factory=dict)
    removal: int | None = None


class Agent:
    """Serves one control plane until it closes its end."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._received = bytearray()
        self._selector = selectors.DefaultSelector()
        self._pods: dict[str, _Pod] = {}
        self._processes: dict[int, Callable[[int], None]] = {}  # pid to whom to tell the exit code
        self._numbers: dict[int, int] = {}  # process number to pid
        self._node = NodeNetwork(ips=())
        self._kept: tuple[str, ...] = ()
        self._hidden: tuple[str, ...] = ()
        self._log_bytes = 0
        self._null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        self._open = True

    def run(self) -> None:
        """Work until the control plane is gone."""
        wake_end, wake = os.pipe()
        os.set_blocking(wake_end, False)
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        become_subreaper()
        self._watch(self._control, self._on_control)
        self._watch(wake_end, lambda: self._on_child(wake_end))
        while self._open:
            for key, _ in self._selector.select():
                key.data()

    def _watch(self, file: socket.socket | int, ready: Callable[[], None]) -> None:
        self._selector.register(file, selectors.EVENT_READ, ready)

    # Requests.

    def _on_control(self) -> None:
        data = self._control.recv(_READ_BYTES)
        if not data:
            self._open = False
            return
        self._received += data
        while (body := unframe(self._received)) is not None:
            self._carry_out(msgspec.msgpack.decode(body, type=Request))

    def _answer(self, answer: Answer) -> None:
        self._control.sendall(frame(answer))

    def _carry_out(self, request: Request) -> None:
        if isinstance(request, SendSignal):
            self._signal(self._numbers.get(request.process), request.signal)
            return
        try:
            match request:
                case SetUp():
                    self._set_up(request)
                case AddPod():
                    self._add_pod(request)
                case RemovePod():
                    self._remove_pod(request)
                    return  # answered when the last process is gone
                case ApplyRules():
                    self._apply_rules(request)
                case Start():
                    self._start(request)
                case _:
                    assert_never(request)
        except (SmeagolError, LaunchError, OSError) as error:
            self._answer(
                Failed(number=request.number, why=error.what if isinstance(error, SmeagolError) else str(error))
            )
        else:
            self._answer(Done(number=request.number))

    def _set_up(self, request: SetUp) -> None:
        self._node = NodeNetwork(
            ips=_addresses(request.node_ips),
            extra_ips=_addresses(request.extra_ips),
            service_cidrs=tuple(ip_network(each) for each in request.service_cidrs),
        )
        self._kept = request.kept
        self._hidden = request.hidden
        self._log_bytes = request.log_bytes
        set_up_node(self._node)
        apply_rules(base_rules(self._node.ips))
        if request.exec_socket:
            listener = listen(Path(request.exec_socket))
            self._watch(listener, lambda: self._on_exec(listener))

    def _add_pod(self, request: AddPod) -> None:
        ips = _addresses(request.ips)
        holder = hold_pod(request.hostname)
        netns = os.open(f"/proc/{holder}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            connect_pod(self._node, request.pod, netns, ips)
            apply_rules(pod_added(ips))
        except BaseException:
            os.close(netns)
            os.kill(holder, signal.SIGKILL)
            raise
        self._pods[request.pod] = _Pod(request, ips, holder, netns)

    def _remove_pod(self, request: RemovePod) -> None:
        pod = self._pods.get(request.pod)
        if pod is None:
            self._answer(Done(number=request.number))
            return
        pod.removal = request.number
        self._disconnect(pod)
        os.kill(pod.holder, signal.SIGKILL)

    def _disconnect(self, pod: _Pod) -> None:
        with suppress(NetlinkError):  # gone already, with its namespace
            disconnect_pod(pod.request.pod)
        apply_rules(pod_removed(pod.ips))
        os.close(pod.netns)

    def _apply_rules(self, request: ApplyRules) -> None:
        if request.pod:
            with inside(self._pod(request.pod).netns):
                apply_rules(request.messages)
        else:
            apply_rules(request.messages)

    def _pod(self, name: str) -> _Pod:
        pod = self._pods.get(name)
        if pod is None or pod.removal is not None:
            msg = f"Pod {name} is not here"
            raise LaunchError(msg)
        return pod

    # Processes.

    def _start(self, request: Start) -> None:
        pod = self._pod(request.pod)
        within = None
        if request.within is not None:
            within = self._numbers.get(request.within)
            if within is None:
                msg = f"container {request.container} is not running"
                raise LaunchError(msg)
        else:
            pod.containers[request.container] = request
        output, take = self._null, None
        if request.log:
            log = LogFile(Path(request.log), self._log_bytes)
            take, output = os.pipe()
            os.set_blocking(take, False)
            self._collect(take, log)
        try:
            pid = self._launch(pod, request, within, (self._null, output, output))
        finally:
            if output != self._null:
                os.close(output)

        def ended(code: int) -> None:
            del self._numbers[request.process]
            self._answer(Exited(process=request.process, exit_code=code))

        self._numbers[request.process] = pid
        self._processes[pid] = ended

    def _launch(self, pod: _Pod, request: Start, within: int | None, stdio: tuple[int, int, int]) -> int:
        return launch(
            pod=pod.holder,
            files_of=within,
            command=request.command,
            env=request.env,
            working_dir=request.working_dir,
            stdio=stdio,
            etc=pod.request.etc,
            files=request.files,
            kept=self._kept,
            hidden=self._hidden,
            net_admin=request.net_admin,
        )

    def _collect(self, take: int, log: LogFile) -> None:
        def ready() -> None:
            data = os.read(take, _READ_BYTES)
            if not data:
                self._selector.unregister(take)
                os.close(take)
                log.close()
                return
            with suppress(OSError):  # a full disk must not stop the container
                log.write(data)

        self._watch(take, ready)

    def _signal(self, pid: int | None, number: int) -> None:
        """To the whole group: `sh -c "a | b"` should end like a container does."""
        if pid is not None:
            with suppress(ProcessLookupError):
                os.killpg(pid, number)

    def _on_child(self, wake_end: int) -> None:
        with suppress(BlockingIOError):
            os.read(wake_end, _READ_BYTES)
        with suppress(ChildProcessError):
            while (end := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
                if end.si_pid in self._processes:
                    # A container ends with its main process. Its group still has its number, since it is not reaped.
                    self._signal(end.si_pid, signal.SIGKILL)
                _, status = os.waitpid(end.si_pid, 0)
                code = os.waitstatus_to_exitcode(status)
                self._on_end(end.si_pid, code if code >= 0 else 128 - code)

    def _on_end(self, pid: int, code: int) -> None:
        ended = self._processes.pop(pid, None)
        if ended is not None:
            ended(code)
        for name, pod in list(self._pods.items()):
            if pod.holder == pid:
                del self._pods[name]
                if pod.removal is not None:
                    self._answer(Done(number=pod.removal))
                else:  # somebody has killed it; its name and addresses must be free for another
                    self._disconnect(pod)

    # smeagol exec.

    def _on_exec(self, listener: socket.socket) -> None:
        connection, _ = listener.accept()
        self._watch(connection, lambda: self._on_exec_request(connection))

    def _on_exec_request(self, connection: socket.socket) -> None:
        descriptors: list[int] = []
        try:
            data, descriptors, _, _ = socket.recv_fds(connection, _READ_BYTES, 3, socket.MSG_CMSG_CLOEXEC)
            request = msgspec.msgpack.decode(data, type=ExecRequest)
            if len(descriptors) != 3:
                self._hang_up(connection)
                return
            pid = self._exec(request, (descriptors[0], descriptors[1], descriptors[2]))
        except LaunchError as error:
            self._end_exec(connection, ExecEnded(exit_code=_NOT_FOUND, why=str(error)))
        except (OSError, msgspec.MsgspecError):
            self._hang_up(connection)
        else:

            def ended(code: int) -> None:
                self._end_exec(connection, ExecEnded(exit_code=code))

            self._processes[pid] = ended
            self._selector.modify(connection, selectors.EVENT_READ, lambda: self._on_exec_signal(connection, pid))
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def _exec(self, request: ExecRequest, stdio: tuple[int, int, int]) -> int:
        pod = self._pod(request.pod)
        name = request.container or next(iter(pod.request.containers), "")
        start = pod.containers.get(name)
        within = None if start is None else self._numbers.get(start.process)
        if start is None or within is None:
            there = ", ".join(name for name, each in pod.containers.items() if each.process in self._numbers)
            msg = f"container {name!r} of Pod {request.pod} is not running (running: {there or 'none'})"
            raise LaunchError(msg)
        asked = msgspec.structs.replace(start, command=request.command, env={**start.env, **request.env})
        return self._launch(pod, asked, within, stdio)

    def _on_exec_signal(self, connection: socket.socket, pid: int) -> None:
        try:
            data = connection.recv(_READ_BYTES)
            asked = msgspec.msgpack.decode(data, type=ExecSignal) if data else None
        except (OSError, msgspec.MsgspecError):
            asked = None
        self._signal(pid, asked.signal if asked is not None else signal.SIGKILL)
        if asked is None:
            self._hang_up(connection)

    def _end_exec(self, connection: socket.socket, end: ExecEnded) -> None:
        if connection.fileno() >= 0:
            with suppress(OSError):
                connection.sendall(msgspec.msgpack.encode(end))
            self._hang_up(connection)

    def _hang_up(self, connection: socket.socket) -> None:
        self._selector.unregister(connection)
        connection.close()


def _addresses(texts: tuple[str, ...]) -> tuple[IPAddress, ...]:
    return tuple(ip_address(each) for each in texts)


def main() -> None:
    """Serve the control plane at the other end of the descriptor given as argument."""
    require_inside()
    control = socket.socket(fileno=int(sys.argv[1]))
    control.set_inheritable(False)
    Agent(control).run()


if __name__ == "__main__":
    main()
