"""`smeagol upgrade`: the installation that is there, to the version of this command."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

import typer

from smeagol.cli.install import proxy_size_option
from smeagol.cli.meshes import ContextOption, KubeconfigOption

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="In a cluster")(upgrade)


def upgrade(
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = "",
    image: Annotated[
        str,
        typer.Option("--image", help="Image of the control plane; the present one, with the new version as its tag."),
    ] = "",
    proxy_image: Annotated[
        str,
        typer.Option(
            "--proxy-image", help="Image of the proxies that new Pods get; a chosen one stays, such as a mirror's."
        ),
    ] = "",
    proxy_cpu_request: Annotated[str, proxy_size_option("cpu-request", "as now")] = "",
    proxy_cpu_limit: Annotated[str, proxy_size_option("cpu-limit", "as now")] = "",
    proxy_memory_request: Annotated[str, proxy_size_option("memory-request", "as now")] = "",
    proxy_memory_limit: Annotated[str, proxy_size_option("memory-limit", "as now")] = "",
    proxy_concurrency: Annotated[str, proxy_size_option("concurrency", "as now")] = "",
    replicas: Annotated[int, typer.Option("--replicas", help="Replicas of the control plane; as many as now.")] = 0,
    pod_cidr: Annotated[
        list[str] | None, typer.Option("--pod-cidr", help="Where Pod addresses lie; as now unless given.")
    ] = None,
    adapter: Annotated[
        list[str] | None,
        typer.Option("--adapter", metavar="NAME", help="Adapters to other meshes to run; as now unless given."),
    ] = None,
    no_adapters: Annotated[bool, typer.Option("--no-adapters", help="Run no adapter any more.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show field by field what would change, change nothing.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Take over fields that somebody else has set.")] = False,
    any_version: Annotated[
        bool, typer.Option("--any-version", help="Also if the versions are more than one minor apart.")
    ] = False,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Wait until all replicas are new, then remove what is not needed.")
    ] = True,
    timeout: Annotated[int, typer.Option("--timeout", help="Seconds that --wait waits.")] = 300,
) -> None:
    """Bring the Smeagol of a cluster to the version of this command, with the settings that it has.

    Whatever is not given anew stays as it is, arguments too that were added to the control plane by hand.

    Replicas are replaced one after the other, and traffic is not touched: proxies go on with what they have. Pods keep
    the proxy that they were made with; which owners to restart for a new one is said at the end.
    """
    from dataclasses import replace

    from smeagol.cli.terminal import paint
    from smeagol.infra.kubernetes.connection import connect_blocking
    from smeagol.install import (
        ApiServer,
        Outcome,
        Step,
        find_installed,
        install,
        outdated,
        prune,
        refuse_others,
        refuse_skew,
        wait_until_ready,
    )
    from smeagol.install.owners import renewals
    from smeagol.install.settings import PROXY_IMAGE
    from smeagol.install.upgrading import next_image, next_proxy_image
    from smeagol.runtime.adapters import adapters_named

    new = version("smeagol")

    def report(step: Step) -> None:
        if step.outcome is not Outcome.UNCHANGED:
            typer.echo(f"{step.object} {paint(step.outcome.value, 'cyan')}")
            for change in step.changes:
                typer.echo(f"    {change}")

    with connect_blocking(kubeconfig, context) as client:
        server = ApiServer(client)
        installed = find_installed(server)
        refuse_others(installed)
        if not any_version:
            refuse_skew(installed.version, new)
        settings = replace(
            installed.settings,
            version=new,
            image=image or next_image(installed.settings.image, installed.version, new),
            proxy_image=proxy_image or next_proxy_image(installed.settings.proxy_image),
            proxy_cpu_request=proxy_cpu_request or installed.settings.proxy_cpu_request,
            proxy_cpu_limit=proxy_cpu_limit or installed.settings.proxy_cpu_limit,
            proxy_memory_request=proxy_memory_request or installed.settings.proxy_memory_request,
            proxy_memory_limit=proxy_memory_limit or installed.settings.proxy_memory_limit,
            proxy_concurrency=proxy_concurrency or installed.settings.proxy_concurrency,
            replicas=replicas or installed.settings.replicas,
            adapters=() if no_adapters else adapters_named(adapter or installed.adapters, option="--adapter"),
            pod_cidrs=tuple(pod_cidr or installed.settings.pod_cidrs),
        )
        typer.echo(f"{settings.namespace}: {installed.version or 'unknown version'} → {new}")
        if settings.proxy_image != PROXY_IMAGE:
            typer.echo(f"Proxies stay at {settings.proxy_image}; this version is made for {PROXY_IMAGE}.")
        install(server, settings, report=report, force=force, dry_run=dry_run)
        if wait and not dry_run:
            wait_until_ready(server, settings, seconds=timeout, progress=typer.echo)
        if wait or dry_run:
            for step in prune(server, settings, dry_run=dry_run):
                report(step)
        else:
            typer.echo("What an earlier version left is removed by running this again with --wait.")
        restart = outdated(server, settings.proxy_image)
    if restart:
        typer.echo("To give these the new proxy, when it suits:")
        for line in renewals(restart):
            typer.echo(f"    {line}")
    typer.echo("Nothing was changed (dry run)." if dry_run else paint("Upgraded.", "green", bold=True))
