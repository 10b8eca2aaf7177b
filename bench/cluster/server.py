"""The API server, as the benchmark uses it: many writes at once, tokens, and what a watch tells and when."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeVar

import httpx2
import msgspec

from bench.cluster.objects import Body, Change, Write
from smeagol.infra.kubernetes.tokens import AUDIENCE

__all__ = ["ApiServer", "Statuses", "each"]

AT_A_TIME = 32
"""Requests under way, for what is not measured."""

T = TypeVar("T")
R = TypeVar("R")


async def each(items: Iterable[T], do: Callable[[T], Awaitable[R]], at_a_time: int = AT_A_TIME) -> list[R]:
    """`do` with every item, some at a time; the results in their order."""
    places = asyncio.Semaphore(at_a_time)

    async def one(item: T) -> R:
        async with places:
            return await do(item)

    return await asyncio.gather(*map(one, items))


@dataclass(frozen=True, slots=True)
class ApiServer:
    """With the rights of `client`."""

    client: httpx2.AsyncClient

    async def make(self, write: Write) -> Body:
        """Returns the object as it was stored."""
        made = await self._send("POST", write.path, write.body)
        if write.status is not None:
            await self.merge(Change(path=f"{write.path}/{write.name}/status", name="", patch={"status": write.status}))
        return made

    async def merge(self, change: Change) -> Body:
        return await self._send("PATCH", change.path, change.patch, "application/merge-patch+json")

    async def get(self, path: str) -> Body:
        return await self._send("GET", path)

    async def token(self, namespace: str, account: str, audiences: Sequence[str], pod: str = "") -> str:
        """Of a service account; bound to a Pod, as the kubelet projects it, if one is given."""
        spec: Body = {"audiences": list(audiences), "expirationSeconds": 7200}
        if pod:
            spec["boundObjectRef"] = {"kind": "Pod", "apiVersion": "v1", "name": pod}
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token"
        body: Body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        answer = await self._send("POST", path, body)
        return str(answer["status"]["token"])

    async def proxy_token(self, namespace: str, pod: str) -> str:
        return await self.token(namespace, "default", [AUDIENCE], pod)

    async def _send(
        self, method: str, path: str, body: Body | None = None, content_type: str = "application/json"
    ) -> Body:
        content = b"" if body is None else msgspec.json.encode(body)
        headers = {"content-type": content_type} if body is not None else {}
        answer = await self.client.request(method, path, content=content, headers=headers, timeout=60)
        if answer.is_error:
            raise RuntimeError(f"{method} {path}: {answer.status_code} {answer.text[:500]}")
        found: Body = msgspec.json.decode(answer.content)
        return found


class Statuses:
    """Watches the objects of one kind and notes when a status was first seen to tell of a generation, all proxies
    included (`Programmed`). Times are nanoseconds of CLOCK_MONOTONIC.
    """

    def __init__(self, client: httpx2.AsyncClient, path: str) -> None:
        self._client = client
        self._path = path
        self._seen: dict[tuple[str, int], int] = {}
        self._news = asyncio.Condition()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait([self._task])

    async def programmed(self, name: str, generation: int, timeout: float) -> int:
        """When it was seen. Raises TimeoutError."""
        async with asyncio.timeout(timeout), self._news:
            await self._news.wait_for(lambda: (name, generation) in self._seen)
            return self._seen[name, generation]

    async def _run(self) -> None:
        timeout = httpx2.Timeout(10, read=None)
        while True:
            async with self._client.stream("GET", self._path, params={"watch": "1"}, timeout=timeout) as answer:
                async for line in answer.aiter_lines():
                    if line:
                        await self._note(msgspec.json.decode(line)["object"], time.monotonic_ns())

    async def _note(self, obj: Any, at: int) -> None:  # Any: the object as it is
        for condition in (obj.get("status") or {}).get("conditions", ()):
            if condition["type"] == "Programmed" and condition["status"] == "True":
                async with self._news:
                    self._seen.setdefault((obj["metadata"]["name"], condition["observedGeneration"]), at)
                    self._news.notify_all()
