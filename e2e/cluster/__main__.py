"""The test cluster from the command line: `make cluster`, `make cluster-down`, and the one of `make test`."""

from __future__ import annotations

import argparse
import os
import secrets
import subprocess
import sys
import time
from pathlib import Path

from e2e.cluster.cluster import Cluster, down, find, running, up
from e2e.cluster.errors import ClusterError


def main() -> None:
    """Do what the arguments say; say what is wrong on stderr."""
    arguments = _parser().parse_args()
    try:
        arguments.do(arguments)
    except ClusterError as error:
        sys.exit(f"error: {error}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m e2e.cluster", description=__doc__)
    name = argparse.ArgumentParser(add_help=False)
    name.add_argument("--name", default="default", help="which cluster; several can be up (default: %(default)s)")
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("up", parents=[name], help="bring the cluster up, unless it is")
    size = command.add_mutually_exclusive_group()
    size.add_argument("--nodes", type=int, default=1, choices=range(1, 6), help="how many nodes (default: %(default)s)")
    size.add_argument("--control-plane-only", action="store_true", help="no nodes, so no Pods run; needs no root")
    command.add_argument("--ipv6-only", action="store_true", help="no IPv4; else both, where this machine has both")
    command.set_defaults(do=_up)
    command = commands.add_parser("down", parents=[name], help="end the cluster and remove all that it has made")
    command.set_defaults(do=_down)
    command = commands.add_parser("run", help="run a command with a cluster that ends with it")
    command.add_argument("command", nargs=argparse.REMAINDER, help="-- and the command")
    command.set_defaults(do=_run)
    command = commands.add_parser("load", parents=[name], help="bring images into the cluster's nodes")
    command.add_argument("archive", type=Path, nargs="+", help="an archive in OCI layout, or of `docker save`")
    command.set_defaults(do=_load)
    for verb, what in (("stop", "end a program and keep it down"), ("start", "let it run again")):
        command = commands.add_parser(verb, parents=[name], help=what)
        command.add_argument("program", help="kube-apiserver, etcd, …; with --node: kubelet, containerd, kube-proxy")
        command.add_argument("--node", help="the node that it is a program of")
        command.set_defaults(do=_stop if verb == "stop" else _start)
    return parser


def _up(arguments: argparse.Namespace) -> None:
    begun = time.monotonic()
    nodes = 0 if arguments.control_plane_only else arguments.nodes
    cluster = up(arguments.name, nodes=nodes, versions=(6,) if arguments.ipv6_only else None)
    shape = f"nodes: {', '.join(cluster.nodes)}" if cluster.nodes else "control plane only"
    print(f"The cluster '{cluster.name}' is ready after {time.monotonic() - begun:.1f} s ({shape}).", file=sys.stderr)
    print(f"export KUBECONFIG={cluster.kubeconfig} PATH={cluster.kubectl_program.parent}:$PATH")


def _down(arguments: argparse.Namespace) -> None:
    there = down(arguments.name)
    print(f"The cluster '{arguments.name}' is {'gone' if there else 'not up'}.", file=sys.stderr)


def _run(arguments: argparse.Namespace) -> None:
    """Exit with the command's code. SMEAGOL_E2E=existing means the cluster of KUBECONFIG, an empty one means none."""
    command = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
    if os.environ.get("SMEAGOL_E2E") in ("", "existing"):
        sys.exit(subprocess.call(command))
    nodes = 2 if os.getuid() == 0 else 0  # replicas are spread, and traffic passes between nodes
    if not nodes:
        print("Without root the cluster has no nodes: tests with Pods are skipped.", file=sys.stderr)
    with running(f"test-{secrets.token_hex(4)}", nodes=nodes) as cluster:
        sys.exit(subprocess.call(command, env={**os.environ, "SMEAGOL_E2E": "own", "SMEAGOL_CLUSTER": cluster.name}))


def _load(arguments: argparse.Namespace) -> None:
    cluster = _running(arguments.name)
    for archive in arguments.archive:
        cluster.load(archive)


def _stop(arguments: argparse.Namespace) -> None:
    _running(arguments.name).stop(arguments.program, node=arguments.node)


def _start(arguments: argparse.Namespace) -> None:
    _running(arguments.name).start(arguments.program, node=arguments.node)


def _running(name: str) -> Cluster:
    cluster = find(name)
    if cluster is None:
        raise ClusterError(f"the cluster '{name}' is not up", fix="Bring it up with `make cluster`.")
    return cluster


if __name__ == "__main__":
    main()
