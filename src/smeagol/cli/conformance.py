"""`smeagol conformance`: does a provider do what the specification says?"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from smeagol.cli.install import IMAGE
from smeagol.refs import DEFAULT_CLUSTER_DOMAIN

if TYPE_CHECKING:
    from smeagol.conformance.driver import Driver
    from smeagol.conformance.model import Case, Result

__all__ = ["register"]

CLUSTER = "On a cluster"


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Provider authors")(conformance)


def conformance(
    provider_class: Annotated[
        str, typer.Option("-p", "--provider-class", help="The ProviderClass to hold to what it declares.")
    ] = "envoy",
    profile: Annotated[
        list[str] | None, typer.Option("--profile", help="Only this profile; may be repeated.", show_default=False)
    ] = None,
    case: Annotated[
        list[str] | None, typer.Option("--case", help="Only cases of this name; * is any text.", show_default=False)
    ] = None,
    rule: Annotated[
        list[str] | None, typer.Option("--rule", help="Only cases of this rule: SMI-CAN-07.", show_default=False)
    ] = None,
    feature: Annotated[
        list[str] | None, typer.Option("--feature", help="Only cases that need this feature.", show_default=False)
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", help="Write the report (YAML) here, and its page (.md) beside it.", show_default=False
        ),
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="Print the cases, and run none.")] = False,
    provider: Annotated[
        str,
        typer.Option(
            "--provider",
            help="What `smeagol up` runs, as its --provider. [default: the class's name]",
            show_default=False,
        ),
    ] = "",
    controller: Annotated[
        str,
        typer.Option(
            "--controller",
            help="controllerName of the class where the class does not exist yet. [default: smeagol.dev/CLASS]",
            show_default=False,
        ),
    ] = "",
    mesh: Annotated[
        str, typer.Option("--mesh", help="Use this running mesh instead of starting one.", show_default=False)
    ] = "",
    kubeconfig: Annotated[
        Path | None, typer.Option("--kubeconfig", help="Run on this cluster.", rich_help_panel=CLUSTER)
    ] = None,
    context: Annotated[
        str,
        typer.Option(
            "--context",
            help="Run on the cluster of this context of the kubeconfig.",
            show_default=False,
            rich_help_panel=CLUSTER,
        ),
    ] = "",
    image: Annotated[
        str,
        typer.Option(
            "--image",
            help="Image of the suite's Pods: Smeagol's own has its programs in it.",
            rich_help_panel=CLUSTER,
        ),
    ] = IMAGE,
    namespace_label: Annotated[
        list[str] | None,
        typer.Option(
            "--namespace-label",
            help="KEY=VALUE, what has the provider give proxies in a namespace: istio-injection=enabled.",
            show_default=False,
            rich_help_panel=CLUSTER,
        ),
    ] = None,
    namespace_annotation: Annotated[
        list[str] | None,
        typer.Option(
            "--namespace-annotation",
            help="The same as an annotation: linkerd.io/inject=enabled.",
            show_default=False,
            rich_help_panel=CLUSTER,
        ),
    ] = None,
    unmeshed_label: Annotated[
        list[str] | None,
        typer.Option(
            "--unmeshed-label",
            help="KEY=VALUE, what keeps proxies out of a Pod: sidecar.istio.io/inject=false.",
            show_default=False,
            rich_help_panel=CLUSTER,
        ),
    ] = None,
    no_data_plane: Annotated[
        bool,
        typer.Option(
            "--no-data-plane",
            help="No mesh runs: the Pods are objects only, and what statuses, Events and refusals tell is judged. "
            "The cluster needs no nodes.",
            rich_help_panel=CLUSTER,
        ),
    ] = False,
    cluster_domain: Annotated[
        str, typer.Option("--cluster-domain", help="DNS domain of the cluster.", rich_help_panel=CLUSTER)
    ] = DEFAULT_CLUSTER_DOMAIN,
    trust_domain: Annotated[
        str,
        typer.Option(
            "--trust-domain",
            help="Of the identities. [default: the cluster domain]",
            show_default=False,
            rich_help_panel=CLUSTER,
        ),
    ] = "",
    jobs: Annotated[
        int, typer.Option("-j", "--jobs", min=1, help="Groups of cases that share no Pods, side by side.")
    ] = 1,
    wait: Annotated[float, typer.Option("--wait", min=1, help="Seconds until an expectation must be met.")] = 60.0,
    version: Annotated[
        str,
        typer.Option(
            "--implementation-version", help="For the report. [default: what the mesh says]", show_default=False
        ),
    ] = "",
) -> None:
    """Run the rules of the specification against a provider, from outside, and report.

    Starts `smeagol up` with the provider, or uses a running mesh or cluster, and tests exactly the features that the
    ProviderClass declares; the rest is reported as skipped. On a cluster it makes namespaces named smi-*, and deletes
    them. Exit code 0 if nothing failed. docs/conformance.md has the whole story.
    """
    import contextlib
    import signal
    import sys
    from datetime import UTC, datetime

    import yaml

    from smeagol.client import Mesh
    from smeagol.conformance.limits import Limits
    from smeagol.conformance.model import Outcome
    from smeagol.conformance.report import page, report
    from smeagol.conformance.standalone import Standalone, started
    from smeagol.conformance.suite import Pick, chosen, run

    pick = Pick(profiles=profile or (), cases=case or (), rules=rule or (), features=feature or ())
    cases = chosen(pick)
    if list_:
        _list(cases)
        return
    if no_data_plane and not (kubeconfig or context):
        raise typer.BadParameter(
            "it is for a cluster: name one by --kubeconfig or --context", param_hint="--no-data-plane"
        )
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)  # now, and not after minutes
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    limits = Limits(condition=wait, effect=wait, start=max(wait, 180.0), delete=max(wait, 30.0))
    on_cluster = kubeconfig is not None or bool(context)
    with contextlib.ExitStack() as stack:
        driver: Driver
        if on_cluster:
            from smeagol.conformance.kubernetes import Adjustments, Kubernetes
            from smeagol.conformance.nodeless import SCHEDULER, nodeless
            from smeagol.infra.kubernetes.connection import connect_blocking

            adjustments = Adjustments(
                image=image,
                meshed_labels=_pairs(namespace_label, "--namespace-label"),
                meshed_annotations=_pairs(namespace_annotation, "--namespace-annotation"),
                unmeshed_labels=_pairs(unmeshed_label, "--unmeshed-label"),
                cluster_domain=cluster_domain,
                trust_domain=trust_domain,
                scheduler=SCHEDULER if no_data_plane else "",
            )
            client = stack.enter_context(connect_blocking(kubeconfig, context))
            if no_data_plane:
                stack.enter_context(nodeless(client))
            driver = Kubernetes(client, limits, adjustments, data_plane=not no_data_plane)
        elif mesh:
            driver = Standalone(stack.enter_context(Mesh.find(mesh)), limits)
        else:
            driver = stack.enter_context(started(provider or provider_class, limits))
        print(f"{len(cases)} cases against ProviderClass {provider_class}, {driver.mode}", flush=True)
        found = run(
            driver,
            cases,
            provider=provider_class,
            controller=controller or f"smeagol.dev/{provider_class}",
            limits=limits,
            at_once=jobs,
            ended=lambda result: _ended(result, provider_class),
        )
        made = version or driver.version(found.controller)
    command = _again(
        {
            "-p": [provider_class],
            "--provider": [provider] * bool(provider),
            "--controller": [controller] * bool(controller),
            "--kubeconfig": ["KUBECONFIG"] * on_cluster,  # where and whose: the reader's
            "--image": ["IMAGE"] * (on_cluster and not no_data_plane),
            "--no-data-plane": [""] * no_data_plane,
            "--namespace-label": namespace_label or (),
            "--namespace-annotation": namespace_annotation or (),
            "--unmeshed-label": unmeshed_label or (),
            "-j": [str(jobs)] * (jobs > 1),
            "--profile": pick.profiles,
            "--case": pick.cases,
            "--rule": pick.rules,
            "--feature": pick.features,
        }
    )
    data = report(
        found,
        provider_class=provider_class,
        version=made,
        mode=driver.mode,
        date=datetime.now(UTC).date().isoformat(),
        command=command,
        complete=pick == Pick(),
    )
    if output is not None:
        output.write_text(yaml.safe_dump(data, sort_keys=False, width=120, allow_unicode=True), encoding="utf-8")
        output.with_suffix(".md").write_text(page(data), encoding="utf-8")
    for each in data["profiles"]:
        print(f"{each['name']}: core {each['core']['result']}, extended {each['extended']['result']}")
    outcomes = [result.outcome for result in found.results]
    print(", ".join(f"{outcomes.count(o)} {o.value}" for o in Outcome if o is not Outcome.PARTLY or o in outcomes))
    sys.stdout.flush()
    if found.failed:
        raise typer.Exit(1)


def _again(options: Mapping[str, Sequence[str]]) -> str:
    """The command that does the same, on the reader's own machine or cluster."""
    given = (word for name, values in options.items() for value in values for word in (name, value) if word)
    return shlex.join(["smeagol", "conformance", *given])


def _pairs(texts: list[str] | None, option: str) -> dict[str, str]:
    pairs = [text.partition("=") for text in texts or ()]
    if wrong := [key for key, equals, _ in pairs if not (key and equals)]:
        raise typer.BadParameter(f"{wrong[0]!r} is not KEY=VALUE", param_hint=option)
    return {key: value for key, _, value in pairs}


def _list(cases: tuple[Case, ...]) -> None:
    from smeagol.cli.meshes import table

    rows = [(c.name, c.profile, "core" if c.core else "extended", ", ".join(c.rules), c.about) for c in cases]
    for line in table(("CASE", "PROFILE", "PART", "RULES", "ABOUT"), rows):
        print(line)


def _ended(result: Result, provider_class: str) -> None:
    """One line, and what to know of a failure: what was expected and seen, the manifests, how to try again."""
    from smeagol.cli.terminal import paint

    colour = {"passed": "green", "failed": "red"}.get(result.outcome.value, "yellow")
    words = f" ({result.message})" if result.outcome.value in ("skipped", "partly") else ""
    print(f"{paint(result.outcome.value, colour):8} {result.seconds:6.1f} s  {result.case.name}{words}", flush=True)  # type: ignore[arg-type]
    if result.outcome.value == "failed":
        print(f"  {result.case.about} ({', '.join(result.case.rules)})")
        for line in result.message.splitlines():
            print(f"  {line}")
        if result.applied:
            print("  applied:")
            for line in result.applied.splitlines():
                print(f"    {line}")
        print(f"  again: smeagol conformance -p {provider_class} --case {result.case.name}", flush=True)
