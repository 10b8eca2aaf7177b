"""The real Envoy of a Pod that has no node: in a network of its own, with the Pod's token, on its way to replicas."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx2

from e2e_kit import inside
from e2e_kit.apiserver import ApiServer, Json
from e2e_kit.replica import Replica, roots
from smeagol.intent import MeshIntent, WorkloadIntent
from smeagol.plan import ProxyConnection
from smeagol.providers.envoy import provider
from smeagol.providers.envoy.binary import envoy_command
from smeagol.refs import PodRef

MESH = MeshIntent(cluster_domain="cluster.local", trust_domain="cluster.local", pod_cidrs=("10.244.0.0/16",))


@dataclass
class Proxy:
    """An Envoy that runs. It connects to the first of `replicas` that takes it."""

    folder: Path
    replicas: list[Replica]

    async def listeners(self) -> set[str]:
        """Names of the listeners that it has taken over. Raises httpx2.HTTPError if it does not answer (yet)."""
        transport = httpx2.AsyncHTTPTransport(uds=str(self.folder / "admin.sock"))
        async with httpx2.AsyncClient(transport=transport, base_url="http://envoy", timeout=30) as client:
            answer = await client.get("/config_dump?resource=dynamic_listeners")
        configs: list[Json] = answer.json().get("configs", [])
        return {config["name"] for config in configs if "active_state" in config}

    async def to_replica(self) -> inside.Streams:
        for replica in self.replicas:
            with suppress(OSError):
                return await asyncio.open_connection("127.0.0.1", replica.port)
        msg = "no replica serves"
        raise ConnectionRefusedError(msg)


def workload(pod: PodRef, address: str) -> WorkloadIntent:
    """As much of a Pod as its bootstrap needs."""
    return WorkloadIntent(
        pod=pod,
        uid="",
        node=pod.node,
        addresses=(address,),
        service_account="default",
        mode=None,
        client_names=(),
        server_names=(),
        inbound_ports=(),
    )


@asynccontextmanager
async def proxy(
    api: ApiServer, pod: PodRef, address: str, replicas: Sequence[Replica], control: str, folder: Path
) -> AsyncIterator[Proxy]:
    """The proxy of a Pod that exists; `control` is the namespace of the control plane."""
    folder.mkdir()
    (folder / "token").write_text(await asyncio.to_thread(api.token, pod.name, pod.namespace))
    (folder / "ca.pem").write_bytes(await asyncio.to_thread(roots, api, control))
    connection = ProxyConnection(
        address=f"127.0.0.1:{inside.DISCOVERY_PORT}",
        token_file=str(folder / "token"),
        ca_file=str(folder / "ca.pem"),
        server_name=f"smeagol-discovery.{control}.svc",
        admin_socket=str(folder / "admin.sock"),
    )
    (folder / "bootstrap.json").write_bytes(provider.bootstrap(workload(pod, address), MESH, connection))
    made = Proxy(folder, list(replicas))
    server = await asyncio.start_unix_server(inside.onward(made.to_replica), folder / "discovery.sock")
    own_network = ("unshare", "--net", *(("--map-root-user",) if os.getuid() else ()), "--fork", "--kill-child")
    async with server:
        with (folder / "log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                *own_network,
                *(sys.executable, inside.__file__, str(folder), address),
                *(*envoy_command(), "--config-path", str(folder / "bootstrap.json")),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            yield made
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
            print(f"--- proxy {pod}\n{(folder / 'log').read_text()[-5000:]}")
