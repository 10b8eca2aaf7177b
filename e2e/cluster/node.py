"""The inside of a node: its namespaces, and its first process.

Run twice. `enter`, in a new network namespace, joins the network and steps into the other namespaces; `init` is there
the first process: it lays out the file system and then keeps the node's programs running. When it ends, the kernel ends
every process of the node, containers included, and with the last one go its mounts, interfaces and firewall rules.

    python -m e2e.cluster.node enter STATE-FOLDER NETWORK IP-VERSIONS NUMBER NODES
    python -m e2e.cluster.node init NODE-FOLDER
"""

from __future__ import annotations

import os
import socket
import sys
from contextlib import suppress
from pathlib import Path

from e2e.cluster import cgroups
from e2e.cluster.commands import run
from e2e.cluster.network import Network, connect_node
from e2e.cluster.places import ROOT
from e2e.cluster.processes import pid_of, supervise

_KEPT = ("containerd", "kubelet")
"""Folders of /var/lib that outlive a restart of the node."""

_KERNEL_SETTINGS = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}
"""What kubelet would set for the whole machine (cm/container_manager_linux.go, setupKernelTunables)."""


def enter(folder: Path, network: Network, number: int, nodes: int) -> None:
    """Join the network, make the control group, and become the parent of the node's first process."""
    switch = pid_of(folder, "switch")
    assert switch, "the switch is started before any node"
    connect_node(network, switch, os.getpid(), number=number, nodes=nodes)
    name = f"node-{number}"
    cgroups.create(f"{cgroups.of_cluster(folder.name)}/{name}")
    namespaces = ["--mount", "--mount-proc", "--uts", "--ipc", "--pid", "--fork", "--kill-child"]
    os.execvp(
        "unshare",
        ["unshare", *namespaces, "--", sys.executable, "-m", "e2e.cluster.node", "init", str(folder / name)],
    )


def init(folder: Path) -> None:
    """Lay out what the node sees of the file system, then run its programs."""
    os.chdir(ROOT)
    socket.sethostname(folder.name)
    _mount("tmpfs", "tmpfs", Path("/run"), "mode=755")
    _own_sysfs()
    for place in (Path("/var/lib"), Path("/var/log")):
        _cover(place)
    for name in _KEPT:
        _bind(folder / "lib" / name, Path("/var/lib") / name)
    _bind(folder / "pods", Path("/var/log/pods"))
    for name, value in _KERNEL_SETTINGS.items():
        _pretend(Path("/proc/sys") / name, value)
    run("mount", "--make-rshared", "/")  # within the node, so that Pods can ask to see mounts that come later
    for forwarding in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
        with suppress(FileNotFoundError):  # no IPv6
            Path("/proc/sys/net", forwarding).write_text("1")
    supervise(folder)


def _own_sysfs() -> None:
    """Show our network's interfaces below /sys; the control groups stay as they are."""
    kept = Path("/run/cgroup")
    kept.mkdir()
    run("mount", "--rbind", "/sys/fs/cgroup", kept)
    _mount("sysfs", "sysfs", Path("/sys"), "nosuid")
    run("mount", "--rbind", kept, "/sys/fs/cgroup")
    run("umount", "--recursive", kept)


def _cover(place: Path) -> None:
    """Let what is written to `place` go to memory, while what the machine has there is still seen."""
    own = Path("/run/cover") / place.name
    for part in ("upper", "work"):
        (own / part).mkdir(parents=True)
    _mount("overlay", "overlay", place, f"lowerdir={place},upperdir={own / 'upper'},workdir={own / 'work'}")


def _bind(source: Path, target: Path) -> None:
    source.mkdir(parents=True, exist_ok=True)
    target.mkdir(parents=True, exist_ok=True)
    run("mount", "--bind", source, target)


def _pretend(setting: Path, value: str) -> None:
    """Put a plain file in front of a setting of the whole machine, so that writing to it changes nothing there."""
    if setting.exists():
        front = Path("/run/settings") / setting.relative_to("/proc/sys")
        front.parent.mkdir(parents=True, exist_ok=True)
        front.write_text(f"{value}\n")
        run("mount", "--bind", front, setting)


def _mount(kind: str, source: str, target: Path, options: str) -> None:
    run("mount", "--types", kind, "--options", options, source, target)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["enter", folder, index, versions, number, nodes]:
            network = Network(index=int(index), versions=tuple(map(int, versions.split(","))))
            enter(Path(folder), network, int(number), int(nodes))
        case ["init", folder]:
            init(Path(folder))
        case _:
            sys.exit(__doc__)
