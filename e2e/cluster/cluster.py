"""A cluster as its users see it: bring it up, find it, disturb it, take it down."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from e2e.cluster import cgroups
from e2e.cluster.binaries import Binaries, build
from e2e.cluster.commands import run, wait_for
from e2e.cluster.control_plane import ControlPlane, make_keys, write_api, write_controllers
from e2e.cluster.errors import ClusterError
from e2e.cluster.network import Network, connect_host, free_networks, make_bridge, versions_here
from e2e.cluster.nodes import Node, start_nodes, wait_until_ready
from e2e.cluster.packages import install_for_nodes, require_root
from e2e.cluster.places import ROOT, held, state_base, state_folder
from e2e.cluster.processes import pid_of, supervisor_of, unit_file, write_unit
from e2e.ports import free_port

__all__ = ["Cluster", "down", "find", "running", "up"]

_RECORD = "cluster.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A cluster that is up. Paths are absolute; everything in `folder` goes with the cluster."""

    name: str
    folder: Path
    server: str
    kubectl_program: Path
    service_cidr: str
    nodes: tuple[str, ...]

    @property
    def kubeconfig(self) -> Path:
        """The administrator's."""
        return self.folder / "kubeconfig"

    @property
    def ca(self) -> Path:
        """The authority that the API server, the kubelets and the users of the cluster have their certificates from."""
        return self.folder / "keys" / "ca.crt"

    @property
    def ca_key(self) -> Path:
        return self.folder / "keys" / "ca.key"

    @property
    def pod_cidrs(self) -> tuple[str, ...]:
        """Where the addresses of Pods lie, in each family."""
        return tuple(str(ranges.pods) for ranges in Network.of(self.service_cidr).families)

    def kubectl(self, *arguments: str | Path, stdin: str | None = None) -> str:
        """Run kubectl as the administrator and return what it prints. Raises ClusterError with what it complains of."""
        return run(self.kubectl_program, "--kubeconfig", self.kubeconfig, *arguments, stdin=stdin)

    def stop(self, program: str, *, node: str | None = None) -> None:
        """End a program (`kube-apiserver`, `etcd`, …; of a node: `kubelet`, …) and keep it down; return when it is."""
        folder = self._folder_of(node)
        unit = unit_file(folder, program)
        with suppress(FileNotFoundError):
            unit.rename(unit.with_suffix(".stopped"))
        self._look_again(node)
        wait_for(f"{program} ends", lambda: pid_of(folder, program) is None, within_seconds=60)

    def start(self, program: str, *, node: str | None = None) -> None:
        """Undo `stop`. Returns when the program runs, which is before it is ready."""
        folder = self._folder_of(node)
        unit = unit_file(folder, program)
        with suppress(FileNotFoundError):
            unit.with_suffix(".stopped").rename(unit)
        self._look_again(node)
        wait_for(f"{program} starts", lambda: pid_of(folder, program), within_seconds=60)

    def kill(self, pod: str, container: str, *, namespace: str) -> None:
        """End a container with SIGKILL, as a lack of memory does; the kubelet starts it again unless its Pod goes."""
        whose = {"pod.namespace": namespace, "pod.name": pod, "container.name": container}
        wanted = ",".join(f'labels."io.kubernetes.{label}"=={value}' for label, value in whose.items())
        for node in (Node(name=name, cluster=self.folder) for name in self.nodes):
            running = {line.split()[0] for line in node.ctr("tasks", "list").splitlines() if "RUNNING" in line}
            for found in node.ctr("containers", "list", "--quiet", wanted).split():
                if found in running:
                    node.ctr("tasks", "kill", "--signal", "SIGKILL", found)

    def load(self, archive: Path) -> None:
        """Bring the images of an archive (OCI layout or `docker save`) into every node, under their own names."""
        for name in self.nodes:
            Node(name=name, cluster=self.folder).load(archive)

    def wait_for_api(self, *, within_seconds: float = 120) -> None:
        """Return when the API server says that it is ready."""
        _wait_for_api(self.server, self.kubectl, within_seconds=within_seconds)

    def _folder_of(self, node: str | None) -> Path:
        return self.folder / node if node else self.folder

    def _look_again(self, node: str | None) -> None:
        supervisor = Node(name=node, cluster=self.folder).first_process() if node else supervisor_of(self.folder)
        if supervisor is None:
            raise ClusterError(f"the cluster '{self.name}' is not running")
        os.kill(supervisor, signal.SIGHUP)


def find(name: str = "default") -> Cluster | None:
    """The cluster of that name, if it is up and ready."""
    folder = state_folder(name)
    if supervisor_of(folder) is None or not (folder / _RECORD).exists():
        return None
    record: dict[str, Any] = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
    return Cluster(
        name=name,
        folder=folder,
        server=record["server"],
        kubectl_program=Path(record["kubectl"]),
        service_cidr=record["serviceCIDR"],
        nodes=tuple(record["nodes"]),
    )


_ANOTHER = "Take it down first (`make cluster-down`), or give the new one another name (`--name`)."


def up(name: str = "default", *, nodes: int, versions: tuple[int, ...] | None = None) -> Cluster:
    """Bring the cluster up unless it is, with at least so many nodes; return when it is ready. It runs until `down`.

    `nodes` = 0 is the control plane alone, which needs no root. `versions`: families of its addresses, 4 and 6, the
    primary one first; those of this machine, unless given.
    Raises ClusterError if it cannot, or if the cluster is up with fewer nodes or other families.
    """
    binaries = _prepare(nodes)
    with held(state_base()):
        if cluster := find(name):
            if len(cluster.nodes) < nodes:
                raise ClusterError(
                    f"the cluster '{name}' is up with {len(cluster.nodes)} nodes, not {nodes}",
                    fix=_ANOTHER,
                )
            if versions not in (None, found := Network.of(cluster.service_cidr).versions):
                raise ClusterError(
                    f"the cluster '{name}' is up with IPv{' and IPv'.join(map(str, found))}", fix=_ANOTHER
                )
            return cluster
        _end(state_folder(name))
        folder = state_folder(name)
        folder.mkdir(mode=0o700)
        _supervisor(folder, subprocess.DEVNULL)
        return _start_or_end(name, folder, binaries, nodes, versions)


@contextmanager
def running(name: str, *, nodes: int = 0, versions: tuple[int, ...] | None = None) -> Iterator[Cluster]:
    """A cluster of one's own, which ends with the block, and with this process however it ends. `versions` as `up`."""
    binaries = _prepare(nodes)
    folder = state_folder(name)
    if supervisor_of(folder):
        raise ClusterError(f"a cluster '{name}' is running already")
    _end(folder)
    folder.mkdir(mode=0o700)
    with _supervisor(folder, subprocess.PIPE):
        try:
            yield _start_or_end(name, folder, binaries, nodes, versions)
        finally:
            _end(folder)


def down(name: str = "default") -> bool:
    """End the cluster and remove all that it has made. Whether there was anything."""
    with held(state_base()):
        return _end(state_folder(name))


def _prepare(nodes: int) -> Binaries:
    if nodes:
        require_root()
        install_for_nodes()
    return build(with_coredns=nodes > 0)


def _supervisor(folder: Path, stdin: int) -> subprocess.Popen[bytes]:
    (folder / "logs").mkdir()
    lifeline = ["--until-stdin-ends"] if stdin == subprocess.PIPE else []
    with (folder / "logs" / "supervisor.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "e2e.cluster.processes", folder, *lifeline],
            cwd=ROOT,
            stdin=stdin,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C is for us, not for the cluster
        )
    wait_for("the supervisor starts", lambda: supervisor_of(folder), within_seconds=60)
    return process


def _start_or_end(name: str, folder: Path, binaries: Binaries, nodes: int, versions: tuple[int, ...] | None) -> Cluster:
    try:
        return _start(name, folder, binaries, nodes, versions or versions_here())
    except BaseException as error:
        _end_processes(folder)  # but the logs stay until the next try
        if isinstance(error, ClusterError):
            raise ClusterError(str(error), fix=f"What the components said is below {folder}.") from error
        raise


def _start(name: str, folder: Path, binaries: Binaries, nodes: int, versions: tuple[int, ...]) -> Cluster:
    supervisor = supervisor_of(folder)
    assert supervisor
    if nodes:
        network = _join(folder, supervisor, nodes, versions)
        plane = ControlPlane(folder=folder, address=network.primary.host, port=6443, network=network, with_nodes=True)
    else:
        loopback = IPv4Address("127.0.0.1")
        network = Network(index=0, versions=versions_here())
        plane = ControlPlane(folder=folder, address=loopback, port=free_port(), network=network, with_nodes=False)
    keys = make_keys(plane)
    write_api(plane, keys, binaries)
    os.kill(supervisor, signal.SIGHUP)
    machines = start_nodes(plane, keys, binaries, supervisor, nodes) if nodes else ()
    cluster = Cluster(
        name=name,
        folder=folder,
        server=plane.server,
        kubectl_program=binaries.kubectl,
        service_cidr=str(plane.network.primary.services),
        nodes=tuple(node.name for node in machines),
    )
    cluster.wait_for_api()
    write_controllers(plane, keys, binaries)
    os.kill(supervisor, signal.SIGHUP)
    _wait_for_controllers(cluster)
    if nodes:
        wait_until_ready(plane, machines, cluster.kubectl)
    _record(cluster)
    return cluster


def _join(folder: Path, supervisor: int, nodes: int, versions: tuple[int, ...]) -> Network:
    """Make the switch, and this machine's link to it, in the first network that nobody else takes meanwhile."""
    write_unit(folder, "switch", ["unshare", "--net", "--", "sleep", "infinity"])
    os.kill(supervisor, signal.SIGHUP)
    switch = wait_for("the switch", lambda: _in_own_network(pid_of(folder, "switch")), within_seconds=60)
    make_bridge(switch)
    for network in free_networks(versions):
        if connect_host(network, switch, nodes=nodes):
            return network
    raise ClusterError("no network is free: others have taken all meanwhile", fix="Try again.")


def _in_own_network(pid: int | None) -> int | None:
    if pid is None:
        return None
    own, theirs = (Path(f"/proc/{process}/ns/net").readlink() for process in ("self", pid))
    return pid if own != theirs else None


def _wait_for_controllers(cluster: Cluster) -> None:
    """The first Pod, and every test, needs what these two controllers make in each namespace."""

    def made() -> bool:
        names = cluster.kubectl("-n", "default", "get", "serviceaccounts,configmaps", "-o", "name").split()
        return {"serviceaccount/default", "configmap/kube-root-ca.crt"} <= set(names)

    wait_for("the controllers work", made, within_seconds=120)


def _wait_for_api(server: str, kubectl: Any, *, within_seconds: float) -> None:
    host, _, port = server.removeprefix("https://").rpartition(":")

    def ready() -> bool:
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=1).close()
            return bool(kubectl("get", "--raw", "/readyz") == "ok")
        except (OSError, ClusterError):
            return False

    wait_for("the API server is ready", ready, within_seconds=within_seconds)


def _record(cluster: Cluster) -> None:
    record = {
        "server": cluster.server,
        "kubectl": str(cluster.kubectl_program),
        "serviceCIDR": cluster.service_cidr,
        "nodes": cluster.nodes,
    }
    new = cluster.folder / f"{_RECORD}.new"
    new.write_text(json.dumps(record), encoding="utf-8")
    new.replace(cluster.folder / _RECORD)


def _end(folder: Path) -> bool:
    """End what runs, or what is left of what ran, and remove the folder. Whether there was anything."""
    _end_processes(folder)
    there = folder.exists()
    shutil.rmtree(folder, ignore_errors=True)
    return there


def _end_processes(folder: Path) -> None:
    if supervisor := supervisor_of(folder):
        with suppress(ProcessLookupError):
            os.kill(supervisor, signal.SIGTERM)
        wait_for("the cluster ends", lambda: supervisor_of(folder) is None, within_seconds=60)
    cgroups.remove(cgroups.of_cluster(folder.name))
