"""`smeagol proxy`: what a Pod's proxy was given, and what it says itself."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer

from smeagol.cli.meshes import NameOption, NamespaceOption, NotFoundError, StateDirOption

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
import sys, urllib.error, urllib.request
try:
    sys.stdout.write(urllib.request.urlopen(sys.argv[1], timeout=10).read().decode())
except urllib.error.HTTPError as error:
    sys.exit(error.read().decode().strip())
except OSError as error:
    sys.exit(f"the proxy does not answer: {error}")
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
) -> None:
    """Print what the proxy was sent, by type and name. Keys are never shown."""
    import msgspec

    from smeagol.cli.meshes import Output, pod_named, printed
    from smeagol.client import Mesh

    with Mesh.find(name, state_dir) as mesh:
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
) -> None:
    """Print the proxy's own counters, as its admin interface has them."""
    import sys
    from urllib.parse import urlencode

    from smeagol.cli.meshes import pod_named
    from smeagol.client import Mesh
    from smeagol.infra.host.exec import exec_in_pod
    from smeagol.providers.envoy.resources import ADMIN_PORT
    from smeagol.refs import PodRef

    with Mesh.find(name, state_dir) as mesh:
        found = pod_named(mesh.status(), pod, namespace)
        if found.proxy is None:
            raise NotFoundError(f"Pod {found.namespace}/{found.name} has no proxy")
    query = urlencode({"filter": only} if only else {})
    url = f"http://127.0.0.1:{ADMIN_PORT}/stats?{query}"
    # A proxy's admin interface answers inside its Pod only.
    command = [sys.executable, "-c", ASK, url]
    raise typer.Exit(exec_in_pod(mesh.exec_socket, PodRef(found.namespace, found.name), command))
