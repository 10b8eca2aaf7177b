"""Who a proxy is while the API server answers, after its token has ended, and while nobody answers."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from e2e.ports import free_port
from e2e_kit.apiserver import ApiServer, api_server, client_of
from e2e_kit.relay import relay_to
from smeagol.infra.kubernetes.connection import connect, connect_blocking
from smeagol.infra.kubernetes.tokens import KEPT_SECONDS, VOUCHED_SECONDS, TokenReviewer
from smeagol.plan import ProxyProvider
from smeagol.runtime.controller import Controller, ControllerSettings
from smeagol.runtime.offline import provider_named
from smeagol.runtime.secret_store import SecretKeyStore

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("api-lease")]


@pytest.fixture(scope="module")
def api() -> Iterator[ApiServer]:
    with api_server() as server:
        yield server


@pytest.fixture(scope="module")
def pod(api: ApiServer) -> str:
    """The namespace of a Pod `web`."""
    namespace = api.namespace()
    api.pod("web", "10.244.1.1", namespace)
    return namespace


def encoded(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def decoded(part: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return found


def ended(api: ApiServer, token: str) -> str:
    """The same token as it would be an hour after its end, signed by the cluster's own key."""
    header, payload, _ = token.split(".")
    now = int(time.time())
    claims = decoded(payload) | {"iat": now - 7200, "nbf": now - 7200, "exp": now - 3600}
    signed = f"{header}.{encoded(json.dumps(claims).encode())}"
    key = load_pem_private_key((api.cluster.folder / "keys" / "service-account.key").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    r, s = decode_dss_signature(key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
    return f"{signed}.{encoded(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


class Clock:
    """Seconds since 1970, that a test may put forward."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


async def test_a_token_that_has_ended_is_nobodys(api: ApiServer, pod: str) -> None:
    """The signature is the cluster's, so it is for its end alone that it is refused."""
    token = await asyncio.to_thread(api.token, "web", pod)
    async with connect(api.cluster.kubeconfig) as client:
        reviewer = TokenReviewer(client)
        assert await reviewer.owner_of(token) == f"{pod}/web"
        assert await reviewer.owner_of(ended(api, token)) is None


@pytest.mark.parametrize("outage", ["silent", "unreachable"])
async def test_while_nobody_answers_the_last_review_counts(api: ApiServer, pod: str, outage: str) -> None:
    """For who was known: until the token ends, an hour at most. Who comes first in the outage waits for its end."""
    seen = await asyncio.to_thread(api.token, "web", pod)
    unseen = await asyncio.to_thread(api.token, "web", pod)
    clock = Clock()
    async with relay_to(api.cluster.server) as (relay, url), client_of(api, url) as client:
        client.timeout = httpx2.Timeout(5)
        reviewer = TokenReviewer(client, clock=clock)
        assert await reviewer.owner_of(seen) == f"{pod}/web"
        assert await reviewer.owner_of("garbage") is None
        clock.ahead = KEPT_SECONDS + 1
        relay.stall() if outage == "silent" else relay.cut()
        assert await reviewer.owner_of(seen) == f"{pod}/web"
        assert await reviewer.owner_of(unseen) is None
        assert await reviewer.owner_of("garbage") is None
        clock.ahead = VOUCHED_SECONDS + 1
        assert await reviewer.owner_of(seen) is None
        relay.resume()
        assert await reviewer.owner_of(unseen) == f"{pod}/web"


async def test_a_refusal_ends_what_was_known(api: ApiServer) -> None:
    """An API server that answers always decides: a Pod that is gone is not let in again by an outage after that."""
    namespace = await asyncio.to_thread(api.namespace)
    await asyncio.to_thread(api.pod, "brief", "10.244.1.2", namespace)
    token = await asyncio.to_thread(api.token, "brief", namespace)
    clock = Clock()
    async with relay_to(api.cluster.server) as (relay, url), client_of(api, url) as client:
        reviewer = TokenReviewer(client, clock=clock)
        assert await reviewer.owner_of(token) == f"{namespace}/brief"
        await asyncio.to_thread(
            api.kubectl, "-n", namespace, "delete", "pod", "brief", "--force", "--grace-period=0", "--wait"
        )
        async with asyncio.timeout(60):
            while await reviewer.owner_of(token) is not None:
                clock.ahead += KEPT_SECONDS + 1
                await asyncio.sleep(0.2)
        clock.ahead += KEPT_SECONDS + 1
        relay.cut()
        assert await reviewer.owner_of(token) is None


async def test_nothing_is_served_before_the_whole_state_was_seen(api: ApiServer) -> None:
    """A replica that has its keys and finds a silent API server answers no proxy, and says that it is not ready."""
    namespace = await asyncio.to_thread(api.namespace)
    settings = ControllerSettings(
        identity="late",
        namespace=namespace,
        discovery_address=f"127.0.0.1:{free_port()}",
        peers_address=f"127.0.0.1:{free_port()}",
        health_address=f"127.0.0.1:{free_port()}",
    )
    host, _, port = settings.discovery_address.rpartition(":")

    async def served() -> bool:
        try:
            _, writer = await asyncio.open_connection(host, int(port))
        except OSError:
            return False
        writer.close()
        return True

    async with (
        relay_to(api.cluster.server) as (relay, url),
        client_of(api, url) as client,
        httpx2.AsyncClient(trust_env=False, timeout=60) as kubelet,
    ):
        relay.stall()
        with connect_blocking(api.cluster.kubeconfig) as blocking:
            keys = SecretKeyStore(blocking, namespace=namespace, name="smeagol-authority")
            provider = provider_named("envoy")
            assert isinstance(provider, ProxyProvider)
            controller = await Controller.open(settings, client=client, provider=provider, keys=keys)
            running = asyncio.create_task(controller.run())
            try:
                async with asyncio.timeout(30):
                    while relay.connections == 0:  # it has asked, and waits
                        await asyncio.sleep(0.05)
                answer = await kubelet.get(f"http://{settings.health_address}/readyz")
                assert answer.status_code == 503
                assert "not yet seen" in answer.text
                assert not await served()
                relay.resume()
                async with asyncio.timeout(60):
                    while not await served():
                        await asyncio.sleep(0.05)
                async with asyncio.timeout(60):  # the port is open a moment before
                    while (await kubelet.get(f"http://{settings.health_address}/readyz")).status_code != 200:
                        await asyncio.sleep(0.05)
            finally:
                running.cancel()
                await asyncio.wait([running])
