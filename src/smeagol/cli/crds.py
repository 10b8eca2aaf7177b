"""`smeagol crds`: the definitions that make an API server serve our kinds."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer

__all__ = ["register"]


class Output(Enum):
    YAML = "yaml"
    JSON = "json"


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Manifests")(crds)


def crds(
    kinds: Annotated[
        list[str] | None,
        typer.Argument(metavar="KIND", help="Kinds, plurals or short names. Without any: all.", show_default=False),
    ] = None,
    output: Annotated[Output, typer.Option("-o", "--output", help="How to write them.")] = Output.YAML,
) -> None:
    """Print the CustomResourceDefinitions, for `kubectl apply -f -`."""
    import json

    from smeagol.api.crd import crd
    from smeagol.api.documents import Json, write_text
    from smeagol.api.kinds import KINDS

    by_name = {name.lower(): kind for kind in KINDS for name in (kind.name, kind.plural, *kind.short_names)}
    for name in kinds or ():
        if name.lower() not in by_name:
            known = ", ".join(kind.name for kind in KINDS)
            raise typer.BadParameter(f"there is no kind {name!r}; the kinds are {known}", param_hint="KIND")
    chosen = [by_name[name.lower()] for name in kinds] if kinds else list(KINDS)
    definitions: list[Json] = [crd(kind) for kind in dict.fromkeys(chosen)]
    if output is Output.YAML:
        typer.echo(write_text(*definitions), nl=False)
    else:
        items: Json = {"apiVersion": "v1", "kind": "List", "items": definitions}
        typer.echo(json.dumps(items if len(definitions) > 1 else definitions[0], indent=2, ensure_ascii=False))
