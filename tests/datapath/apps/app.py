"""The program in a test's Pods. It serves what it is told to and does as the test says over a socket in the folder.

python3 -m datapath.apps.app --socket run/web.default.sock http:8080 tcp:9000
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import signal
from pathlib import Path

import uvloop

from datapath.apps.clients import Connections, Load, burst
from datapath.apps.servers import POD, VERSION, Servers
from datapath.apps.wire import (
    Burst,
    Close,
    Closed,
    Die,
    Exchange,
    Failed,
    Fine,
    GrpcCall,
    LoadSoFar,
    Open,
    Reply,
    Request,
    Seen,
    SeenByPort,
    SetListening,
    SetReady,
    StartLoad,
    StopLoad,
    read_request,
    write_reply,
)


class App:
    def __init__(self) -> None:
        self.servers = Servers()
        self._connections = Connections()
        self._loads: dict[int, Load] = {}
        self._numbers = itertools.count(1)

    async def serve_test(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one test's requests, one after the other, until it goes."""
        try:
            while True:
                try:
                    reply = await self._answer(await read_request(reader))
                except (OSError, TimeoutError, ValueError) as error:
                    reply = Failed(error=f"{type(error).__name__}: {error}")
                await write_reply(writer, reply)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def _answer(self, request: Request) -> Reply:
        match request:
            case Open():
                return await self._connections.open(request)
            case Exchange():
                return await self._connections.exchange(request)
            case Close(connection=number):
                self._connections.close(number)
                return Closed()
            case Burst():
                return await burst(request)
            case StartLoad():
                number = next(self._numbers)
                self._loads[number] = Load(request)
                return Fine(number=number)
            case LoadSoFar(load=number):
                return self._loads[number].so_far()
            case StopLoad(load=number):
                return await self._loads.pop(number).stop()
            case GrpcCall():
                from datapath.apps.grpc_echo import call_grpc

                return await call_grpc(request)
            case Seen():
                return SeenByPort(ports=self.servers.seen())
            case SetReady(ready=ready):
                self.servers.ready = ready
                return Fine()
            case SetListening(listening=listening):
                await self.servers.set_listening(listening)
                return Fine()
            case Die():
                os.kill(os.getpid(), signal.SIGKILL)
                return Fine()


async def main(socket: Path, serve: list[str]) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    app = App()
    for each in serve:
        kind, _, port = each.partition(":")
        await app.servers.start(kind, int(port))
    socket.unlink(missing_ok=True)
    control = await asyncio.start_unix_server(app.serve_test, socket)
    print(f"{POD} {VERSION} serves {' '.join(serve) or 'nothing'}", flush=True)
    await stop.wait()
    await app.servers.stop()
    control.close()


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description="Servers and clients that a test steers.")
    arguments.add_argument("--socket", type=Path, required=True)
    arguments.add_argument("serve", nargs="*", help="for example http:8080")
    chosen = arguments.parse_args()
    uvloop.run(main(chosen.socket, chosen.serve))
    os._exit(0)  # a gRPC server's threads would keep it
