"""A control plane that dies, is replaced, or is cut off costs no request, and comes back to the truth: on real Pods.

One load runs through all of it, between the steps of the documented rollout. Each test leaves both versions serving.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from datapath.chance import assert_shares
from e2e.cluster.cluster import Cluster
from e2e.cluster.commands import wait_for
from e2e.images import Image, Images, build_as
from e2e_kit.authority import CA_SECRET, hand_over, root_of
from e2e_kit.commands import smeagol
from e2e_kit.installed import DEPLOYMENT, SYSTEM, Installed, counted, install
from e2e_kit.shop import Shop, meshed_namespace
from smeagol.pki.pem import to_pem

pytestmark = [pytest.mark.slow, pytest.mark.envoy, pytest.mark.timeout(600), pytest.mark.xdist_group("cluster")]

RATE = 200
"""A second: replicas that start take what two cores have, and a client that waits for a core proves nothing."""
REQUESTS = 1000


@pytest.fixture(scope="module")
def shop(mesh: Cluster) -> Iterator[Shop]:
    """Both versions, and a client that calls `foobar`."""
    with meshed_namespace(mesh) as namespace:
        shop = Shop(mesh, namespace, RATE)
        shop.apply("")
        shop.apply("v2")
        shop.kubectl("wait", "--for=condition=Ready", "pod", "--all", "--timeout=120s")
        shop.programmed("mutualtls/everyone")
        yield shop


@pytest.fixture
def plane(mesh: Cluster) -> Installed:
    return Installed(mesh)


def test_the_leader_dies(shop: Shop, plane: Installed) -> None:
    """Killed before its Pod goes, so that it gives no Lease back. Weights take effect while nobody leads, and who leads
    next says so.
    """
    shop.divide(v1="1", v2="0m")
    with shop.nothing_fails():
        killed = plane.leader
        (other,) = (address for name, address in plane.addresses().items() if name != killed)
        plane.cluster.kill(killed, "controller", namespace=SYSTEM)
        plane.kubectl("delete", "pod", killed, "--force", "--grace-period=0")
        before = counted(other, "smeagol_xds_updates_total")
        shop.weigh(v2="1")
        wait_for(
            "a follower sends them", lambda: counted(other, "smeagol_xds_updates_total") != before, within_seconds=60
        )
        sent = time.time()
        assert plane.leader == killed or sent < plane.led_since
        shop.until_only("v2")  # a proxy may have to give up a connection to the one that is dead before
        plane.until_another_leads(than=killed)
        shop.programmed("canaries.smi-spec.io/foobar")
        shop.divide(v1="1", v2="3")
        assert_shares(shop.answers(REQUESTS), {"v1": 1, "v2": 3})


def test_the_control_plane_is_rolled(shop: Shop, plane: Installed) -> None:
    """Every replica is replaced, and with them each certificate. What is changed meanwhile holds at once."""
    shop.divide(v1="1", v2="0m")
    before = shop.shown("v1")
    with shop.nothing_fails():
        plane.kubectl("rollout", "restart", DEPLOYMENT)
        shop.divide(v2="1")
        shop.until_only("v2")
        plane.until_rolled()
        shop.divide(v1="3", v2="1")
        assert_shares(shop.answers(REQUESTS), {"v1": 3, "v2": 1})
        wait_for("another certificate", lambda: shop.shown("v1") != before, within_seconds=120)


def test_the_api_server_is_away(shop: Shop, plane: Installed) -> None:
    """Until nobody leads, since who cannot renew a Lease must not claim to. Nothing is forgotten meanwhile: proxies are
    told nothing.
    """
    shop.divide(v1="1", v2="1")
    replicas = plane.addresses().values()
    told = [counted(address, "smeagol_xds_updates_total") for address in replicas]

    def cut_off() -> bool:
        return not any(sum(counted(a, "smeagol_leader") + counted(a, "smeagol_watch_connected")) for a in replicas)

    with shop.nothing_fails():
        plane.cluster.stop("kube-apiserver")
        try:
            wait_for("nobody leads and nothing is watched", cut_off, within_seconds=120)
            assert all(counted(address, "smeagol_ready") == (1,) for address in replicas)
        finally:
            plane.cluster.start("kube-apiserver")
            plane.cluster.wait_for_api()
        wait_for(
            "all is watched again",
            lambda: all(all(counted(address, "smeagol_watch_connected")) for address in replicas),
            within_seconds=180,
        )
        assert [counted(address, "smeagol_xds_updates_total") for address in replicas] == told
        shop.divide(v1="1", v2="3")
        assert_shares(shop.answers(REQUESTS), {"v1": 1, "v2": 3})


def test_the_root_is_replaced(shop: Shop, plane: Installed) -> None:
    """Old and new overlap, then the old one is trusted no more, and every certificate leads to the new one."""
    shop.divide(v1="1", v2="1")
    with shop.nothing_fails():
        plane.kubectl("set", "env", DEPLOYMENT, "SMEAGOL_ROOT_OVERLAP=0")
        plane.until_rolled()
        old = shop.roots()
        assert smeagol(plane.cluster, "ca", "rotate", "--root") == "the root is being replaced\n"
        wait_for(
            "another root alone is trusted",
            lambda: shop.roots() != old and shop.roots().count("BEGIN CERTIFICATE") == 1,
            within_seconds=240,
            every_seconds=0.5,
        )
        for version in ("v1", "v2"):
            assert shop.shown(version, roots=shop.roots())
            assert not shop.shown(version, roots=old)
        shop.kubectl("rollout", "restart", "deployment/foobar-v1")  # the new Pod knows the new root alone
        shop.await_rollout("v1")
        shop.programmed("mutualtls/everyone")
        shop.divide(v1="3", v2="1")
        assert_shares(shop.answers(REQUESTS), {"v1": 3, "v2": 1})


def test_the_authority_is_replaced(shop: Shop, plane: Installed, images: Images) -> None:
    """SMI-MTLS-21: by one elsewhere, which then has another root, and in the end by the mesh's own again. No Pod is
    restarted, and each comes back to a control plane that has been replaced meanwhile.
    """
    shop.divide(v1="1", v2="1")
    own, one, two = shop.roots(), root_of("one"), root_of("two")

    def until_trusted_alone(roots: str) -> None:
        wait_for("it alone is trusted", lambda: shop.roots() == roots, within_seconds=240, every_seconds=0.5)
        assert shop.shown("v1", roots=roots)

    with shop.nothing_fails():
        plane.kubectl("set", "env", DEPLOYMENT, "SMEAGOL_ROOT_OVERLAP=0")
        hand_over(plane.cluster, one)
        install(plane.cluster, images, "--ca-secret", CA_SECRET)
        until_trusted_alone(to_pem([one.certificate]).decode())
        hand_over(plane.cluster, two)
        until_trusted_alone(to_pem([two.certificate]).decode())
        plane.kubectl("rollout", "restart", DEPLOYMENT)
        plane.until_rolled()
        shop.divide(v1="3", v2="1")
        install(plane.cluster, images)
        until_trusted_alone(own)
        shop.divide(v1="1", v2="3")
        assert_shares(shop.answers(REQUESTS), {"v1": 1, "v2": 3})
    plane.kubectl("delete", "secret", CA_SECRET)


@pytest.fixture
def next_version(mesh: Cluster, images: Images) -> Image:
    """The same control plane, which takes itself for another version and the replicas before it for older ones."""
    image = build_as("0.2.0", images.controller)
    mesh.load(image.archive)
    return image


def test_an_upgrade(shop: Shop, plane: Installed, images: Images, next_version: Image) -> None:
    """By one minor version and back, and what is changed while both versions run holds at once. Proxies that began
    before the root was replaced come back to the new replicas too.
    """
    shop.divide(v1="1", v2="0m")
    with shop.nothing_fails():
        smeagol(plane.cluster, "upgrade", "--image", next_version.reference, "--no-wait")
        shop.divide(v2="1")
        shop.until_only("v2")
        smeagol(plane.cluster, "upgrade", "--image", next_version.reference, "--wait")
        replicas = json.loads(smeagol(plane.cluster, "status", "-o", "json"))["replicas"]
        assert [replica["version"] for replica in replicas] == ["0.2.0", "0.2.0"]
        shop.divide(v1="1", v2="3")
        assert_shares(shop.answers(REQUESTS), {"v1": 1, "v2": 3})
        smeagol(plane.cluster, "upgrade", "--image", images.controller.reference, "--wait")


def test_the_rollout_ends_as_documented(shop: Shop) -> None:
    """SMI-CAN-18, SMI-CAN-21: after all that the last steps are what they were."""
    with shop.nothing_fails():
        shop.divide(v1="1", v2="500m")
        assert_shares(shop.answers(REQUESTS), {"v1": 2, "v2": 1})
        shop.divide(v2="500m")
        assert set(shop.answers(REQUESTS)) == {"v2"}
        shop.kubectl("delete", "deployment/foobar-v1", "service/foobar-v1", "--wait=true")
        assert set(shop.answers(REQUESTS)) == {"v2"}
        shop.kubectl("delete", "canaries.smi-spec.io/foobar")
        assert set(shop.answers(REQUESTS)) == {"v2"}


def test_the_last_pod_leaves_the_mesh(shop: Shop, plane: Installed) -> None:
    """SMI-SVC-01: and with it the Service. Who keeps a connection is answered on it, and asked to make another."""
    for command, proxies in (("uninject", "no proxy"), ("inject", "a proxy")):
        with shop.nothing_fails():
            done = smeagol(plane.cluster, command, "deployment/foobar-v2", "-n", shop.namespace, "--wait")
            assert f"all Pods have {proxies}" in done
            assert set(shop.answers(REQUESTS)) == {"v2"}
