"""Who leads: one replica at a time, by a Lease (coordination.k8s.io/v1).

No two hosts' clocks are ever compared. A candidate watches how long the Lease has looked the same by its own clock, and
takes it only after it has been still for the whole lease time; a leader that could not renew within its deadline,
which is shorter, stops leading before anybody else may begin. The deadline runs from before the request that wrote the
Lease, since nobody knows when the server carried it out, and every request ends within it: so an API server that stalls
cannot make two leaders.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx2
import msgspec
import structlog

__all__ = ["Elector", "LeaseTimes", "Observed", "may_take"]

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseTimes:
    """Seconds, as in client-go: `lease` > `renew_deadline` > `retry`."""

    lease: float = 15.0
    renew_deadline: float = 10.0
    retry: float = 2.0


class _Spec(msgspec.Struct, rename="camel", omit_defaults=True):
    holder_identity: str = ""
    lease_duration_seconds: int = 0
    acquire_time: str = ""
    renew_time: str = ""
    lease_transitions: int = 0


class _Metadata(msgspec.Struct, rename="camel", omit_defaults=True):
    name: str = ""
    namespace: str = ""
    resource_version: str = ""
    owner_references: tuple[dict[str, Any], ...] = ()


class Lease(msgspec.Struct, rename="camel", kw_only=True):
    """The part of a Lease that matters here."""

    api_version: str = "coordination.k8s.io/v1"
    kind: str = "Lease"
    metadata: _Metadata = msgspec.field(default_factory=_Metadata)
    spec: _Spec = msgspec.field(default_factory=_Spec)


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What was seen of the Lease, and when it last looked different, by our own monotonic clock."""

    holder: str
    version: str
    since: float


def may_take(seen: Observed, *, me: str, now: float, lease_seconds: float) -> bool:
    """May I write my name into it? If it is free, mine, or has not changed for the whole lease time."""
    return seen.holder in ("", me) or now - seen.since >= lease_seconds


class Elector:
    """Runs `lead` while this replica leads; `lead` is cancelled when it does no longer."""

    def __init__(
        self,
        client: httpx2.AsyncClient,
        *,
        namespace: str,
        name: str,
        identity: str,
        owners: Callable[[], Awaitable[Sequence[dict[str, Any]]]] | None = None,
        times: LeaseTimes = LeaseTimes(),
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`owners`: with which the Lease goes (meta/v1 OwnerReference). Who ends and may write it no more cannot give
        it back, and the next one would wait.
        """
        self.identity = identity
        self.leading = False
        self._client = client
        self._path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._namespace = namespace
        self._name = name
        self._owners = owners
        self._times = times
        self._clock = clock
        self._chance = chance
        self._seen: Observed | None = None

    async def run(self, lead: Callable[[], Awaitable[None]]) -> None:
        """Stand for election for ever. An exception of `lead` ends leadership and comes out of here."""
        while True:
            until = await self._acquire()
            try:
                await self._lead(lead, until)
            finally:
                await self._release()

    async def _acquire(self) -> float:
        """Return when the Lease is ours, with the moment until which it is."""
        while True:
            until = await self._try(self._times.renew_deadline)
            if until is not None:
                return until
            await asyncio.sleep(self._times.retry * (1 + self._chance() * 0.2))

    async def _lead(self, lead: Callable[[], Awaitable[None]], until: float) -> None:
        self.leading = True
        log.info("leading", lease=self._name, identity=self.identity)
        task = asyncio.ensure_future(lead())
        renewing = asyncio.ensure_future(self._renew(until))
        try:
            await asyncio.wait([task, renewing], return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                task.result()
        finally:
            self.leading = False
            for each in (task, renewing):
                each.cancel()
            await asyncio.gather(task, renewing, return_exceptions=True)
            log.warning("leading no longer", lease=self._name, identity=self.identity)

    async def _renew(self, until: float) -> None:
        """Return when the Lease is another's, or could not be renewed in time."""
        while (left := until - self._clock()) > 0:
            await asyncio.sleep(min(self._times.retry, left))
            until = await self._try(until - self._clock()) or until
            if self._seen is not None and self._seen.holder != self.identity:
                return

    async def _try(self, limit: float) -> float | None:
        """Take or renew the Lease, within `limit` seconds. The moment until which it is ours, by our own clock; None if
        it is another's, or the API server did not say yes in time.
        """
        started = self._clock()
        try:
            async with asyncio.timeout(max(0.0, limit)):
                return started + self._times.renew_deadline if await self._write() else None
        except (TimeoutError, httpx2.HTTPError, msgspec.MsgspecError) as error:
            log.warning("lease not reached", lease=self._name, error=repr(error))
            return None

    async def _write(self) -> bool:
        found = await self._client.get(f"{self._path}/{self._name}")
        if found.status_code == 404:
            if self._seen is not None and not self._may_take(self._seen):
                return False  # somebody has deleted it, and who held it does not know yet
            lease = Lease(metadata=_Metadata(name=self._name, namespace=self._namespace))
            await self._take(lease)
            answer = await self._client.post(self._path, content=msgspec.json.encode(lease), headers=_JSON)
        else:
            found.raise_for_status()
            lease = msgspec.json.decode(found.content, type=Lease)
            if not self._may_take(self._observe(lease)):
                return False
            await self._take(lease)
            answer = await self._client.put(
                f"{self._path}/{self._name}", content=msgspec.json.encode(lease), headers=_JSON
            )
        if answer.status_code == 409:  # somebody was faster; the version we read is theirs no longer
            return False
        answer.raise_for_status()
        self._observe(msgspec.json.decode(answer.content, type=Lease))
        return True

    def _may_take(self, seen: Observed) -> bool:
        return may_take(seen, me=self.identity, now=self._clock(), lease_seconds=self._times.lease)

    def _observe(self, lease: Lease) -> Observed:
        version = lease.metadata.resource_version
        if self._seen is None or self._seen.version != version:
            self._seen = Observed(holder=lease.spec.holder_identity, version=version, since=self._clock())
        return self._seen

    async def _take(self, lease: Lease) -> None:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")  # for people; nobody decides by it
        if lease.spec.holder_identity != self.identity:
            lease.spec.acquire_time = now
            lease.spec.lease_transitions += 1
            if self._owners is not None and (owners := await self._owners()):
                lease.metadata.owner_references = tuple(owners)
        lease.spec.holder_identity = self.identity
        lease.spec.renew_time = now
        lease.spec.lease_duration_seconds = int(self._times.lease)

    async def _release(self) -> None:
        """Give the Lease back, so that the next one need not wait; best effort, and only if it is still ours."""
        try:
            async with asyncio.timeout(self._times.retry):
                found = await self._client.get(f"{self._path}/{self._name}")
                found.raise_for_status()
                lease = msgspec.json.decode(found.content, type=Lease)
                if lease.spec.holder_identity == self.identity:
                    lease.spec.holder_identity = ""
                    answer = await self._client.put(
                        f"{self._path}/{self._name}", content=msgspec.json.encode(lease), headers=_JSON
                    )
                    answer.raise_for_status()
        except (TimeoutError, httpx2.HTTPError, msgspec.MsgspecError) as error:
            log.info("lease not given back", lease=self._name, error=repr(error))


_JSON = {"content-type": "application/json"}
