"""What an Envoy says about itself: some sixty kilobytes in the first request of every stream, mostly its extensions.

Simulated proxies say the same, since a server must read it and may keep it.
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import grpc
import grpc.aio
from envoy.service.discovery.v3 import discovery_pb2

from smeagol.intent import MeshIntent, WorkloadIntent
from smeagol.plan import ProxyConnection
from smeagol.providers.envoy import provider
from smeagol.providers.envoy.binary import envoy_command
from smeagol.refs import NodeId, PodRef

__all__ = ["node_of_real_envoy"]


def node_of_real_envoy() -> bytes:
    """Start an Envoy with our bootstrap, and return the `core.v3.Node` it sends, serialized."""
    return asyncio.run(_listen())


async def _listen() -> bytes:
    first: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def stream(requests: object, context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
        raw = await context.read()
        if not first.done() and isinstance(raw, bytes):
            first.set_result(raw)

    server = grpc.aio.server()
    handler = grpc.stream_stream_rpc_method_handler(stream)
    service = "envoy.service.discovery.v3.AggregatedDiscoveryService"
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(service, {"DeltaAggregatedResources": handler}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "bootstrap.json"
        file.write_bytes(_bootstrap(port, folder))
        command = (*envoy_command(), "--config-path", str(file))
        process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)
        try:
            async with asyncio.timeout(30):
                request = discovery_pb2.DeltaDiscoveryRequest.FromString(await first)
        finally:
            process.kill()
            await process.wait()
            await server.stop(0)
    return bytes(request.node.SerializeToString())


def _bootstrap(port: int, folder: str) -> bytes:
    workload = WorkloadIntent(
        pod=PodRef("shop", "client-00000"),
        uid="uid",
        node=NodeId("shop/client-00000"),
        addresses=("127.0.0.1",),
        service_account="default",
        mode=None,
        client_names=(),
        server_names=(),
        inbound_ports=(),
    )
    connection = ProxyConnection(address=f"127.0.0.1:{port}", admin_socket=f"{folder}/admin.sock")
    mesh = MeshIntent(cluster_domain="cluster.local", trust_domain="cluster.local")
    return provider.bootstrap(workload, mesh, connection)
