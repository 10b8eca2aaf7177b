"""What the leader keeps of the API server's configuration, and who takes it away."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import httpx2
import pytest

from e2e.ports import free_port
from e2e_kit.apiserver import ApiServer, api_server
from intent.builders import namespace
from smeagol.infra.kubernetes.connection import connect
from smeagol.infra.kubernetes.keeper import Keeper
from smeagol.infra.kubernetes.objects import path_of
from smeagol.install import InstallSettings, manifests
from smeagol.install.resources import CLUSTER_ROLE
from smeagol.pki import MemoryKeyStore
from smeagol.providers.envoy import provider
from smeagol.runtime.admission import CONFIG_MAPS, MUTATING, AdmissionSettings
from smeagol.runtime.controller import Controller, ControllerSettings
from smeagol.webhook import InjectionSettings, WebhookPlace

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("api-controller")]


ASKING = {"smi-spec.io/inject": "enabled"}
SETTINGS = ControllerSettings(
    identity="a",
    namespace="default",
    discovery_address="127.0.0.1:0",
    peers_address="127.0.0.1:0",
    health_address=f"127.0.0.1:{free_port()}",
    admission=AdmissionSettings(
        injection=InjectionSettings(proxy_image="proxy:1", init_image="smeagol:1"),
        place=WebhookPlace(),
        address=f"127.0.0.1:{free_port()}",
    ),
)


@pytest.fixture(scope="module")
def api() -> Iterator[ApiServer]:
    with api_server() as server:
        yield server


async def happened(client: httpx2.AsyncClient, seen: list[str], news: asyncio.Event) -> None:
    """Note what is made of the configuration and what becomes of it, changes aside."""
    query = {"watch": "true", "fieldSelector": "metadata.name=smeagol"}
    async with client.stream("GET", path_of(MUTATING), params=query, timeout=None) as lines:
        async for line in lines.aiter_lines():
            if (event := json.loads(line)["type"]) != "MODIFIED":
                seen.append(event)
                news.set()


async def test_the_api_server_stops_asking_when_the_installation_goes(api: ApiServer) -> None:
    """However it is taken away (helm uninstall, kubectl delete): else no Pod could be made where one must have a proxy.
    What a leader makes that has not noticed goes too.
    """
    roles = (each for each in manifests(InstallSettings(version="1", image="x")) if each.resource == CLUSTER_ROLE)
    role = next(each for each in roles if each.name == "smeagol-controller")
    await asyncio.to_thread(api.apply, json.dumps(role.to_json()))

    seen: list[str] = []
    news = asyncio.Event()

    async def until(wanted: list[str]) -> None:
        async with asyncio.timeout(120):
            while seen[: len(wanted)] != wanted:  # the next may have happened already
                await news.wait()
                news.clear()

    async with connect(api.cluster.kubeconfig) as client:
        controller = Controller(SETTINGS, client=client, provider=provider, keys=MemoryKeyStore())
        assert controller.admission is not None
        tasks = [
            asyncio.create_task(happened(client, seen, news)),
            asyncio.create_task(controller.admission.keep(Keeper(client))),
        ]
        try:
            await until(["ADDED"])
            await asyncio.to_thread(api.kubectl, "delete", "clusterrole", role.name)
            await until(["ADDED", "DELETED"])
            controller.admission.note_namespace("shop", namespace("shop", **ASKING))  # it looks again
            await until(["ADDED", "DELETED", "ADDED", "DELETED"])
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)


async def test_what_somebody_else_has_made_is_left_as_it_is(api: ApiServer) -> None:
    """A ConfigMap of the name that proxies' roots have is a user's, if we did not make it: it holds up nobody else."""
    with_theirs, other = api.namespace(), api.namespace()
    await asyncio.to_thread(
        api.kubectl, "-n", with_theirs, "create", "configmap", "smeagol-ca", "--from-literal=ca.crt=x"
    )

    async with connect(api.cluster.kubeconfig) as client, asyncio.timeout(60):
        controller = Controller(SETTINGS, client=client, provider=provider, keys=MemoryKeyStore())
        admission = controller.admission
        assert admission is not None
        for name in (with_theirs, other):
            admission.note_namespace(name, namespace(name, **ASKING))
        keeper = Keeper(client)
        keeping = asyncio.create_task(admission.keep(keeper))
        try:
            while other not in (found := await keeper.named(CONFIG_MAPS, "smeagol-ca") or {}):
                await asyncio.sleep(0.1)
            assert found[with_theirs].data == {"ca.crt": "x"}
            assert found[with_theirs].metadata.labels == {}
            admission.note_namespace(with_theirs, namespace(with_theirs))
            await asyncio.to_thread(api.kubectl, "-n", other, "delete", "configmap", "smeagol-ca")
            admission.note_namespace(other, namespace(other))
            admission.note_namespace(other, namespace(other, **ASKING))
            while other not in (found := await keeper.named(CONFIG_MAPS, "smeagol-ca") or {}):
                await asyncio.sleep(0.1)
            assert found[with_theirs].data == {"ca.crt": "x"}, "nor is it deleted where none is wanted"
        finally:
            keeping.cancel()
            await asyncio.wait([keeping])


async def test_who_ends_is_not_ready_at_once_and_answers_for_a_while(
    api: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The API server learns a moment later that it must ask another: until then no Pod may fail for it."""
    monkeypatch.setattr("smeagol.runtime.controller.LASTING_SECONDS", 12)  # this machine may be slow to ask
    assert SETTINGS.admission is not None

    async def status(url: str) -> int:
        async with httpx2.AsyncClient(verify=False, trust_env=False, timeout=30) as asking:
            try:
                return (await asking.get(url)).status_code
            except httpx2.TransportError:
                return 0

    ready = f"http://{SETTINGS.health_address}/readyz"
    webhook = f"https://{SETTINGS.admission.address}/healthz"
    async with connect(api.cluster.kubeconfig) as client, asyncio.timeout(90):
        controller = Controller(SETTINGS, client=client, provider=provider, keys=MemoryKeyStore())
        running = asyncio.create_task(controller.run())
        while await status(ready) != 200:
            await asyncio.sleep(0.1)
        running.cancel()
        while await status(ready) == 200:
            await asyncio.sleep(0)
        assert (await status(ready), await status(webhook)) == (503, 200)
        await asyncio.wait([running])
        assert (await status(ready), await status(webhook)) == (0, 0)
