"""The images as they are built: what is in them, and that they run in the way that Pods run them."""

from __future__ import annotations

import json
import secrets
import tarfile
from pathlib import PurePosixPath
from typing import Any

import pytest

from e2e.cluster.cluster import Cluster
from e2e.images import Image, Images, build_images
from smeagol.webhook.settings import PROXY_UID

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SHELLS = {"sh", "bash", "dash", "busybox"}


def content(image: Image) -> tuple[dict[str, Any], set[PurePosixPath]]:
    """What the image says of itself, and every file of its layers."""
    with tarfile.open(image.archive) as archive:

        def read(name: str) -> Any:
            file = archive.extractfile(name)
            assert file is not None
            return json.load(file)

        (manifest,) = read("manifest.json")
        files: set[PurePosixPath] = set()
        for layer in manifest["Layers"]:
            with tarfile.open(fileobj=archive.extractfile(layer)) as tar:
                files |= {PurePosixPath("/", name) for name in tar.getnames()}
        return read(manifest["Config"]), files


def test_nothing_of_the_build_is_in_the_image(images: Images) -> None:
    """No pip, no compiler's input, and above all no settings of the machine that built it."""
    config, files = content(images.controller)
    assert config["config"]["User"] == "65532:65532"
    ours = {file for file in files if file.is_relative_to("/opt")}
    assert PurePosixPath("/opt/smeagol/bin/smeagol") in ours
    assert not [file for file in ours if file.name in ("pip", "hatchling", "pip.conf")]
    assert not [file for file in files if file.name == "pip.conf" or file.is_relative_to("/run/secrets")]
    said = json.dumps(config).lower()
    assert "index" not in said
    assert "http" not in said


def test_a_new_version_is_a_small_layer(images: Images) -> None:
    """Smeagol's own code is the last layer, and only a part of what its packages are."""
    with tarfile.open(images.controller.archive) as archive:
        manifest = archive.extractfile("manifest.json")
        assert manifest is not None
        sizes = [archive.getmember(layer).size for layer in json.load(manifest)[0]["Layers"]]
    assert sizes[-1] < sum(sizes) / 10


def test_the_proxy_has_no_shell(images: Images) -> None:
    """Whoever gets into its container finds nothing to run there but Envoy; it is nobody's but the proxy's user."""
    config, files = content(images.proxy)
    assert config["config"]["User"] == f"{PROXY_UID}:{PROXY_UID}"
    assert PurePosixPath("/usr/local/bin/envoy") in files
    assert SHELLS.isdisjoint(file.name for file in files)


def test_what_has_not_changed_is_not_built_again(images: Images) -> None:
    """The name is that of the content."""
    built = images.controller.archive.stat().st_ino
    again = build_images()
    assert again == images
    assert again.controller.archive.stat().st_ino == built


@pytest.mark.parametrize(
    ("image", "command", "user", "capabilities"),
    [
        ("controller", ["smeagol", "controller", "--help"], 65532, []),
        ("controller", ["python3", "-m", "smeagol.infra.host.redirect_pod", "--uid", "1337"], 0, ["NET_ADMIN"]),
        ("proxy", ["envoy", "--version"], PROXY_UID, []),
    ],
    ids=["control plane", "init container", "proxy"],
)
def test_it_runs_confined(
    own_cluster: Cluster, images: Images, image: str, command: list[str], user: int, capabilities: list[str]
) -> None:
    """On a read-only file system, with no privilege beyond those that it is given by the manifests."""
    name = f"confined-{secrets.token_hex(4)}"
    container = {
        "name": "it",
        "image": getattr(images, image).reference,
        "imagePullPolicy": "Never",
        "command": command,
        "securityContext": {
            "runAsUser": user,
            "readOnlyRootFilesystem": True,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"], "add": capabilities},
        },
    }
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"restartPolicy": "Never", "containers": [container]},
    }
    own_cluster.kubectl("create", "-f", "-", stdin=json.dumps(pod))
    try:
        ended = "--for=jsonpath={.status.phase}=Succeeded"
        own_cluster.kubectl("wait", ended, f"pod/{name}", "--timeout=180s")
    finally:
        own_cluster.kubectl("delete", "pod", name, "--wait=false")
