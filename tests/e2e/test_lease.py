"""One replica leads, never two, whatever becomes of its way to the API server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import httpx2
import pytest

from e2e_kit.apiserver import ApiServer, api_server, client_of
from e2e_kit.relay import relay_to
from smeagol.infra.kubernetes.connection import connect
from smeagol.infra.kubernetes.lease import Elector, LeaseTimes

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("api-lease")]

TIMES = LeaseTimes(lease=4.0, renew_deadline=2.5, retry=0.4)
LONG = LeaseTimes(lease=90.0, renew_deadline=60.0, retry=0.4)
"""For what must not take the lease time, on a machine that may be slow."""
NOBODY = ""
Owners: TypeAlias = Callable[[], Awaitable[list[dict[str, Any]]]] | None


@pytest.fixture(scope="module")
def api() -> Iterator[ApiServer]:
    with api_server() as server:
        yield server


@dataclass
class Race:
    """Replicas that stand for election; who leads is looked at all the time."""

    tasks: asyncio.TaskGroup
    electors: dict[str, Elector] = field(default_factory=dict)
    terms: list[str] = field(default_factory=list)
    """who has led, in turn; two at once are one entry `a+b`"""
    running: list[asyncio.Task[None]] = field(default_factory=list)

    def stand(
        self, name: str, client: httpx2.AsyncClient, namespace: str, times: LeaseTimes = TIMES, owners: Owners = None
    ) -> asyncio.Task[None]:
        elector = Elector(client, namespace=namespace, name="smeagol", identity=name, times=times, owners=owners)
        self.electors[name] = elector
        self.running.append(self.tasks.create_task(elector.run(lead_for_ever)))
        return self.running[-1]

    def leader(self) -> str:
        return "+".join(sorted(name for name, elector in self.electors.items() if elector.leading))

    async def watch(self) -> None:
        while True:
            if (now := self.leader()) != (self.terms[-1] if self.terms else NOBODY):
                self.terms.append(now)
            await asyncio.sleep(0.002)

    async def until(self, name: str, within_seconds: float = 30.0) -> None:
        """Wait until this one leads."""
        async with asyncio.timeout(within_seconds):
            while self.leader() != name:
                await asyncio.sleep(0.01)

    @property
    def never_two(self) -> bool:
        return not any("+" in term for term in self.terms)


async def lead_for_ever() -> None:
    await asyncio.Event().wait()


@asynccontextmanager
async def race() -> AsyncIterator[Race]:
    async with asyncio.TaskGroup() as tasks:
        made = Race(tasks)
        made.running.append(tasks.create_task(made.watch()))
        try:
            yield made
        finally:
            for task in made.running:
                task.cancel()


async def test_a_leader_whose_way_stalls_stops_before_another_begins(api: ApiServer) -> None:
    """A request that gets no answer ends with the deadline, which is shorter than the lease time."""
    namespace = api.namespace()
    async with (
        relay_to(api.cluster.server) as (relay, url),
        client_of(api, url) as stalled,
        connect(api.cluster.kubeconfig) as healthy,
        race() as watched,
    ):
        watched.stand("a", stalled, namespace)
        await watched.until("a")
        watched.stand("b", healthy, namespace)
        relay.stall()
        await watched.until("b")
        relay.resume()  # what was on its way arrives now, and changes nothing; then all ways are cut, for both
        await asyncio.to_thread(api.restart)
        async with asyncio.timeout(30):
            while not watched.leader():
                await asyncio.sleep(0.01)
    assert watched.never_two, watched.terms


async def test_the_deadline_counts_from_before_the_request(api: ApiServer) -> None:
    """The server may have carried a write out long before its answer comes: others count from then."""
    close = LeaseTimes(lease=3.0, renew_deadline=2.8, retry=0.2)
    namespace = api.namespace()
    async with (
        relay_to(api.cluster.server) as (relay, url),
        client_of(api, url) as late,
        connect(api.cluster.kubeconfig) as healthy,
        race() as watched,
    ):
        written = asyncio.Event()

        async def hold(response: httpx2.Response) -> None:
            if response.request.method == "POST":
                written.set()
                await asyncio.sleep(close.renew_deadline * 0.9)
                relay.stall()

        late.event_hooks = {"response": [hold]}
        watched.stand("a", late, namespace, close)
        await written.wait()
        watched.stand("b", healthy, namespace, close)
        await watched.until("b")
    assert watched.never_two, watched.terms


async def test_who_stops_gives_the_lease_back(api: ApiServer) -> None:
    """The next one leads after one look at the Lease, not after the lease time."""
    namespace = api.namespace()
    async with connect(api.cluster.kubeconfig) as client, race() as watched:
        leading = watched.stand("a", client, namespace, LONG)
        await watched.until("a")
        watched.stand("b", client, namespace, LONG)
        leading.cancel()
        await watched.until("b", within_seconds=LONG.renew_deadline)
    assert watched.never_two, watched.terms


async def test_a_lease_that_another_has_taken_is_let_go(api: ApiServer) -> None:
    """Whoever took it, by whatever right: two must not lead."""
    namespace = api.namespace()
    async with connect(api.cluster.kubeconfig) as client, race() as watched:
        times = LeaseTimes(lease=12.0, renew_deadline=8.0, retry=0.4)
        watched.stand("a", client, namespace, times)
        await watched.until("a")
        patch = '{"spec": {"holderIdentity": "somebody"}}'
        change = ("-n", namespace, "patch", "lease", "smeagol", "--type=merge", "-p", patch)
        await asyncio.to_thread(api.kubectl, *change)
        await watched.until(NOBODY, within_seconds=times.lease)
        await watched.until("a", within_seconds=60)  # since somebody does not renew it
    assert watched.terms[:2] == ["a", NOBODY]


async def test_a_lease_that_is_deleted_stays_its_holders(api: ApiServer) -> None:
    """Who leads does not know yet, so nobody else may begin; the new one goes with the same owners."""
    namespace = api.namespace()
    await asyncio.to_thread(api.kubectl, "-n", namespace, "create", "configmap", "installation")
    uid = (await asyncio.to_thread(api.get, "configmap", "installation", namespace))["metadata"]["uid"]
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "installation", "uid": uid}

    async def owners() -> list[dict[str, Any]]:
        return [owner]

    async def held_after(before: str) -> str:
        """The uid of the next Lease, once it has been renewed."""
        async with asyncio.timeout(30):
            while True:
                for found in await asyncio.to_thread(api.items, "leases", namespace):
                    meta, spec = found["metadata"], found["spec"]
                    if meta["uid"] != before and spec["renewTime"] != spec["acquireTime"]:
                        assert (spec["holderIdentity"], meta["ownerReferences"]) == ("a", [owner])
                        return str(meta["uid"])
                await asyncio.sleep(0.05)

    looked = asyncio.Event()

    async def note(_: httpx2.Response) -> None:
        looked.set()

    async with connect(api.cluster.kubeconfig) as client, connect(api.cluster.kubeconfig) as other, race() as watched:
        watched.stand("a", client, namespace, LONG, owners=owners)
        await watched.until("a")
        first = await held_after("")
        other.event_hooks = {"response": [note]}
        watched.stand("b", other, namespace, replace(LONG, retry=0.05))
        await looked.wait()
        await asyncio.to_thread(api.kubectl, "-n", namespace, "delete", "lease", "smeagol")
        await held_after(first)
        assert watched.terms == ["a"]


async def test_a_leader_that_fails_leads_no_longer(api: ApiServer) -> None:
    """What goes wrong in the leading task ends leadership, and is seen."""
    namespace = api.namespace()

    async def fail() -> None:
        raise LookupError

    async with connect(api.cluster.kubeconfig) as client:
        elector = Elector(client, namespace=namespace, name="smeagol", identity="a", times=TIMES)
        with pytest.raises(LookupError):
            await elector.run(fail)
        assert not elector.leading
    lease = api.get("lease", "smeagol", namespace)
    assert not lease["spec"].get("holderIdentity")


async def test_without_its_namespace_nobody_leads_and_it_is_said(
    api: ApiServer, capsys: pytest.CaptureFixture[str]
) -> None:
    async with connect(api.cluster.kubeconfig) as client, race() as watched:
        watched.stand("a", client, "nowhere")
        async with asyncio.timeout(30):
            while "404" not in capsys.readouterr().out:
                await asyncio.sleep(0.05)
        assert watched.leader() == NOBODY
