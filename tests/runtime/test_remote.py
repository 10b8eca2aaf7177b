"""Providers in processes of their own, behind real Unix sockets: what is tried again, what is final, who waits."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from intent.builders import EPOCH, canary, put, service, slice_of
from smeagol.intent import Settings, UnitKey, UnitKind
from smeagol.plan.peer import PeerFacts
from smeagol.plan.protocol import MEDIA_TYPE
from smeagol.runtime import remote
from smeagol.runtime.applying import Adapter, Apply
from smeagol.runtime.remote import Calls, ProviderAwayError, RemoteProvider, remote_provider

WHO: dict[str, Any] = {
    "name": "mine",
    "controllerName": "example.com/mine",
    "features": ["Canary"],
    "kinds": [{"apiVersion": "v1", "kind": "ConfigMap", "plural": "configmaps"}],
    "version": "1",
}
NAMES = ("web", "shop", "till")


def said(value: object, status: int = 200, media_type: str = MEDIA_TYPE) -> Response:
    return Response(json.dumps(value), status, media_type=media_type)


def made(asked: dict[str, Any], text: str = "") -> Response:
    """A ConfigMap for each Canary."""
    metadata = {"name": asked["unit"]["ref"]["name"]}
    return said({"objects": [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"x": text}}]})


@dataclass
class Process:
    """What would be another process; `answers` decides what it says to a unit, by name."""

    socket: str
    who: dict[str, Any] = field(default_factory=lambda: dict(WHO))
    answers: dict[str, Callable[[dict[str, Any]], Response]] = field(default_factory=dict)
    hangs: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)

    async def _get(self, _request: Request) -> Response:
        return said(self.who)

    async def _plan(self, request: Request) -> Response:
        asked = await request.json()
        name = asked["unit"]["ref"]["name"]
        self.asked.append(name)
        while name in self.hangs:
            await asyncio.sleep(0.01)
        return self.answers.get(name, made)(asked)

    async def start(self) -> None:
        routes = [Route("/", self._get), Route("/plan", self._plan, methods=["POST"])]
        config = uvicorn.Config(Starlette(routes=routes), uds=self.socket, log_level="error", lifespan="off")
        self.server = uvicorn.Server(config)
        self.task = asyncio.create_task(self.server._serve())
        await until(lambda: self.server.started)

    async def stop(self) -> None:
        self.hangs.clear()
        self.server.should_exit = True
        await self.task


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not holds():
            await asyncio.sleep(0.01)


@pytest.fixture
async def process(tmp_path: Path) -> AsyncIterator[Process]:
    process = Process(str(tmp_path / "provider.sock"))
    await process.start()
    yield process
    await process.stop()


async def an_adapter(socket: str, *names: str) -> Adapter:
    """With a Canary of each name, on Services with endpoints."""
    provider = await asyncio.to_thread(remote_provider, f"unix:{socket}")
    adapter = Adapter(provider, Settings(controllers=frozenset({provider.controller_name}), serve_unclassed=True))
    for name in names:
        for each in (name, f"{name}-v1"):
            put(adapter.resolver, service(each))
            put(adapter.resolver, slice_of(each, "10.0.0.1"))
        put(adapter.resolver, canary(name, name, {f"{name}-v1": "1"}))
    adapter.fit(provider.peer)
    adapter.settle({}, {}, {})
    return adapter


def calls_of(adapter: Adapter) -> Calls:
    assert isinstance(adapter.provider, RemoteProvider)
    return adapter.provider.calls


def wanted(adapter: Adapter) -> set[str]:
    """The names of what would be applied."""
    adapter.settle({}, {}, {})
    return {step.id.name for step in adapter.steps(EPOCH) if isinstance(step, Apply)}


def programmed(adapter: Adapter, name: str) -> tuple[str, str]:
    """(why it could not be planned, what it waits for)"""
    report = adapter.report(UnitKey(UnitKind.CANARY, "shop", name))
    return report.unplanned, report.awaited


class Kept:
    """The task that asks, while a test looks on."""

    def __init__(self, adapter: Adapter) -> None:
        self.adapter = adapter

    async def __aenter__(self) -> None:
        self.task = asyncio.create_task(calls_of(self.adapter).keep(self.adapter.replan))

    async def __aexit__(self, *_: object) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


async def test_a_unit_that_hangs_keeps_no_other_waiting(process: Process) -> None:
    """Nor does its plan hold up the process: it is Pending meanwhile."""
    process.hangs.add("web")
    adapter = await an_adapter(process.socket, *NAMES)
    async with Kept(adapter):
        await until(lambda: wanted(adapter) == {"shop", "till"})
        assert programmed(adapter, "web") == ("", "its provider is being asked")
        process.hangs.clear()
        await until(lambda: wanted(adapter) == set(NAMES))


async def test_5xx_is_tried_again(process: Process) -> None:
    process.answers["web"] = lambda _asked: said("busy", 503)
    adapter = await an_adapter(process.socket, "web", "shop")
    async with Kept(adapter):
        await until(lambda: process.asked.count("web") >= 2)
        await until(lambda: wanted(adapter) == {"shop"})
        assert "503" in programmed(adapter, "web")[1]
        del process.answers["web"]
        await until(lambda: wanted(adapter) == {"web", "shop"})


async def test_4xx_is_final_and_told(process: Process) -> None:
    """Until the unit changes: then it is another question."""
    process.answers["web"] = lambda _asked: Response("such a root is not for me", 422)
    adapter = await an_adapter(process.socket, "web")
    async with Kept(adapter):
        await until(lambda: programmed(adapter, "web")[0])
        assert "such a root is not for me" in programmed(adapter, "web")[0]
        assert process.asked == ["web"]
        del process.answers["web"]
        put(adapter.resolver, canary("web", "web", {"web-v1": "2"}))
        await until(lambda: wanted(adapter) == {"web"})


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (said({"objects": "x" * remote.MOST_BYTES}), "more than"),
        (said({}, media_type="application/json"), "Speak application/vnd"),
        (said({"objects": 1}), "cannot be read"),
    ],
    ids=["too large", "another version", "not of the protocol"],
)
async def test_answers_that_are_not_taken(process: Process, answer: Response, says: str) -> None:
    process.answers["web"] = lambda _asked: answer
    adapter = await an_adapter(process.socket, "web")
    async with Kept(adapter):
        await until(lambda: says in programmed(adapter, "web")[0])


async def test_another_version_is_asked_for_everything_again(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was planned before holds until it has answered."""
    monkeypatch.setattr(remote, "LOOK_SECONDS", 0.05)
    adapter = await an_adapter(process.socket, "web")
    async with Kept(adapter):
        await until(lambda: wanted(adapter) == {"web"})
        process.hangs.add("web")
        process.who["version"] = "2"
        await until(lambda: calls_of(adapter).said.version == "2")
        adapter.fit(adapter.provider.detect(_served(adapter)))
        await until(lambda: process.asked.count("web") >= 2)
        assert wanted(adapter) == {"web"}


async def test_who_is_away_is_told_and_what_was_planned_stays(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing more is done until it is back, and by then nothing has been deleted."""
    monkeypatch.setattr(remote, "LOOK_SECONDS", 0.05)
    adapter = await an_adapter(process.socket, "web")
    async with Kept(adapter):
        await until(lambda: wanted(adapter) == {"web"})
        await process.stop()
        await until(lambda: calls_of(adapter).problem)
        adapter.fit(adapter.provider.detect(_served(adapter)))
        assert "cannot be asked" in adapter.provider.peer.problem
        assert wanted(adapter) == set()
        await process.start()
        await until(lambda: not calls_of(adapter).problem)
        adapter.fit(adapter.provider.detect(_served(adapter)))
        await until(lambda: wanted(adapter) == {"web"})


async def test_who_was_away_is_asked_for_everything_again(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though nobody has looked meanwhile whether the peer is there: it may think otherwise now."""
    monkeypatch.setattr(remote, "LOOK_SECONDS", 0.05)
    adapter = await an_adapter(process.socket, "web")

    def data() -> list[object]:
        adapter.settle({}, {}, {})
        return [step.body["data"] for step in adapter.steps(EPOCH) if isinstance(step, Apply)]

    async with Kept(adapter):
        await until(lambda: data() == [{"x": ""}])
        await process.stop()
        await until(lambda: calls_of(adapter).problem)
        process.answers["web"] = lambda asked: made(asked, "otherwise")
        await process.start()
        await until(lambda: data() == [{"x": "otherwise"}])


def test_who_never_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket that nobody serves, or behind which nobody speaks."""
    monkeypatch.setattr(remote, "TRIES", 1)
    with pytest.raises(ProviderAwayError, match="SMI-A004"):
        remote_provider(f"unix:{tmp_path}/none.sock")


async def test_who_is_another_now(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its name is that of what it has made, its kinds are what the controller may make: neither changes under way."""
    monkeypatch.setattr(remote, "LOOK_SECONDS", 0.05)
    adapter = await an_adapter(process.socket, "web")
    async with Kept(adapter):
        process.who["name"] = "yours"
        await until(lambda: "another provider" in calls_of(adapter).problem)
        assert adapter.provider.name == "mine"


def _served(adapter: Adapter) -> PeerFacts:
    return PeerFacts(served=frozenset(adapter.provider.known_kinds))
