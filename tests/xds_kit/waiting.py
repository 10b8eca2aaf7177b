"""Waiting for what proxies answer, without sleeping."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from smeagol.xds import Cache


async def until(holds: Callable[[], bool], seconds: float = 60.0) -> None:
    """Return when that holds which nobody announces. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while not holds():
            await asyncio.sleep(0.01)


class Watch:
    """Wakes whenever the cache has news of its proxies; one for each cache."""

    def __init__(self, cache: Cache) -> None:
        self._acks = cache.acks
        self._news = asyncio.Event()
        cache.acks.observe(self._news.set)

    async def until(self, holds: Callable[[], bool], seconds: float = 60.0) -> None:
        """Return when `holds` does. Raises TimeoutError."""
        async with asyncio.timeout(seconds):
            while not holds():
                await self._news.wait()
                self._news.clear()
                self._acks.take_changes()
