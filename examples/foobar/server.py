"""The sample service: says which version answered, from which Pod, and who the mesh says is calling.

    VERSION=v1 POD_NAME=foobar-v1-x python3 server.py --port 8080

Every GET is answered with one line of JSON, for example

    {"version": "v1", "pod": "foobar-v1-x", "path": "/", "identity": "client.example.com,spiffe://…"}

`identity` is the header `x-sme-identity`: the names from the caller's verified certificate, put there by the proxy of
this Pod. On SIGTERM the server finishes what it has begun, tells its clients to close, and goes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys

VERSION = os.environ.get("VERSION", "v0")
POD_NAME = os.environ.get("POD_NAME", "")
LINGER_SECONDS = 10.0
"""How long a server that shall stop still answers on connections that its clients keep open."""


async def serve_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, stopping: asyncio.Event) -> None:
    """Answer one request after the other on one connection, until the client closes it or the server stops."""
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            path = head[0].split(" ")[1]
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
            await reader.readexactly(int(headers.get("content-length", 0)))
            answer = {"version": VERSION, "pod": POD_NAME, "path": path, "identity": headers.get("x-sme-identity", "")}
            body = json.dumps(answer).encode() + b"\n"
            closing = stopping.is_set() or headers.get("connection", "").lower() == "close"
            writer.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n%s\r\n%s"
                % (len(body), b"connection: close\r\n" if closing else b"", body)
            )
            await writer.drain()
            if closing:
                return
    except (asyncio.IncompleteReadError, ConnectionError):
        return  # the client is done
    finally:
        writer.close()


async def main(port: int) -> None:
    stopping = asyncio.Event()
    connections: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections.add(task)
        try:
            await serve_connection(reader, writer, stopping)
        finally:
            connections.discard(task)

    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, stopping.set)
    server = await asyncio.start_server(serve, None, port, reuse_address=True)
    print(f"foobar {VERSION} listens on port {port}", flush=True)
    await stopping.wait()
    server.close()
    if connections:
        await asyncio.wait(set(connections), timeout=LINGER_SECONDS)
    for task in connections:
        task.cancel()


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description="Answer every GET with the name of this version.")
    arguments.add_argument("--port", type=int, default=8080)
    asyncio.run(main(arguments.parse_args().port))
    sys.exit(0)
