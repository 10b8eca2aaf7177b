"""The webhooks as the API server meets them: HTTPS, many at once, and nothing that is sent ends them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import httpx2
import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from intent.builders import World, mutual_tls, namespace
from smeagol.pki import AuthorityError, LocalAuthority, MemoryKeyStore, Purpose
from smeagol.webhook import InjectionReview, KeyPair, Reviews, ServingCertificate, is_injected, serve, webhook_app
from smeagol.webhook.review import BadReviewError, Request, Verdict, parse_review
from smeagol.webhook.server import MAX_BODY_BYTES
from webhook.patching import patched
from webhook.pods import SETTINGS, bootstrap, container, pod
from webhook.reviews import operations, response, review

NAME = "smeagol-webhook.smeagol-system.svc"
NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


@dataclass
class Clock:
    now: datetime

    def __call__(self) -> datetime:
        return self.now


class Issuer:
    """The mesh's authority, as the runtime hands it to the webhooks."""

    def __init__(self, clock: Clock, lifetime: timedelta = timedelta(hours=24)) -> None:
        self.authority = LocalAuthority.open(MemoryKeyStore(), trust_domain="cluster.local", now=clock())
        self.clock = clock
        self.lifetime = lifetime
        self.broken, self.asked_in_vain = asyncio.Event(), asyncio.Event()

    def __call__(self) -> KeyPair:
        if self.broken.is_set():
            self.asked_in_vain.set()
            raise AuthorityError("the authority is away")
        issued = self.authority.issue([NAME], Purpose.SERVER, now=self.clock(), lifetime=self.lifetime)
        return KeyPair(chain_pem=issued.chain_pem, key_pem=issued.key_pem.reveal(), renew_at=issued.renew_at)


@dataclass
class Running:
    port: int
    certificate: ServingCertificate
    trust: ssl.SSLContext

    def client(self) -> httpx2.AsyncClient:
        """As the API server: it dials by the Service's name and trusts the `caBundle`."""
        return httpx2.AsyncClient(
            base_url=f"https://127.0.0.1:{self.port}", verify=self.trust, trust_env=False, timeout=30
        )

    async def post(self, path: str, body: bytes) -> httpx2.Response:
        async with self.client() as client:
            return await client.post(path, content=body, extensions={"sni_hostname": NAME})

    async def serial(self) -> int:
        """Of the certificate that a new connection is shown, once it has been verified."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=self.trust, server_hostname=NAME)
        tls = writer.get_extra_info("ssl_object")
        serial = x509.load_der_x509_certificate(tls.getpeercert(binary_form=True)).serial_number
        writer.close()
        del reader
        return serial


def _fault(_: Request) -> Verdict:
    raise RuntimeError("a fault of ours")


@contextlib.asynccontextmanager
async def running(
    issue: Issuer | None = None, *, world: World | None = None, broken: bool = False, reviews: Reviews | None = None
) -> AsyncIterator[Running]:
    issue = issue or Issuer(Clock(datetime.now(UTC)))
    world = world or World(namespace("shop"), mutual_tls("m"))
    certificate = ServingCertificate(issue, clock=issue.clock)
    judge = InjectionReview(SETTINGS, decide=world.resolver.injection_for, bootstrap=bootstrap)
    app = webhook_app(
        inject=_fault if broken else judge,
        inject_labelled=lambda _: Verdict(warnings=("labelled",)),
        validate=lambda _: Verdict(warnings=("seen",)),
        reviews=reviews,
    )
    listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
    port = listening.getsockname()[1]
    task = asyncio.create_task(serve(app, [listening], certificate.context))
    trust = ssl.create_default_context(cadata=issue.authority.trust_bundle_pem.decode())
    try:
        yield Running(port, certificate, trust)
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


class TestAnswers:
    async def test_a_pod_over_https(self) -> None:
        async with running() as server:
            before = pod()
            answer = await server.post("/inject?timeout=5s", review(before))
            assert answer.status_code == 200
            assert is_injected(patched(before, operations(response(answer.content))))

    async def test_each_path_has_its_judge(self) -> None:
        async with running() as server:
            answer = await server.post("/validate", review(pod()))
            assert response(answer.content)["warnings"] == ["seen"]
            answer = await server.post("/inject/labelled", review(pod()))
            assert response(answer.content)["warnings"] == ["labelled"]
            assert (await server.post("/else", review(pod()))).status_code == 404
            async with server.client() as client:
                assert (await client.get("/healthz", extensions={"sni_hostname": NAME})).text == "ok\n"

    async def test_what_was_said_is_counted(self) -> None:
        """By path and verdict, with the time that it took."""
        counted = Reviews()
        async with running(reviews=counted) as server:
            await server.post("/inject", review(pod()))
            await server.post("/inject", b"{")
            await server.post("/validate", review(pod()))
            await server.post("/else", review(pod()))
        assert counted.counts == {("/inject", "patched"): 1, ("/inject", "failed"): 1, ("/validate", "allowed"): 1}
        assert {path: sum(taken.counts) for path, taken in counted.durations.items()} == {"/inject": 2, "/validate": 1}

    async def test_a_fault_of_ours_is_left_to_the_failure_policy(self) -> None:
        """An error, not a refusal: with `Ignore` the API server makes the Pod. The next review is answered."""
        async with running(broken=True) as server:
            answer = await server.post("/inject", review(pod()))
            assert answer.status_code == 500
            assert "a fault of ours" not in answer.text
            assert (await server.post("/validate", review(pod()))).status_code == 200

    @pytest.mark.parametrize(
        ("body", "reason"),
        [
            (b"", "no AdmissionReview"),
            (b"{", "no AdmissionReview"),
            (b"[]", "no AdmissionReview"),
            (b"\xff\xfe", "no AdmissionReview"),
            (b'{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}', "request"),
            (review(pod()).replace(b"admission.k8s.io/v1", b"admission.k8s.io/v1beta1"), "v1beta1"),
            (review(pod()).replace(b'"u-1"', b'""'), "uid"),
            (review([]), "object"),  # type: ignore[arg-type]  # what nobody should send
            (review(None), "object"),  # type: ignore[arg-type]  # what nobody should send
        ],
    )
    async def test_what_is_no_review_is_answered_with_the_reason(self, body: bytes, reason: str) -> None:
        async with running() as server:
            answer = await server.post("/inject", body)
            assert answer.status_code == 400
            assert reason in answer.text
            assert "SMI-I006" in answer.text

    async def test_a_huge_body_is_not_read_to_its_end(self) -> None:
        """Whether its length is said or not."""
        sent = 0

        async def endless() -> AsyncIterator[bytes]:
            nonlocal sent
            for _ in range(64):
                sent += 1024 * 1024
                yield b" " * 1024 * 1024

        async with running() as server:
            assert (await server.post("/inject", b" " * (MAX_BODY_BYTES + 1))).status_code == 413
            async with server.client() as client:
                with contextlib.suppress(httpx2.TransportError):  # it may hang up while we are still sending
                    answer = await client.post("/inject", content=endless(), extensions={"sni_hostname": NAME})
                    assert answer.status_code == 413
            assert sent < 64 * 1024 * 1024
            assert (await server.post("/inject", review(pod()))).status_code == 200

    async def test_a_pod_of_three_megabytes_is_a_pod(self) -> None:
        """The largest object that the API server takes."""
        env = [{"name": f"V{n}", "value": "x" * 1000} for n in range(3000)]
        async with running() as server:
            before = pod(container(env=env))
            found = response((await server.post("/inject", review(before))).content)
            assert is_injected(patched(before, operations(found)))

    async def test_five_hundred_pods_at_once(self) -> None:
        """All admitted with their proxies, each over a connection of its own, as after a node's loss."""
        async with running() as server, server.client() as client:
            client.timeout = httpx2.Timeout(60)
            bodies = [review(pod(container(readinessProbe={"httpGet": {"port": 80}})), uid=str(n)) for n in range(500)]
            answers = await asyncio.gather(
                *(client.post("/inject", content=body, extensions={"sni_hostname": NAME}) for body in bodies)
            )
            found = [response(answer.content) for answer in answers]
            assert [one["uid"] for one in found] == [str(n) for n in range(500)]
            assert all(one["allowed"] and operations(one) for one in found)

    async def test_connections_end_with_the_server(self) -> None:
        """The API server keeps connections; one that nobody reads from would cost it a timeout on the next Pod."""
        async with running() as server:
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", server.port, ssl=server.trust, server_hostname=NAME
            )
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            await reader.readuntil(b"ok\n")
        async with asyncio.timeout(60):
            assert await reader.read() == b""
        writer.close()

    async def test_a_review_that_has_come_is_answered_before_the_end(self) -> None:
        async with running() as server:
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", server.port, ssl=server.trust, server_hostname=NAME
            )
            body = review(pod())
            writer.write(b"POST /inject HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body))
            writer.write(body[:100])
            await writer.drain()
            async with server.client() as client:  # by the time it is answered, the one before has been seen
                await client.get("/healthz", extensions={"sni_hostname": NAME})
            asyncio.get_running_loop().call_later(0.2, writer.write, body[100:])
        assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
        writer.close()


class TestCertificate:
    async def test_it_is_renewed_without_a_restart(self) -> None:
        """The next connection sees the new one; one that stands goes on."""
        async with running() as server, server.client() as client:
            assert (await client.post("/inject", content=review(pod()), extensions={"sni_hostname": NAME})).is_success
            before = await server.serial()
            server.certificate.renew()
            assert await server.serial() != before
            assert (await client.post("/inject", content=review(pod()), extensions={"sni_hostname": NAME})).is_success

    async def test_it_renews_itself_in_time(self) -> None:
        """At about two thirds of its life."""
        clock = Clock(datetime.now(UTC) - timedelta(minutes=50))
        async with running(Issuer(clock, timedelta(hours=1))) as server:
            before = await server.serial()
            clock.now += timedelta(minutes=50)
            task = asyncio.create_task(server.certificate.keep_fresh())
            async with asyncio.timeout(60):
                while await server.serial() == before:
                    await asyncio.sleep(0.05)
            task.cancel()

    async def test_what_becomes_due_while_it_waits_is_renewed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """While a machine sleeps its timers stand still, and certificates expire."""
        monkeypatch.setattr("smeagol.webhook.certificate.LOOK_SECONDS", 0.05)
        clock = Clock(datetime.now(UTC) - timedelta(minutes=50))
        async with running(Issuer(clock, timedelta(hours=1))) as server:
            before = await server.serial()
            task = asyncio.create_task(server.certificate.keep_fresh())
            await asyncio.sleep(0)  # it has begun to wait
            clock.now += timedelta(minutes=50)
            async with asyncio.timeout(20):
                while await server.serial() == before:
                    await asyncio.sleep(0.05)
            task.cancel()

    async def test_an_authority_that_is_away_does_not_end_it(self) -> None:
        """The certificate in use is good for a while yet."""
        clock = Clock(datetime.now(UTC) - timedelta(minutes=50))
        issue = Issuer(clock, timedelta(hours=1))
        async with running(issue) as server:
            before = await server.serial()
            issue.broken.set()
            clock.now += timedelta(minutes=50)
            task = asyncio.create_task(server.certificate.keep_fresh())
            async with asyncio.timeout(60):
                await issue.asked_in_vain.wait()
            assert await server.serial() == before
            assert not task.done()
            task.cancel()

    def test_no_key_in_the_open(self) -> None:
        pair = Issuer(Clock(NOON))()
        assert "PRIVATE" not in repr(pair)

    async def test_plain_http_and_old_tls_get_nothing(self) -> None:
        async with running() as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b"200" not in await reader.read(100)
            writer.close()
            server.trust.maximum_version = ssl.TLSVersion.TLSv1_2
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await server.serial()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["apiVersion", "kind", "request", "uid", "object", "namespace"]), inner)
    ),
    max_leaves=8,
)


@given(st.binary(max_size=50) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_a_review_or_a_reason(body: bytes) -> None:
    """No third way: whatever arrives, the answer is deliberate."""
    with contextlib.suppress(BadReviewError):
        parse_review(body)
