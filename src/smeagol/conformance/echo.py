"""The backend of the suite: names itself in every answer, and repeats what has reached it.

    VERSION=v1 python3 -m smeagol.conformance.echo http:8080 tcp:9000 first:9001 tls:9443 grpc:9090 udp:9053

Standard library only, but for a port of `tls` or `grpc`.

http    answers every request with one line of JSON (`Heard`)
tcp     answers each line with `VERSION line`
first   greets with `220 VERSION` before it has heard anything, then as `tcp`
tls     HTTP within TLS of its own, by a certificate that it makes itself
grpc    answers every method with what `http` answers, over HTTP/2 with prior knowledge; health checks too
udp     answers each datagram as `tcp` does a line

`/ready` answers 200, or 503 after `/unready`, until `/ready-again`; after `/stay` it goes on when it is told to end,
until `/leave`; `/slow` takes a second; `/status/404` answers with that code. `/seen` tells how many requests and raw
connections have come in, those to these control paths not counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import ssl
import sys
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["main"]

VERSION = os.environ.get("VERSION", "")
CONTROL = ("/ready", "/unready", "/ready-again", "/stay", "/leave", "/seen")
LINGER_SECONDS = 3.0
HEALTH = "/grpc.health.v1.Health/Check"
SERVING, NOT_SERVING = b"\x08\x01", b"\x08\x02"
"""grpc.health.v1.HealthCheckResponse, as bytes"""


@dataclass(slots=True)
class Echo:
    """What all ports of one Pod share."""

    ready: bool = True
    stays: bool = False
    leave: asyncio.Event = field(default_factory=asyncio.Event)
    requests: int = 0
    connections: int = 0
    stopping: bool = False
    open: set[asyncio.Task[None]] = field(default_factory=set)

    async def http(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request after the other, until the client closes or the Pod ends."""
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.LimitOverrunError):
            while True:
                lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                method, path, _ = lines[0].split(" ", 2)
                headers = [(n.strip(), v.strip()) for n, _, v in (line.partition(":") for line in lines[1:] if line)]
                fields = {name.lower(): value for name, value in headers}
                await reader.readexactly(int(fields.get("content-length", 0)))
                status, told = await self._answer(method, path, headers)
                closing = self.stopping or fields.get("connection", "").lower() == "close"
                body = json.dumps(told).encode() + b"\n"
                head = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
                writer.write((head + ("connection: close\r\n" if closing else "") + "\r\n").encode() + body)
                await writer.drain()
                if closing:
                    break
        writer.close()

    async def _answer(self, method: str, path: str, headers: list[tuple[str, str]]) -> tuple[int, dict[str, object]]:
        if path not in CONTROL:
            self.requests += 1
        match path:
            case "/seen":
                return 200, {"requests": self.requests, "connections": self.connections}
            case "/unready" | "/ready-again":
                self.ready = path == "/ready-again"
            case "/stay":
                self.stays = True
            case "/leave":
                self.leave.set()
            case "/slow":
                await asyncio.sleep(1)
            case "/ready" if not self.ready:
                return 503, {"version": VERSION}
        status = int(path.rpartition("/")[2]) if path.startswith("/status/") else 200
        return status, {"version": VERSION, "method": method, "path": path, "headers": headers}

    async def lines(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with contextlib.suppress(ConnectionError, asyncio.LimitOverrunError):
            while line := await reader.readline():
                writer.write(f"{VERSION} ".encode() + line)
                await writer.drain()
        writer.close()

    async def greeting(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(f"220 {VERSION}\n".encode())
        await self.lines(reader, writer)

    async def method(self, path: str, context: Any) -> bytes:
        """The answer to any method of gRPC."""
        if path == HEALTH:
            return SERVING if self.ready else NOT_SERVING
        headers = [(name, value) for name, value in context.invocation_metadata() if isinstance(value, str)]
        _, told = await self._answer("POST", path, headers)
        return json.dumps(told).encode()

    async def listen(self, kind: str, port: int) -> Callable[[], object]:
        """Returns what ends it."""
        match kind:
            case "grpc":
                return await _serve_grpc(self.method, port)
            case "udp":
                return await _serve_datagrams(port)
        serve = {"http": self.http, "tls": self.http, "tcp": self.lines, "first": self.greeting}[kind]

        async def kept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.ensure_future(serve(reader, writer))
            self.open.add(task)
            task.add_done_callback(self.open.discard)
            await task

        own = _own() if kind == "tls" else None
        return (await asyncio.start_server(kept, None, port, reuse_address=True, ssl=own)).close


async def _serve_grpc(method: Callable[[str, Any], Awaitable[bytes]], port: int) -> Callable[[], object]:
    """Without generated code: messages are taken and given as bytes."""
    import grpc

    class Every(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # generic in its stubs only
        def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:
            async def answered(_: bytes, context: Any) -> bytes:
                return await method(handler_call_details.method, context)

            return grpc.unary_unary_rpc_method_handler(answered)

    server = grpc.aio.server(handlers=[Every()])
    server.add_insecure_port(f"[::]:{port}")
    await server.start()
    return lambda: asyncio.ensure_future(server.stop(LINGER_SECONDS))


async def _serve_datagrams(port: int) -> Callable[[], object]:
    class Echoing(asyncio.DatagramProtocol):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def datagram_received(self, data: bytes, addr: Any) -> None:
            self.transport.sendto(f"{VERSION} ".encode() + data, addr)

    both = socket.has_dualstack_ipv6()
    link = socket.socket(socket.AF_INET6 if both else socket.AF_INET, socket.SOCK_DGRAM)
    if both:
        link.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    link.bind(("", port))
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Echoing, sock=link)
    return transport.close


def _own() -> ssl.SSLContext:
    """A certificate that nobody signed, for `own.example`."""
    from smeagol.conformance.certificates import self_signed

    certificate, key = self_signed("own.example")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "own.pem"
        path.write_bytes(certificate + key)
        context.load_cert_chain(path)
    return context


async def main(*ports: str) -> None:
    echo, stop = Echo(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    ends = [await echo.listen(kind, int(port)) for kind, _, port in (each.partition(":") for each in ports)]
    print(f"{VERSION} listens on {' '.join(ports)}", flush=True)
    await stop.wait()
    if echo.stays:
        await echo.leave.wait()
    echo.stopping = True
    for end in ends:
        end()
    if echo.open:
        await asyncio.wait(set(echo.open), timeout=LINGER_SECONDS)
    for task in echo.open:
        task.cancel()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
