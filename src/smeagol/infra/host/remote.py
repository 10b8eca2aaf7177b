"""The control plane's end of the agent: requests that are awaited, processes that are waited for."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from contextlib import suppress
from dataclasses import dataclass, field

import msgspec

from smeagol.errors import SmeagolError
from smeagol.infra.host.wire import (
    Answer,
    AnsweredRequest,
    Done,
    Exited,
    Failed,
    Request,
    SendSignal,
    Start,
    frame,
    unframe,
)

__all__ = ["Agent", "AgentError", "Process"]


class AgentError(SmeagolError):
    """The host could not do what it was asked to."""

    code = "SMI-H004"


@dataclass(slots=True)
class Process:
    """A running process of a Pod."""

    number: int
    _agent: Agent
    _exit_code: asyncio.Future[int] = field(repr=False)

    async def wait(self) -> int:
        """Its exit code, once it ended; 128 + number for a signal."""
        return await asyncio.shield(self._exit_code)

    def send_signal(self, number: int) -> None:
        """Signal it and its group; nothing happens if it has ended."""
        self._agent.tell(SendSignal(process=self.number, signal=number))


class Agent:
    """Starts the agent's process and talks to it. `serve` must run as long as anything is awaited."""

    def __init__(self) -> None:
        self._numbers = 0
        self._awaited: dict[int, asyncio.Future[None]] = {}
        self._processes: dict[int, asyncio.Future[int]] = {}
        self._writer: asyncio.StreamWriter | None = None
        self._child: asyncio.subprocess.Process | None = None

    async def start(self) -> asyncio.StreamReader:
        """Start the process; what it returns is for `serve`."""
        ours, theirs = socket.socketpair()
        with theirs:
            self._child = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "smeagol.infra.host.agent",
                str(theirs.fileno()),
                pass_fds=(theirs.fileno(),),
                stdin=asyncio.subprocess.DEVNULL,
                env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
            )
        reader, self._writer = await asyncio.open_connection(sock=ours)
        return reader

    async def serve(self, reader: asyncio.StreamReader) -> None:
        """Hand out the answers until `close`. Raises AgentError if the agent ends before that."""
        received = bytearray()
        try:
            while data := await reader.read(1 << 16):
                received += data
                while (body := unframe(received)) is not None:
                    self._take(msgspec.msgpack.decode(body, type=Answer))
        finally:
            for answer in self._awaited.values():
                answer.cancel()
            for exit_code in self._processes.values():
                exit_code.cancel()
        if self._writer is not None and not self._writer.is_closing():
            raise AgentError("the host's agent has ended", fix="look for its last words in the output above")

    async def close(self) -> None:
        """End the agent, and with it all Pods."""
        if self._writer is not None:
            self._writer.close()
        if self._child is not None:
            await self._child.wait()

    def tell(self, request: Request) -> None:
        """Send something that is not answered."""
        if self._writer is not None:
            self._writer.write(frame(request))

    async def ask(self, request: AnsweredRequest) -> None:
        """Send a request and await that it is done. Raises AgentError with the reason if it could not be."""
        self._numbers += 1
        answer = asyncio.get_running_loop().create_future()
        self._awaited[self._numbers] = answer
        self.tell(msgspec.structs.replace(request, number=self._numbers))
        await answer

    async def run(self, start: Start) -> Process:
        """Start a process; its `process` number is chosen here. Raises AgentError if it could not be started."""
        self._numbers += 1
        exit_code = asyncio.get_running_loop().create_future()
        process = Process(self._numbers, self, exit_code)
        self._processes[process.number] = exit_code
        try:
            await self.ask(msgspec.structs.replace(start, process=process.number))
        except AgentError:
            del self._processes[process.number]
            raise
        except asyncio.CancelledError:
            # The process may be on its way; nobody will look after it.
            process.send_signal(9)
            raise
        return process

    def _take(self, answer: Answer) -> None:
        match answer:
            case Done(number=number):
                _set(self._awaited.pop(number), None)
            case Failed(number=number, why=why):
                waiting = self._awaited.pop(number)
                if not waiting.done():
                    waiting.set_exception(AgentError(why))
            case Exited(process=number, exit_code=code):
                _set(self._processes.pop(number), code)


def _set(future: asyncio.Future[int] | asyncio.Future[None], value: int | None) -> None:
    with suppress(asyncio.InvalidStateError):  # whoever waited was cancelled
        future.set_result(value)  # type: ignore[arg-type]  # each future gets values of its own kind
