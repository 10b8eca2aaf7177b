"""`smeagol top`: requests per second, success and latency, per workload and per edge."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from smeagol.cli.meshes import ContextOption, KubeconfigOption, NameOption, NamespaceOption, StateDirOption

if TYPE_CHECKING:
    from smeagol.control import Status, Traffic
    from smeagol.rates import Rate

__all__ = ["register", "top_text"]

REFRESH_SECONDS = 1.0


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Look into a mesh")(top)


def top(
    namespace: NamespaceOption = "",
    once: Annotated[bool, typer.Option("--once", help="Once, also on a terminal.")] = False,
    seconds: Annotated[float, typer.Option("--seconds", min=0.5, help="Over how long to measure.")] = 5.0,
    name: NameOption = "",
    state_dir: StateDirOption = None,
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = "",
) -> None:
    """Show requests per second, success and latency, as the proxies see them.

    On a terminal it goes on until Ctrl-C, elsewhere it measures once. Proxies count latency every five seconds, so a
    shorter time may show none.
    """
    import sys
    import time
    from collections import deque

    from smeagol.cli.meshes import find_mesh, watch
    from smeagol.cli.terminal import columns
    from smeagol.rates import grown

    with find_mesh(name, state_dir, kubeconfig, context) as mesh:
        looks = deque([mesh.traffic()])
        alone = once or not sys.stdout.isatty()
        time.sleep(seconds if alone else REFRESH_SECONDS)

        def picture() -> str:
            looks.append(mesh.traffic())
            while looks[-1].time - looks[1].time >= seconds:
                looks.popleft()
            return "\n".join(top_text(grown(looks[0], looks[-1]), mesh.status(), namespace, width=columns()))

        if alone:
            typer.echo(picture())
        else:
            watch(picture, REFRESH_SECONDS)


def top_text(growth: Traffic, status: Status, namespace: str = "", *, width: int | None = None) -> list[str]:
    """Two tables: what each workload was asked, and who asked whom. Pure.

    Where `width` does not do, Services of the client's own namespace are called by their names alone, as the client
    calls them.
    """
    from smeagol.cli.meshes import table
    from smeagol.rates import Series, rates

    workloads = {(pod.namespace, pod.name): pod.workload or pod.name for pod in status.pods}
    secured = {(edge.client, edge.service, edge.backend): edge.mutual_tls for edge in growth.edges}

    def workload(series: Series) -> str:
        return f"{series.namespace}/{workloads.get((series.namespace, series.pod), series.pod)}"

    def asked(series: Series) -> str | None:
        here = namespace in ("", series.namespace)
        return workload(series) if series.direction == "inbound" and here else None

    def asking(series: Series) -> tuple[str, str, str, bool] | None:
        if series.direction != "outbound" or not series.service or namespace not in ("", series.namespace):
            return None
        edge = (f"{series.namespace}/{series.pod}", series.service, series.backend)
        return workload(series), series.service, series.backend, secured.get(edge, False)

    inbound = [[name, *_cells(rate)] for name, rate in rates(growth, asked).items()]
    outbound = [
        [client, service, backend if backend != service else "-", "yes" if safe else "no", *_cells(rate)]
        for (client, service, backend, safe), rate in rates(growth, asking).items()
        if rate.requests
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


def _cells(rate: Rate) -> list[str]:
    success = "-" if rate.success is None else f"{rate.success * 100:.2f}%"
    times = [rate.quantile(q) for q in (0.5, 0.95, 0.99)]
    return [f"{rate.per_second:.1f}", success, *("-" if t is None else f"{t * 1000:.1f}ms" for t in times)]
