"""What keeping root proxies asks of an API server, and that nothing of them is left behind (SMI-CAN-22)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import httpx2
import msgspec
import pytest

from e2e_kit.apiserver import ApiServer, Json, api_server
from intent.builders import World, canary, pod, port, service, slice_of
from smeagol.infra.kubernetes.connection import connect
from smeagol.infra.kubernetes.keeper import Keeper
from smeagol.objects import EndpointSlice
from smeagol.runtime import root_proxies
from smeagol.runtime.root_proxies import RootProxies
from smeagol.status import Event
from webhook.pods import SETTINGS, bootstrap

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("api-controller")]

DEPLOYMENT = "deployment/web-root-proxy"
SLICE = "web-root-proxy-ipv4"
OWNED = (
    "serviceaccount/web-root-proxy",
    "poddisruptionbudget/web-root-proxy",
    DEPLOYMENT,
    f"endpointslice/{SLICE}",
)
CANARY = """
apiVersion: smi-spec.io/v1beta1
kind: Canary
metadata: {name: web}
spec: {service: web, backends: [{service: web-v1, weight: "1"}], rootProxy: {}}
"""


@pytest.fixture(scope="module")
def api() -> Iterator[ApiServer]:
    with api_server() as server:
        yield server


@pytest.fixture
async def shop(api: ApiServer) -> str:
    """A namespace with the Canary."""
    name = await asyncio.to_thread(api.namespace)
    await asyncio.to_thread(api.apply, CANARY, name)
    return name


def world_of(shop: str) -> World:
    """In which the Canary asks for two root proxies."""
    return World(
        service("web", port(80, "http"), namespace=shop),
        service("web-v1", port(80, "http"), namespace=shop),
        slice_of("web-v1", "10.0.0.1", namespace=shop),
        canary("web", "web", {"web-v1": "1"}, namespace=shop, root_proxies=2),
    )


def asks_no_more(world: World, shop: str) -> None:
    world.add(canary("web", "web", {"web-v1": "1"}, namespace=shop))


async def leader(api: ApiServer, shop: str, world: World) -> RootProxies:
    """One that is about to lead, and knows what a replica knows that has watched."""
    uid = (await asyncio.to_thread(api.get, "canaries.smi-spec.io", "web", shop))["metadata"]["uid"]

    async def tell(_ref: object, _event: Event) -> None: ...

    proxies = RootProxies(
        world.resolver, SETTINGS, bootstrap, system="smeagol-system", uid=lambda _: uid, tell=tell, changed=lambda: None
    )
    proxies.settled(world.resolver.units)
    for found in await asyncio.to_thread(api.items, "endpointslices", shop):
        proxies.note_slice((shop, found["metadata"]["name"]), read(found))
    return proxies


def read(found: Json) -> EndpointSlice:
    """Go writes an empty list as null."""
    return msgspec.convert({name: value for name, value in found.items() if value is not None}, EndpointSlice)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(120):
        while not await asyncio.to_thread(holds):
            await asyncio.sleep(0.1)


def there(api: ApiServer, shop: str) -> list[str]:
    return api.kubectl("-n", shop, "get", *OWNED, "--ignore-not-found", "-o", "name").split()


async def led_to(api: ApiServer, shop: str, *addresses: str) -> EndpointSlice:
    """The EndpointSlice, when it leads to just these."""
    found = read(await asyncio.to_thread(api.get, "endpointslice", SLICE, shop))
    assert [one.addresses for one in found.endpoints] == [(address,) for address in addresses]
    return found


async def test_nothing_is_written_twice_and_nothing_is_left(
    api: ApiServer, shop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stands as it was applied is only looked at; what somebody changes comes back; and what is no longer asked
    for goes, though a request fails on the way.
    """
    monkeypatch.setattr(root_proxies, "RESYNC_SECONDS", 0.5)
    world = world_of(shop)
    asked: list[str] = []
    failing: list[str] = []

    async def heard(request: httpx2.Request) -> None:
        asked.append(request.method)
        if request.method == "DELETE" and failing and failing[-1] in request.url.path:
            failing.pop()
            raise httpx2.ConnectError("the connection broke", request=request)

    async def news() -> None:
        while True:  # as where Pods come and go all the time
            proxies._news.set()
            await asyncio.sleep(0.05)

    proxies = await leader(api, shop, world)
    async with connect(api.cluster.kubeconfig) as client:
        client.event_hooks["request"].append(heard)
        keeping = asyncio.create_task(proxies.keep(Keeper(client)))
        await until(lambda: len(there(api, shop)) == len(OWNED))
        await until(lambda: len(asked) > 12 and set(asked[-2 * len(OWNED) :]) == {"GET"})

        await asyncio.to_thread(api.kubectl, "-n", shop, "scale", DEPLOYMENT, "--replicas=9")
        hearing = asyncio.create_task(news())
        await until(lambda: api.get("deployment", "web-root-proxy", shop)["spec"]["replicas"] == 2)
        hearing.cancel()

        proxies.note_slice((shop, SLICE), await led_to(api, shop))
        failing.append("serviceaccounts")
        asks_no_more(world, shop)
        proxies.settled(world.resolver.units)
        await until(lambda: not there(api, shop))
        assert not failing
        keeping.cancel()
        await asyncio.wait([keeping])


async def test_a_next_leader_knows_what_is_left(api: ApiServer, shop: str) -> None:
    """Though there is no Pod, of a leader that ended on the way. Nobody is led any more to what is about to go."""
    world = world_of(shop)
    broken = asyncio.Event()

    async def heard(request: httpx2.Request) -> None:
        if request.method == "DELETE" and "deployments" in request.url.path:
            broken.set()
            raise httpx2.ConnectError("the connection broke", request=request)

    first = await leader(api, shop, world)
    first.note_pod((shop, "one"), pod("one", "10.0.0.9", namespace=shop, root_proxy_of="web"))
    async with connect(api.cluster.kubeconfig) as client:
        client.event_hooks["request"].append(heard)
        keeping = asyncio.create_task(first.keep(Keeper(client)))
        await until(lambda: len(there(api, shop)) == len(OWNED))
        first.note_slice((shop, SLICE), await led_to(api, shop, "10.0.0.9"))
        asks_no_more(world, shop)
        first.settled(world.resolver.units)
        await broken.wait()
        keeping.cancel()
        await asyncio.wait([keeping])
    await led_to(api, shop)

    second = await leader(api, shop, world)
    async with connect(api.cluster.kubeconfig) as client:
        keeping = asyncio.create_task(second.keep(Keeper(client)))
        await until(lambda: not there(api, shop))
        keeping.cancel()
        await asyncio.wait([keeping])
