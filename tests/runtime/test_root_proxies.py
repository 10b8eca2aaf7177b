"""SMI-CAN-22: which Pods clients without a proxy are led to, and that a fault of one Canary stays its own."""

from __future__ import annotations

import asyncio

import httpx2
import pytest

from intent.builders import World, canary, pod, port, service, slice_of
from smeagol.infra.kubernetes.keeper import Keeper
from smeagol.intent import ROOT_PROXY_OF
from smeagol.objects import Pod
from smeagol.refs import ObjectRef
from smeagol.runtime.root_proxies import RootProxies
from smeagol.status import Event
from smeagol.webhook.root_proxy import root_proxy_of
from webhook.pods import SETTINGS, bootstrap

OWNED = {"metadata": {"uid": "x", "resourceVersion": "1", "ownerReferences": [{"uid": "1"}]}}
"""As much of an object as is read, of the Canary with the uid `1`."""


@pytest.mark.parametrize(
    ("found", "whose"),
    [
        (pod("web-1", "10.0.0.9", root_proxy_of="roll"), "roll"),
        (pod("app-1", "10.0.0.8", annotations={ROOT_PROXY_OF: "roll"}), ""),
        (pod("web-1", "10.0.0.9", root_proxy_of="roll", host_network=True), ""),
        (pod("web-1", "10.0.0.9", root_proxy_of="roll", phase="Succeeded"), ""),
        (pod("web-1", "10.0.0.9"), ""),
    ],
    ids=["a root proxy", "an application that says so", "of the node's network", "finished", "a sidecar"],
)
def test_clients_are_led_to_proxies_and_to_nothing_else(found: Pod, whose: str) -> None:
    """Whatever a Pod says of itself."""
    assert root_proxy_of(found) == (ObjectRef("Canary", "shop", whose) if whose else None)


async def test_a_fault_of_one_canary_stops_no_other() -> None:
    """It is told in the status of the one, and tried again; the leader goes on."""
    world = World(
        service("web", port(80, "http")),
        service("till", port(80, "http")),
        service("v1", port(80, "http")),
        slice_of("v1", "10.0.0.1", ports={"http": 8080}),
        canary("bad", "web", {"v1": "1"}, root_proxies=1),
        canary("good", "till", {"v1": "1"}, root_proxies=1),
    )
    told = asyncio.Event()

    def uid(ref: ObjectRef) -> str:
        if ref.name == "bad":
            raise ValueError("nobody foresaw this")
        return ""

    async def tell(ref: ObjectRef, event: Event) -> None: ...

    proxies = RootProxies(
        world.resolver, SETTINGS, bootstrap, system="smeagol-system", uid=uid, tell=tell, changed=told.set
    )
    proxies.settled(world.resolver.units)

    async with httpx2.AsyncClient() as client:
        keeping = asyncio.create_task(proxies.keep(Keeper(client)))
        async with asyncio.timeout(20):
            await told.wait()
        keeping.cancel()
        await asyncio.wait([keeping])
    assert "ValueError" in proxies.told(world.canary("bad"))
    assert proxies.told(world.canary("good")) == "its root proxies are being made"


async def test_who_leads_again_makes_what_another_has_taken_back() -> None:
    """What it knew when it led last may be otherwise by now, before any resync is due."""
    world = World(
        service("web", port(80, "http")),
        service("v1", port(80, "http")),
        slice_of("v1", "10.0.0.1", ports={"http": 8080}),
        canary("roll", "web", {"v1": "1"}, root_proxies=1),
    )
    there: set[str] = set()
    made = asyncio.Event()

    def answer(request: httpx2.Request) -> httpx2.Response:
        path = request.url.path
        if request.method != "PATCH":
            return httpx2.Response(200 if path in there else 404, json=OWNED)
        code = 200 if path in there else 201
        there.add(path)
        if "/deployments/" in path:  # the last
            made.set()
        return httpx2.Response(code, json=OWNED)

    async def tell(ref: ObjectRef, event: Event) -> None: ...

    proxies = RootProxies(
        world.resolver, SETTINGS, bootstrap, system="smeagol-system", uid=lambda _: "1", tell=tell, changed=lambda: None
    )
    proxies.settled(world.resolver.units)

    async with httpx2.AsyncClient(transport=httpx2.MockTransport(answer), base_url="http://api") as client:
        for _ in range(2):
            there.clear()
            made.clear()
            keeping = asyncio.create_task(proxies.keep(Keeper(client)))
            async with asyncio.timeout(20):
                await made.wait()
            keeping.cancel()
            await asyncio.wait([keeping])
