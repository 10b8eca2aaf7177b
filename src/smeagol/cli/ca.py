"""`smeagol ca`: the mesh's roots, and certificates for clients outside the mesh."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from smeagol.cli.meshes import (
    ContextOption,
    KubeconfigOption,
    NameOption,
    Output,
    StateDirOption,
    ago,
    as_plugin,
    find_mesh,
    find_standalone,
    printed,
    table,
)

if TYPE_CHECKING:
    from smeagol.control import Roots

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    ca = typer.Typer(no_args_is_help=True, help="The mesh's certificate authority: roots, certificates, rotation.")
    ca.command()(issue)
    ca.command()(rotate)
    ca.command()(status)
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
    now: Annotated[
        bool,
        typer.Option(
            "--now",
            help="Let the new root sign as soon as all proxies trust it: for keys that were stolen. Clients outside "
            "the mesh that read the roots from a file get no time to read them anew.",
        ),
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
    if now and not root:
        raise typer.BadParameter("only a root is waited with", param_hint="--now")
    if kubeconfig is not None or context or as_plugin():
        _rotate_in_cluster(kubeconfig, context, root=root, hurried=now)
        return
    in_a_cluster = "For the mesh of a cluster give --context or --kubeconfig, or type kubectl smeagol"
    with find_standalone(name, state_dir, in_a_cluster=in_a_cluster) as mesh:
        mesh.rotate("root" if root else "certificates")
    typer.echo("the root is being replaced" if root else "all certificates are renewed")


def status(
    output: Annotated[Output, typer.Option("-o", "--output", help="For people or for programs.")] = Output.TEXT,
    name: NameOption = "",
    state_dir: StateDirOption = None,
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = "",
) -> None:
    """Show which roots are trusted, which one signs, and while one is replaced, which proxies that waits for."""
    with find_mesh(name, state_dir, kubeconfig, context) as mesh:
        roots = mesh.status().roots
    typer.echo(_told(roots) if output is Output.TEXT else printed(roots, output), nl=output is Output.TEXT)


def _told(roots: Roots) -> str:
    from datetime import UTC, datetime

    if not roots.trusted:
        return "The control plane does not say, for it is away or of an older version."
    meaning = {
        "steady": "one root is trusted, and signs",
        "introducing": "both roots are trusted, the old one still signs",
        "retiring": "both roots are trusted, the new one signs",
    }
    hurried = ", without waiting for clients outside the mesh" if roots.hurried else ""
    since = ago(roots.since, datetime.now(UTC))
    lines = [f"{roots.phase} for {since}: {meaning.get(roots.phase, '')}{hurried}", ""]
    lines += table(["ROOT", "SIGNS", "EXPIRES"], [[r.id, "yes" if r.signs else "no", r.expires] for r in roots.trusted])
    if roots.waiting_for:
        more = f" and {roots.more_waiting} more" if roots.more_waiting else ""
        lines += ["", f"Not yet acknowledged by {', '.join(roots.waiting_for)}{more}"]
    if roots.problem:
        lines += ["", roots.problem]
    if roots.silent:
        lines += ["", f"Replicas that do not answer: {', '.join(roots.silent)}"]
    return "\n".join(lines)


def _rotate_in_cluster(kubeconfig: Path | None, context: str, *, root: bool, hurried: bool) -> None:
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
        begun = begin_rotation(client, now=datetime.now(UTC), hurried=hurried)
    typer.echo("the root is being replaced" if begun else "the root is being replaced already")
    typer.echo("smeagol ca status shows how far it is.", err=True)
    if hurried:
        typer.echo(
            "Warning: clients outside the mesh fail until they have the new root. The old one is trusted until no "
            "proxy uses a certificate of it: see smeagol ca status. If its key was stolen, restart the Pods then.",
            err=True,
        )
