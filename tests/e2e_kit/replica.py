"""Replicas of the control plane as processes, as a cluster would run them."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from e2e.cluster.commands import wait_for
from e2e.ports import free_port
from e2e_kit.apiserver import ApiServer
from smeagol.control import Status


def own_address() -> str:
    """One of this machine's that is not loopback: the API server wants no other in an EndpointSlice."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(("192.0.2.1", 9))  # sends nothing: it asks for a route
        address: str = sock.getsockname()[0]
        return address


@dataclass
class Replica:
    """One process of `smeagol controller`."""

    identity: str
    port: int
    log: Path
    process: subprocess.Popen[bytes]
    peers_port: int
    health_port: int
    control_port: int

    @property
    def serves(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True

    def logged(self, event: str) -> list[dict[str, object]]:
        """What it has said, under this name."""
        lines = (line for line in self.log.read_text().splitlines() if line.startswith("{"))
        return [fact for fact in map(json.loads, lines) if fact["event"] == event]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    @property
    def ready(self) -> bool:
        try:
            return _get(self.health_port, "/readyz").status_code == 200
        except httpx2.HTTPError:
            return False

    def metrics(self) -> str:
        return _get(self.health_port, "/metrics").raise_for_status().text

    def status(self) -> Status:
        """As `smeagol status` gets it."""
        answer = _get(self.control_port, "/v1/status").raise_for_status()
        return msgspec.json.decode(answer.content, type=Status)

    def pause(self) -> None:
        """It keeps its connections, and answers nobody."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def stop(self) -> int:
        """As the kubelet ends it."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)


def _get(port: int, path: str) -> httpx2.Response:
    return httpx2.get(f"http://127.0.0.1:{port}{path}", trust_env=False, timeout=60)


@contextmanager
def replica(api: ApiServer, namespace: str, identity: str, folder: Path, *, port: int = 0) -> Iterator[Replica]:
    """A replica that has been started; it may not serve yet. `namespace` is where Lease and keys are."""
    port = port or free_port()
    peers_port, health_port, control_port = free_port(), free_port(), free_port()
    log = folder / f"{identity}-{port}.log"
    command = [sys.executable, "-c", "from smeagol.cli import main; main()", "controller"]
    options = {
        "--kubeconfig": str(api.cluster.kubeconfig),
        "--namespace": namespace,
        "--identity": identity,
        "--discovery-address": f"127.0.0.1:{port}",
        "--peers-address": f"{own_address()}:{peers_port}",
        "--health-address": f"127.0.0.1:{health_port}",
        "--control-port": str(control_port),
        "--pod-cidr": "10.244.0.0/16",
    }
    with log.open("ab") as out:
        process = subprocess.Popen(
            [*command, "--verbose", *(part for option in options.items() for part in option)],
            stdout=out,
            stderr=out,
            env={**os.environ, "NO_PROXY": "*"},
        )
    made = Replica(identity, port, log, process, peers_port, health_port, control_port)
    try:
        yield made
    finally:
        if process.poll() is None:
            made.kill()
        print(f"--- {identity}\n{log.read_text()}")


@contextmanager
def serving(api: ApiServer, namespace: str, identity: str, folder: Path, *, port: int = 0) -> Iterator[Replica]:
    """A replica that proxies can connect to."""
    with replica(api, namespace, identity, folder, port=port) as made:
        wait_for(f"{identity} serves", lambda: made.serves and made.ready, within_seconds=120)
        yield made


def announce(api: ApiServer, namespace: str, each: Replica, *, ready: bool = True) -> None:
    """Let the replica be found, as the discovery Service of an installation would."""
    api.apply(
        f"""
        apiVersion: discovery.k8s.io/v1
        kind: EndpointSlice
        metadata: {{name: {each.identity}, labels: {{kubernetes.io/service-name: smeagol-discovery}}}}
        addressType: IPv4
        ports: [{{name: peers, port: {each.peers_port}, protocol: TCP}}]
        endpoints:
        - addresses: ["{own_address()}"]
          conditions: {{ready: {str(ready).lower()}}}
          targetRef: {{kind: Pod, name: {each.identity}, namespace: {namespace}}}
        """,
        namespace,
    )


def leader(api: ApiServer, namespace: str) -> str:
    """Whose name is in the Lease."""
    jsonpath = "jsonpath={.items[*].spec.holderIdentity}"
    return api.kubectl("-n", namespace, "get", "leases", "-o", jsonpath)


def roots(api: ApiServer, namespace: str) -> bytes:
    """The mesh's root certificates, which its proxies are given."""
    secret = api.get("secret", "smeagol-authority", namespace)
    document = json.loads(base64.b64decode(secret["data"]["authority"]))
    pems = [generation["root"]["certificate"].encode() for generation in document["generations"]]
    return b"".join(x509.load_pem_x509_certificate(pem).public_bytes(Encoding.PEM) for pem in pems)
