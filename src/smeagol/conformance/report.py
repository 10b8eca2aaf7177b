"""The report of a run: data for programs, and the page for people that is made of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from smeagol.conformance.coverage import UNSEEN
from smeagol.conformance.driver import WITHOUT_DATA_PLANE
from smeagol.conformance.model import PROFILES, Outcome, Result
from smeagol.conformance.suite import Run, by_profile

__all__ = ["page", "report"]

SUCCESS, PARTIAL, FAILURE, UNSUPPORTED = "success", "partial", "failure", "unsupported"


def report(
    run: Run, *, provider_class: str, version: str, mode: str, date: str, command: str, complete: bool
) -> dict[str, Any]:
    """`complete`: no filter left a case out. Everything in it is free of machines' paths and names."""
    names = [o.value for o in Outcome if o is not Outcome.PARTLY or any(r.outcome is o for r in run.results)]
    return {
        "kind": "ConformanceReport",
        "specification": "smi-spec.io/v1beta1",
        "implementation": {"providerClass": provider_class, "controllerName": run.controller, "version": version},
        "mode": mode,
        "date": date,
        "complete": complete,
        "reproduce": command,
        "profiles": [_profile(name, halves, run.features, names) for name, halves in by_profile(run.results)],
        **({"made": {kind: len(uids) for kind, uids in sorted(run.made.items())}} if run.made else {}),
        "generated": {tag: {"passed": passed, "of": total} for tag, (passed, total) in sorted(run.tags.items())},
        "cases": [_case(result) for result in run.results],
        "notSeen": UNSEEN,
    }


def _profile(
    name: str, halves: Mapping[bool, Sequence[Result]], features: frozenset[str], outcomes: Sequence[str]
) -> dict[str, Any]:
    profile = PROFILES[name]
    return {
        "name": name,
        "core": {
            "result": _judged([r for r in halves[True] if _counts(r, features)], claimed=profile.core <= features),
            "statistics": _statistics(halves[True], outcomes),
        },
        "extended": {
            "result": _judged(
                [r for r in halves[False] if _counts(r, features)], claimed=bool(profile.extended & features)
            ),
            "statistics": _statistics(halves[False], outcomes),
            "supportedFeatures": sorted(profile.extended & features),
            "unsupportedFeatures": sorted(profile.extended - features),
        },
    }


def _counts(result: Result, features: frozenset[str]) -> bool:
    """Whether the case is about this provider: it has the features that the case needs, and lacks what it is to lack.

    Core cases count for whoever lacks core features, too: there is no half a profile.
    """
    return not result.case.lacking & features and (result.case.core or result.case.features <= features)


def _judged(results: Iterable[Result], *, claimed: bool) -> str:
    """`claimed`: whether the provider says that it can do this at all."""
    outcomes = {result.outcome for result in results}
    if Outcome.FAILED in outcomes:
        return FAILURE
    if not claimed:
        return UNSUPPORTED
    return PARTIAL if outcomes & {Outcome.SKIPPED, Outcome.PARTLY} else SUCCESS


def _statistics(results: Iterable[Result], names: Iterable[str]) -> dict[str, int]:
    outcomes = [result.outcome.value for result in results]
    return {name: outcomes.count(name) for name in names}


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
    outcomes = ", ".join(data["profiles"][0]["core"]["statistics"]).capitalize() if data["profiles"] else ""
    lines = [
        f"# Conformance of {who['providerClass']}, {data['mode']}",
        "",
        f"{who['controllerName']} {who['version']}, {data['date']}, {data['specification']}."
        + ("" if data["complete"] else " **Some cases were left out by filters.**"),
        "",
        f"Reproduce: `{data['reproduce']}`. This page is made of the report of the same name.",
        "",
        *([_NO_MESH_RAN] if data["mode"] == WITHOUT_DATA_PLANE else []),
        f"| Profile | Core | {outcomes} | Extended | {outcomes} |",
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
    if made := data.get("made"):
        lines += [
            "",
            "## What was made",
            "",
            "Objects of these kinds, for the suite's, all taken by the API server and",
        ]
        lines += ["gone after theirs were deleted.", "", "| Kind | Objects |", "|---|---|"]
        lines += [f"| `{kind}` | {count} |" for kind, count in made.items()]
    if data["generated"]:
        lines += ["", "## Generated calls, compared with the oracle", "", "| Tag | As expected | Of |", "|---|---|---|"]
        lines += [f"| {tag} | {each['passed']} | {each['of']} |" for tag, each in data["generated"].items()]
    lines += ["", "## Rules that are not seen from outside", "", "| Rule | Why |", "|---|---|"]
    lines += [f"| {rule} | {why} |" for rule, why in data["notSeen"].items()]
    return "\n".join(lines) + "\n"


_NO_MESH_RAN = """\
**No mesh ran.** An API server with the mesh's own definitions (CRDs) took the objects, the provider watched it, and the
Pods were objects only. What statuses, Events and refusals tell was judged; calls and measurements were not made.
*partly*: what could be judged is as the rules say, and the rest was not run. *skipped*: nothing could be judged, or the
feature is not declared.
"""


def _three(half: Mapping[str, Any]) -> str:
    return ", ".join(str(count) for count in half["statistics"].values())


def _result(case: Mapping[str, Any]) -> str:
    message = " ".join(str(case.get("message", "")).split()).replace("|", "\\|")
    return f"{case['result']}: {message}" if message else str(case["result"])
