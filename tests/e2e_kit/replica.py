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

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from e2e.cluster.commands import wait_for
from e2e_kit.apiserver import ApiServer


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@dataclass
class Replica:
    """One process of `smeagol controller`."""

    identity: str
    port: int
    log: Path
    process: subprocess.Popen[bytes]

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

    def stop(self) -> int:
        """As the kubelet ends it."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=30)


@contextmanager
def replica(api: ApiServer, namespace: str, identity: str, folder: Path, *, port: int = 0) -> Iterator[Replica]:
    """A replica that has been started; it may not serve yet. `namespace` is where Lease and keys are."""
    port = port or free_port()
    log = folder / f"{identity}-{port}.log"
    command = [sys.executable, "-c", "from smeagol.cli import main; main()", "controller"]
    options = {
        "--kubeconfig": str(api.cluster.kubeconfig),
        "--namespace": namespace,
        "--identity": identity,
        "--discovery-address": f"127.0.0.1:{port}",
        "--pod-cidr": "10.244.0.0/16",
    }
    with log.open("ab") as out:
        process = subprocess.Popen(
            [*command, "--verbose", *(part for option in options.items() for part in option)],
            stdout=out,
            stderr=out,
            env={**os.environ, "NO_PROXY": "*"},
        )
    made = Replica(identity, port, log, process)
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
        wait_for(f"{identity} serves", lambda: made.serves, within_seconds=60)
        yield made


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
