"""`smeagol install`: the control plane into a cluster, or to the version of this command."""

from __future__ import annotations

from enum import Enum
from importlib.metadata import version
from typing import Annotated, TypeAlias

import typer
from typer.models import OptionInfo

from smeagol.cli.meshes import ContextOption, KubeconfigOption
from smeagol.refs import DEFAULT_CLUSTER_DOMAIN

__all__ = ["NamespaceOption", "proxy_size_option", "register"]

NamespaceOption: TypeAlias = Annotated[str, typer.Option("--namespace", help="The namespace Smeagol runs in.")]

IMAGE = f"smeagol:{version('smeagol')}"
"""The control plane's image as `deploy/Containerfile` is built; nodes must be able to get it."""


_PROXY_SIZES = {
    "cpu-request": ("CPU that is set aside for a proxy", "20m"),
    "cpu-limit": ("CPU that a proxy may use", "2"),
    "memory-request": ("Memory that is set aside for a proxy", "64Mi"),
    "memory-limit": ("Memory that a proxy may use", "1Gi"),
    "concurrency": ("Worker threads of a proxy", "2"),
}


def proxy_size_option(name: str, default: str = "") -> OptionInfo:
    """`--proxy-<name>`; empty stands for its default."""
    meaning, usual = _PROXY_SIZES[name]
    help_text = f"{meaning}, unless its Pod says otherwise. [default: {default or usual}]"
    metavar = "NUMBER" if name == "concurrency" else "QUANTITY"
    option = typer.Option(f"--proxy-{name}", metavar=metavar, help=help_text, show_default=False)
    assert isinstance(option, OptionInfo)  # noqa: S101 - its type is Any, for defaults of arguments
    return option


class Output(Enum):
    TEXT = "text"
    YAML = "yaml"


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="In a cluster")(install)


def install(
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = "",
    namespace: NamespaceOption = "smeagol-system",
    image: Annotated[str, typer.Option("--image", help="Image of the control plane.")] = IMAGE,
    proxy_image: Annotated[
        str, typer.Option("--proxy-image", help="Image of the proxies; Envoy's own unless given.", show_default=False)
    ] = "",
    proxy_cpu_request: Annotated[str, proxy_size_option("cpu-request")] = "",
    proxy_cpu_limit: Annotated[str, proxy_size_option("cpu-limit")] = "",
    proxy_memory_request: Annotated[str, proxy_size_option("memory-request")] = "",
    proxy_memory_limit: Annotated[str, proxy_size_option("memory-limit")] = "",
    proxy_concurrency: Annotated[str, proxy_size_option("concurrency")] = "",
    replicas: Annotated[int, typer.Option("--replicas", help="Replicas of the control plane.")] = 2,
    pod_cidr: Annotated[
        list[str] | None, typer.Option("--pod-cidr", help="Where Pod addresses lie; may be given more than once.")
    ] = None,
    cluster_domain: Annotated[
        str, typer.Option("--cluster-domain", help="DNS domain of the cluster.")
    ] = DEFAULT_CLUSTER_DOMAIN,
    trust_domain: Annotated[str, typer.Option("--trust-domain", help="Of the identities; the cluster domain.")] = "",
    ca_secret: Annotated[
        str,
        typer.Option("--ca-secret", help="Secret with an intermediate to sign with; else the mesh makes its own CA."),
    ] = "",
    ca_signer: Annotated[
        str,
        typer.Option(
            "--ca-signer",
            help="Have an intermediate signed by a CertificateSigningRequest for this signer, such as "
            "issuers.cert-manager.io/smeagol-system.mesh-issuer; needs --ca-roots.",
        ),
    ] = "",
    ca_roots: Annotated[str, typer.Option("--ca-roots", help="ConfigMap with that signer's roots in its ca.crt.")] = "",
    adapter: Annotated[
        list[str] | None,
        typer.Option(
            "--adapter",
            metavar="NAME",
            help="Run an adapter to another mesh too, such as gateway-api; may be given more than once.",
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change, change nothing.")] = False,
    output: Annotated[
        Output, typer.Option("-o", "--output", help="Install and report, or print the manifests and ask nobody.")
    ] = Output.TEXT,
    force: Annotated[bool, typer.Option("--force", help="Take over fields that somebody else has set.")] = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait until all replicas are available and Pods get proxies.")
    ] = False,
    timeout: Annotated[int, typer.Option("--timeout", help="Seconds that --wait waits.")] = 300,
) -> None:
    """Install Smeagol into a cluster, or upgrade it: definitions, access, and the control plane.

    From then on Pods that are made get a proxy where an object or a label asks for it; Pods that run are not changed.

    What is there already is left or brought in line, never deleted; `smeagol uninstall` undoes it.
    """
    from smeagol.api.documents import write_text
    from smeagol.cli.terminal import paint
    from smeagol.install import ApiServer, InstallSettings, Step, manifests, wait_until_ready
    from smeagol.install import install as apply
    from smeagol.install.settings import PROXY_IMAGE, check_one_authority
    from smeagol.runtime.adapters import adapters_named

    check_one_authority(ca_secret, ca_signer)
    settings = InstallSettings(
        version=version("smeagol"),
        namespace=namespace,
        image=image,
        proxy_image=proxy_image or PROXY_IMAGE,
        proxy_cpu_request=proxy_cpu_request,
        proxy_cpu_limit=proxy_cpu_limit,
        proxy_memory_request=proxy_memory_request,
        proxy_memory_limit=proxy_memory_limit,
        proxy_concurrency=proxy_concurrency,
        replicas=replicas,
        pod_cidrs=tuple(pod_cidr or ()),
        cluster_domain=cluster_domain,
        trust_domain=trust_domain,
        ca_secret=ca_secret,
        ca_signer=ca_signer,
        ca_roots=ca_roots,
        adapters=adapters_named(adapter or (), option="--adapter"),
    )
    if output is Output.YAML:
        typer.echo(write_text(*(manifest.to_json() for manifest in manifests(settings))), nl=False)
        return

    from smeagol.infra.kubernetes.connection import connect_blocking

    def report(step: Step) -> None:
        typer.echo(f"{step.object} {paint(step.outcome.value, 'cyan')}")
        for change in step.changes:
            typer.echo(f"    {change}")

    with connect_blocking(kubeconfig, context) as client:
        server = ApiServer(client)
        apply(server, settings, report=report, force=force, dry_run=dry_run)
        if dry_run:
            typer.echo("Nothing was changed (dry run).")
            return
        if wait:
            wait_until_ready(server, settings, seconds=timeout, progress=typer.echo)
    typer.echo(paint("Installed.", "green", bold=True) + " See smeagol check.")
