"""The real Envoy: asked to judge our resources, or to run them on loopback, without discovery and without a namespace.

Discovered resources are put into the bootstrap: routes into the listeners that ask for them, endpoints into their
clusters, secrets beside them.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID
from google.protobuf.json_format import MessageToDict
from google.protobuf.message_factory import GetMessageClass

from e2e.ports import free_port
from providers.envoy.kit import LOCAL, MESH, workload
from smeagol.intent import WorkloadIntent
from smeagol.pki import LocalAuthority, MemoryKeyStore
from smeagol.pki.certificates import new_root
from smeagol.plan import CertificateRequest, ProxyResource, Purpose
from smeagol.providers.envoy import provider
from smeagol.providers.envoy.binary import envoy_binary
from smeagol.providers.envoy.protos import POOL

__all__ = [
    "AUTHORITY",
    "OTHER_AUTHORITY",
    "Json",
    "Proxy",
    "client_context",
    "external_client_context",
    "in_folder",
    "message",
    "objections",
    "parts",
    "proxy",
    "trusting_context",
]

Json = dict[str, Any]
"""A message as JSON: this file is about Envoy's own words, so it looks into them untyped."""


def _authority() -> LocalAuthority:
    return LocalAuthority.open(MemoryKeyStore(), trust_domain="cluster.local", now=datetime.now(UTC))


AUTHORITY = _authority()
OTHER_AUTHORITY = _authority()
EXTERNAL = new_root("cluster.local", now=datetime.now(UTC), lifetime=timedelta(days=1))
"""A root that the mesh trusts too, and whose certificates are not made by our rules."""


def message(resource: ProxyResource) -> Json:
    """The whole resource, keys included, as the proxy gets it."""
    kind = POOL.FindMessageTypeByName(resource.type_url.rpartition("/")[2])
    parsed = GetMessageClass(kind).FromString(resource.body)
    shown: Json = MessageToDict(parsed, preserving_proto_field_name=True, descriptor_pool=POOL)
    return shown


def parts(value: object, type_name: str) -> Iterator[Json]:
    """Every message whose type ends so, however deep."""
    if isinstance(value, dict):
        if str(value.get("@type", "")).endswith(type_name):
            yield value
        for inner in list(value.values()):
            yield from parts(inner, type_name)
    elif isinstance(value, list):
        for inner in value:
            yield from parts(inner, type_name)


@cache
def _secrets(requests: tuple[CertificateRequest, ...]) -> tuple[Json, ...]:
    """What the control plane would deliver for these requests, and the roots."""
    made = [provider.trust_bundle(AUTHORITY.trust_bundle_pem + EXTERNAL.certificate.public_bytes(Encoding.PEM))]
    for request in requests:
        issued = AUTHORITY.issue(request.names, request.purpose, now=datetime.now(UTC))
        made.append(provider.certificate(request, issued.chain_pem, issued.key_pem.reveal()))
    return tuple(message(secret) for secret in made)


def _of_kind(resources: Iterable[ProxyResource], kind: str) -> list[Json]:
    return [message(resource) for resource in resources if resource.type_url.endswith(f".{kind}")]


def _static(owner: WorkloadIntent, resources: Iterable[ProxyResource], bootstrap: bytes | None = None) -> Json:
    """A bootstrap that holds these resources and needs no discovery."""
    resources = list(resources)
    config: Json = json.loads(bootstrap or provider.bootstrap(owner, MESH, LOCAL))
    static = config["static_resources"]
    endpoints = {body["cluster_name"]: body for body in _of_kind(resources, "ClusterLoadAssignment")}
    for cluster in _of_kind(resources, "Cluster"):
        if cluster.get("type") == "EDS":
            del cluster["eds_cluster_config"]
            cluster |= {"type": "STATIC", "load_assignment": endpoints[cluster["name"]]}
        static["clusters"].append(cluster)
    routes = {body["name"]: body for body in _of_kind(resources, "RouteConfiguration")}
    for listener in _of_kind(resources, "Listener"):
        for manager in parts(listener, ".HttpConnectionManager"):
            if "rds" in manager:
                manager["route_config"] = routes[manager.pop("rds")["route_config_name"]]
        static["listeners"].append(listener)
    static["secrets"] = list(_secrets(provider.plan(owner).certificates or ()))
    for context in parts(static, "TlsContext"):
        _without_discovery(context)
    return config


def _without_discovery(value: object) -> None:
    if isinstance(value, dict):
        value.pop("sds_config", None)
        for inner in value.values():
            _without_discovery(inner)
    elif isinstance(value, list):
        for inner in value:
            _without_discovery(inner)


def objections(resources: Iterable[ProxyResource], folder: Path, bootstrap: bytes | None = None) -> str:
    """What Envoy finds wrong with these resources, all at once; empty if nothing. No port is bound."""
    file = folder / "validated.json"
    file.write_text(json.dumps(_static(workload(), resources, bootstrap)))
    command = [envoy_binary(), "--mode", "validate", "-c", str(file), "-l", "error"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return "" if done.returncode == 0 else done.stderr + done.stdout


@dataclass(frozen=True, slots=True)
class Proxy:
    """A running Envoy. `metrics_port`, `readiness_port`: where outsiders may look at it."""

    metrics_port: int
    readiness_port: int

    async def metrics(self) -> str:
        """What Prometheus would get."""
        return await asyncio.to_thread(_read, f"http://127.0.0.1:{self.metrics_port}/stats/prometheus")

    async def readiness(self) -> str:
        """What a readiness probe would get."""
        return await asyncio.to_thread(_read, f"http://127.0.0.1:{self.readiness_port}/ready")


def _read(url: str) -> str:
    with urlopen(url, timeout=10) as answer:
        text: str = answer.read().decode()
        return text


@asynccontextmanager
async def proxy(
    owner: WorkloadIntent,
    resources: Iterable[ProxyResource],
    folder: Path,
    *,
    ports: Mapping[str, int],
    app_port: int | None = None,
) -> AsyncIterator[Proxy]:
    """Run Envoy with these resources, without redirected connections.

    `ports`: which listeners really listen, by name, and on which port of 127.0.0.1; a port that a chain is meant for
    must be the one that is dialled. `app_port`: where the application listens, instead of where was dialled.
    """
    config = _static(owner, resources)
    static = config["static_resources"]
    listening = []
    running = Proxy(metrics_port=free_port(), readiness_port=free_port())
    ports = {"metrics": running.metrics_port, "readiness": running.readiness_port, **ports}
    for listener in static["listeners"]:
        if "internal_listener" in listener:
            listening.append(listener)
        elif listener["name"] in ports:
            listener.pop("additional_addresses", None)
            listener.pop("bind_to_port", None)
            listener["address"] = _on_loopback(ports[listener["name"]])
            filters = listener.get("listener_filters", [])
            listener["listener_filters"] = [inspector for inspector in filters if inspector["name"] != "original_dst"]
            listening.append(listener)
    static["listeners"] = listening
    for cluster in static["clusters"]:
        if cluster["name"] == "app" and app_port is not None:
            members = [{"lb_endpoints": [{"endpoint": {"address": _on_loopback(app_port)}}]}]
            assignment = {"cluster_name": cluster["name"], "endpoints": members}
            cluster |= {"type": "STATIC", "lb_policy": "ROUND_ROBIN", "load_assignment": assignment}
    del config["dynamic_resources"]
    in_folder(config, f"{running.readiness_port}.sock")
    file = folder / f"{owner.pod.name}-{running.readiness_port}.json"
    file.write_text(json.dumps(config))
    process = await asyncio.create_subprocess_exec(
        envoy_binary(), "-c", str(file), "--concurrency", "1", "--disable-hot-restart", "-l", "error", cwd=folder
    )
    try:
        async with asyncio.timeout(30):
            for port in ports.values():
                await _until_it_listens(process, port)
        yield running
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def in_folder(config: Json, name: str) -> None:
    """Let the proxy take orders from a socket in the folder it runs in: the path of one has 107 characters at most."""
    pipe = {"path": name, "mode": 0o600}
    config["admin"]["address"] = {"pipe": pipe}
    for cluster in config["static_resources"]["clusters"]:
        if cluster["name"] == "admin":
            cluster["load_assignment"]["endpoints"] = [{"lb_endpoints": [{"endpoint": {"address": {"pipe": pipe}}}]}]


def _on_loopback(port: int) -> Json:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


async def _until_it_listens(process: asyncio.subprocess.Process, port: int) -> None:
    while True:
        assert process.returncode is None, "Envoy ended"
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            await asyncio.sleep(0.02)
        else:
            writer.close()
            return


def client_context(
    folder: Path,
    names: Iterable[str] = ("foo",),
    *,
    authority: LocalAuthority = AUTHORITY,
    purpose: Purpose = Purpose.CLIENT,
    age: timedelta = timedelta(),
    alpn: Iterable[str] = ("http/1.1",),
) -> ssl.SSLContext:
    """An ordinary TLS client with a certificate of these names that was issued `age` ago; it trusts the mesh."""
    issued = authority.issue(names, purpose, now=datetime.now(UTC) - age)
    context = _with_key_pair(folder, issued.chain_pem + issued.key_pem.reveal())
    if offered := list(alpn):
        context.set_alpn_protocols(offered)
    return context


def external_client_context(folder: Path, name: x509.GeneralName) -> ssl.SSLContext:
    """A TLS client with a certificate of any name at all."""
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(EXTERNAL.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([name]), critical=True)
        .sign(EXTERNAL.key, hashes.SHA256())
    )
    key_pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return _with_key_pair(folder, certificate.public_bytes(Encoding.PEM) + key_pem)


def _with_key_pair(folder: Path, pem: bytes) -> ssl.SSLContext:
    file = folder / "client.pem"
    file.write_bytes(pem)
    context = trusting_context()
    context.load_cert_chain(file)
    return context


def trusting_context() -> ssl.SSLContext:
    """A TLS client that trusts the mesh and has no certificate."""
    return ssl.create_default_context(cadata=AUTHORITY.trust_bundle_pem.decode())
