"""`smeagol proxy`: what a Pod's proxy was given, and what it says itself."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer

from smeagol.cli.meshes import (
    ContextOption,
    KubeconfigOption,
    NameOption,
    NamespaceOption,
    NotFoundError,
    StateDirOption,
)

__all__ = ["register"]


class ResourceType(Enum):
    LISTENERS = "listeners"
    CLUSTERS = "clusters"
    ROUTES = "routes"
    ENDPOINTS = "endpoints"
    SECRETS = "secrets"


class Format(Enum):
    YAML = "yaml"
    JSON = "json"


ASK = """
import http.client, socket, sys
path, target = sys.argv[1:]
connection = http.client.HTTPConnection("localhost", timeout=10)
connection.sock = socket.socket(socket.AF_UNIX)
try:
    connection.sock.connect(path)
    connection.request("GET", target)
    answer = connection.getresponse()
    text = answer.read().decode()
except OSError as error:
    sys.exit(f"the proxy does not answer: {error}")
if answer.status != 200:
    sys.exit(text.strip())
sys.stdout.write(text)
"""

PodArgument = Annotated[str, typer.Argument(metavar="POD", help="POD, NAMESPACE/POD, or a workload's name.")]


def register(app: typer.Typer) -> None:
    proxy = typer.Typer(no_args_is_help=True, help="Look into the proxy of a Pod.")
    proxy.command()(config)
    proxy.command()(stats)
    app.add_typer(proxy, name="proxy", rich_help_panel="Look into a mesh")


def config(
    pod: PodArgument,
    type_: Annotated[
        ResourceType | None, typer.Option("--type", help="Only these resources.", show_default=False)
    ] = None,
    output: Annotated[Format, typer.Option("-o", "--output", help="How to print it.")] = Format.YAML,
    namespace: NamespaceOption = "",
    name: NameOption = "",
    state_dir: StateDirOption = None,
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = "",
) -> None:
    """Print what the proxy was sent, by type and name. Keys are never shown."""
    import msgspec

    from smeagol.cli.meshes import Output, find_mesh, pod_named, printed

    with find_mesh(name, state_dir, kubeconfig, context) as mesh:
        found = pod_named(mesh.status(), pod, namespace)
        answer = mesh.proxy_config(found.namespace, found.name, type_.value if type_ else "")
    typer.echo(printed(msgspec.Raw(answer), Output.JSON if output is Format.JSON else Output.YAML), nl=False)


def stats(
    pod: PodArgument,
    only: Annotated[
        str, typer.Option("--filter", metavar="REGEX", help="Only counters that match.", show_default=False)
    ] = "",
    namespace: NamespaceOption = "",
    name: NameOption = "",
    state_dir: StateDirOption = None,
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = "",
) -> None:
    """Print the proxy's own counters: as its admin interface has them, in a cluster as Prometheus reads them."""
    import re
    import sys
    from urllib.parse import urlencode

    from smeagol.cli.meshes import find_mesh, pod_named
    from smeagol.client import ClusterMesh
    from smeagol.infra.host.exec import exec_in_pod
    from smeagol.intent import PROXY_CONTAINER
    from smeagol.plan import ADMIN_SOCKET
    from smeagol.refs import PodRef

    with find_mesh(name, state_dir, kubeconfig, context) as mesh:
        found = pod_named(mesh.status(), pod, namespace)
        if found.proxy is None:
            raise NotFoundError(f"Pod {found.namespace}/{found.name} has no proxy")
        if isinstance(mesh, ClusterMesh):
            try:
                re.compile(only)
            except re.error as error:
                raise typer.BadParameter(f"{only!r} is no regular expression: {error}") from error
            typer.echo(mesh.proxy_stats(found.namespace, found.name, only), nl=False)
            return
    query = urlencode({"filter": only} if only else {})
    # A proxy's admin interface answers inside its own container only.
    command = [sys.executable, "-c", ASK, ADMIN_SOCKET, f"/stats?{query}"]
    pod_ref = PodRef(found.namespace, found.name)
    raise typer.Exit(exec_in_pod(mesh.exec_socket, pod_ref, command, container=PROXY_CONTAINER))
