"""`smeagol render`: what a provider would do for manifests, without a cluster and without running anything."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from smeagol.plan import JSON, Provider
    from smeagol.runtime.offline import Rendered

__all__ = ["register"]


class Output(Enum):
    YAML = "yaml"
    JSON = "json"


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Manifests")(render)


def render(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE", help="Files or folders with manifests.", exists=True, readable=True)
    ],
    provider: Annotated[
        str,
        typer.Option(
            "-p",
            "--provider",
            help="Which provider; envoy by default. unix:SOCKET asks one that runs as a process of its own.",
        ),
    ] = "envoy",
    output: Annotated[Output, typer.Option("-o", "--output", help="How to print.")] = Output.YAML,
) -> None:
    """Print a provider's plan for manifests: objects to apply, proxy configuration, certificates, what it cannot do.

    Offline: every Pod counts as running and ready and has a made-up address; private keys do not exist yet. The same
    manifests give the same plan. Problems go to standard error; the exit code is 1 if there are any.
    """
    import sys

    from smeagol.cli.terminal import problem_line
    from smeagol.runtime.offline import provider_named, render
    from smeagol.sources.files import read_folder

    chosen = provider_named(provider)
    folder = read_folder(files)
    for problem in folder.problems:
        typer.echo(problem_line(problem), err=True)
    rendered = render(folder, chosen)
    for one in rendered:
        if one.error is not None:
            typer.echo(f"{one.key.kind} {one.key.namespace}/{one.key.name}: {one.error}", err=True)
    plans = [_shown(one, chosen) for one in rendered if one.plan.planned]
    sys.stdout.write(_text(plans, output))
    if folder.problems or any(one.error is not None for one in rendered):
        raise typer.Exit(1)


def _shown(one: Rendered, provider: Provider) -> dict[str, JSON]:
    """A unit's plan for reading, without its empty parts."""
    from smeagol.plan import ProxyProvider

    plan = one.plan
    resources: list[JSON] = []
    for resource in plan.resources:
        body = provider.explain(resource) if isinstance(provider, ProxyProvider) else None
        shown: dict[str, JSON] = {"type": resource.type_url.rpartition("/")[2], "name": resource.name}
        resources.append(shown | ({"node": resource.node} if resource.node else {}) | {"body": body})
    parts: dict[str, JSON] = {
        "unit": f"{one.key.kind.value} {one.key.namespace}/{one.key.name}".removesuffix(" /"),
        "objects": list(plan.objects),
        "resources": resources,
        "certificates": [
            {"node": c.node, "secret": c.secret, "purpose": c.purpose.value, "names": list(c.names)}
            for c in plan.certificates
        ],
        "unsupported": [{"field": u.field, "feature": u.feature.value, "message": u.message} for u in plan.unsupported],
    }
    return {key: value for key, value in parts.items() if value}


def _text(plans: list[dict[str, JSON]], output: Output) -> str:
    if output is Output.JSON:
        import json

        return json.dumps(plans, indent=2) + "\n"
    import yaml

    return yaml.dump_all(plans, Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True, width=120)
