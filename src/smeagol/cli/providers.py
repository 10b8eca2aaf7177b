"""`smeagol providers`: what is installed, which meshes a cluster has for them, and what they can do."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from smeagol.plan import JSON
    from smeagol.runtime.survey import Found

__all__ = ["register"]


class Output(Enum):
    TABLE = "table"
    YAML = "yaml"
    JSON = "json"


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Manifests")(providers)


def providers(
    cluster: Annotated[
        bool, typer.Option("--cluster", help="Look into the cluster of the kubeconfig for the adapters' meshes.")
    ] = False,
    kubeconfig: Annotated[
        Path | None, typer.Option("--kubeconfig", help="Look into this cluster; implies --cluster.")
    ] = None,
    context: Annotated[str, typer.Option("--context", help="Which context of the kubeconfig.")] = "",
    access: Annotated[
        list[str] | None,
        typer.Option(
            "--access",
            metavar="NAME",
            help="Print instead the service account and rights that a controller with this adapter needs, for kubectl "
            "apply; may be given more than once.",
        ),
    ] = None,
    namespace: Annotated[str, typer.Option("-n", "--namespace", help="Where that controller runs.")] = "smeagol-system",
    output: Annotated[Output, typer.Option("-o", "--output", help="How to print.")] = Output.TABLE,
) -> None:
    """List the providers that are installed, and what each can do.

    With --cluster, adapters also say whether their mesh is there, in which version, and features are those that they
    have with that very mesh. It reads API discovery, the adapters' CRDs and Deployments, and changes nothing.
    """
    import sys

    from smeagol.runtime.survey import installed

    if access:
        sys.stdout.write(_access(access, namespace))
        return
    found = installed()
    if cluster or kubeconfig is not None or context:
        found = _look(found, kubeconfig, context)
    sys.stdout.write(_table(found) if output is Output.TABLE else _text([_shown(one) for one in found], output))
    if any(one.error for one in found):
        raise typer.Exit(1)


def _access(names: list[str], namespace: str) -> str:
    import yaml

    from smeagol.install.adapter_access import adapter_access
    from smeagol.runtime.adapters import adapters_named

    documents = adapter_access(adapters_named(names), namespace=namespace)
    return yaml.dump_all(documents, Dumper=yaml.CSafeDumper, sort_keys=False, width=120)


def _look(found: tuple[Found, ...], kubeconfig: Path | None, context: str) -> tuple[Found, ...]:
    import asyncio

    import httpx2

    from smeagol.infra.kubernetes.connection import ClusterUnreachableError, connect
    from smeagol.runtime.survey import look

    async def ask() -> tuple[Found, ...]:
        async with connect(kubeconfig, context) as client:
            return await look(client, found)

    try:
        return asyncio.run(ask())
    except httpx2.HTTPError as error:
        raise ClusterUnreachableError(
            f"the cluster does not answer: {error}", where=str(kubeconfig or "KUBECONFIG"), fix="try kubectl version"
        ) from error


def _shown(one: Found) -> dict[str, JSON]:
    """For programs; without what there is not."""
    parts: dict[str, JSON] = {
        "name": one.name,
        "controllerName": one.provider.controller_name if one.provider else "",
        "makes": one.sort,
        "features": list(one.features),
        "error": one.error,
    }
    if one.peer is not None:
        parts["mesh"] = {
            "name": one.peer.name,
            "version": one.peer.version,
            "kinds": sorted(f"{kind.kind}.{kind.group_version}" for kind in one.peer.served),
            "ready": one.peer.ready,
            "problem": one.peer.problem,
        }
    return {key: value for key, value in parts.items() if value or key == "features"}


def _table(found: tuple[Found, ...]) -> str:
    from smeagol.cli.meshes import table
    from smeagol.cli.terminal import columns

    rows = [
        [
            one.name,
            one.provider.controller_name if one.provider else "-",
            one.sort or "-",
            _mesh(one),
            ", ".join(one.features) or one.error,
        ]
        for one in found
    ]
    notes = [f"{one.name}: {one.peer.problem}." for one in found if one.peer is not None and one.peer.problem]
    lines = table(["NAME", "CONTROLLER", "MAKES", "MESH", "FEATURES"], rows, width=columns())
    return "\n".join([*lines, *([""] if notes else []), *notes]) + "\n"


def _mesh(one: Found) -> str:
    if one.peer is None:
        return "not looked for" if one.sort == "another mesh's objects" else "-"
    if one.peer.problem:
        return "not to be had"
    version = f"{one.peer.name} {one.peer.version}".rstrip()
    return version if one.peer.ready is not False else f"{version}, not ready"


def _text(shown: list[dict[str, JSON]], output: Output) -> str:
    if output is Output.JSON:
        import json

        return json.dumps(shown, indent=2) + "\n"
    import yaml

    return yaml.dump(shown, Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True, width=120)
