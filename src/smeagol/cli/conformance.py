"""`smeagol conformance`: does a provider do what the specification says?"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
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
        str,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="Write the report to this file, .yaml or .json, and its page (.md) beside it; with -o yaml and "
            "-o json it is printed, and progress goes to stderr.",
            show_default=False,
        ),
    ] = "",
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
            help="Make the class with this controllerName, for the time of the run, where there is none yet. "
            "[default: smeagol.dev/CLASS; on a cluster, the class must be there]",
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
    import json
    import signal
    import sys
    from datetime import UTC, datetime
    from functools import partial

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
    file = Path(output) if output not in ("", "yaml", "json") else None
    if file is not None:
        if file.suffix not in (".yaml", ".yml", ".json"):
            raise typer.BadParameter(
                f"{output} ends neither in .yaml nor in .json; to have the report printed, write -o yaml or -o json",
                param_hint="-o",
            )
        file.parent.mkdir(parents=True, exist_ok=True)  # now, and not after minutes
    say = partial(print, file=sys.stderr if output and file is None else sys.stdout, flush=True)

    def stop(number: int, _frame: object) -> None:
        print(
            "Stopping: cases that run come to their end, and what was applied is deleted.", file=sys.stderr, flush=True
        )
        sys.exit(128 + number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    limits = Limits(condition=wait, effect=wait, start=max(wait, 180.0), delete=max(wait, 30.0))
    on_cluster = kubeconfig is not None or bool(context)

    def command(platform: Mapping[str, Sequence[str]], what: Mapping[str, Sequence[str]]) -> str:
        return _command(
            {
                "-p": [provider_class],
                "--provider": [provider] * bool(provider),
                "--controller": [controller] * bool(controller),
                **platform,
                "--no-data-plane": [""] * no_data_plane,
                "--namespace-label": namespace_label or (),
                "--namespace-annotation": namespace_annotation or (),
                "--unmeshed-label": unmeshed_label or (),
                "--cluster-domain": [cluster_domain] * (cluster_domain != DEFAULT_CLUSTER_DOMAIN),
                "--trust-domain": [trust_domain] * bool(trust_domain),
                **what,
            }
        )

    here = {
        "--mesh": [mesh] * bool(mesh),
        "--kubeconfig": [str(kubeconfig)] * (kubeconfig is not None),
        "--context": [context] * bool(context),
        "--image": [image] * (image != IMAGE),
    }
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
        found = run(
            driver,
            cases,
            provider=provider_class,
            controller=controller or ("" if on_cluster else f"smeagol.dev/{provider_class}"),
            limits=limits,
            at_once=jobs,
            begun=lambda: say(f"{len(cases)} cases against ProviderClass {provider_class}, {driver.mode}"),
            ended=lambda result: _ended(say, result, command(here, {"--case": [result.case.name]})),
        )
        made = version or driver.version(found.controller)
    anywhere = {"--kubeconfig": ["KUBECONFIG"] * on_cluster, "--image": ["IMAGE"] * (on_cluster and not no_data_plane)}
    filters = {"--profile": pick.profiles, "--case": pick.cases, "--rule": pick.rules, "--feature": pick.features}
    data = report(
        found,
        provider_class=provider_class,
        version=made,
        mode=driver.mode,
        date=datetime.now(UTC).date().isoformat(),
        command=command(anywhere, {"-j": [str(jobs)] * (jobs > 1), **filters}),
        complete=pick == Pick(),
    )
    text = (
        json.dumps(data, indent=2, ensure_ascii=False) + "\n"
        if output.endswith("json")
        else yaml.safe_dump(data, sort_keys=False, width=120, allow_unicode=True)
    )
    if file is not None:
        file.write_text(text, encoding="utf-8")
        file.with_suffix(".md").write_text(page(data), encoding="utf-8")
    elif output:
        sys.stdout.write(text)
    for each in data["profiles"]:
        say(f"{each['name']}: core {each['core']['result']}, extended {each['extended']['result']}")
    outcomes = [result.outcome for result in found.results]
    say(", ".join(f"{outcomes.count(o)} {o.value}" for o in Outcome if o is not Outcome.PARTLY or o in outcomes))
    if found.failed:
        raise typer.Exit(1)


def _command(options: Mapping[str, Sequence[str]]) -> str:
    """As a shell takes it."""
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


def _ended(say: Callable[[str], None], result: Result, again: str) -> None:
    """One line, and what to know of a failure: what was expected and seen, the manifests, and what tries it again."""
    from smeagol.cli.terminal import paint

    colour = {"passed": "green", "failed": "red"}.get(result.outcome.value, "yellow")
    words = f" ({result.message})" if result.outcome.value in ("skipped", "partly") else ""
    say(f"{paint(result.outcome.value, colour):8} {result.seconds:6.1f} s  {result.case.name}{words}")  # type: ignore[arg-type]
    if result.outcome.value == "failed":
        say(f"  {result.case.about} ({', '.join(result.case.rules)})")
        for line in result.message.splitlines():
            say(f"  {line}")
        if result.applied:
            say("  applied:")
            for line in result.applied.splitlines():
                say(f"    {line}")
        say(f"  again: {again}")
