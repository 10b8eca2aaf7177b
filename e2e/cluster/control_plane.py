"""The control plane as a set of programs: etcd, the API server, the controllers and the scheduler."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from e2e.cluster.binaries import Binaries
from e2e.cluster.certificates import Authority, KeyPair, new_authority, write_kubeconfig, write_service_account_key
from e2e.cluster.network import Network
from e2e.cluster.processes import write_unit

__all__ = ["CLUSTER_DOMAIN", "ControlPlane", "Keys", "make_keys", "write_api", "write_controllers", "write_user"]

CLUSTER_DOMAIN = "cluster.local"


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlPlane:
    """Where the API server listens and what it is to know of the network."""

    folder: Path
    address: IPv4Address | IPv6Address
    port: int
    network: Network
    with_nodes: bool

    @property
    def server(self) -> str:
        host = f"[{self.address}]" if self.address.version == 6 else self.address
        return f"https://{host}:{self.port}"

    @property
    def kubeconfig(self) -> Path:
        """For the administrator: member of system:masters, so that no rule binds."""
        return self.folder / "kubeconfig"

    @property
    def keys(self) -> Path:
        return self.folder / "keys"


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """The authority of the cluster and the files that several components need."""

    authority: Authority
    front_proxy: Authority
    service_account: KeyPair
    serving: KeyPair
    to_kubelets: KeyPair
    to_extensions: KeyPair


def make_keys(plane: ControlPlane) -> Keys:
    """Make all keys of the control plane, and the kubeconfig files of its parts."""
    plane.keys.mkdir(parents=True)
    authority = new_authority(plane.keys, "ca", "kubernetes")
    # A second authority: whoever holds a certificate of it may speak to extension API servers in any user's name.
    front_proxy = new_authority(plane.keys, "front-proxy-ca", "front-proxy")
    service = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", f"kubernetes.default.svc.{CLUSTER_DOMAIN}"]
    addresses = [str(plane.address), str(plane.network.api_service), "127.0.0.1", "localhost"]
    keys = Keys(
        authority=authority,
        front_proxy=front_proxy,
        service_account=write_service_account_key(plane.keys),
        serving=authority.issue("apiserver", "kube-apiserver", names=[*service, *addresses], serving=True),
        to_kubelets=authority.issue("apiserver-kubelet", "kube-apiserver", organization="system:masters"),
        to_extensions=front_proxy.issue("front-proxy-client", "front-proxy-client"),
    )
    write_user(plane, keys, plane.kubeconfig, "admin", organization="system:masters")
    for component in ("kube-controller-manager", "kube-scheduler"):
        write_user(plane, keys, plane.keys / f"{component}.kubeconfig", f"system:{component}")
    return keys


def write_user(plane: ControlPlane, keys: Keys, path: Path, user: str, *, organization: str = "") -> None:
    """Write a kubeconfig for a user of the cluster."""
    issued = keys.authority.issue(path.name, user, organization=organization)
    write_kubeconfig(path, server=plane.server, authority=keys.authority, user=user, keys=issued)


def write_api(plane: ControlPlane, keys: Keys, binaries: Binaries) -> None:
    """Ask for the API server and its storage to be run."""
    write_unit(plane.folder, "etcd", _etcd(plane, binaries))
    write_unit(plane.folder, "kube-apiserver", _api_server(plane, keys, binaries))


def write_controllers(plane: ControlPlane, keys: Keys, binaries: Binaries) -> None:
    """Ask for what makes the API's objects true to be run.

    Not before the API server is ready: until it has made their roles they are refused, and wait out their back-off.
    """
    write_unit(plane.folder, "kube-controller-manager", _controllers(plane, keys, binaries))
    if plane.with_nodes:
        write_unit(plane.folder, "kube-scheduler", _scheduler(plane, binaries))


def _etcd_url(plane: ControlPlane, name: str) -> str:
    # A socket in a private folder needs no port, and no certificates to keep other users out.
    return f"unix://{plane.folder / name}.sock"


def _etcd(plane: ControlPlane, binaries: Binaries) -> list[str | Path]:
    client, peer = _etcd_url(plane, "etcd"), _etcd_url(plane, "etcd-peer")
    return [
        binaries.etcd / "etcd",
        "--name=etcd",
        f"--data-dir={plane.folder / 'etcd'}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=etcd={peer}",
        "--unsafe-no-fsync",  # the cluster does not outlive this machine's power
        "--log-level=warn",
    ]


def _api_server(plane: ControlPlane, keys: Keys, binaries: Binaries) -> list[str | Path]:
    flags: dict[str, object] = {
        "etcd-servers": _etcd_url(plane, "etcd"),
        "bind-address": plane.address,
        "secure-port": plane.port,
        "tls-cert-file": keys.serving.certificate,
        "tls-private-key-file": keys.serving.key,
        "client-ca-file": keys.authority.files.certificate,
        "service-cluster-ip-range": ",".join(str(ranges.services) for ranges in plane.network.families),
        "service-account-issuer": f"https://kubernetes.default.svc.{CLUSTER_DOMAIN}",
        "service-account-key-file": keys.service_account.certificate,
        "service-account-signing-key-file": keys.service_account.key,
        "authorization-mode": "Node,RBAC",
        "enable-admission-plugins": "NodeRestriction",
        "allow-privileged": "true",
        "kubelet-client-certificate": keys.to_kubelets.certificate,
        "kubelet-client-key": keys.to_kubelets.key,
        "kubelet-certificate-authority": keys.authority.files.certificate,
        "kubelet-preferred-address-types": "InternalIP",  # node names are in no DNS
        "requestheader-client-ca-file": keys.front_proxy.files.certificate,
        "requestheader-allowed-names": "front-proxy-client",
        "requestheader-username-headers": "X-Remote-User",
        "requestheader-group-headers": "X-Remote-Group",
        "requestheader-extra-headers-prefix": "X-Remote-Extra-",
        "proxy-client-cert-file": keys.to_extensions.certificate,
        "proxy-client-key-file": keys.to_extensions.key,
        "profiling": "false",
    }
    if plane.with_nodes:
        flags["advertise-address"] = plane.address
    else:
        # The endpoints of the Service `kubernetes` must not be loopback addresses, and no Pod will ask for them.
        flags["endpoint-reconciler-type"] = "none"
    return _command(binaries, "kube-apiserver", flags)


def _controllers(plane: ControlPlane, keys: Keys, binaries: Binaries) -> list[str | Path]:
    authority = keys.authority.files
    return _command(
        binaries,
        "kube-controller-manager",
        {
            "kubeconfig": plane.keys / "kube-controller-manager.kubeconfig",
            "cluster-signing-cert-file": authority.certificate,
            "cluster-signing-key-file": authority.key,
            "root-ca-file": authority.certificate,
            "service-account-private-key-file": keys.service_account.key,
            "use-service-account-credentials": "true",
            # The default of 20 a second makes the start alone take five seconds.
            "kube-api-qps": 500,
            "kube-api-burst": 1000,
            "leader-elect": "false",
            "secure-port": 0,
            "profiling": "false",
        },
    )


def _scheduler(plane: ControlPlane, binaries: Binaries) -> list[str | Path]:
    kubeconfig = plane.keys / "kube-scheduler.kubeconfig"
    flags = {"kubeconfig": kubeconfig, "leader-elect": "false", "secure-port": 0, "profiling": "false"}
    return _command(binaries, "kube-scheduler", flags)


def _command(binaries: Binaries, name: str, flags: dict[str, object]) -> list[str | Path]:
    return [binaries.kubernetes / name, *(f"--{flag}={value}" for flag, value in flags.items())]
