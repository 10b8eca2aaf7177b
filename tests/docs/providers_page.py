"""Writes docs/providers.md: what each provider claims, and what a report in conformance/reports has proved of it."""

# ruff: noqa: E501  (the lines are those of a page)
from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import yaml

from smeagol.conformance.cases import CASES
from smeagol.plan import Feature, Provider
from smeagol.plan.peer import PeerProvider
from smeagol.runtime.offline import GROUP, provider_named

from .pages import ROOT

__all__ = ["providers_page"]

REPORTS = ROOT / "conformance/reports"
ABOUT_LACKING = {case.name for case in CASES if case.lacking}
"""They are skipped for who lacks nothing, and prove no feature."""
SHOWS_THE_CONTRACT = "recorder"
"""It records what it was asked to make true, and makes nothing true."""


def providers_page() -> str:
    """The whole page."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = project["entry-points"][GROUP]
    found = [provider_named(place) for name, place in sorted(named.items()) if name != SHOWS_THE_CONTRACT]
    reports = _reports()
    lines = [
        *_HEAD,
        f"| Feature | {' | '.join(provider.name for provider in found)} |",
        f"|---|{'---|' * len(found)}",
        *(f"| `{feature.value}` | {' | '.join(_cell(p, feature, reports) for p in found)} |" for feature in Feature),
        "",
        "## Reports",
        "",
        "| Provider | Mode | Date | Passed, partly, failed, skipped | |",
        "|---|---|---|---|---|",
        *(_report(path, report) for path, report in reports.items()),
        "",
        "## What the claims are for",
        "",
        "For these meshes, in these versions; `smeagol providers --cluster` says what each can do with what a cluster has.",
        "",
        "| Provider | Mesh | Kinds |",
        "|---|---|---|",
        *(_peer(provider) for provider in found if isinstance(provider, PeerProvider)),
    ]
    return "\n".join(lines) + "\n"


_HEAD = (
    "# Who supports what",
    "",
    "<!-- Written by `make golden` from conformance/reports and from what the providers claim. -->",
    "",
    "- **proved**: claimed, and every case of the [conformance suite](conformance.md) that needs it passed, in a report below.",
    "- **failed**: claimed, and a case of a report failed.",
    "- *in part*: claimed, and a report [without the mesh](conformance.md#without-a-mesh) has judged what statuses, Events and refusals",
    "  tell, on a real API server with the mesh's own CRDs. Its proxies were not run, and nothing was called.",
    "- *not run*: claimed, and no report has run it: only calls could show it, and there no mesh ran, or the suite has no case.",
    "- –: not supported. Objects that need it say so in their status, field by field.",
    "",
    "A claim is narrower than the specification where [the page of the adapters](adapters.md) says so: Istio, for one, chooses the split of",
    "HTTP by the `Host` header (SMI-CAN-06).",
    "",
)  # fmt: skip


def _reports() -> dict[Path, dict[str, Any]]:
    return {path: yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(REPORTS.glob("*.yaml"))}


def _cell(provider: Provider, feature: Feature, reports: dict[Path, dict[str, Any]]) -> str:
    if feature not in provider.features:
        return "–"
    own = [r for r in reports.values() if r["implementation"]["controllerName"] == provider.controller_name]
    verdicts = {_verdict(feature, report) for report in own}
    return next((verdict for verdict in _VERDICTS if verdict in verdicts), _VERDICTS[-1])


_VERDICTS = ("**failed**", "**proved**", "*in part*", "*not run*")
"""The first that any report gives counts."""


def _verdict(feature: Feature, report: dict[str, Any]) -> str:
    results = {
        case["result"]
        for case in report["cases"]
        if feature.value in case["features"] and case["name"] not in ABOUT_LACKING
    }
    failed, proved, in_part, not_run = _VERDICTS
    if "failed" in results:
        return failed
    if results == {"passed"}:
        return proved
    return in_part if results & {"passed", "partly"} else not_run


def _report(path: Path, report: dict[str, Any]) -> str:
    results = [case["result"] for case in report["cases"]]
    counts = ", ".join(str(results.count(result)) for result in ("passed", "partly", "failed", "skipped"))
    page = f"../conformance/reports/{path.stem}.md"
    who = report["implementation"]["providerClass"]
    return f"| {who} | {report['mode']} | {report['date']} | {counts} | [report]({page}) |"


def _peer(provider: PeerProvider) -> str:
    """For the peer that it plans for offline; a cluster's own may do less."""
    kinds = ", ".join(sorted({kind.kind for kind in provider.kinds}))
    return f"| {provider.name} | {f'{provider.peer.name} {provider.peer.version}'.rstrip()} | {kinds} |"
