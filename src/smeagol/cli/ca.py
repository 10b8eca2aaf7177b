"""`smeagol ca`: the mesh's roots, and certificates for clients outside the mesh."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from smeagol.cli.meshes import ContextOption, KubeconfigOption, NameOption, StateDirOption, as_plugin

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    ca = typer.Typer(no_args_is_help=True, help="The mesh's certificate authority: roots, certificates, rotation.")
    ca.command()(issue)
    ca.command()(rotate)
    app.add_typer(ca, name="ca", rich_help_panel="Standalone mode")


def issue(
    names: Annotated[list[str], typer.Argument(metavar="NAME", help="DNS names, addresses or URIs to put into it.")],
    folder: Annotated[
        Path, typer.Option("-d", "--directory", help="Where to write cert.pem, key.pem and ca.pem.", file_okay=False)
    ] = Path(),
    name: NameOption = "",
    state_dir: StateDirOption = None,
) -> None:
    """Issue a client certificate for somebody outside a standalone mesh, such as curl; write it, its key and the roots.

    curl --cacert ca.pem --cert cert.pem --key key.pem https://web.shop:8080/
    """
    from smeagol.client import Mesh

    with Mesh.find(name, state_dir) as mesh:
        issued = mesh.issue_certificate(names)
    folder.mkdir(parents=True, exist_ok=True)
    for file, text in (("cert.pem", issued.certificate), ("key.pem", issued.key), ("ca.pem", issued.roots)):
        path = folder / file
        path.unlink(missing_ok=True)
        path.touch(mode=0o600)
        path.write_text(text)
        typer.echo(str(path))
    typer.echo(f"valid until {issued.not_after}", err=True)


def rotate(
    root: Annotated[
        bool, typer.Option("--root", help="Replace the root, with overlap; else all certificates.")
    ] = False,
    name: NameOption = "",
    state_dir: StateDirOption = None,
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = "",
) -> None:
    """Renew all certificates now, or replace the root: no request is lost by either.

    With --kubeconfig or --context, and as kubectl smeagol, it is about the mesh of that cluster. There a restart of the
    control plane renews all certificates (kubectl -n smeagol-system rollout restart deployment/smeagol-controller).
    """
    if kubeconfig is not None or context or as_plugin():
        _rotate_in_cluster(kubeconfig, context, root=root)
        return
    from smeagol.client import Mesh

    with Mesh.find(name, state_dir) as mesh:
        mesh.rotate("root" if root else "certificates")
    typer.echo("the root is being replaced" if root else "all certificates are renewed")


def _rotate_in_cluster(kubeconfig: Path | None, context: str, *, root: bool) -> None:
    from datetime import UTC, datetime

    from smeagol.infra.kubernetes.connection import connect_blocking
    from smeagol.runtime.cluster_roots import begin_rotation

    if not root:
        raise typer.BadParameter(
            "in a cluster only the root is replaced by this command; a restart of the control plane renews all "
            "certificates: kubectl -n smeagol-system rollout restart deployment/smeagol-controller",
            param_hint="--root",
        )
    with connect_blocking(kubeconfig, context) as client:
        begun = begin_rotation(client, now=datetime.now(UTC))
    typer.echo("the root is being replaced" if begun else "the root is being replaced already")
