"""`smeagol inject` and `smeagol uninject`: Pods into the mesh and out of it, by what owns them."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import typer

from smeagol.cli.meshes import ContextOption, KubeconfigOption

__all__ = ["register"]

Owners: TypeAlias = Annotated[
    list[str] | None,
    typer.Argument(metavar="[OWNER]...", help="deployment/NAME, statefulset/NAME, daemonset/NAME.", show_default=False),
]
Namespace: TypeAlias = Annotated[str, typer.Option("-n", "--namespace", help="Where they are.")]
All: TypeAlias = Annotated[
    bool, typer.Option("--all", help="The whole namespace, and what will be in it; but owners that say otherwise.")
]
DryRun: TypeAlias = Annotated[bool, typer.Option("--dry-run", help="Ask the API server, change nothing.")]
Wait: TypeAlias = Annotated[bool, typer.Option("--wait", help="Wait until all Pods are new, and look at them.")]
Timeout: TypeAlias = Annotated[int, typer.Option("--timeout", help="Seconds that --wait waits for each owner.")]


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="In a cluster")(inject)
    app.command(rich_help_panel="In a cluster")(uninject)


def inject(
    owners: Owners = None,
    namespace: Namespace = "default",
    all_: All = False,
    dry_run: DryRun = False,
    wait: Wait = False,
    timeout: Timeout = 300,
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = "",
) -> None:
    """Give the Pods of these owners a proxy, by a label on their template and the rolling restart that this causes.

    With --all the namespace gets the label, and owners are restarted whose Pods have no proxy yet. Pods that cannot be
    restarted are named.
    """
    _change(owners or [], namespace, all_, dry_run, wait, timeout, kubeconfig, context, proxy=True)


def uninject(
    owners: Owners = None,
    namespace: Namespace = "default",
    all_: All = False,
    dry_run: DryRun = False,
    wait: Wait = False,
    timeout: Timeout = 300,
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = "",
) -> None:
    """Take the proxy from the Pods of these owners, by a label on their template and a rolling restart.

    MutualTLS and Sidecar objects select these Pods no more.
    """
    _change(owners or [], namespace, all_, dry_run, wait, timeout, kubeconfig, context, proxy=False)


def _change(
    named: list[str],
    namespace: str,
    all_: bool,
    dry_run: bool,
    wait: bool,
    timeout: int,
    kubeconfig: KubeconfigOption,
    context: str,
    *,
    proxy: bool,
) -> None:
    from datetime import UTC, datetime

    from smeagol.cli.terminal import paint
    from smeagol.infra.kubernetes.connection import connect_blocking
    from smeagol.install import ApiServer
    from smeagol.install.owners import (
        change,
        find_owner,
        find_owners,
        find_unrestartable,
        label_namespace,
        needs,
        renewals,
        restart,
        wait_for_owner,
    )

    if bool(named) == all_:
        raise typer.BadParameter("name owners, such as deployment/web, or give --all")
    value = "enabled" if proxy else "disabled"
    other = "disabled" if proxy else "enabled"
    moment = datetime.now(UTC).isoformat(timespec="seconds")
    with connect_blocking(kubeconfig, context) as client:
        server = ApiServer(client)
        changed = []
        if all_:
            label_namespace(server, namespace, value, dry_run=dry_run)
            typer.echo(f"Namespace {namespace} {paint(value, 'cyan')}")
            for owner in find_owners(server, namespace):
                if owner.label == other:
                    typer.echo(f"{owner.ref} {paint('kept', 'cyan')}: its Pods say {other} themselves")
                elif needs(server, owner, proxy=proxy):
                    restart(server, owner, moment, dry_run=dry_run)
                    changed.append(owner)
                    typer.echo(f"{owner.ref} {paint('restarted', 'cyan')}")
            for line in renewals(find_unrestartable(server, namespace, proxy=proxy)):
                typer.echo(f"{paint('Not restarted:', 'yellow')} {line}")
        else:
            for owner in [find_owner(server, text, namespace) for text in named]:
                outcome = "unchanged"
                if change(server, owner, value, dry_run=dry_run):
                    outcome = f"{value}, restarted"
                elif not owner.is_replacing and needs(server, owner, proxy=proxy):  # older than their label
                    restart(server, owner, moment, dry_run=dry_run)
                    outcome = "restarted"
                if outcome != "unchanged":
                    changed.append(owner)
                typer.echo(f"{owner.ref} {paint(outcome, 'cyan')}")
        if dry_run:
            typer.echo("Nothing was changed (dry run).")
            return
        for owner in changed if wait else ():
            wait_for_owner(server, owner, proxy=proxy, seconds=timeout, progress=typer.echo)
            typer.echo(f"{owner.ref}: all Pods {paint('have a proxy' if proxy else 'have no proxy', 'green')}")
