"""The report of a run: data for programs, and the page for people that is made of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from smeagol.conformance.coverage import UNSEEN
from smeagol.conformance.model import PROFILES, Outcome, Result
from smeagol.conformance.suite import Run, by_profile

__all__ = ["page", "report"]

SUCCESS, PARTIAL, FAILURE = "success", "partial", "failure"


def report(
    run: Run, *, provider_class: str, version: str, mode: str, date: str, command: str, complete: bool
) -> dict[str, Any]:
    """`complete`: no filter left a case out. Everything in it is free of machines' paths and names."""
    return {
        "kind": "ConformanceReport",
        "specification": "smi-spec.io/v1beta1",
        "implementation": {"providerClass": provider_class, "controllerName": run.controller, "version": version},
        "mode": mode,
        "date": date,
        "complete": complete,
        "reproduce": command,
        "profiles": [_profile(name, halves, run.features) for name, halves in by_profile(run.results)],
        "generated": {tag: {"passed": passed, "of": total} for tag, (passed, total) in sorted(run.tags.items())},
        "cases": [_case(result) for result in run.results],
        "notSeen": UNSEEN,
    }


def _profile(name: str, halves: Mapping[bool, Sequence[Result]], features: frozenset[str]) -> dict[str, Any]:
    profile = PROFILES[name]
    return {
        "name": name,
        "core": {
            "result": _judged([r for r in halves[True] if not r.case.lacking & features]),
            "statistics": _statistics(halves[True]),
        },
        "extended": {
            "result": _judged([r for r in halves[False] if r.case.features <= features]),
            "statistics": _statistics(halves[False]),
            "supportedFeatures": sorted(profile.extended & features),
            "unsupportedFeatures": sorted(profile.extended - features),
        },
    }


def _judged(results: Iterable[Result]) -> str:
    outcomes = {result.outcome for result in results}
    if Outcome.FAILED in outcomes:
        return FAILURE
    return PARTIAL if Outcome.SKIPPED in outcomes else SUCCESS


def _statistics(results: Iterable[Result]) -> dict[str, int]:
    outcomes = [result.outcome for result in results]
    return {outcome.value: outcomes.count(outcome) for outcome in Outcome}


def _case(result: Result) -> dict[str, Any]:
    case = result.case
    told: dict[str, Any] = {
        "name": case.name,
        "profile": case.profile,
        "rules": list(case.rules),
        "features": sorted(case.features),
        "result": result.outcome.value,
        "seconds": round(result.seconds, 1),
    }
    return {**told, "message": result.message} if result.message else told


def page(data: Mapping[str, Any]) -> str:
    """The report as Markdown."""
    who = data["implementation"]
    lines = [
        f"# Conformance of {who['providerClass']}, {data['mode']}",
        "",
        f"{who['controllerName']} {who['version']}, {data['date']}, {data['specification']}."
        + ("" if data["complete"] else " **Some cases were left out by filters.**"),
        "",
        f"Reproduce: `{data['reproduce']}`. This page is made of the report of the same name.",
        "",
        "| Profile | Core | Passed, failed, skipped | Extended | Passed, failed, skipped |",
        "|---|---|---|---|---|",
    ]
    for profile in data["profiles"]:
        core, extended = profile["core"], profile["extended"]
        lines.append(
            f"| {profile['name']} | {core['result']} | {_three(core)} | {extended['result']} | {_three(extended)} |"
        )
    for profile in data["profiles"]:
        unsupported = ", ".join(profile["extended"]["unsupportedFeatures"]) or "none"
        lines += ["", f"Features of {profile['name']} that are not declared, and so not tested: {unsupported}."]
    lines += ["", "## Cases", "", "| Case | Rules | Result | Seconds |", "|---|---|---|---|"]
    for case in data["cases"]:
        rules = ", ".join(case["rules"])
        lines.append(f"| {case['name']} | {rules} | {_result(case)} | {case['seconds']} |")
    if data["generated"]:
        lines += ["", "## Generated calls, compared with the oracle", "", "| Tag | As expected | Of |", "|---|---|---|"]
        lines += [f"| {tag} | {each['passed']} | {each['of']} |" for tag, each in data["generated"].items()]
    lines += ["", "## Rules that are not seen from outside", "", "| Rule | Why |", "|---|---|"]
    lines += [f"| {rule} | {why} |" for rule, why in data["notSeen"].items()]
    return "\n".join(lines) + "\n"


def _three(half: Mapping[str, Any]) -> str:
    return ", ".join(str(count) for count in half["statistics"].values())


def _result(case: Mapping[str, Any]) -> str:
    message = " ".join(str(case.get("message", "")).split()).replace("|", "\\|")
    return f"{case['result']}: {message}" if message else str(case["result"])
