"""`smeagol uninstall`: the cluster as it was."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from smeagol.cli.meshes import ContextOption, KubeconfigOption
from smeagol.errors import SmeagolError

if TYPE_CHECKING:
    from smeagol.install import ApiServer

__all__ = ["register"]

_SHOWN = 10


class NotConfirmedError(SmeagolError):
    """Objects of users would go, and nobody was there to say yes."""

    code = "SMI-K114"


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="In a cluster")(uninstall)


def uninstall(
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Delete objects of the mesh too, without asking.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, change nothing.")] = False,
    timeout: Annotated[int, typer.Option("--timeout", help="Seconds to wait for each kind to be gone.")] = 120,
) -> None:
    """Remove from a cluster what `smeagol install` has made, the mesh's keys included, and nothing else.

    MutualTLS, Canary, Sidecar and ProviderClass objects go with their definitions: if there are any, it asks, or wants
    --yes. Definitions and a namespace that were there before stay, and so do they.
    """
    from smeagol.cli.terminal import paint
    from smeagol.infra.kubernetes.connection import connect_blocking
    from smeagol.install import ApiServer, Step, find_removal, remove
    from smeagol.install.owners import renewals

    def report(step: Step) -> None:
        typer.echo(f"{step.object} {paint(step.outcome.value, 'cyan')}")

    with connect_blocking(kubeconfig, context) as client:
        server = ApiServer(client)
        removal = find_removal(server)
        if removal.is_empty:
            _tell_others(server)
            typer.echo("Nothing here was installed by smeagol install.")
            return
        if removal.proxied:
            number = sum(removal.proxied.values())
            typer.echo(
                f"{paint('Warning:', 'yellow')} {number} Pods keep their proxy, which nobody configures any more. "
                "To free them of it, afterwards:"
            )
            lines = list(renewals(removal.proxied))
            more = [f"and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
            for line in (*lines[:_SHOWN], *more):
                typer.echo(f"    {line}")
        if removal.users:
            objects = _some([str(ref) for ref in removal.users])
            typer.echo(f"{len(removal.users)} objects of the mesh go with their definitions: {objects}")
        if dry_run:
            for live in removal.delete:
                typer.echo(f"{live.ref} would be deleted")
            for live in removal.release:
                typer.echo(f"{live.ref} would be given back")
            return
        if removal.users and not yes:
            _ask()
        remove(server, removal, report=report, seconds=timeout)
    typer.echo(paint("Removed.", "green", bold=True))


def _tell_others(server: ApiServer) -> None:
    """Raises OthersInstallationError if there is a Smeagol that another tool is to remove."""
    from smeagol.install import find_installed, refuse_others
    from smeagol.install.upgrading import NotInstalledError

    try:
        installed = find_installed(server)
    except NotInstalledError:
        return
    refuse_others(installed)


def _some(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def _ask() -> None:
    if not sys.stdin.isatty():
        raise NotConfirmedError(
            "objects of the mesh would be deleted, and nobody is here to be asked",
            fix="Save them first (kubectl get smi -A -o yaml), then give --yes",
        )
    typer.confirm("Delete them?", abort=True)
