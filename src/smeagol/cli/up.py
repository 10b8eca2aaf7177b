"""`smeagol up`: a folder of manifests becomes a running mesh on this machine."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["register"]


class Inject(Enum):
    ALL = "all"
    LABELLED = "labelled"


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Standalone mode")(up)


def up(
    folder: Annotated[
        Path,
        typer.Option(
            "-f",
            "--folder",
            help="The manifests. Files are watched: an edit takes effect at once.",
            exists=True,
            file_okay=False,
            resolve_path=True,
        ),
    ] = Path(),
    name: Annotated[str, typer.Option("--name", help="Name of this mesh, for the other commands.")] = "default",
    state_dir: Annotated[
        Path | None, typer.Option("--state-dir", help="Where keys, logs and the control socket go.", resolve_path=True)
    ] = None,
    metrics_port: Annotated[
        int, typer.Option("--metrics-port", min=0, max=65535, help="Prometheus port on 127.0.0.1; 0 picks a free one.")
    ] = 0,
    inject: Annotated[
        Inject,
        typer.Option(
            "--inject",
            help="Which Pods get a proxy: all but those labelled smi-spec.io/inject: disabled, "
            "or only those labelled enabled or selected by a MutualTLS or Sidecar.",
        ),
    ] = Inject.ALL,
    ca_dir: Annotated[
        Path | None,
        typer.Option(
            "--ca-dir",
            help="Folder with an intermediate to sign with (tls.crt, tls.key, ca.crt), followed when it changes; "
            "else the mesh makes its own authority.",
            exists=True,
            file_okay=False,
            resolve_path=True,
        ),
    ] = None,
    provider: Annotated[
        str,
        typer.Option(
            "-p", "--provider", help="Who configures the proxies: an installed provider, or module:attribute."
        ),
    ] = "envoy",
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Log every step.")] = False,
) -> None:
    """Run a mesh on this machine: each Pod of the folder in a network namespace of its own, with its Envoy.

    Deployments, Pods, Services and the SMI kinds are carried out; containers run their `command` as processes of this
    machine. No cluster, no root: where user namespaces are not allowed, the error says what to enable. Ctrl-C ends
    it and leaves nothing behind.
    """
    from smeagol.runtime.start import Options, run

    code = run(
        Options(
            folder=folder,
            name=name,
            state_dir=state_dir,
            metrics_port=metrics_port,
            inject_by_default=inject is Inject.ALL,
            ca_dir=ca_dir,
            provider=provider,
            verbose=verbose,
        )
    )
    raise typer.Exit(code)
