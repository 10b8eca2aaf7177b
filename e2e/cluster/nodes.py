"""Nodes from outside: their configuration, how they are started, and how images get into them."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from string import Template

from e2e.cluster import cgroups, images
from e2e.cluster.binaries import Binaries
from e2e.cluster.commands import run, wait_for
from e2e.cluster.control_plane import CLUSTER_DOMAIN, ControlPlane, Keys, write_user
from e2e.cluster.errors import ClusterError
from e2e.cluster.packages import CNI_FOLDERS
from e2e.cluster.processes import pid_of, write_unit

__all__ = ["Node", "start_nodes", "wait_until_ready"]

_COREDNS = Path(__file__).parent / "coredns.yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A node by its name and the folder of its cluster."""

    name: str
    cluster: Path

    @property
    def folder(self) -> Path:
        return self.cluster / self.name

    @property
    def containerd_socket(self) -> Path:
        return self.folder / "containerd.sock"

    def first_process(self) -> int | None:
        """The node's process 1, as this machine counts processes; None if it does not run."""
        parent = pid_of(self.cluster, self.name)
        if parent is None:
            return None
        try:
            children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        except FileNotFoundError:
            return None
        return int(children[0]) if children else None

    def ctr(self, *arguments: str | Path) -> str:
        """Run containerd's client on Kubernetes' images and containers."""
        return run("ctr", "--address", self.containerd_socket, "--namespace", "k8s.io", *arguments)

    def load(self, archive: Path) -> None:
        self.ctr("images", "import", archive)


def start_nodes(plane: ControlPlane, keys: Keys, binaries: Binaries, supervisor: int, count: int) -> tuple[Node, ...]:
    """Start the nodes, with the images of the cluster itself in them. Returns before they are ready."""
    assert binaries.coredns
    archives = [images.pause(), images.coredns(binaries.coredns / "coredns"), images.base()]
    nodes = tuple(Node(name=f"node-{number}", cluster=plane.folder) for number in range(1, count + 1))
    for number, node in enumerate(nodes, start=1):
        _write_configuration(plane, keys, node, number)
        write_unit(node.folder, "containerd", ["containerd", "--config", node.folder / "containerd.toml"])
        enter = [sys.executable, "-m", "e2e.cluster.node", "enter", str(plane.folder)]
        versions = ",".join(map(str, plane.network.versions))
        place = [str(plane.network.index), versions, str(number), str(count)]
        write_unit(plane.folder, node.name, ["unshare", "--net", "--", *enter, *place])
    os.kill(supervisor, signal.SIGHUP)
    for node in nodes:
        wait_for(f"containerd of {node.name} answers", partial(_answers, node), within_seconds=60)
        for archive in archives:
            node.load(archive)
        _write_kubernetes_units(plane, binaries, node)
        first = node.first_process()
        assert first, "it has just answered"
        os.kill(first, signal.SIGHUP)
    return nodes


def wait_until_ready(plane: ControlPlane, nodes: Sequence[Node], kubectl: Callable[..., str]) -> None:
    """Install the name server; return when all nodes are Ready and names are resolved."""
    manifest = Template(_COREDNS.read_text(encoding="utf-8")).substitute(
        address=plane.network.dns, domain=CLUSTER_DOMAIN, image=images.COREDNS
    )
    kubectl("apply", "--server-side", "--filename", "-", stdin=manifest)
    names = [f"node/{node.name}" for node in nodes]
    wait_for("the nodes register", lambda: _registered(nodes, kubectl), within_seconds=120, every_seconds=0.5)
    kubectl("wait", "--for=condition=Ready", "--timeout=240s", *names)
    kubectl("--namespace", "kube-system", "rollout", "status", "--timeout=240s", "deployment/coredns")


def _registered(nodes: Sequence[Node], kubectl: Callable[..., str]) -> bool:
    found = kubectl("get", "nodes", "--output", "name").split()
    return {f"node/{node.name}" for node in nodes} <= set(found)


def _answers(node: Node) -> bool:
    try:
        node.ctr("version")
    except ClusterError:
        return False
    return True


def _write_kubernetes_units(plane: ControlPlane, binaries: Binaries, node: Node) -> None:
    # Both find the node's own containerd, and the node's own /var/lib, at the usual places.
    write_unit(
        node.folder,
        "kubelet",
        [
            binaries.kubernetes / "kubelet",
            f"--config={node.folder / 'kubelet.json'}",
            f"--kubeconfig={node.folder / 'kubelet.kubeconfig'}",
            f"--hostname-override={node.name}",
            f"--node-ip={','.join(str(ranges.node(_number(node))) for ranges in plane.network.families)}",
        ],
    )
    write_unit(
        node.folder, "kube-proxy", [binaries.kubernetes / "kube-proxy", f"--config={node.folder / 'kube-proxy.json'}"]
    )


def _number(node: Node) -> int:
    return int(node.name.removeprefix("node-"))


def _write_configuration(plane: ControlPlane, keys: Keys, node: Node, number: int) -> None:
    (node.folder / "logs").mkdir(parents=True)
    (node.folder / "cni").mkdir()
    address = str(plane.network.primary.node(number))
    user = f"system:node:{node.name}"
    write_user(plane, keys, node.folder / "kubelet.kubeconfig", user, organization="system:nodes")
    write_user(plane, keys, node.folder / "kube-proxy.kubeconfig", "system:kube-proxy")
    serving = keys.authority.issue(f"{node.name}-serving", node.name, names=[node.name, address], serving=True)
    kubelet = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": address,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(keys.authority.files.certificate)},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(serving.certificate),
        "tlsPrivateKeyFile": str(serving.key),
        "containerRuntimeEndpoint": f"unix://{node.containerd_socket}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{cgroups.of_cluster(plane.folder.name)}/{node.name}",
        "failCgroupV1": False,
        "enforceNodeAllocatable": [],
        "failSwapOn": False,
        # A developer's disk is often nearly full; Pods should not be evicted for that, nor images that no one can pull.
        "evictionHard": {"memory.available": "50Mi", "nodefs.available": "100Mi", "imagefs.available": "100Mi"},
        "imageGCHighThresholdPercent": 100,
        "clusterDNS": [str(plane.network.dns)],
        "clusterDomain": CLUSTER_DOMAIN,
        "resolvConf": str(node.folder / "resolv.conf"),
        "volumePluginDir": "/var/lib/kubelet/volume-plugins",
        "maxPods": 200,  # of the 253 addresses of a node
    }
    proxy = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": str(node.folder / "kube-proxy.kubeconfig")},
        "mode": "iptables",
        "clusterCIDR": ",".join(str(ranges.pods) for ranges in plane.network.families),
        "hostnameOverride": node.name,
        "conntrack": {"maxPerCore": 0},  # a setting of the whole machine
    }
    # A point-to-point link a Pod, not a bridge: all of a Pod's traffic is routed, so Services work between Pods of one
    # node whether or not this machine hands bridged packets to its firewall (br_netfilter).
    network = {
        "cniVersion": "0.4.0",
        "name": "pods",
        "plugins": [
            {
                "type": _QUICK_PTP,
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{"subnet": str(ranges.pods_of(number))}] for ranges in plane.network.families],
                    "routes": [{"dst": _EVERYTHING[version]} for version in plane.network.versions],
                    "dataDir": "/run/cni",
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }
    (node.folder / "kubelet.json").write_text(json.dumps(kubelet, indent=2))
    (node.folder / "kube-proxy.json").write_text(json.dumps(proxy, indent=2))
    _write_plugins(node.folder / "cni-plugins")
    (node.folder / "cni" / "10-pods.conflist").write_text(json.dumps(network, indent=2))
    (node.folder / "containerd.toml").write_text(_containerd(node))
    # Nothing outside of the cluster is resolved: tests must not depend on what this machine can reach.
    (node.folder / "resolv.conf").write_text(f"nameserver {plane.network.dns}\n")


_EVERYTHING = {4: "0.0.0.0/0", 6: "::/0"}
_QUICK_PTP = "quick-ptp"
_QUICK_PTP_SCRIPT = """\
#!/bin/sh
# ptp for a Pod whose IPv6 addresses are not looked for a second time: it would wait a second or two for each Pod.
if [ "$CNI_COMMAND" = ADD ] && [ -d /proc/sys/net/ipv6 ]; then
  for scope in all default; do
    nsenter --net="$CNI_NETNS" sh -c "echo 0 > /proc/sys/net/ipv6/conf/$scope/accept_dad"
  done
fi
exec "$CNI_PATH/ptp"
"""


def _write_plugins(folder: Path) -> None:
    """The machine's CNI plugins, and our own."""
    folder.mkdir()
    machine = next(each for each in CNI_FOLDERS if (each / "ptp").exists())
    for plugin in machine.iterdir():
        (folder / plugin.name).symlink_to(plugin)
    quick = folder / _QUICK_PTP
    quick.write_text(_QUICK_PTP_SCRIPT)
    quick.chmod(0o755)


def _containerd(node: Node) -> str:
    return f"""\
version = 2
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.internal.v1.restart"]

[grpc]
address = "{node.containerd_socket}"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{images.PAUSE}"
# Where even root may not (no CAP_SYS_RESOURCE, as in some virtual machines), ask for no score below our own.
restrict_oom_score_adj = true

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{node.folder / "cni-plugins"}"
conf_dir = "{node.folder / "cni"}"
"""
