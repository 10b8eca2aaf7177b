"""`smeagol check`: what stands in the way of an installation, and what of one does not work."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

import typer

from smeagol.cli.install import IMAGE, NamespaceOption
from smeagol.cli.meshes import ContextOption, KubeconfigOption, Output

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="In a cluster")(check)


def check(
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = "",
    namespace: NamespaceOption = "smeagol-system",
    output: Annotated[Output, typer.Option("-o", "--output", help="How to print it.")] = Output.TEXT,
) -> None:
    """Check a cluster: before an installation what it lacks, after it whether all of it works.

    Each finding says its cause and its cure. Exit code 1 if there is a problem; warnings and notes leave it 0.
    """
    from datetime import UTC, datetime

    from smeagol.cli.meshes import printed
    from smeagol.cli.terminal import paint
    from smeagol.infra.kubernetes.connection import connect_blocking
    from smeagol.install import ApiServer, InstallSettings, Intermediate, Level
    from smeagol.install import check as look
    from smeagol.runtime.cluster_roots import handed_over

    marks = {
        Level.OK: paint("ok     ", "green"),
        Level.NOTE: paint("note   ", "cyan"),
        Level.WARNING: paint("warning", "yellow", bold=True),
        Level.PROBLEM: paint("problem", "red", bold=True),
    }
    settings = InstallSettings(version=version("smeagol"), image=IMAGE, namespace=namespace)
    findings = []
    with connect_blocking(kubeconfig, context) as client:

        def judged(secret: str) -> Intermediate:
            return handed_over(client, namespace=namespace, secret=secret, now=datetime.now(UTC))

        for finding in look(ApiServer(client), settings, judged):
            findings.append(finding)
            if output is Output.TEXT:
                typer.echo(f"{marks[finding.level]}  {finding}")
    if output is not Output.TEXT:
        shown = [
            {"level": found.level, "message": found.what, "fix": found.fix, "code": found.code} for found in findings
        ]
        typer.echo(printed(shown, output), nl=False)
    if any(finding.is_bad for finding in findings):
        raise typer.Exit(1)
