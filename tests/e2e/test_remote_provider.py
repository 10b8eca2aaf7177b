"""The example of a provider in a process of its own, on a real API server, with the rights that are printed for it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.cluster.commands import wait_for
from e2e_kit.apiserver import ApiServer, api_server, canary, condition, smeagol

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("api-remote")]

EXAMPLE = Path(__file__).parents[2] / "examples/provider/provider.py"
CLASS = """
apiVersion: smi-spec.io/v1beta1
kind: ProviderClass
metadata: {name: haproxy-map}
spec: {controllerName: example.com/haproxy-map}
"""


@pytest.fixture(scope="module")
def api() -> Iterator[ApiServer]:
    with api_server() as server:
        server.apply(CLASS)
        yield server


class Process:
    """The provider, which may end and come back."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen([sys.executable, EXAMPLE, self.socket], stderr=subprocess.DEVNULL)
        wait_for("the provider's socket", self.socket.exists, within_seconds=60)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[Process]:
    process = Process(tmp_path / "provider.sock")
    yield process
    process.end()


@pytest.fixture
def control(api: ApiServer, provider: Process, tmp_path: Path) -> Iterator[None]:
    """A controller with the token of the account that `smeagol providers --access` makes."""
    namespace, name = api.namespace(), f"unix:{provider.socket}"
    api.kubectl("apply", "-f", "-", stdin=smeagol("providers", "--access", name, "-n", namespace))
    config = json.loads(api.kubectl("config", "view", "--raw", "-o", "json"))
    token = api.kubectl("-n", namespace, "create", "token", "smeagol-adapters").strip()
    for user in config["users"]:
        user["user"] = {"token": token}
    kubeconfig, log = tmp_path / "kubeconfig", tmp_path / "controller.log"
    kubeconfig.write_text(json.dumps(config))
    command = [sys.executable, "-c", "from smeagol.cli import main; main()", "controller", "-p", name]
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*command, "--namespace", namespace, "--kubeconfig", str(kubeconfig), "--health-address", "127.0.0.1:0"],
            stdout=out,
            stderr=out,
            env={**os.environ, "NO_PROXY": "*"},
        )
    try:
        yield
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) in {0, -signal.SIGTERM}
    finally:
        process.kill()
        process.wait()
        print(log.read_text())


def test_a_canary_becomes_what_the_process_says(api: ApiServer, provider: Process, control: None) -> None:
    """It follows the weights; while the process is away nothing changes and that is told; then it is caught up with."""
    shop = api.namespace()
    api.kubectl("label", "namespace", shop, "smi-spec.io/provider-class=haproxy-map")
    for number, version in enumerate(("v1", "v2"), 1):
        api.pod(f"web-{version}", f"10.244.1.{number}", shop, proxy=False)
        api.service(f"web-{version}", shop)
    api.service("web", shop, app="web-v1")

    def weights() -> str | None:
        found = {m["metadata"]["name"]: m["data"] for m in api.items("configmaps", shop)}.get("map-web")
        return found["weights.map"] if found else None

    def told(what: str, name: str, namespace: str, kind: str, reason: str) -> None:
        is_told = f"{name}: {kind} {reason}"
        wait_for(
            is_told, lambda: condition(api.get(what, name, namespace), kind).get("reason") == reason, within_seconds=60
        )

    api.apply(canary("web", "web", v1="900m", v2="100m"), shop)
    wait_for("the map", lambda: weights() == "web-v1 900\nweb-v2 100\n", within_seconds=60)
    told("canary", "web", shop, "Programmed", "Programmed")

    edited = json.dumps({"data": {"weights.map": "web-v1 1\n"}})
    api.kubectl("-n", shop, "patch", "configmap", "map-web", "--type=merge", "-p", edited)
    wait_for("the map to be changed back", lambda: weights() == "web-v1 900\nweb-v2 100\n", within_seconds=60)

    provider.end()
    told("providerclass", "haproxy-map", "", "Accepted", "UnsupportedPeer")
    api.apply(canary("web", "web", v1="1", v2="3"), shop)
    told("canary", "web", shop, "Programmed", "Pending")
    assert weights() == "web-v1 900\nweb-v2 100\n"

    provider.start()
    wait_for("the new weights", lambda: weights() == "web-v1 1000\nweb-v2 3000\n", within_seconds=60)
    told("canary", "web", shop, "Programmed", "Programmed")
    api.kubectl("-n", shop, "delete", "canary", "web")
    wait_for("the map to go", lambda: weights() is None, within_seconds=60)
