"""The cluster that the end-to-end tests run in: the one of `make cluster`, or any other that the user names.

With `SMEAGOL_E2E=existing` it is the cluster of `KUBECONFIG` (kind, k3s, anything), else the one that `SMEAGOL_CLUSTER`
names, as `make test` makes it, or that `make cluster` has brought up. Where there is none, these tests are skipped.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from e2e.cluster.cluster import Cluster, find
from e2e.images import Images, build_images
from e2e_kit.commands import smeagol
from e2e_kit.installed import install
from e2e_kit.shop import meshed_namespace


class Kubectl(Protocol):
    """kubectl, as the cluster's administrator. Returns what it prints."""

    def __call__(self, *arguments: str | Path, stdin: str | None = None) -> str: ...


def _existing() -> bool:
    return os.environ.get("SMEAGOL_E2E") == "existing"


@pytest.fixture(scope="session")
def own_cluster() -> Cluster:
    """The cluster of `make cluster`, for tests that disturb it or need its images. Skips where that is not up."""
    if _existing():
        pytest.skip("this test needs a cluster of its own")
    cluster = find(os.environ.get("SMEAGOL_CLUSTER", "default"))
    if cluster is None or not cluster.nodes:
        pytest.skip("no cluster with nodes is up: make cluster, as root")
    return cluster


@pytest.fixture(scope="session")
def images(own_cluster: Cluster) -> Images:
    """Smeagol's real images, built from this checkout if it has changed, and loaded into the cluster."""
    images = build_images()
    images.load_into(own_cluster)
    return images


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Path:
    """The kubeconfig file of the cluster, for its administrator."""
    if not _existing():
        own: Cluster = request.getfixturevalue("own_cluster")
        return own.kubeconfig
    if not os.environ.get("KUBECONFIG"):
        pytest.fail("SMEAGOL_E2E=existing needs KUBECONFIG, the file that names the cluster")
    return Path(os.environ["KUBECONFIG"])


@pytest.fixture(scope="session")
def kubectl(request: pytest.FixtureRequest, cluster: Path) -> Kubectl:
    """kubectl of the cluster's own version, or the user's for the user's cluster."""
    if not _existing():
        own: Cluster = request.getfixturevalue("own_cluster")
        return own.kubectl
    program = shutil.which("kubectl")
    if program is None:
        pytest.fail("SMEAGOL_E2E=existing needs kubectl on PATH")

    def run(*arguments: str | Path, stdin: str | None = None) -> str:
        command = [program, "--kubeconfig", str(cluster), *map(str, arguments)]
        return subprocess.run(command, input=stdin, capture_output=True, text=True, check=True).stdout

    return run


@pytest.fixture
def namespace(kubectl: Kubectl) -> Iterator[str]:
    """A namespace of the test's own."""
    name = f"test-{secrets.token_hex(4)}"
    kubectl("create", "namespace", name)
    yield name
    kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="session")
def mesh(own_cluster: Cluster, images: Images) -> Iterator[Cluster]:
    """The cluster with Smeagol installed as users install it: two replicas, and nothing else set."""
    install(own_cluster, images)
    yield own_cluster
    smeagol(own_cluster, "uninstall", "--yes")


@pytest.fixture
def meshed(mesh: Cluster) -> Iterator[str]:
    """A namespace of the test's own in which every Pod gets a proxy."""
    with meshed_namespace(mesh) as name:
        yield name
