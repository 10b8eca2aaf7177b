"""The documented rollout on a real cluster, by kubectl, under constant load."""

from __future__ import annotations

import collections
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import pytest

from datapath.chance import assert_shares
from e2e.cluster.cluster import Cluster
from e2e.cluster.commands import wait_for
from e2e.cluster.images import BASE

pytestmark = [pytest.mark.slow, pytest.mark.envoy, pytest.mark.timeout(600), pytest.mark.xdist_group("cluster")]

EXAMPLE = Path(__file__).parents[2] / "examples" / "foobar"
REQUESTS = 3000
"""So many answers a step is judged by."""


class Slot(TypedDict):
    """What the client counted in a quarter of a second."""

    time: float
    errors: dict[str, int]
    versions: dict[str, int]


@dataclass(frozen=True, slots=True)
class Shop:
    """The sample application in a namespace of its own."""

    cluster: Cluster
    namespace: str

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        return self.cluster.kubectl("-n", self.namespace, *arguments, stdin=stdin)

    def apply(self, overlay: str) -> None:
        """An overlay of the example, with an image that the test cluster has."""
        rendered = self.cluster.kubectl(
            "kustomize", "--load-restrictor", "LoadRestrictionsNone", str(EXAMPLE / "kubernetes" / overlay)
        )
        self.kubectl("apply", "-f", "-", stdin=rendered.replace("python:3.13-slim", BASE))

    def divide(self, **weights: str) -> None:
        """Write the Canary, and wait until the data plane has acknowledged it."""
        backends = [{"service": f"foobar-{version}", "weight": weight} for version, weight in weights.items()]
        canary = {
            "apiVersion": "smi-spec.io/v1beta1",
            "kind": "Canary",
            "metadata": {"name": "foobar"},
            "spec": {"service": "foobar", "backends": backends},
        }
        self.kubectl("apply", "-f", "-", stdin=json.dumps(canary))
        self.programmed("canaries.smi-spec.io/foobar")

    def programmed(self, name: str) -> None:
        """Of the object as it is now, and not of an earlier one."""
        generation = self.kubectl("get", name, "-o", "jsonpath={.metadata.generation}")
        self.kubectl("wait", name, f"--for=jsonpath={{.status.observedGeneration}}={generation}", "--timeout=60s")
        self.kubectl("wait", name, "--for=condition=Programmed", "--timeout=60s")

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

        return wait_for(f"{number} answers", enough, within_seconds=60, every_seconds=1)


@pytest.fixture
def shop(mesh: Cluster, meshed: str) -> Shop:
    """Deployment foobar-v1, Services foobar and foobar-v1, and a client that calls `foobar` 400 times a second."""
    shop = Shop(mesh, meshed)
    shop.apply("")
    shop.kubectl("wait", "--for=condition=Ready", "pod", "--all", "--timeout=120s")
    return shop


def test_the_documented_rollout_works_word_for_word(shop: Shop) -> None:
    """SMI-CAN-18, SMI-CAN-21: every step divides as it says, and no request fails in any of them."""
    shop.programmed("mutualtls/client")
    begun = time.time()
    assert set(shop.answers(400)) == {"v1"}

    shop.divide(v1="1", v2="0m")  # v2 does not exist yet
    assert set(shop.answers(400)) == {"v1"}

    shop.apply("v2")
    shop.kubectl("rollout", "status", "deployment/foobar-v2", "--timeout=120s")
    direct = shop.kubectl("exec", "client", "-c", "client", "--", "python3", "client.py", "get", "http://foobar-v2/")
    assert json.loads(direct)["version"] == "v2"
    assert set(shop.answers()) == {"v1"}

    shop.divide(v1="1", v2="500m")
    assert_shares(shop.answers(), {"v1": 2, "v2": 1})

    shop.divide(v2="500m")
    assert set(shop.answers()) == {"v2"}

    shop.kubectl("delete", "deployment/foobar-v1", "service/foobar-v1", "--wait=true")
    assert set(shop.answers()) == {"v2"}

    shop.kubectl("delete", "canaries.smi-spec.io/foobar")
    assert set(shop.answers()) == {"v2"}
    assert shop.failed(since=begun) == {}
