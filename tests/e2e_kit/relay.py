"""A TCP relay that a test can stall or cut, to stand between a client and its server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress


class Relay:
    """Passes bytes on both ways, unless it was told not to."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._cut = False
        self._serving: set[asyncio.Task[None]] = set()

    def stall(self) -> None:
        """Keep connections open and take new ones, but pass nothing on."""
        self._flowing.clear()

    def cut(self) -> None:
        """End all connections and every new one."""
        self._cut = True
        for writer in self._writers:
            writer.close()

    def resume(self) -> None:
        self._cut = False
        self._flowing.set()

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._writers) // 2

    def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def end(self) -> None:
        """End all connections, and return when they have ended."""
        self.resume()
        self.cut()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._cut:
            writer.close()
            return
        try:
            onward_reader, onward_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.close()
            return
        both = {writer, onward_writer}
        self._writers |= both
        try:
            ways = [self._pass(reader, onward_writer), self._pass(onward_reader, writer)]
            await asyncio.gather(*ways)
        finally:
            for each in both:
                each.close()
            self._writers -= both

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                await self._flowing.wait()
                writer.write(data)
                await writer.drain()
        writer.close()


@asynccontextmanager
async def relay_to(server: str) -> AsyncIterator[tuple[Relay, str]]:
    """A relay to `https://host:port`, and the URL by which it is reached."""
    host, _, port = server.removeprefix("https://").rpartition(":")
    relay = Relay(host, int(port))
    listener = await asyncio.start_server(relay.serve, "127.0.0.1", 0)
    async with listener:
        try:
            yield relay, f"https://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        finally:
            await relay.end()
