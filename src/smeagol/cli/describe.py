"""`smeagol describe`: one object, its conditions, what stands behind it, and how to mend what is wrong."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Annotated, Protocol, TypeVar

import msgspec
import typer

from smeagol.cli.meshes import (
    ContextOption,
    KubeconfigOption,
    NameOption,
    NamespaceOption,
    NotFoundError,
    Output,
    StateDirOption,
    ago,
    find_mesh,
    pod_named,
    printed,
    table,
    told,
)
from smeagol.cli.status import proxy_state
from smeagol.cli.terminal import columns
from smeagol.control import Pod, Service, SmiObject, Status

__all__ = ["describe_text", "register"]

KINDS: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(("mutualtls", "mtls"), "MutualTLS"),
        **dict.fromkeys(("canary", "canaries"), "Canary"),
        **dict.fromkeys(("sidecar", "sidecars"), "Sidecar"),
        **dict.fromkeys(("pod", "pods", "po"), "Pod"),
        **dict.fromkeys(("service", "services", "svc"), "Service"),
        **dict.fromkeys(("deployment", "deployments", "deploy"), "Deployment"),
    }
)


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Look into a mesh")(describe)


def describe(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="mutualtls, canary, sidecar, pod, service, deployment.")],
    object_name: Annotated[str, typer.Argument(metavar="NAME")],
    namespace: NamespaceOption = "",
    name: NameOption = "",
    state_dir: StateDirOption = None,
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = "",
) -> None:
    """Show an object: its conditions with their times, what stands behind it, problems with their cure, events."""

    wanted = KINDS.get(kind.lower())
    if wanted is None:
        raise typer.BadParameter(f"{kind!r} is none of {', '.join(sorted(set(KINDS.values())))}")
    with find_mesh(name, state_dir, kubeconfig, context) as mesh:
        status = mesh.status()
    typer.echo("\n".join(describe_text(status, wanted, object_name, namespace, now=datetime.now(UTC), width=columns())))


class _Named(Protocol):
    @property
    def namespace(self) -> str: ...
    @property
    def name(self) -> str: ...


_N = TypeVar("_N", bound=_Named)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Deployment:
    """What is left of a Deployment in a status: its Pods."""

    namespace: str
    name: str
    pods: tuple[Pod, ...]


def describe_text(
    status: Status, kind: str, name: str, namespace: str = "", *, now: datetime, width: int | None = None
) -> list[str]:
    """All that is known of `name`, for a Pod also by its workload. Pure.

    Raises NotFoundError if it is not there, or in several namespaces.
    """
    found: _Named
    match kind:
        case "Pod":
            found = pod = pod_named(status, name, namespace)
            body = _pod(pod)
        case "Deployment":
            found = deployment = _one(kind, name, namespace, _deployments(status))
            body = _pods(deployment.pods)
        case "Service":
            found = service = _one(kind, name, namespace, status.services)
            body = _service(service)
        case _:
            found = smi = _one(kind, name, namespace, [o for o in status.objects if o.kind == kind])
            body = _smi(smi, status, now, width)
    title = f"{kind} {found.namespace}/{found.name}"
    return [title, *body, *_problems(title, status), *_events(title, status, now, width)]


def _one(kind: str, name: str, namespace: str, things: Sequence[_N]) -> _N:
    found = [thing for thing in things if thing.name == name and namespace in ("", thing.namespace)]
    if not found:
        known = ", ".join(f"{thing.namespace}/{thing.name}" for thing in things)
        where = f" in namespace {namespace}" if namespace else ""
        fix = f"There are: {known}" if known else f"No {kind} is in this mesh"
        raise NotFoundError(f"there is no {kind} {name!r}{where}", fix=fix)
    if len(found) > 1:
        namespaces = [thing.namespace for thing in found]
        raise NotFoundError(f"{kind} {name!r} is in {', '.join(namespaces)}", fix=f"Choose one: -n {namespaces[0]}")
    return found[0]


def _deployments(status: Status) -> list[_Deployment]:
    owners = sorted({(pod.namespace, pod.workload) for pod in status.pods if pod.workload not in ("", pod.name)})
    return [
        _Deployment(
            namespace=namespace,
            name=name,
            pods=tuple(pod for pod in status.pods if (pod.namespace, pod.workload) == (namespace, name)),
        )
        for namespace, name in owners
    ]


def _smi(found: SmiObject, status: Status, now: datetime, width: int | None) -> list[str]:
    observed = found.status.observed_generation
    seen = "" if observed == found.generation else f", {observed} has been seen"
    lines = [f"  {found.summary}"] if found.summary else []
    lines += [f"  generation {found.generation}{seen}, created {ago(str(found.age), now)} ago"]
    spec = printed(msgspec.json.decode(found.spec), Output.YAML)
    lines += ["", "SPEC", *(f"  {line}" for line in spec.splitlines())]
    conditions = [
        [c.type, c.status, c.reason or "-", ago(c.last_transition_time, now), c.message or "-"]
        for c in found.status.conditions
    ]
    lines += ["", *table(["CONDITION", "STATUS", "REASON", "SINCE", "MESSAGE"], conditions, width=width)]
    lines += _pods(pod for pod in status.pods if f"{pod.namespace}/{pod.name}" in found.pods)
    behind = [service for service in status.services if f"{service.namespace}/{service.name}" in found.services]
    missing = set(found.services) - {f"{service.namespace}/{service.name}" for service in behind}
    rows = [[s.namespace, s.name, ", ".join(str(port.endpoints) for port in s.ports)] for s in behind]
    rows += [[*service.split("/", 1), "does not exist"] for service in sorted(missing)]
    if rows:
        lines += ["", *table(["NAMESPACE", "SERVICE", "ENDPOINTS"], rows)]
    return lines


def _pod(pod: Pod) -> list[str]:
    lines = [
        f"  workload      {pod.workload or pod.name}",
        f"  state         {pod.phase}, {'ready' if pod.ready else 'not ready'}, {pod.restarts} restarts",
        f"  addresses     {', '.join(pod.ips) or '-'}",
        f"  labels        {', '.join(f'{key}={value}' for key, value in sorted(pod.labels.items())) or '-'}",
        f"  proxy         {proxy_state(pod)}",
        f"  mutual TLS    {pod.mutual_tls or '-'}",
    ]
    if pod.message:
        lines.append(f"  message       {pod.message}")
    lines += _listed("client names", pod.client_names)
    lines += _listed("server names", pod.server_names)
    if pod.proxy is not None:
        lines += _listed("behind on", pod.proxy.lag)
        refused = tuple(f"{' '.join(r.names)}: {r.message}" for r in pod.proxy.rejected)
        lines += _listed("rejected", refused)
    return lines


def _listed(title: str, values: Sequence[str]) -> list[str]:
    return [f"  {title if number == 0 else '':<14}{value}" for number, value in enumerate(values)]


def _service(service: Service) -> list[str]:
    ports = [[str(p.port), p.name or "-", p.protocol or "tcp", str(p.endpoints)] for p in service.ports]
    return [
        f"  addresses     {', '.join(service.cluster_ips) or 'headless'}",
        f"  canary        {service.canary or '-'}",
        "",
        *table(["PORT", "NAME", "PROTOCOL", "ENDPOINTS"], ports),
    ]


def _pods(pods: Iterable[Pod]) -> list[str]:
    rows = [
        [pod.namespace, pod.name, "yes" if pod.ready else "no", proxy_state(pod), pod.mutual_tls or "-"] for pod in pods
    ]
    return ["", *table(["NAMESPACE", "POD", "READY", "PROXY", "MTLS"], rows)] if rows else []


def _problems(title: str, status: Status) -> list[str]:
    """`where` reads `file.yaml:3, Canary shop/web, spec.service`."""
    found = [p for p in status.problems if title in p.where.split(", ")]
    lines = [f"  {told(p)}" for p in found]
    return ["", "PROBLEMS", *lines] if lines else []


def _events(title: str, status: Status, now: datetime, width: int | None) -> list[str]:
    rows = [[ago(e.time, now), e.type, e.reason, e.message] for e in status.events if e.object == title]
    return ["", *table(["AGO", "EVENT", "REASON", "MESSAGE"], rows, width=width)] if rows else []
