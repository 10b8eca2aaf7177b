"""Providers in processes of their own, in any language: asked over HTTP on a Unix socket (smeagol.plan.protocol).

`plan` must be a pure function that answers at once, and a call is neither. So calls go ahead of it: `plan` says what
has been answered for a unit, or raises NotPlannedYetError and notes the unit; a task of its own asks (`Calls.keep`),
and has the unit planned again once the answer is there. Until then holds what was planned before. A provider that is
slow or away keeps nobody waiting but itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import TypeAlias, TypeGuard

import httpx2
import msgspec
import structlog

from smeagol.errors import SmeagolError
from smeagol.intent import MutualTLSIntent, Unit, UnitKey, key_of
from smeagol.plan import Feature, NotPlannedYetError, Plan
from smeagol.plan.peer import (
    Answer,
    Conflict,
    JSONObject,
    Peer,
    PeerFacts,
    PeerKind,
    Surroundings,
    Traces,
    Verdict,
    at,
)
from smeagol.plan.protocol import (
    MEDIA_TYPE,
    SENT,
    BadAnswerError,
    Introduction,
    SentUnit,
    answer_of,
    introduction,
    kinds_of,
    plan_of,
    sent,
)
from smeagol.sources.kubernetes import Backoff

__all__ = ["SCHEME", "Calls", "ProviderAwayError", "ProviderRefusedError", "RemoteProvider", "remote_provider"]

log = structlog.get_logger(__name__)

SCHEME = "unix:"

CALL_SECONDS = 10.0
"""One call, from connecting to the last byte."""
MOST_BYTES = 1 << 20
"""Of an answer."""
AT_ONCE = 8
"""Calls to one provider."""
LOOK_SECONDS = 15.0
"""How often a provider is asked anew who it is."""
TRIES = 3
"""Of a call that somebody waits for, as `smeagol render` does."""

_NO_TRACES = Traces()


class ProviderAwayError(SmeagolError):
    """A provider in a process of its own does not answer, or says that it cannot just now (5xx)."""

    code = "SMI-A004"


class ProviderRefusedError(SmeagolError):
    """A provider in a process of its own says that it will never do this (4xx)."""

    code = "SMI-A005"


_AWAY = "start it, and see that this user may open its socket"
_UNDECIDED = (Verdict.PENDING, Verdict.SILENT, Verdict.REJECTED)
OnNews: TypeAlias = Callable[[tuple[UnitKey, ...]], None]


@dataclass(slots=True)
class _Wait:
    """Something that failed is asked again at `due` (monotonic seconds). Each has its own, so that one unit that
    always fails keeps no other waiting.
    """

    backoff: Backoff = field(default_factory=Backoff)
    due: float = 0.0
    error: str = ""


@dataclass(frozen=True, slots=True)
class _Said:
    """The answer about an object, in the version that it had at `time` (monotonic seconds)."""

    version: str
    answer: Answer
    time: float


@dataclass(slots=True)
class Calls:
    """What is asked of one provider, what is yet to be asked, and what it has answered."""

    socket: str
    said: Introduction
    problem: str = ""
    """why it cannot be worked with just now"""
    _plans: dict[UnitKey, tuple[SentUnit, Plan | SmeagolError]] = field(default_factory=dict)
    _answers: dict[str, _Said] = field(default_factory=dict)
    """by the object's uid"""
    _unplanned: dict[UnitKey, SentUnit] = field(default_factory=dict)
    _unseen: dict[str, JSONObject] = field(default_factory=dict)
    _waits: dict[UnitKey | str, _Wait] = field(default_factory=dict)
    _asking: set[UnitKey | str] = field(default_factory=set)
    _woken: asyncio.Event = field(default_factory=asyncio.Event)

    def plan(self, unit: SentUnit) -> Plan:
        """What was answered for this very unit. Raises NotPlannedYetError, and what the provider refused it with."""
        key = key_of(unit)
        known = self._plans.get(key)
        if known is None or known[0] != unit:
            self._unplanned[key] = unit
            self._woken.set()
            raise NotPlannedYetError(self._state(key), where=self.socket)
        if isinstance(known[1], SmeagolError):
            raise known[1]
        return known[1]

    def answer(self, made: JSONObject) -> Answer:
        """What was answered for this object as it is now. Where that is no end, it is asked again after a while."""
        uid, version = str(at(made, "metadata", "uid")), str(at(made, "metadata", "resourceVersion"))
        known = self._answers.get(uid)
        fresh = known is not None and known.version == version
        if (
            known is None
            or not fresh
            or (known.answer.verdict in _UNDECIDED and monotonic() > known.time + LOOK_SECONDS)
        ):
            self._unseen[uid] = made
            self._woken.set()
        if known is not None and fresh:
            return known.answer
        return Answer(verdict=Verdict.PENDING, message=self._state(uid))

    def forget(self, units: Collection[UnitKey], objects: Collection[str]) -> None:
        """Only these units, and objects by uid, are still there."""
        self._plans = {key: each for key, each in self._plans.items() if key in units}
        self._unplanned = {key: each for key, each in self._unplanned.items() if key in units}
        self._answers = {uid: each for uid, each in self._answers.items() if uid in objects}
        self._unseen = {uid: each for uid, each in self._unseen.items() if uid in objects}
        self._waits = {key: each for key, each in self._waits.items() if key in units or key in objects}

    async def fill(self, units: Iterable[Unit]) -> None:
        """Ask for the plans of all these units, and wait for them: for who has nothing else to do."""
        self._unplanned = {key_of(unit): unit for unit in units if _in_force(unit)}
        pause = Backoff()
        async with _client(self.socket) as client:
            for attempt in range(TRIES):
                if attempt:
                    await asyncio.sleep(pause.wait())
                async with asyncio.TaskGroup() as tasks:
                    self._ask(client, lambda _keys: None, due=math.inf, tasks=tasks, gate=asyncio.Semaphore(AT_ONCE))
                if not self._unplanned:
                    return
        for key, unit in self._unplanned.items():
            self._plans[key] = (unit, ProviderAwayError(self._state(key), where=self.socket, fix=_AWAY))

    async def keep(self, on_news: OnNews) -> None:
        """Ask whatever is wanted, until cancelled. `on_news` gets the units that can be planned now."""
        look, gate = 0.0, asyncio.Semaphore(AT_ONCE)
        async with _client(self.socket) as client, asyncio.TaskGroup() as tasks:
            while True:
                self._woken.clear()
                if monotonic() >= look:
                    await self._meet(client, on_news)
                    look = monotonic() + LOOK_SECONDS
                self._ask(client, on_news, due=monotonic(), tasks=tasks, gate=gate)
                again = min(
                    (wait.due for key, wait in self._waits.items() if key not in self._asking), default=math.inf
                )
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(max(0.0, min(look, again) - monotonic())):
                        await self._woken.wait()

    async def _meet(self, client: httpx2.AsyncClient, on_news: OnNews) -> None:
        """Ask who it is: it may be another by now."""
        before, asked = (self.problem, self.said), (*self._plans, *self._unplanned)
        try:
            said = introduction(await _call(client, "GET", "/"))
        except SmeagolError as error:
            self.problem = f"its provider at {self.socket} cannot be asked: {error.what}"
        else:
            self.problem = ""
            if _lasting(said) != _lasting(self.said):
                self.problem = f"{self.socket} is another provider or makes other kinds now. Restart the controller"
            elif before != ("", said):  # another version, or it was away: it may think otherwise now
                self.said = said
                self._plans.clear()
                self._answers.clear()
                self._waits.clear()
        if before != (self.problem, self.said):
            log.info("provider", socket=self.socket, version=self.said.version, problem=self.problem)
            on_news(asked)

    def _ask(
        self,
        client: httpx2.AsyncClient,
        on_news: OnNews,
        *,
        due: float,
        tasks: asyncio.TaskGroup,
        gate: asyncio.Semaphore,
    ) -> None:
        """Begin to ask what is wanted and due, and not being asked already. What fails stays wanted."""
        for key, unit in self._unplanned.items():
            if self._is_due(key, due):
                self._asking.add(key)
                tasks.create_task(self._ask_plan(client, key, unit, on_news, gate))
        for uid, made in self._unseen.items():
            if self._is_due(uid, due):
                self._asking.add(uid)
                tasks.create_task(self._ask_answer(client, uid, made, on_news, gate))

    async def _ask_plan(
        self, client: httpx2.AsyncClient, key: UnitKey, unit: SentUnit, on_news: OnNews, gate: asyncio.Semaphore
    ) -> None:
        result: Plan | SmeagolError
        try:
            async with gate:
                result = plan_of(await _call(client, "POST", "/plan", sent(unit)), unit, self.said)
        except ProviderAwayError as error:
            self._failed(key, error)
            on_news((key,))
            return
        except SmeagolError as error:
            result = error
        self._succeeded(key)
        self._plans[key] = (unit, result)
        if self._unplanned.get(key) is unit:
            del self._unplanned[key]
        on_news((key,))

    async def _ask_answer(
        self, client: httpx2.AsyncClient, uid: str, made: JSONObject, on_news: OnNews, gate: asyncio.Semaphore
    ) -> None:
        try:
            async with gate:
                answer = answer_of(await _call(client, "POST", "/observe", msgspec.json.encode(made)))
        except ProviderAwayError as error:
            self._failed(uid, error)
            return
        except SmeagolError as error:
            answer = Answer(verdict=Verdict.REJECTED, message=str(error))
        self._succeeded(uid)
        self._answers[uid] = _Said(str(at(made, "metadata", "resourceVersion")), answer, monotonic())
        if self._unseen.get(uid) is made:
            del self._unseen[uid]
        on_news(())

    def _is_due(self, key: UnitKey | str, now: float) -> bool:
        return key not in self._asking and (key not in self._waits or self._waits[key].due <= now)

    def _state(self, key: UnitKey | str) -> str:
        """Why there is no answer yet."""
        return self._waits[key].error if key in self._waits else "its provider is being asked"

    def _failed(self, key: UnitKey | str, error: SmeagolError) -> None:
        wait = self._waits.setdefault(key, _Wait())
        seconds = wait.backoff.wait()
        wait.due, wait.error = monotonic() + seconds, error.what
        log.warning("provider asked again", socket=self.socket, error=error.what, wait_seconds=round(seconds, 1))
        self._asking.discard(key)
        self._woken.set()

    def _succeeded(self, key: UnitKey | str) -> None:
        self._waits.pop(key, None)
        self._asking.discard(key)
        self._woken.set()


@dataclass(frozen=True, slots=True)
class RemoteProvider:
    """A `PeerProvider` that says what the process behind a socket has answered."""

    calls: Calls
    peer: Peer
    watched: tuple[PeerKind, ...] = ()
    traces: Traces = _NO_TRACES
    proxy_containers: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        return self.calls.said.name

    @property
    def controller_name(self) -> str:
        return self.calls.said.controller_name

    @property
    def features(self) -> frozenset[Feature]:
        return frozenset(self.calls.said.features)

    @property
    def known_kinds(self) -> tuple[PeerKind, ...]:
        return kinds_of(self.calls.said)

    @property
    def kinds(self) -> tuple[PeerKind, ...]:
        return tuple(kind for kind in self.known_kinds if kind in self.peer.served)

    def detect(self, facts: PeerFacts) -> Peer:
        """There is a peer if its provider answers, and the cluster serves all that it makes."""
        missing = [f"{kind.kind} of {kind.group_version}" for kind in self.known_kinds if kind not in facts.served]
        problem = f"the cluster does not serve {', '.join(missing)}. Install what defines it" if missing else ""
        return Peer(
            name=self.name,
            version=self.calls.said.version,
            served=facts.served & frozenset(self.known_kinds),
            problem=self.calls.problem or problem,
        )

    def fitted(self, peer: Peer) -> RemoteProvider:
        return replace(self, peer=peer)

    def plan(self, unit: Unit) -> Plan:
        return self.calls.plan(unit) if _in_force(unit) else Plan()

    def conflicts(self, unit: Unit, around: Surroundings) -> tuple[Conflict, ...]:
        """None but names that are taken, which the runtime sees by itself."""
        return ()

    def answer(self, made: JSONObject) -> Answer:
        return self.calls.answer(made) if self.calls.said.observes else Answer(verdict=Verdict.UNTOLD)


def remote_provider(name: str) -> RemoteProvider:
    """The provider at `unix:PATH`, once it has said who it is.

    Raises ProviderAwayError if it does not in time, BadAnswerError and ProviderRefusedError.
    """
    socket = name.removeprefix(SCHEME).removeprefix("//")
    said = asyncio.run(_introduced(socket))
    peer = Peer(name=said.name, version=said.version, served=frozenset(kinds_of(said)))
    return RemoteProvider(Calls(socket, said), peer)


async def _introduced(socket: str) -> Introduction:
    pause = Backoff()
    async with _client(socket) as client:
        for attempt in range(TRIES):
            try:
                return introduction(await _call(client, "GET", "/"))
            except ProviderAwayError as error:
                if attempt == TRIES - 1:
                    raise ProviderAwayError(error.what, where=f"{SCHEME}{socket}", fix=_AWAY) from error
                await asyncio.sleep(pause.wait())
    raise AssertionError(socket)


@asynccontextmanager
async def _client(socket: str) -> AsyncIterator[httpx2.AsyncClient]:
    transport = httpx2.AsyncHTTPTransport(uds=socket)
    async with httpx2.AsyncClient(transport=transport, base_url="http://provider", timeout=CALL_SECONDS) as client:
        yield client


async def _call(client: httpx2.AsyncClient, method: str, path: str, body: bytes | None = None) -> bytes:
    """One call. Raises ProviderAwayError where it is worth trying again, and others where it is not."""
    headers = {"accept": MEDIA_TYPE} | ({"content-type": MEDIA_TYPE} if body is not None else {})
    try:
        async with (
            asyncio.timeout(CALL_SECONDS),
            client.stream(method, path, content=body, headers=headers) as answer,
        ):
            content = await _at_most(answer)
    except TimeoutError as error:
        raise ProviderAwayError(f"{method} {path}: no answer in {CALL_SECONDS:g} s") from error
    except httpx2.TransportError as error:
        raise ProviderAwayError(f"{method} {path}: {str(error) or type(error).__name__}") from error
    said = content[:500].decode(errors="replace").strip()
    if answer.status_code >= 500:
        raise ProviderAwayError(f"{method} {path}: status {answer.status_code} {said}".rstrip())
    if answer.status_code >= 400:
        raise ProviderRefusedError(said or f"status {answer.status_code}", where=f"{method} {path}")
    if answer.status_code != 200:
        raise BadAnswerError(f"status {answer.status_code}", where=f"{method} {path}", fix="Answer 200, 4xx or 5xx")
    if answer.headers.get("content-type", "").replace(" ", "").lower() != MEDIA_TYPE:
        raise BadAnswerError(
            f"content-type {answer.headers.get('content-type')!r}", where=f"{method} {path}", fix=f"Speak {MEDIA_TYPE}"
        )
    return content


async def _at_most(answer: httpx2.Response) -> bytes:
    content = b""
    async for chunk in answer.aiter_bytes():
        content += chunk
        if len(content) > MOST_BYTES:
            raise BadAnswerError(f"the answer has more than {MOST_BYTES} bytes", where=answer.url.path)
    return content


def _in_force(unit: Unit) -> TypeGuard[SentUnit]:
    """Whether anything is to be made for it at all. Others are not sent."""
    if isinstance(unit, MutualTLSIntent):
        return unit.enforced
    return isinstance(unit, SENT) and unit.accepted


def _lasting(said: Introduction) -> tuple[object, ...]:
    """What a running controller has its name, its rights and its watches by."""
    return said.name, said.controller_name, said.kinds
