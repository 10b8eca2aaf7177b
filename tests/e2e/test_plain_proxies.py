"""Where native sidecars are switched off, the proxy is an ordinary container, and the mesh is the same."""

from __future__ import annotations

import json

import pytest

from e2e.cluster.cluster import Cluster
from e2e.cluster.commands import wait_for
from e2e_kit.installed import DEPLOYMENT, Installed
from e2e_kit.shop import Shop, meshed_namespace

pytestmark = [pytest.mark.slow, pytest.mark.envoy, pytest.mark.timeout(300), pytest.mark.xdist_group("cluster")]

SWITCH = "SMEAGOL_NATIVE_SIDECARS"


def test_the_proxy_is_an_ordinary_container(mesh: Cluster) -> None:
    """As docs/reference/injection.md has it: the Pod's last container; mutual TLS as with any other."""
    plane = Installed(mesh)
    plane.kubectl("set", "env", DEPLOYMENT, f"{SWITCH}=false")
    try:
        plane.until_rolled()
        with meshed_namespace(mesh) as namespace:
            shop = Shop(mesh, namespace, rate=100)
            shop.apply("")
            shop.kubectl("wait", "--for=condition=Ready", "pod", "--all", "--timeout=120s")
            for pod in json.loads(shop.kubectl("get", "pods", "-o", "json"))["items"]:
                assert [each["name"] for each in pod["spec"]["initContainers"]] == ["smeagol-init"]
                assert [each["name"] for each in pod["spec"]["containers"]][1:] == ["smeagol-proxy"]
            shop.programmed("mutualtls/everyone")
            # The application may have begun before its proxy, and failed until that was there.
            wait_for("it is answered", lambda: any(s["versions"] for s in shop.slots()[-1:]), within_seconds=30)
            with shop.nothing_fails():
                assert set(shop.answers(200)) == {"v1"}

            def is_known() -> bool:
                return any(name.startswith("client.foobar.example") for name in shop.slots()[-1]["identities"])

            wait_for("connections from before it had its name have ended", is_known, within_seconds=120)
    finally:
        plane.kubectl("set", "env", DEPLOYMENT, f"{SWITCH}-")
        plane.until_rolled()
