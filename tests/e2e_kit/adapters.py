"""Adapters as processes beside an API server, with the rights that they are given in a cluster and no more."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from e2e_kit.apiserver import ApiServer, smeagol

__all__ = ["Replica"]


class Replica:
    """One process of `smeagol controller -p ADAPTER …`, with the rights that `smeagol providers --access` prints."""

    def __init__(self, api: ApiServer, namespace: str, folder: Path, *adapters: str) -> None:
        access = smeagol("providers", *_each("--access", adapters), "-n", namespace)
        api.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=access)
        self.log = folder / "controller.log"
        command = [sys.executable, "-c", "from smeagol.cli import main; main()", "controller", "--verbose"]
        options = [*_each("-p", adapters), "--namespace", namespace, "--identity", folder.name]
        options += ["--health-address", "127.0.0.1:0"]  # others run beside
        kubeconfig = _account(api, namespace, folder)
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                [*command, *options, "--kubeconfig", str(kubeconfig)],
                stdout=out,
                stderr=out,
                env={**os.environ, "NO_PROXY": "*"},
            )

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        print(self.log.read_text())


def _each(option: str, values: tuple[str, ...]) -> list[str]:
    return [word for value in values for word in (option, value)]


def _account(api: ApiServer, namespace: str, folder: Path) -> Path:
    """A kubeconfig with the token of the adapters' service account."""
    config = json.loads(api.kubectl("config", "view", "--raw", "-o", "json"))
    token = api.kubectl("-n", namespace, "create", "token", "smeagol-adapters").strip()
    for user in config["users"]:
        user["user"] = {"token": token}
    file = folder / "kubeconfig"
    file.write_text(json.dumps(config))
    return file
