"""`smeagol status`: everything in a running mesh at one glance."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from smeagol.cli.meshes import ContextOption, KubeconfigOption, NameOption, NamespaceOption, Output, StateDirOption

if TYPE_CHECKING:
    from smeagol.control import ObjectStatus, Pod, Status

__all__ = ["proxy_state", "register", "status_text", "within"]


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Look into a mesh")(status)


def status(
    output: Annotated[Output, typer.Option("-o", "--output", help="How to print it.")] = Output.TEXT,
    watch_it: Annotated[bool, typer.Option("-w", "--watch", help="Again and again, until Ctrl-C.")] = False,
    namespace: NamespaceOption = "",
    name: NameOption = "",
    state_dir: StateDirOption = None,
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = "",
) -> None:
    """Show a running mesh: its problems, the SMI objects, Pods and Services."""
    from smeagol.cli.meshes import find_mesh, printed, watch
    from smeagol.cli.terminal import columns

    with find_mesh(name, state_dir, kubeconfig, context) as mesh:

        def picture() -> str:
            found = within(mesh.status(), namespace)
            if output is not Output.TEXT:
                return printed(found, output).rstrip("\n")
            return "\n".join(status_text(found, now=datetime.now(UTC), width=columns()))

        if watch_it:
            watch(picture, 1.0)
        else:
            typer.echo(picture())


def within(found: Status, namespace: str) -> Status:
    """With the objects, Pods and Services of that namespace alone; with all, if it is empty. Pure."""
    if not namespace:
        return found
    return msgspec.structs.replace(
        found,
        objects=tuple(each for each in found.objects if each.namespace == namespace),
        pods=tuple(each for each in found.pods if each.namespace == namespace),
        services=tuple(each for each in found.services if each.namespace == namespace),
    )


def status_text(found: Status, *, now: datetime, width: int | None = None) -> list[str]:
    """The tables, problems first. Pure."""
    from smeagol.cli.meshes import ago, table, told

    mesh = found.mesh
    up = f", up {ago(mesh.started_at, now)}" if mesh.started_at else ""
    lines = [f"mesh {mesh.name}{up}: {mesh.directory}" if mesh.directory else f"cluster {mesh.name}"]
    if mesh.metrics_url:
        lines.append(f"metrics: {mesh.metrics_url}")
    if found.problems:
        lines += ["", "PROBLEMS"]
        lines += map(told, found.problems)
    objects = [
        [o.kind, o.namespace, o.name, *_three(o.status), ago(str(o.age), now), o.summary or "-"] for o in found.objects
    ]
    pods = [
        [p.namespace, p.name, _readiness(p), str(p.restarts), proxy_state(p), p.mutual_tls or "-", _names(p)]
        for p in found.pods
    ]
    services = [
        [
            s.namespace,
            s.name,
            ", ".join(s.cluster_ips) or "headless",
            ", ".join(f"{port.port}/{port.protocol or 'tcp'}" for port in s.ports) or "-",
            ", ".join(str(port.endpoints) for port in s.ports) or "-",
            s.canary or "-",
        ]
        for s in found.services
    ]
    replicas = [
        [r.name, r.version, "yes" if r.leads else "-", str(r.proxies), ago(r.started_at, now)] for r in found.replicas
    ]
    for headers, rows in (
        (["REPLICA", "VERSION", "LEADS", "PROXIES", "UP"], replicas),
        (["KIND", "NAMESPACE", "NAME", "ACCEPTED", "RESOLVED", "PROGRAMMED", "AGE", "SUMMARY"], objects),
        (["NAMESPACE", "POD", "READY", "RESTARTS", "PROXY", "MTLS", "CLIENT NAMES"], pods),
        (["NAMESPACE", "SERVICE", "CLUSTER IP", "PORTS", "ENDPOINTS", "CANARY"], services),
    ):
        if rows:
            lines += ["", *table(headers, rows, width=width)]
    reasons = [f"{p.namespace}/{p.name}: {p.message}" for p in found.pods if p.message and not _is_ready(p)]
    if reasons:
        lines += ["", "NOT READY", *reasons]
    return lines


def proxy_state(pod: Pod) -> str:
    """In a word or two: has the Pod's proxy everything it was sent?"""
    proxy = pod.proxy
    if proxy is None:
        return "none"
    if not proxy.known:
        return "unknown"
    if not proxy.connected:
        return "not connected"
    if proxy.rejected:
        return f"{len(proxy.rejected)} rejected"
    return "synced" if proxy.synced else "behind"


def _three(status: ObjectStatus) -> list[str]:
    """The conditions that matter most; a reason says more than `False`."""
    cells = []
    for type_ in ("Accepted", "ResolvedRefs", "Programmed"):
        condition = status.condition(type_)
        good = condition is not None and condition.status == "True"
        cells.append("-" if condition is None else "yes" if good else condition.reason or condition.status)
    return cells


def _is_ready(pod: Pod) -> bool:
    return pod.ready and pod.phase in ("", "Running")


def _readiness(pod: Pod) -> str:
    return "yes" if _is_ready(pod) else f"no ({pod.phase})"


def _names(pod: Pod) -> str:
    """The names that the user gave; the SPIFFE id that every Pod has only where there is no other."""
    given = [name for name in pod.client_names if "://" not in name]
    return ", ".join(given or pod.client_names) or "-"
