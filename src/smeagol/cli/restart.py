"""`smeagol restart`: replace a Deployment's Pods."""

from __future__ import annotations

from typing import Annotated

import typer

from smeagol.cli.meshes import NameOption, NamespaceOption, StateDirOption

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Look into a mesh")(restart)


def restart(
    target: Annotated[str, typer.Argument(metavar="deployment/NAME")],
    namespace: NamespaceOption = "",
    name: NameOption = "",
    state_dir: StateDirOption = None,
) -> None:
    """Replace the Pods of a Deployment by new ones, as `kubectl rollout restart` does."""
    from smeagol.cli.meshes import find_standalone

    kind, slash, deployment = target.partition("/")
    if kind.lower() not in ("deployment", "deployments", "deploy") or not slash or not deployment:
        raise typer.BadParameter(f"write deployment/NAME, not {target!r}")
    with find_standalone(name, state_dir, in_a_cluster="In a cluster it is kubectl rollout restart") as mesh:
        mesh.restart("Deployment", namespace or "default", deployment)
    typer.echo(f"deployment/{deployment} is restarting")
