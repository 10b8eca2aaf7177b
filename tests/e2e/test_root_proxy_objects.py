"""What keeping root proxies asks of an API server, and that nothing of them is left behind (SMI-CAN-22)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import httpx2
import msgspec
import pytest

from e2e_kit.apiserver import ApiServer, api_server
from intent.builders import World, canary, port, service, slice_of
from smeagol.infra.kubernetes.connection import connect
from smeagol.infra.kubernetes.keeper import Keeper
from smeagol.objects import EndpointSlice
from smeagol.runtime import root_proxies
from smeagol.runtime.root_proxies import RootProxies
from smeagol.status import Event
from webhook.pods import SETTINGS, bootstrap

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("api-controller"), pytest.mark.timeout(120)]

DEPLOYMENT = "deployment/web-root-proxy"
OWNED = (
    "serviceaccount/web-root-proxy",
    "poddisruptionbudget/web-root-proxy",
    DEPLOYMENT,
    "endpointslice/web-root-proxy-ipv4",
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


async def test_nothing_is_written_twice_and_nothing_is_left(api: ApiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands as it was applied is only looked at; what somebody changes comes back; and what is no longer asked
    for goes, though a request fails on the way.
    """
    monkeypatch.setattr(root_proxies, "RESYNC_SECONDS", 0.5)
    shop = await asyncio.to_thread(api.namespace)
    await asyncio.to_thread(api.apply, CANARY, shop)
    uid = (await asyncio.to_thread(api.get, "canaries.smi-spec.io", "web", shop))["metadata"]["uid"]
    split = canary("web", "web", {"web-v1": "1"}, namespace=shop, root_proxies=2)
    world = World(
        service("web", port(80, "http"), namespace=shop),
        service("web-v1", port(80, "http"), namespace=shop),
        slice_of("web-v1", "10.0.0.1", namespace=shop),
        split,
    )
    asked: list[str] = []
    failing: list[str] = []

    async def heard(request: httpx2.Request) -> None:
        asked.append(request.method)
        if request.method == "DELETE" and failing and failing[-1] in request.url.path:
            failing.pop()
            raise httpx2.ConnectError("the connection broke", request=request)

    async def tell(_ref: object, _event: Event) -> None: ...

    async def until(holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not await asyncio.to_thread(holds):
                await asyncio.sleep(0.1)

    async def news() -> None:
        while True:  # as where Pods come and go all the time
            proxies._news.set()
            await asyncio.sleep(0.05)

    def there() -> list[str]:
        return api.kubectl("-n", shop, "get", *OWNED, "--ignore-not-found", "-o", "name").split()

    proxies = RootProxies(
        world.resolver, SETTINGS, bootstrap, system="smeagol-system", uid=lambda _: uid, tell=tell, changed=lambda: None
    )
    proxies.settled(world.resolver.units)
    async with connect(api.cluster.kubeconfig) as client:
        client.event_hooks["request"].append(heard)
        keeping = asyncio.create_task(proxies.keep(Keeper(client)))
        await until(lambda: len(there()) == len(OWNED))
        await until(lambda: len(asked) > 12 and set(asked[-2 * len(OWNED) :]) == {"GET"})

        await asyncio.to_thread(api.kubectl, "-n", shop, "scale", DEPLOYMENT, "--replicas=9")
        hearing = asyncio.create_task(news())
        await until(lambda: api.get("deployment", "web-root-proxy", shop)["spec"]["replicas"] == 2)
        hearing.cancel()

        made = await asyncio.to_thread(api.get, "endpointslice", "web-root-proxy-ipv4", shop)
        key = (shop, "web-root-proxy-ipv4")
        proxies.note_slice(key, msgspec.convert({**made, "endpoints": []}, EndpointSlice))
        failing.append("serviceaccounts")
        world.add(canary("web", "web", {"web-v1": "1"}, namespace=shop))
        proxies.settled(world.resolver.units)
        await until(lambda: not failing)
        proxies.note_slice(key, None)
        await until(lambda: not there())
        keeping.cancel()
        await asyncio.wait([keeping])
