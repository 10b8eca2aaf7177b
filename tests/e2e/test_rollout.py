"""The documented rollout on a real cluster, by kubectl, under constant load."""

from __future__ import annotations

import json
import time

import pytest

from datapath.chance import assert_shares
from e2e.cluster.cluster import Cluster
from e2e_kit.shop import Shop

pytestmark = [pytest.mark.slow, pytest.mark.envoy, pytest.mark.timeout(600), pytest.mark.xdist_group("cluster")]


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
    shop.await_rollout("v2")
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
