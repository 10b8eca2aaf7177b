"""What the commands that look into a running mesh have in common: which mesh, which Pod, a table, and watching."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Sequence
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from smeagol.errors import SmeagolError, sentence

if TYPE_CHECKING:
    from smeagol.client import ClusterMesh, Mesh
    from smeagol.control import Pod, Problem, Status

__all__ = [
    "ContextOption",
    "KubeconfigOption",
    "NameOption",
    "NamespaceOption",
    "NotFoundError",
    "Output",
    "StateDirOption",
    "ago",
    "as_plugin",
    "find_mesh",
    "find_standalone",
    "pod_named",
    "printed",
    "table",
    "told",
    "watch",
]

NameOption: TypeAlias = Annotated[
    str, typer.Option("--name", help="Which mesh, if several are running.", show_default=False)
]
KubeconfigOption: TypeAlias = Annotated[
    Path | None, typer.Option("--kubeconfig", help="Which cluster; else that of kubectl.", show_default=False)
]
ContextOption: TypeAlias = Annotated[
    str, typer.Option("--context", help="Which context of the kubeconfig.", show_default=False)
]
StateDirOption: TypeAlias = Annotated[
    Path | None, typer.Option("--state-dir", help="Where running meshes are kept.", show_default=False)
]
NamespaceOption: TypeAlias = Annotated[
    str, typer.Option("-n", "--namespace", help="Only this namespace.", show_default=False)
]


def find_mesh(name: str, state_dir: Path | None, kubeconfig: Path | None, context: str) -> Mesh | ClusterMesh:
    """The mesh that the options name; without any, the standalone mesh that runs, else the one of kubectl's cluster.

    Raises MeshNotFoundError, ClusterUnreachableError.
    """
    from smeagol.client import ClusterMesh, Mesh, MeshNotFoundError, SeveralMeshesError
    from smeagol.infra.kubernetes.connection import ClusterUnreachableError

    if kubeconfig is not None or context or as_plugin():
        return ClusterMesh.find(kubeconfig, context)
    try:
        return Mesh.find(name, state_dir)
    except MeshNotFoundError as nothing:
        if name or state_dir is not None or isinstance(nothing, SeveralMeshesError):
            raise
        try:
            found = ClusterMesh.find()
        except ClusterUnreachableError:
            raise nothing from None
    typer.echo(f"No standalone mesh is running; this is the cluster of context {found.name!r}.", err=True)
    return found


def find_standalone(name: str, state_dir: Path | None, *, in_a_cluster: str) -> Mesh:
    """The standalone mesh that the options name, for what is done to no cluster, or to none unasked.

    `in_a_cluster`: what does it there, told to who names no mesh where none runs. Raises MeshNotFoundError.
    """
    from smeagol.client import Mesh, MeshNotFoundError, SeveralMeshesError

    try:
        return Mesh.find(name, state_dir)
    except MeshNotFoundError as nothing:
        if name or state_dir is not None or isinstance(nothing, SeveralMeshesError):
            raise
        fix = f"Start one with: smeagol up -f DIR. {in_a_cluster}"
        raise MeshNotFoundError("no standalone mesh is running", where=nothing.where, fix=fix) from None


def as_plugin() -> bool:
    """Whether this is `kubectl smeagol …`, which is about clusters only."""
    return Path(sys.argv[0]).name == "kubectl-smeagol"


class Output(Enum):
    TEXT = "text"
    JSON = "json"
    YAML = "yaml"


class NotFoundError(SmeagolError):
    """The mesh runs, but what was named is not in it."""

    code = "SMI-U004"


def pod_named(status: Status, text: str, namespace: str = "") -> Pod:
    """The Pod that `text` names: `NAMESPACE/POD`, `POD`, or the name of a workload, whose first Pod is meant.

    Raises NotFoundError if there is none, or there are several in different namespaces.
    """
    before, _, name = text.rpartition("/")
    # `deployment/web` as kubectl has it, beside `shop/web-x`
    inside = namespace if before.lower() in ("", "pod", "pods", "deploy", "deployment", "deployments") else before
    here = [pod for pod in status.pods if not inside or pod.namespace == inside]
    found = [pod for pod in here if pod.name == name] or [pod for pod in here if pod.workload == name]
    if not found:
        known = ", ".join(f"{pod.namespace}/{pod.name}" for pod in here)
        raise NotFoundError(
            f"there is no Pod or workload {text!r}" + (f" in namespace {inside}" if inside else ""),
            fix=f"Pods here: {known}" if known else "There are no Pods here; smeagol status shows what runs",
        )
    namespaces = sorted({pod.namespace for pod in found})
    if len(namespaces) > 1:
        raise NotFoundError(
            f"{name!r} is in several namespaces: {', '.join(namespaces)}", fix=f"Write {namespaces[0]}/{name}"
        )
    return min(found, key=lambda pod: (not pod.ready, pod.name))


def printed(value: object, output: Output) -> str:
    """A value of the control API as JSON or YAML, with the names it has on the wire."""
    import msgspec

    encoded = msgspec.json.encode(value)
    if output is Output.JSON:
        return msgspec.json.format(encoded, indent=2).decode() + "\n"
    from smeagol.api.documents import write_text

    return write_text(msgspec.json.decode(encoded))


def table(
    headers: Sequence[str], rows: Sequence[Sequence[str]], *, gap: int = 3, width: int | None = None
) -> list[str]:
    """Left-aligned columns, as kubectl prints them: never cut, so that they can be read by programs too.

    `width`: of the terminal, if there is one. Where it does not do, columns stand closer, or each row has its last
    column below it, if that says something.
    """
    whole = (headers, *rows)
    if width is None:
        return _aligned(whole, gap)
    for spaces in (gap, 2):
        lines = _aligned(whole, spaces)
        if max(map(len, lines)) <= width:
            return lines
    below = textwrap.TextWrapper(
        width, initial_indent="    ", subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
    )
    lasts = [row[-1] if row[-1] != "-" else "" for row in whole]
    if not any(lasts[1:]):
        lasts[0] = ""
    lines = _aligned([row[:-1] for row in whole], 2)
    return [each for line, last in zip(lines, lasts, strict=True) for each in (line, *below.wrap(last))]


def _aligned(rows: Sequence[Sequence[str]], gap: int) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        (" " * gap).join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]


def told(problem: Problem) -> str:
    """A problem of a running mesh as one line. An object that is merely passed over has no code."""
    code = f" [{problem.code}]" if problem.code else ""
    return f"{problem.where}: {sentence(problem.message, problem.fix)}{code}"


def ago(when: str, now: datetime) -> str:
    """How long ago an RFC 3339 time was, in the two largest units: `45s`, `3m20s`, `2h5m`, `3d4h`."""
    try:
        seconds = int((now - datetime.fromisoformat(when)).total_seconds())
    except ValueError:
        return "-"
    if seconds < 60:
        return f"{max(seconds, 0)}s"
    minutes, seconds = divmod(seconds, 60)
    if minutes < 60:
        return f"{minutes}m{seconds}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m" if hours < 24 else f"{hours // 24}d{hours % 24}h"


def watch(picture: Callable[[], str], seconds: float) -> None:
    """Show `picture()` again and again: in place on a terminal, one after the other elsewhere. Ends by Ctrl-C."""
    import time

    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console()
    try:
        if not console.is_terminal:
            while True:
                print(picture(), end="\n\n", flush=True)
                time.sleep(seconds)
        with Live(console=console, screen=True, auto_refresh=False) as live:
            while True:
                live.update(Text(picture(), no_wrap=True, overflow="crop"), refresh=True)
                time.sleep(seconds)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
