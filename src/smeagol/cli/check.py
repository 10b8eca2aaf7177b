"""`smeagol check`: what stands in the way of an installation, and what of one does not work."""

from __future__ import annotations

from importlib.metadata import version

import typer

from smeagol.cli.install import IMAGE, NamespaceOption
from smeagol.cli.meshes import ContextOption, KubeconfigOption

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="In a cluster")(check)


def check(
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = "",
    namespace: NamespaceOption = "smeagol-system",
) -> None:
    """Check a cluster: before an installation what it lacks, after it whether all of it works.

    Each finding says its cause and its cure. Exit code 1 if there is a problem; warnings and notes leave it 0.
    """
    from smeagol.cli.terminal import paint
    from smeagol.infra.kubernetes.connection import connect_blocking
    from smeagol.install import ApiServer, InstallSettings, Level
    from smeagol.install import check as look

    marks = {
        Level.OK: paint("ok     ", "green"),
        Level.NOTE: paint("note   ", "cyan"),
        Level.WARNING: paint("warning", "yellow", bold=True),
        Level.PROBLEM: paint("problem", "red", bold=True),
    }
    settings = InstallSettings(version=version("smeagol"), image=IMAGE, namespace=namespace)
    problems = 0
    with connect_blocking(kubeconfig, context) as client:
        for finding in look(ApiServer(client), settings):
            typer.echo(f"{marks[finding.level]}  {finding}")
            problems += finding.is_bad
    if problems:
        raise typer.Exit(1)
