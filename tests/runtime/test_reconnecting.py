"""A proxy that has read the roots when it began comes back to the control plane after they have been replaced."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from envoy.config.cluster.v3 import cluster_pb2

from smeagol.pki import LocalAuthority, MemoryKeyStore, Overlap, Purpose, Step
from smeagol.refs import NodeId
from smeagol.xds import AdsServer, BearerToken, Cache, Resource, TlsConfig
from smeagol.xds.type_urls import CLUSTER
from xds_kit.envoy import bootstrap, running_envoy, with_token
from xds_kit.waiting import Watch

pytestmark = pytest.mark.envoy

WEB = NodeId("shop/web-1")


def cluster(name: str) -> Resource:
    made = cluster_pb2.Cluster(name=name, type=cluster_pb2.Cluster.STATIC)
    made.connect_timeout.FromSeconds(1)
    made.load_assignment.cluster_name = name
    return Resource(CLUSTER, name, made.SerializeToString(deterministic=True))


def identity(authority: LocalAuthority) -> TlsConfig:
    issued = authority.issue(["localhost"], Purpose.SERVER, now=datetime.now(UTC))
    return TlsConfig(certificate_chain=issued.chain_pem + authority.bridge_pem, private_key=issued.key_pem.reveal())


async def test_two_rotations_do_not_keep_it_out(tmp_path: Path) -> None:
    """The real Envoy, whose file of roots is left as it was when it began: its client reads it once for each channel.

    The control plane is away after each step, so the proxy has to come back to it each time.
    """
    authority = LocalAuthority.open(
        MemoryKeyStore(), trust_domain="td", now=datetime.now(UTC), overlap=Overlap(minimum=timedelta(0))
    )

    async def verify(token: str) -> NodeId | None:
        return WEB if token == "the-token" else None

    cache = Cache()
    until = Watch(cache).until
    server = AdsServer(cache, authenticator=BearerToken(verify), tls=identity(authority))
    port = await server.start("localhost:0")
    (tmp_path / "ca.pem").write_bytes(authority.trust_bundle_pem)
    (tmp_path / "token").write_text("the-token")
    service = with_token(f"localhost:{port}", ca=tmp_path / "ca.pem", token=tmp_path / "token")
    sockets = {"server": tmp_path / "ads", "admin": tmp_path / "admin"}
    config = bootstrap(WEB, **sockets, api_type="DELTA_GRPC", service=service)

    async def learns(name: str) -> None:
        news = cluster(name)
        cache.update(shared=[news])
        await until(lambda: cache.acks.of(news.type_url, news.name).current == (WEB,))

    async with running_envoy(config, tmp_path):
        await learns("begin")
        for step in (Step.BEGIN, Step.SWITCH, Step.DROP) * 2:
            taken = authority.maintain(
                now=datetime.now(UTC),
                bundle_acknowledged=True,
                last_old_leaf_expiry=None,
                rotate_root=step is Step.BEGIN,
            )
            assert taken is step
            await server.stop(0)
            server = AdsServer(cache, authenticator=BearerToken(verify), tls=identity(authority))
            await server.start(f"localhost:{port}")
            await learns(f"{step.value}-{authority.state.signer}")
    await server.stop(0)
