"""What nodes and images need of the operating system, and how it gets there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from e2e.cluster.errors import ClusterError

__all__ = ["CNI_FOLDERS", "install_for_images", "install_for_nodes", "require_root"]

CNI_FOLDERS = (Path("/usr/lib/cni"), Path("/opt/cni/bin"))
"""Where distributions, and other installers, put the CNI plugins."""

_FOR_NODES = {  # the command, its Debian package, and what it is for
    "containerd": ("containerd", "runs the containers"),
    "ctr": ("containerd", "loads images"),
    "runc": ("runc", "runs the containers"),
    "iptables": ("iptables", "kube-proxy's rules"),
    "ip": ("iproute2", "the nodes' network"),
    "unshare": ("util-linux", "the nodes' namespaces"),
    "mount": ("mount", "the nodes' file systems"),
    "cc": ("gcc", "builds the pause image"),
    "mmdebstrap": ("mmdebstrap", "makes the base image without a registry"),
}
_FOR_IMAGES = {
    "buildah": ("buildah", "builds images"),
    "mmdebstrap": ("mmdebstrap", "makes what they are built on without a registry"),
}


def require_root() -> None:
    """Raise ClusterError unless we may run nodes."""
    if os.getuid() != 0:
        raise ClusterError(
            "a node needs root: it makes network interfaces, mounts and control groups",
            fix="Run make as root, or make the control plane alone: `make cluster ARGS=--control-plane-only`.",
        )


def install_for_nodes() -> None:
    """Install the packages that are missing, where this is Debian or like it; else raise ClusterError naming them."""
    missing = _missing(_FOR_NODES)
    if not any((folder / "ptp").exists() for folder in CNI_FOLDERS):
        missing["containernetworking-plugins"] = "connects Pods"
    if shutil.which("cc") is None:
        missing["libc6-dev"] = "builds the pause image"
    _install(missing)


def install_for_images() -> None:
    """The same, for what images are built with."""
    _install(_missing(_FOR_IMAGES))


def _missing(commands: Mapping[str, tuple[str, str]]) -> dict[str, str]:
    return {package: use for command, (package, use) in commands.items() if not shutil.which(command)}


def _install(missing: Mapping[str, str]) -> None:
    if not missing:
        return
    names = sorted(missing)
    if not shutil.which("apt-get"):
        raise ClusterError(f"these are missing: {_listed(missing)}", fix="Install what provides them, under any name.")
    print(f"Installing {_listed(missing)} …", file=sys.stderr, flush=True)
    install = ["apt-get", "install", "--yes", "--quiet", "--no-install-recommends", *names]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(["apt-get", "update", "--quiet"], capture_output=True)  # where it fails, install says so
    done = subprocess.run(install, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise ClusterError(f"apt-get cannot install {' '.join(names)}: {done.stderr.strip()}")


def _listed(missing: Mapping[str, str]) -> str:
    return ", ".join(f"{package} ({use})" for package, use in sorted(missing.items()))
