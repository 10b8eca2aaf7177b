"""`smeagol top`: requests per second, success and latency, per workload and per edge."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from smeagol.cli.meshes import ContextOption, KubeconfigOption, NameOption, NamespaceOption, Output, StateDirOption

if TYPE_CHECKING:
    from smeagol.rates import Load, Measured

__all__ = ["register", "top_text"]

REFRESH_SECONDS = 1.0


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Look into a mesh")(top)


def top(
    namespace: NamespaceOption = "",
    once: Annotated[bool, typer.Option("--once", help="Once, also on a terminal.")] = False,
    seconds: Annotated[float, typer.Option("--seconds", min=0.5, help="Over how long to measure.")] = 5.0,
    output: Annotated[Output, typer.Option("-o", "--output", help="How to print it.")] = Output.TEXT,
    name: NameOption = "",
    state_dir: StateDirOption = None,
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = "",
) -> None:
    """Show requests per second, success and latency, as the proxies see them.

    On a terminal it goes on until Ctrl-C; elsewhere, and as JSON or YAML, it measures once. Proxies count latency every
    five seconds, so a shorter time may show none.
    """
    import sys
    import time
    from collections import deque

    from smeagol.cli.meshes import find_mesh, printed, watch
    from smeagol.cli.terminal import columns
    from smeagol.rates import grown, measured

    with find_mesh(name, state_dir, kubeconfig, context) as mesh:
        looks = deque([mesh.traffic()])
        alone = once or output is not Output.TEXT or not sys.stdout.isatty()
        time.sleep(seconds if alone else REFRESH_SECONDS)

        def picture() -> str:
            looks.append(mesh.traffic())
            while looks[-1].time - looks[1].time >= seconds:
                looks.popleft()
            found = measured(grown(looks[0], looks[-1]), mesh.status(), namespace)
            if output is not Output.TEXT:
                return printed(found, output).rstrip("\n")
            return "\n".join(top_text(found, width=columns()))

        if alone:
            typer.echo(picture())
        else:
            watch(picture, REFRESH_SECONDS)


def top_text(found: Measured, *, width: int | None = None) -> list[str]:
    """Two tables: what each workload was asked, and who asked whom. Pure.

    Where `width` does not do, Services of the client's own namespace are called by their names alone, as the client
    calls them.
    """
    from smeagol.cli.meshes import table

    inbound = [[load.workload, *_cells(load)] for load in found.workloads]
    outbound = [
        [
            load.client,
            load.service,
            load.backend if load.backend != load.service else "-",
            "yes" if load.mutual_tls else "no",
            *_cells(load),
        ]
        for load in found.edges
    ]
    headers = ["RPS", "SUCCESS", "P50", "P95", "P99"]
    names = ["CLIENT", "SERVICE", "BACKEND", "MTLS"]
    edges = table([*names, *headers], outbound)
    if width is not None and max(map(len, edges)) > width:
        edges = table([*names, *headers], [_near(row) for row in outbound], gap=2)
    return [*table(["WORKLOAD", *headers], inbound), "", *edges]


def _near(row: list[str]) -> list[str]:
    client, service, backend, *rest = row
    here = f"{client.split('/', 1)[0]}/"
    return [client, service.removeprefix(here), backend.removeprefix(here), *rest]


def _cells(load: Load) -> list[str]:
    success = "-" if load.success is None else f"{load.success * 100:.2f}%"
    times = (load.p50_seconds, load.p95_seconds, load.p99_seconds)
    return [f"{load.requests_per_second:.1f}", success, *("-" if t is None else f"{t * 1000:.1f}ms" for t in times)]
