"""The reflectors hold what the real API server has, through restarts, cuts and forgotten histories."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pytest

from e2e_kit.apiserver import ApiServer, api_server, canary
from e2e_kit.relay import relay_to
from smeagol.infra.kubernetes.connection import connect
from smeagol.sources.kubernetes import Backoff, ObjectKey, Reflector, kinds

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("api-source")]

KINDS = (
    kinds.NAMESPACES,
    kinds.PODS,
    kinds.SERVICES,
    kinds.ENDPOINT_SLICES,
    kinds.PROVIDER_CLASSES,
    kinds.MUTUAL_TLS,
    kinds.SIDECARS,
    kinds.CANARIES,
)


@pytest.fixture(scope="module")
def api() -> Iterator[ApiServer]:
    with api_server() as server:
        yield server


@dataclass
class Sources:
    """Reflectors of all kinds, and what they have told."""

    reflectors: dict[str, Reflector[Any]] = field(default_factory=dict)
    told: dict[str, list[Mapping[ObjectKey, object]]] = field(default_factory=dict)

    def names(self, plural: str, namespace: str) -> set[str]:
        return {name for where, name in self.reflectors[plural].store.objects if where == namespace}

    async def until_served(self, namespace: str) -> None:
        """Wait for the EndpointSlice, with its endpoint: the controller may have made it before it knew of the Pod."""

        def served() -> bool:
            found = self.reflectors["endpointslices"].store.objects
            slices = [each for (where, _), each in found.items() if where == namespace]
            return bool(slices) and all(each.endpoints for each in slices)

        await self.until(served)

    async def until(self, holds: Callable[[], bool], seconds: float = 60.0) -> None:
        async with asyncio.timeout(seconds):
            while not holds():
                await asyncio.sleep(0.02)


@asynccontextmanager
async def sources(client: httpx2.AsyncClient, *, watch_list: bool = True) -> AsyncIterator[Sources]:
    made = Sources()
    for kind in KINDS:
        told: list[Mapping[ObjectKey, object]] = []
        made.told[kind.plural] = told
        made.reflectors[kind.plural] = Reflector(
            client, kind, told.append, watch_list=watch_list, page=2, backoff=Backoff(most=1.0)
        )
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(reflector.run()) for reflector in made.reflectors.values()]
        async with asyncio.timeout(60):
            await asyncio.gather(*(reflector.synced.wait() for reflector in made.reflectors.values()))
        yield made
        for task in running:
            task.cancel()


def fill(api: ApiServer, namespace: str) -> None:
    """One of every kind."""
    api.pod("web-v1", "10.244.0.1", namespace)
    api.service("web-v1", namespace)
    api.apply(canary("web", "web", v1="1"), namespace)
    for kind in ("MutualTLS", "Sidecar"):
        api.apply(
            f"""
            apiVersion: smi-spec.io/v1beta1
            kind: {kind}
            metadata: {{name: all}}
            spec: {{selector: {{}}}}
            """,
            namespace,
        )


EXPECTED = {"pods": {"web-v1"}, "services": {"web-v1"}, "canaries": {"web"}, "mutualtls": {"all"}, "sidecars": {"all"}}


@pytest.mark.parametrize("watch_list", [True, False], ids=["WatchList", "pages"])
@pytest.mark.parametrize("before", [True, False], ids=["listed", "watched"])
async def test_every_kind_is_seen(api: ApiServer, *, watch_list: bool, before: bool) -> None:
    """Objects that are there at the start, and objects that come, change and go later."""
    namespace = api.namespace()
    if before:
        await asyncio.to_thread(fill, api, namespace)
    async with (
        connect(api.cluster.kubeconfig) as client,
        sources(client, watch_list=watch_list) as seen,
    ):
        assert {r.watch_list for r in seen.reflectors.values()} == {watch_list}, "fell back, though the server can"
        if not before:
            await asyncio.to_thread(fill, api, namespace)
        await seen.until(lambda: {plural: seen.names(plural, namespace) for plural in EXPECTED} == EXPECTED)
        await seen.until(lambda: len(seen.names("endpointslices", namespace)) == 1)
        assert seen.names("providerclasses", "") == {"smeagol"}
        assert namespace in seen.names("namespaces", "")

        await asyncio.to_thread(api.apply, canary("web", "web", v1="3", v2="1"), namespace)
        changed = seen.reflectors["canaries"].store.objects
        await seen.until(lambda: len(changed[namespace, "web"].spec.backends) == 2)

        await asyncio.to_thread(
            api.kubectl, "-n", namespace, "delete", "pods,services,canaries,mutualtls,sidecars", "--all"
        )
        gone = (*EXPECTED, "endpointslices")  # or the garbage collector would be at work in the next test
        await seen.until(lambda: not any(seen.names(plural, namespace) for plural in gone))
        assert {r.lists for r in seen.reflectors.values()} == {1}
        assert not any(r.store.undecodable for r in seen.reflectors.values())


@pytest.mark.parametrize("watch_list", [True, False], ids=["WatchList", "pages"])
async def test_an_outage_changes_nothing_and_leaves_nothing_behind(api: ApiServer, *, watch_list: bool) -> None:
    """While the API server is away nothing is told; when it is back, all is current without being told twice."""
    namespace = api.namespace()
    await asyncio.to_thread(fill, api, namespace)
    async with connect(api.cluster.kubeconfig) as client, sources(client, watch_list=watch_list) as seen:
        await seen.until_served(namespace)
        before = {plural: dict(r.store.objects) for plural, r in seen.reflectors.items()}
        told = {plural: len(changes) for plural, changes in seen.told.items()}
        await asyncio.to_thread(api.stop)
        await seen.until(lambda: not any(r.connected for r in seen.reflectors.values()))
        assert {plural: r.store.objects for plural, r in seen.reflectors.items()} == before
        assert {plural: len(changes) for plural, changes in seen.told.items()} == told

        await asyncio.to_thread(api.start)
        await asyncio.to_thread(api.apply, canary("later", "api", v1="1"), namespace)
        await seen.until(lambda: seen.names("canaries", namespace) == {"web", "later"})
        await seen.until(lambda: all(r.connected for r in seen.reflectors.values()))
        assert len(seen.told["canaries"]) == told["canaries"] + 1, "what had not changed was told again"


@pytest.mark.parametrize("watch_list", [True, False], ids=["WatchList", "pages"])
async def test_what_vanished_unseen_is_deleted(api: ApiServer, *, watch_list: bool) -> None:
    """A history that the server has forgotten (410), however long it took, leads to a new listing. That ends the
    ghosts, and nothing else is told again.
    """
    namespace = api.namespace()
    await asyncio.to_thread(fill, api, namespace)
    async with (
        relay_to(api.cluster.server) as (relay, url),
        connect(api.cluster.kubeconfig) as client,
    ):
        client.base_url = httpx2.URL(url)
        async with sources(client, watch_list=watch_list) as seen:
            await seen.until(lambda: {plural: seen.names(plural, namespace) for plural in EXPECTED} == EXPECTED)
            await seen.until_served(namespace)
            told = {plural: len(changes) for plural, changes in seen.told.items()}
            relay.cut()
            await asyncio.to_thread(api.kubectl, "-n", namespace, "delete", "canary.smi-spec.io", "web")
            await asyncio.to_thread(forget_history, api)
            assert seen.names("canaries", namespace) == {"web"}
            relay.resume()
            await seen.until(lambda: not seen.names("canaries", namespace))
            await seen.until(lambda: all(reflector.lists >= 2 for reflector in seen.reflectors.values()))
            assert {k: len(v) - told[k] for k, v in seen.told.items() if len(v) != told[k]} == {"canaries": 1}
            assert seen.told["canaries"][-1][namespace, "web"] is None
            assert seen.names("mutualtls", namespace) == {"all"}


def forget_history(api: ApiServer) -> None:
    """Compact the store, and give the API server's own memory up too."""
    socket = api.cluster.folder / "etcd.sock"
    with httpx2.Client(transport=httpx2.HTTPTransport(uds=str(socket)), base_url="http://etcd") as etcd:
        listing = json.loads(api.kubectl("get", "--raw", "/api/v1/namespaces"))
        etcd.post(
            "/v3/kv/compaction", json={"revision": listing["metadata"]["resourceVersion"], "physical": True}
        ).raise_for_status()
    api.restart()
