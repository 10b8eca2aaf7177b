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
from smeagol.control import Event, Pod, Problem, Service, SmiObject, Status

__all__ = ["Described", "describe_text", "described", "register"]

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
    output: Annotated[Output, typer.Option("-o", "--output", help="How to print it.")] = Output.TEXT,
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
        found = described(mesh.status(), wanted, object_name, namespace)
    if output is Output.TEXT:
        typer.echo("\n".join(describe_text(found, now=datetime.now(UTC), width=columns())))
    else:
        typer.echo(printed(found, output), nl=False)


class _Named(Protocol):
    @property
    def namespace(self) -> str: ...
    @property
    def name(self) -> str: ...


_N = TypeVar("_N", bound=_Named)


class Described(msgspec.Struct, frozen=True, kw_only=True):
    """One object with what stands behind it, as `-o json` prints it.

    `object`: as in a Status; None for a Deployment, of which a status knows its Pods alone.
    """

    kind: str
    namespace: str
    name: str
    object: SmiObject | Pod | Service | None = None
    pods: tuple[Pod, ...] = ()
    services: tuple[Service, ...] = ()
    problems: tuple[Problem, ...] = ()
    events: tuple[Event, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Deployment:
    namespace: str
    name: str


def described(status: Status, kind: str, name: str, namespace: str = "") -> Described:
    """All that is known of `name`, for a Pod also by its workload. Pure.

    Raises NotFoundError if it is not there, or in several namespaces.
    """
    found: _Named
    pods: Iterable[Pod] = ()
    services: Iterable[Service] = ()
    match kind:
        case "Pod":
            found = pod_named(status, name, namespace)
        case "Deployment":
            found = _one(kind, name, namespace, _deployments(status))
            pods = (pod for pod in status.pods if (pod.namespace, pod.workload) == (found.namespace, found.name))
        case "Service":
            found = _one(kind, name, namespace, status.services)
        case _:
            found = smi = _one(kind, name, namespace, [o for o in status.objects if o.kind == kind])
            pods = (pod for pod in status.pods if f"{pod.namespace}/{pod.name}" in smi.pods)
            services = (each for each in status.services if f"{each.namespace}/{each.name}" in smi.services)
    title = f"{kind} {found.namespace}/{found.name}"
    return Described(
        kind=kind,
        namespace=found.namespace,
        name=found.name,
        object=found if isinstance(found, SmiObject | Pod | Service) else None,
        pods=tuple(pods),
        services=tuple(services),
        # `where` reads `file.yaml:3, Canary shop/web, spec.service`
        problems=tuple(problem for problem in status.problems if title in problem.where.split(", ")),
        events=tuple(event for event in status.events if event.object == title),
    )


def describe_text(found: Described, *, now: datetime, width: int | None = None) -> list[str]:
    """The same for people. Pure."""
    match found.object:
        case Pod() as pod:
            body = _pod(pod)
        case Service() as service:
            body = _service(service)
        case SmiObject() as smi:
            body = [*_smi(smi, now, width), *_pods(found.pods), *_services(smi, found.services)]
        case _:
            body = _pods(found.pods)
    title = f"{found.kind} {found.namespace}/{found.name}"
    return [title, *body, *_problems(found.problems), *_events(found.events, now, width)]


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
    owners = {(pod.namespace, pod.workload) for pod in status.pods if pod.workload not in ("", pod.name)}
    return [_Deployment(namespace=namespace, name=name) for namespace, name in sorted(owners)]


def _smi(found: SmiObject, now: datetime, width: int | None) -> list[str]:
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
    return [*lines, "", *table(["CONDITION", "STATUS", "REASON", "SINCE", "MESSAGE"], conditions, width=width)]


def _services(of: SmiObject, behind: Sequence[Service]) -> list[str]:
    missing = set(of.services) - {f"{service.namespace}/{service.name}" for service in behind}
    rows = [[s.namespace, s.name, ", ".join(str(port.endpoints) for port in s.ports)] for s in behind]
    rows += [[*service.split("/", 1), "does not exist"] for service in sorted(missing)]
    return ["", *table(["NAMESPACE", "SERVICE", "ENDPOINTS"], rows)] if rows else []


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


def _problems(found: Sequence[Problem]) -> list[str]:
    return ["", "PROBLEMS", *(f"  {told(problem)}" for problem in found)] if found else []


def _events(found: Sequence[Event], now: datetime, width: int | None) -> list[str]:
    rows = [[ago(event.time, now), event.type, event.reason, event.message] for event in found]
    return ["", *table(["AGO", "EVENT", "REASON", "MESSAGE"], rows, width=width)] if rows else []
