"""The real Envoy takes all five types from the server, acknowledges them, and serves by them; a bad one harms none."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from cryptography import x509
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2  # noqa: F401 - registers the type
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2  # noqa: F401
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2, tls_pb2  # noqa: F401
from google.protobuf import json_format
from google.protobuf.message import Message

from smeagol.refs import NodeId
from smeagol.xds import AdsServer, BearerToken, Cache, Resource, TlsConfig
from smeagol.xds.type_urls import CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET
from xds_kit.certificates import Authority, self_signed
from xds_kit.envoy import bootstrap, running_envoy, with_token
from xds_kit.waiting import Watch

pytestmark = pytest.mark.envoy

WEB = NodeId("shop/web-1")
ADS = {"ads": {}, "resource_api_version": "V3"}
FROM = "type.googleapis.com/envoy.extensions"
MESSAGES: dict[str, type[Message]] = {
    CLUSTER: cluster_pb2.Cluster,
    ENDPOINT: endpoint_pb2.ClusterLoadAssignment,
    LISTENER: listener_pb2.Listener,
    ROUTE: route_pb2.RouteConfiguration,
    SECRET: secret_pb2.Secret,
}


def resource(type_url: str, name: str, fields: dict[str, object]) -> Resource:
    message = json_format.ParseDict(fields, MESSAGES[type_url]())
    return Resource(type_url, name, message.SerializeToString(deterministic=True))


def cluster(name: str, **fields: object) -> Resource:
    eds = {"name": name, "type": "EDS", "eds_cluster_config": {"eds_config": ADS}, "connect_timeout": "1s"}
    return resource(CLUSTER, name, {**eds, **fields})


def endpoints(name: str, *paths: Path) -> Resource:
    lb_endpoints = [{"endpoint": {"address": {"pipe": {"path": str(path)}}}} for path in paths]
    return resource(ENDPOINT, name, {"cluster_name": name, "endpoints": [{"lb_endpoints": lb_endpoints}]})


def route(name: str, to: str, **fields: object) -> Resource:
    host = {"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": to}}]}
    return resource(ROUTE, name, {"name": name, "virtual_hosts": [host], **fields})


def listener(name: str, path: Path, *, secret: str) -> Resource:
    router = {"name": "router", "typed_config": {"@type": f"{FROM}.filters.http.router.v3.Router"}}
    manager = {
        "@type": f"{FROM}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "rds": {"route_config_name": name, "config_source": ADS},
        "http_filters": [router],
    }
    tls = {
        "@type": f"{FROM}.transport_sockets.tls.v3.DownstreamTlsContext",
        "common_tls_context": {"tls_certificate_sds_secret_configs": [{"name": secret, "sds_config": ADS}]},
    }
    chain = {
        "filters": [{"name": "http", "typed_config": manager}],
        "transport_socket": {"name": "tls", "typed_config": tls},
    }
    address = {"pipe": {"path": str(path)}}
    return resource(LISTENER, name, {"name": name, "address": address, "filter_chains": [chain]})


def secret(name: str) -> Resource:
    pair = self_signed("web.shop")
    chain, key = pair.certificate.decode(), pair.key.decode()
    certificate = {"certificate_chain": {"inline_string": chain}, "private_key": {"inline_string": key}}
    return resource(SECRET, name, {"name": name, "tls_certificate": certificate})


@asynccontextmanager
async def app(path: Path, says: str) -> AsyncIterator[None]:
    """An HTTP server that answers each connection once."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 200 OK\r\ncontent-length: {len(says)}\r\nconnection: close\r\n\r\n{says}".encode())
        await writer.drain()
        writer.close()

    async with await asyncio.start_unix_server(answer, path):
        yield


async def get(path: Path) -> str:
    """Status and body of a request over TLS to the listener at `path`."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    reader, writer = await asyncio.open_unix_connection(path, ssl=context, server_hostname="web.shop")
    writer.write(b"GET / HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n")
    said = (await reader.read()).decode()
    writer.close()
    return f"{said.split()[1]} {said.rpartition(chr(10))[2]}"


class Lab:
    """A server, an Envoy that asks it, and a way to wait for what Envoy answers."""

    def __init__(self, folder: Path, *, delta: bool) -> None:
        self.cache = cache = Cache()
        self.folder = folder
        self.delta = delta
        self.server = AdsServer(cache)
        self.until = Watch(cache).until

    async def serve(self) -> None:
        self.server = AdsServer(self.cache)
        await self.server.start(f"unix:{self.folder / 'ads'}")

    def current(self, *resources: Resource) -> bool:
        return all(self.cache.acks.of(each.type_url, each.name).current == (WEB,) for each in resources)

    @property
    def settled(self) -> bool:
        """Envoy has answered for everything."""
        progress = self.cache.acks.of_node(WEB)
        return progress is not None and progress.settled

    def refused(self, each: Resource) -> bool:
        return bool(self.cache.acks.of(each.type_url, each.name).refused)


@pytest.fixture(params=["DELTA_GRPC", "GRPC"])
async def lab(request: pytest.FixtureRequest) -> AsyncIterator[Lab]:
    with TemporaryDirectory(prefix="xds-") as name:  # a socket's path is short, tmp_path may be long
        folder = Path(name)
        lab = Lab(folder, delta=request.param == "DELTA_GRPC")
        await lab.serve()
        config = bootstrap(WEB, server=folder / "ads", admin=folder / "admin", api_type=request.param)
        async with running_envoy(config, folder):
            yield lab
        await lab.server.stop(0)


class TestRealEnvoy:
    async def test_all_types_and_a_bad_one_beside_good_ones(self, lab: Lab) -> None:
        """Envoy serves by what it was sent, follows a change of route, and reports what it refuses."""
        v1, v2, front = (lab.folder / path for path in ("v1", "v2", "front"))
        good = (
            *(cluster("web-v1"), endpoints("web-v1", v1)),
            *(listener("web", front, secret="web"), route("web", "web-v1"), secret("web")),
        )
        # Fails Envoy's validation of the message, for which it refuses a whole response.
        bad_cluster = cluster("bad", connect_timeout="0s")
        lab.cache.update(shared=[bad_cluster, *good])
        async with app(v1, "one"), app(v2, "two"):
            await lab.until(lambda: lab.current(*good) and lab.refused(bad_cluster))
            assert await get(front) == "200 one"
            (nack,) = lab.cache.acks.of(CLUSTER, "bad").refused
            assert nack.node == WEB
            assert nack.message == (
                "Proto constraint validation failed"
                " (ClusterValidationError.ConnectTimeout: value must be greater than 0s)"
            )

            # A cluster that replaces one of its name warms by endpoints that did not change; no patience is needed.
            replaced = cluster("web-v1", connect_timeout="2s")
            change = (replaced, cluster("web-v2"), endpoints("web-v2", v2), route("web", "web-v2"))
            lab.cache.update(shared=change)
            await lab.until(lambda: lab.current(*change))
            assert await get(front) == "200 two"

            # Refused by what Envoy checks when it uses a resource.
            bad_route = route("web", "nowhere", validate_clusters=True)
            lab.cache.update(shared=[bad_route], remove_shared=[(CLUSTER, "bad"), (CLUSTER, "web-v1")])
            await lab.until(lambda: lab.refused(bad_route))
            assert await get(front) == "200 two", "Envoy goes on with the route that it had"

            mended = route("web", "web-v2", validate_clusters=True)
            lab.cache.update(shared=[mended])
            await lab.until(lambda: lab.current(mended) and lab.settled)
            assert lab.cache.acks.refused() == ()

    async def test_a_server_that_was_away(self, lab: Lab) -> None:
        """A proxy serves on without the server, and is then sent what changed; in the delta variant nothing else."""
        v1, v2, front = (lab.folder / path for path in ("v1", "v2", "front"))
        state = (
            *(cluster("web"), endpoints("web", v1), listener("web", front, secret="web")),
            *(route("web", "web"), secret("web")),
        )
        lab.cache.update(shared=state)
        async with app(v1, "one"), app(v2, "two"):
            await lab.until(lambda: lab.current(*state))
            await lab.server.stop(0)
            await lab.until(lambda: not lab.cache.acks.connected)
            assert await get(front) == "200 one"
            moved = endpoints("web", v2)
            lab.cache.update(shared=[moved])
            sent = lab.cache.stats.resources_sent
            await lab.serve()
            await lab.until(lambda: lab.current(*state))
            assert await get(front) == "200 two"
            if lab.delta:
                assert lab.cache.stats.resources_sent == sent + 1


async def test_tls_and_a_token_from_a_file(tmp_path: Path) -> None:
    """Envoy shows its projected token itself; no Secret and no agent is needed."""
    authority = Authority()
    pair = authority.issue(x509.DNSName("localhost"))

    async def verify(token: str) -> NodeId | None:
        return {"the-token": WEB}.get(token)

    cache = Cache()
    state = cluster("web", type="STATIC", eds_cluster_config=None)
    cache.update(shared=[state])
    tls = TlsConfig(certificate_chain=pair.certificate, private_key=pair.key)
    server = AdsServer(cache, authenticator=BearerToken(verify), tls=tls)
    port = await server.start("localhost:0")
    ca, token = tmp_path / "ca.pem", tmp_path / "token"
    ca.write_bytes(authority.certificate)
    token.write_text("the-token")
    service = with_token(f"localhost:{port}", ca=ca, token=token)
    watch = Watch(cache)
    with TemporaryDirectory(prefix="xds-") as name:
        folder = Path(name)
        config = bootstrap(WEB, server=folder / "none", admin=folder / "admin", api_type="DELTA_GRPC", service=service)
        async with running_envoy(config, folder):
            await watch.until(lambda: cache.acks.of(CLUSTER, "web").current == (WEB,))
    assert cache.stats.streams_refused == 0
    await server.stop(0)
