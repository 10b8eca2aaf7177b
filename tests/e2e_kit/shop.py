"""The sample application on real Pods, under constant load, and what its client has counted."""

from __future__ import annotations

import collections
import json
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

from e2e.cluster.cluster import Cluster
from e2e.cluster.commands import wait_for
from e2e.cluster.images import BASE
from e2e_kit.installed import shown_certificate

__all__ = ["REQUESTS", "Shop", "Slot", "meshed_namespace"]

EXAMPLE = Path(__file__).parents[2] / "examples" / "foobar"
REQUESTS = 3000
"""So many answers a step is judged by."""


class Slot(TypedDict):
    """What the client counted in a quarter of a second."""

    time: float
    errors: dict[str, int]
    versions: dict[str, int]
    identities: dict[str, int]


@contextmanager
def meshed_namespace(cluster: Cluster) -> Iterator[str]:
    """One in which every Pod gets a proxy. The names that it has claimed are free when it ends, for the next."""
    name = f"mesh-{secrets.token_hex(4)}"
    cluster.kubectl("create", "namespace", name)
    cluster.kubectl("label", "namespace", name, "smi-spec.io/inject=enabled")
    try:
        yield name
    finally:
        cluster.kubectl("-n", name, "delete", "mutualtls", "--all")
        cluster.kubectl("delete", "namespace", name, "--wait=false")


@dataclass(frozen=True, slots=True)
class Shop:
    """The sample application in a namespace of its own, called `rate` times a second."""

    cluster: Cluster
    namespace: str
    rate: int = 400
    further: Mapping[str, object] = field(default_factory=dict)
    """further fields of the Canary's spec"""

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        return self.cluster.kubectl("-n", self.namespace, *arguments, stdin=stdin)

    def rendered(self, overlay: str) -> str:
        """An overlay of the example, with our rate, and an image that the test cluster has."""
        rendered = self.cluster.kubectl(
            "kustomize", "--load-restrictor", "LoadRestrictionsNone", str(EXAMPLE / "kubernetes" / overlay)
        )
        return rendered.replace("python:3.13-slim", BASE).replace('"400"', f'"{self.rate}"')

    def apply(self, overlay: str) -> None:
        """Bring an overlay into the cluster."""
        self.kubectl("apply", "-f", "-", stdin=self.rendered(overlay))

    def await_rollout(self, version: str) -> None:
        self.kubectl("rollout", "status", f"deployment/foobar-{version}", "--timeout=120s")

    def weigh(self, **weights: str) -> None:
        """Write the Canary."""
        backends = [{"service": f"foobar-{version}", "weight": weight} for version, weight in weights.items()]
        canary = {
            "apiVersion": "smi-spec.io/v1beta1",
            "kind": "Canary",
            "metadata": {"name": "foobar"},
            "spec": {"service": "foobar", "backends": backends, **self.further},
        }
        self.kubectl("apply", "-f", "-", stdin=json.dumps(canary))

    def divide(self, **weights: str) -> None:
        """Write the Canary, and wait until the data plane has acknowledged it."""
        self.weigh(**weights)
        self.programmed("canaries.smi-spec.io/foobar")

    def programmed(self, name: str) -> None:
        """Of the object as it is now, and not of an earlier one."""
        generation = self.kubectl("get", name, "-o", "jsonpath={.metadata.generation}")
        self.kubectl("wait", name, f"--for=jsonpath={{.status.observedGeneration}}={generation}", "--timeout=120s")
        self.kubectl("wait", name, "--for=condition=Programmed", "--timeout=120s")

    def roots(self) -> str:
        """The mesh's roots, as the proxies of this namespace are given them; PEM."""
        return self.kubectl("get", "configmap", "smeagol-ca", "-o", r"jsonpath={.data.ca\.crt}")

    def shown(self, version: str, *, roots: str = "") -> bytes | None:
        """The certificate that a version shows to its clients, if it leads to these roots, or to the mesh's."""
        address = self.kubectl("get", "pods", "-l", f"version={version}", "-o", "jsonpath={.items[0].status.podIP}")
        return shown_certificate(address, 8080, roots=roots or self.roots())

    def slots(self) -> list[Slot]:
        """All that the client has counted, in order of time."""
        return [json.loads(line) for line in self.kubectl("logs", "client", "-c", "client").splitlines()]

    def failed(self, *, since: float) -> dict[str, int]:
        """What went wrong since then, by kind. A client that is there before any server is told so, and not before."""
        errors: collections.Counter[str] = collections.Counter()
        for slot in self.slots():
            if slot["time"] > since:
                errors.update(slot["errors"])
        return dict(errors)

    def answers(self, number: int = REQUESTS) -> dict[str, int]:
        """Which versions answered the next so many requests, at least."""
        begun = time.time()

        def enough() -> dict[str, int] | None:
            found: collections.Counter[str] = collections.Counter()
            for slot in self.slots():
                if slot["time"] > begun:
                    found.update(slot["versions"])
            return dict(found) if found.total() >= number else None

        return wait_for(f"{number} answers", enough, within_seconds=180, every_seconds=1)

    @contextmanager
    def nothing_fails(self) -> Iterator[None]:
        """Whatever happens in the block, each request that is begun meanwhile has the answer that it should."""
        begun = time.time()
        yield
        self.answers(1)  # those of the block have all been counted now
        failed = self.failed(since=begun)
        assert not failed, failed

    def until_only(self, version: str) -> None:
        """Return when nobody else answers any more."""

        def only() -> bool:
            return set(self.slots()[-1]["versions"]) == {version}

        wait_for(f"only {version} answers", only, within_seconds=60)
