"""Smeagol installed into a cluster that has no nodes: the control plane is a process, with the rights, the arguments
and the Services that the installation gives it.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from bench.processes import ROOT, Usage
from e2e.cluster.cluster import Cluster
from e2e.cluster.commands import wait_for
from e2e.ports import free_port

__all__ = ["NAMESPACE", "Controller", "Place", "controller", "install", "ready_place"]

NAMESPACE = "smeagol-system"
_ACCOUNT = "smeagol-controller"
_SMEAGOL = (sys.executable, "-c", "from smeagol.cli import main; main()")
_WEBHOOK_ADDRESS = "127.53.0.1"
"""The API server looks for a Service's name where nobody answers here; its address is given instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """How the control plane is started, and where it answers."""

    kubeconfig: Path
    arguments: tuple[str, ...]
    discovery_port: int
    health_port: int
    log: Path


@dataclass(frozen=True, slots=True)
class Controller:
    """A control plane that runs."""

    process: subprocess.Popen[bytes]
    usage: Usage

    def kill(self) -> None:
        """As a node that fails ends it."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def install(cluster: Cluster, pod_cidr: str) -> None:
    """As users do, except that nothing can run in the cluster: the API server finds the webhook by an ExternalName."""
    images = ("--image", "smeagol", "--proxy-image", "envoy")
    command = [*_SMEAGOL, "install", "--kubeconfig", str(cluster.kubeconfig), *images, "--pod-cidr", pod_cidr]
    subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
    spec = {"type": "ExternalName", "externalName": _WEBHOOK_ADDRESS, "selector": None, "clusterIP": None}
    patch = json.dumps({"spec": {**spec, "clusterIPs": None}})
    cluster.kubectl("-n", NAMESPACE, "patch", "service", "smeagol-webhook", "--type=merge", "-p", patch)


def ready_place(cluster: Cluster, token: str, folder: Path) -> Place:
    """`token`: of the control plane's own service account."""
    kubeconfig = folder / "controller.kubeconfig"
    kubeconfig.touch(mode=0o600)
    kubeconfig.write_text(json.dumps(_kubeconfig(cluster, token)), encoding="utf-8")
    deployment: Any = json.loads(cluster.kubectl("-n", NAMESPACE, "get", "deployment", _ACCOUNT, "-o", "json"))
    arguments = list(deployment["spec"]["template"]["spec"]["containers"][0]["args"])
    discovery, health = free_port(), free_port()
    for option, value in {
        "--discovery-address": f"127.0.0.1:{discovery}",
        "--webhook-address": f"{_WEBHOOK_ADDRESS}:443",
        "--peers-address": f"127.0.0.1:{free_port()}",
        "--health-address": f"127.0.0.1:{health}",
        "--control-port": str(free_port()),
    }.items():
        arguments[arguments.index(option) + 1] = value
    return Place(
        kubeconfig=kubeconfig,
        arguments=tuple(arguments),
        discovery_port=discovery,
        health_port=health,
        log=folder / "controller.log",
    )


@contextlib.contextmanager
def controller(place: Place) -> Iterator[Controller]:
    """The control plane, once it says that it is ready."""
    environment = {
        **os.environ,
        "POD_NAME": "bench",
        "SMEAGOL_PROXY_IMAGE": "example.com/envoy:1",
        "SMEAGOL_INIT_IMAGE": "example.com/smeagol:1",
    }
    with place.log.open("ab") as log:
        process = subprocess.Popen(
            [*_SMEAGOL, *place.arguments, "--kubeconfig", place.kubeconfig],
            cwd=ROOT,
            stdout=log,
            stderr=log,
            env=environment,
        )
    running = Controller(process, Usage(process.pid))
    try:
        wait_for("the control plane is ready", lambda: _is_ready(running, place), within_seconds=120)
        yield running
    except BaseException:
        print(place.log.read_text(encoding="utf-8")[-5000:], file=sys.stderr)
        raise
    finally:
        if process.poll() is None:
            running.kill()


def _is_ready(running: Controller, place: Place) -> bool:
    if running.process.poll() is not None:
        raise RuntimeError("the control plane has ended")
    with contextlib.suppress(httpx2.HTTPError):
        return httpx2.get(f"http://127.0.0.1:{place.health_port}/readyz", trust_env=False).status_code == 200
    return False


def _kubeconfig(cluster: Cluster, token: str) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "bench",
        "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": "bench"}}],
        "clusters": [
            {"name": "bench", "cluster": {"server": cluster.server, "certificate-authority": str(cluster.ca)}}
        ],
        "users": [{"name": "bench", "user": {"token": token}}],
    }
