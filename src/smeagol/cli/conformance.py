"""`smeagol conformance`: does a provider do what the specification says?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from smeagol.conformance.model import Case, Result

__all__ = ["register"]


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
    wait: Annotated[float, typer.Option("--wait", min=1, help="Seconds until an expectation must be met.")] = 60.0,
    version: Annotated[
        str,
        typer.Option(
            "--implementation-version", help="For the report. [default: what the mesh says]", show_default=False
        ),
    ] = "",
) -> None:
    """Run the rules of the specification against a provider, from outside, and report.

    Starts `smeagol up` with the provider, or uses a running mesh, and tests exactly the features that the ProviderClass
    declares; the rest is reported as skipped. Exit code 0 if nothing failed. docs/conformance.md has the whole story.
    """
    import contextlib
    import signal
    import sys
    from datetime import UTC, datetime

    import yaml

    from smeagol.client import Mesh
    from smeagol.conformance.limits import Limits
    from smeagol.conformance.report import page, report
    from smeagol.conformance.standalone import Standalone, started
    from smeagol.conformance.suite import Pick, chosen, run

    pick = Pick(profiles=profile or (), cases=case or (), rules=rule or (), features=feature or ())
    cases = chosen(pick)
    if list_:
        _list(cases)
        return
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)  # now, and not after minutes
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    limits = Limits(condition=wait, effect=wait, start=max(wait, 60.0), delete=max(wait, 30.0))
    with contextlib.ExitStack() as stack:
        if mesh:
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
            ended=lambda result: _ended(result, provider_class),
        )
        made = version or driver.version
    filters = {"profile": pick.profiles, "case": pick.cases, "rule": pick.rules, "feature": pick.features}
    chosen_by = [f"--{name} {each}" for name, values in filters.items() for each in values]
    command = " ".join(["smeagol conformance", f"-p {provider_class}", *chosen_by])
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
    counts = {name: sum(r.outcome.value == name for r in found.results) for name in ("passed", "failed", "skipped")}
    print(", ".join(f"{count} {name}" for name, count in counts.items()))
    sys.stdout.flush()
    if found.failed:
        raise typer.Exit(1)


def _list(cases: tuple[Case, ...]) -> None:
    from smeagol.cli.meshes import table

    rows = [(c.name, c.profile, "core" if c.core else "extended", ", ".join(c.rules), c.about) for c in cases]
    for line in table(("CASE", "PROFILE", "PART", "RULES", "ABOUT"), rows):
        print(line)


def _ended(result: Result, provider_class: str) -> None:
    """One line, and what to know of a failure: what was expected and seen, the manifests, how to try again."""
    from smeagol.cli.terminal import paint

    colour = {"passed": "green", "failed": "red", "skipped": "yellow"}[result.outcome.value]
    words = f" ({result.message})" if result.outcome.value == "skipped" else ""
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
