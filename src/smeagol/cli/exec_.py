"""`smeagol exec`: run a command inside a Pod."""

from __future__ import annotations

from typing import Annotated

import typer

from smeagol.cli.meshes import NameOption, NamespaceOption, StateDirOption

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    app.command("exec", rich_help_panel="Look into a mesh")(exec_)


def exec_(
    pod: Annotated[str, typer.Argument(metavar="POD", help="POD, NAMESPACE/POD, or a workload's name.")],
    command: Annotated[list[str], typer.Argument(metavar="COMMAND", help="What to run, after --.")],
    container: Annotated[str, typer.Option("-c", "--container", help="Which container.", show_default=False)] = "",
    namespace: NamespaceOption = "",
    name: NameOption = "",
    state_dir: StateDirOption = None,
) -> None:
    """Run a command inside a Pod: with its address, its names and its files, and through its proxy.

    For example: smeagol exec client -- curl -s http://foobar/. The exit code is that of the command.
    """
    from smeagol.cli.meshes import find_standalone, pod_named
    from smeagol.infra.host.exec import exec_in_pod
    from smeagol.refs import PodRef

    with find_standalone(name, state_dir, in_a_cluster="In a cluster it is kubectl exec") as mesh:
        found = pod_named(mesh.status(), pod, namespace)
    code = exec_in_pod(mesh.exec_socket, PodRef(found.namespace, found.name), command, container=container)
    raise typer.Exit(code)
