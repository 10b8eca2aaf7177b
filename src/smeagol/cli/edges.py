"""`smeagol edges`: who calls whom, and under which names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from smeagol.cli.meshes import ContextOption, KubeconfigOption, NameOption, NamespaceOption, Output, StateDirOption

if TYPE_CHECKING:
    from collections.abc import Sequence

    from smeagol.control import Edge

__all__ = ["edges_text", "register"]


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Look into a mesh")(edges)


def edges(
    namespace: NamespaceOption = "",
    output: Annotated[Output, typer.Option("-o", "--output", help="How to print it.")] = Output.TEXT,
    name: NameOption = "",
    state_dir: StateDirOption = None,
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = "",
) -> None:
    """Show who has called whom since the proxies started, whether by mutual TLS, and as whom."""
    from smeagol.cli.meshes import find_mesh, printed
    from smeagol.cli.terminal import columns

    with find_mesh(name, state_dir, kubeconfig, context) as mesh:
        found = [e for e in mesh.traffic().edges if not namespace or e.client.startswith(f"{namespace}/")]
    if output is Output.TEXT:
        typer.echo("\n".join(edges_text(found, width=columns())))
    else:
        typer.echo(printed(found, output), nl=False)


def edges_text(edges: Sequence[Edge], *, width: int | None = None) -> list[str]:
    """One line an edge. Pure."""
    from smeagol.cli.meshes import table

    return table(
        ["CLIENT", "SERVICE", "BACKEND", "MTLS", "REQUESTS", "CLIENT NAMES"],
        [
            [
                edge.client,
                edge.service,
                edge.backend if edge.backend != edge.service else "-",
                "yes" if edge.mutual_tls else "no",
                _calls(edge),
                ", ".join(edge.client_names) or "-",
            ]
            for edge in edges
        ],
        width=width,
    )


def _calls(edge: Edge) -> str:
    """Requests, and what a port that is not HTTP has instead."""
    connections = f"{edge.connections:.0f} connections" if edge.connections else ""
    requests = f"{edge.requests:.0f}" if edge.requests or not connections else ""
    return ", ".join(filter(None, (requests, connections)))
