"""`smeagol logs`: what a container of a Pod has written."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from smeagol.cli.meshes import (
    ContextOption,
    KubeconfigOption,
    NameOption,
    NamespaceOption,
    NotFoundError,
    StateDirOption,
)

__all__ = ["log_file", "register"]


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Look into a mesh")(logs)


def logs(
    pod: Annotated[str, typer.Argument(metavar="POD", help="POD, NAMESPACE/POD, or a workload's name.")],
    container: Annotated[
        str, typer.Option("-c", "--container", help="Which container; the first of the Pod.", show_default=False)
    ] = "",
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on, until Ctrl-C.")] = False,
    namespace: NamespaceOption = "",
    name: NameOption = "",
    state_dir: StateDirOption = None,
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = "",
) -> None:
    """Print what a container has written to its standard output and error."""
    import time

    from smeagol.cli.meshes import find_mesh, pod_named
    from smeagol.client import ClusterMesh, LogTail

    with find_mesh(name, state_dir, kubeconfig, context) as mesh:
        found = pod_named(mesh.status(), pod, namespace)
        if isinstance(mesh, ClusterMesh):
            try:
                for line in mesh.log(found.namespace, found.name, container, follow=follow):
                    typer.echo(line)
            except KeyboardInterrupt:
                raise typer.Exit(130) from None
            return
        path = log_file(mesh.logs_of(found.namespace, found.name), container)
    tail = LogTail(path)
    try:
        while True:
            for line in tail.lines():
                typer.echo(line)
            if not follow:
                return
            time.sleep(0.2)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def log_file(folder: Path, container: str) -> Path:
    """The log of `container` among those of a Pod; without a name, of the one that is not the proxy.

    Raises NotFoundError if there is none, or no name was given and there are several.
    """
    from smeagol.intent import PROXY_CONTAINER

    written = {path.stem: path for path in sorted(folder.glob("*.log"))}
    if container:
        if container not in written:
            fix = f"There are: {', '.join(written)}" if written else "The Pod has not started yet"
            raise NotFoundError(f"there is no log of container {container!r}", where=str(folder), fix=fix)
        return written[container]
    own = [name for name in written if name != PROXY_CONTAINER]
    if len(own) != 1:
        fix = f"Choose one with -c: {', '.join(written)}" if written else "The Pod has not started yet"
        raise NotFoundError("it is not clear which container is meant", where=str(folder), fix=fix)
    return written[own[0]]
