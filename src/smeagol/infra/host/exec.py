"""Run a command inside a running Pod, from anywhere on the machine: `smeagol exec POD -- COMMAND`.

The sandbox's agent starts it with this process's own standard input, output and error, so the caller needs no
namespaces of its own: whoever may open the socket (the user who started the sandbox, and root) may do it.
"""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType

import msgspec

from smeagol.errors import SmeagolError
from smeagol.infra.host.unix import connect
from smeagol.infra.host.wire import ExecEnded, ExecRequest, ExecSignal
from smeagol.refs import PodRef

__all__ = ["ExecError", "exec_in_pod"]

_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


class ExecError(SmeagolError):
    """The command could not be started in the Pod."""

    code = "SMI-H008"


def exec_in_pod(
    exec_socket: Path,
    pod: PodRef,
    command: Sequence[str],
    *,
    container: str = "",
    env: Mapping[str, str] | None = None,
    stdio: tuple[int, int, int] = (0, 1, 2),
    signals: bool = True,
) -> int:
    """Run `command` in a container of the Pod (its first, unless named); returns its exit code.

    It has the container's environment, `env`, and the descriptors `stdio`. With `signals` those to this process are
    passed on; it ends when this process ends, or is interrupted. Raises ExecError if it could not be started.
    """
    try:
        connection = connect(exec_socket)
    except OSError as error:
        raise ExecError(
            f"no running mesh answers: {error.strerror}",
            where=str(exec_socket),
            fix="start one with `smeagol up`, as the same user",
        ) from error
    with connection:
        request = ExecRequest(pod=str(pod), container=container, command=tuple(command), env=dict(env or {}))
        socket.send_fds(connection, [msgspec.msgpack.encode(request)], stdio)

        def forward(number: int, _frame: FrameType | None) -> None:
            with suppress(OSError):  # it has just ended
                connection.send(msgspec.msgpack.encode(ExecSignal(signal=number)))

        # Signals are the main thread's; a command that another thread waits for is ended by who started that.
        handled = _FORWARDED if signals and threading.current_thread() is threading.main_thread() else ()
        previous = {number: signal.signal(number, forward) for number in handled}
        try:
            answer = connection.recv(1 << 16)
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
    if not answer:
        raise ExecError("the mesh ended meanwhile", where=f"Pod {pod}")
    ended = msgspec.msgpack.decode(answer, type=ExecEnded)
    if ended.why:
        raise ExecError(ended.why, where=f"Pod {pod}", fix="`smeagol status` shows what runs")
    return ended.exit_code
