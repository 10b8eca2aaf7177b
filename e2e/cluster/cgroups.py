"""The control groups of a cluster's Pods. Unlike all else that a node makes, they do not end with its namespaces."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

from e2e.cluster.errors import ClusterError

__all__ = ["create", "of_cluster", "remove"]


def of_cluster(name: str) -> str:
    """The group above those of all nodes, below the root of each hierarchy."""
    return f"smeagol-cluster-{name}"


def create(group: str) -> None:
    """Make the group in every hierarchy, as kubelet wants its root to be there."""
    for hierarchy in _hierarchies():
        folder = hierarchy
        for part in Path(group).parts:
            _hand_down(folder)
            folder /= part
            folder.mkdir(exist_ok=True)


def _hand_down(folder: Path) -> None:
    """With version 2 a group has only those controllers that its parent hands down; kubelet wants these."""
    switch = folder / "cgroup.subtree_control"
    if switch.exists():
        there = set((folder / "cgroup.controllers").read_text(encoding="utf-8").split())
        wanted = {"cpu", "cpuset", "io", "memory", "pids"} & there
        switch.write_text(" ".join(f"+{name}" for name in sorted(wanted)), encoding="utf-8")


def remove(group: str, *, within_seconds: float = 20) -> None:
    """Remove the group and all below it, waiting for their last processes, which have been killed, to be gone."""
    deadline = time.monotonic() + within_seconds
    for hierarchy in _hierarchies():
        for folder, _, _ in os.walk(hierarchy / group, topdown=False):
            _remove_one(Path(folder), deadline)


def _remove_one(folder: Path, deadline: float) -> None:
    while True:
        try:
            return folder.rmdir()
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > deadline:
                raise ClusterError(f"the control group {folder} cannot be removed: {error.strerror}") from None
        time.sleep(0.05)


def _hierarchies() -> list[Path]:
    """Where cgroups are mounted: one place with version 2, one a controller with version 1."""
    mounts = (line.split() for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines())
    return [Path(fields[1]) for fields in mounts if fields[2] in ("cgroup", "cgroup2")]
