"""A run where nothing can be called: what is judged all the same, and that nothing passes that was not run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from smeagol.conformance.bench import Bench
from smeagol.conformance.call import Call
from smeagol.conformance.cases import CASES
from smeagol.conformance.driver import (
    WITHOUT_DATA_PLANE,
    Credentials,
    Event,
    Made,
    Manifest,
    Output,
    PodSeen,
    reference,
)
from smeagol.conformance.limits import Limits
from smeagol.conformance.model import ConformanceError, NotAllowedError, Outcome, Result, case_of
from smeagol.conformance.report import page, report
from smeagol.conformance.suite import Run, features_of, run
from smeagol.conformance.write import canary

LIMITS = Limits(condition=0.1, effect=0.1, start=0.1, delete=0.1, poll=0.01)
SPLIT = canary("web", {"web-v1": 1})
URL = "http://web.smi-canary/"


class Paper:
    """A `Driver` on which nothing runs, with a provider that answers at once: accepted, and `programmed`."""

    mode = WITHOUT_DATA_PLANE
    data_plane = False

    def __init__(self, programmed: str = "NoController", *, leaves: bool = False) -> None:
        self.programmed = programmed
        self.leaves = leaves
        """whether what was made stays when its owner goes"""
        self.there: dict[tuple[str, str, str], Manifest] = {}
        self.made: list[str] = []

    def version(self, controller: str) -> str:
        return "1"

    def facts(self) -> Mapping[str, str]:
        return {}

    def apply(self, objects: Sequence[Manifest]) -> None:
        for manifest in objects:
            self.there[reference(manifest)] = manifest
            self.made.append(self._uid(reference(manifest)))

    def delete(self, objects: Sequence[Manifest]) -> None:
        for manifest in objects:
            self.there.pop(reference(manifest), None)
            if not self.leaves:
                self.made = [uid for uid in self.made if uid != self._uid(reference(manifest))]

    def refusal(self, manifest: Manifest) -> str:
        return ""

    def get(self, kind: str, namespace: str, name: str) -> Manifest | None:
        found = self.there.get((kind, namespace, name))
        if kind == "ProviderClass":
            return {"spec": {}, "status": {"conditions": [{}], "supportedFeatures": ["Canary"]}}
        if found is None:
            return None
        conditions = [_condition("Accepted", "True", "Accepted"), _condition("Programmed", "False", self.programmed)]
        metadata = {"generation": 1, "uid": self._uid((kind, namespace, name))}
        return {"metadata": metadata, "status": {"conditions": conditions}}

    def default_class(self) -> str | None:
        return "x"

    def pod(self, namespace: str, name: str) -> PodSeen | None:
        return PodSeen(name=name, ips=("198.18.0.1",), ready=True, restarts=0)

    def pods(self, namespace: str) -> Sequence[PodSeen]:
        return ()

    def cluster_ips(self, namespace: str, service: str) -> tuple[str, ...]:
        return ()

    def events(self, kind: str, namespace: str, name: str) -> Sequence[Event]:
        return ()

    def made_for(self, namespace: str, uid: str) -> Sequence[Made]:
        return [Made(kind="Route.example.com/v1", name="web", uid=f"of {each}") for each in self.made if each == uid]

    def exec(self, namespace: str, pod: str, command: Sequence[str], *, stdin: str = "") -> Output:
        raise AssertionError("nothing runs here that could be called")

    def background(self, namespace: str, pod: str, command: Sequence[str], *, stdin: str = "") -> Callable[[], Output]:
        raise AssertionError("nothing runs here that could be called")

    def scrape(self, url: str) -> str:
        raise AssertionError("nothing runs here that could be scraped")

    def credentials(self, names: Sequence[str]) -> Credentials | None:
        return None

    def _uid(self, ref: tuple[str, str, str]) -> str:
        return " ".join(ref)


class Guarded(Paper):
    """A cluster on which nobody makes EndpointSlices by hand."""

    def apply(self, objects: Sequence[Manifest]) -> None:
        if any(manifest["kind"] == "EndpointSlice" for manifest in objects):
            raise NotAllowedError("it is forbidden")
        super().apply(objects)


class Classless(Paper):
    """A cluster without ProviderClasses, and without a provider."""

    def get(self, kind: str, namespace: str, name: str) -> Manifest | None:
        return self.there.get((kind, namespace, name))

    def delete(self, objects: Sequence[Manifest]) -> None:
        for manifest in objects:
            del self.there[reference(manifest)]


def _condition(type_: str, status: str, reason: str) -> Mapping[str, Any]:
    return {"type": type_, "status": status, "reason": reason, "message": "", "observedGeneration": 1}


def ran(check: Callable[[Bench], None], driver: Paper | None = None) -> tuple[Result, Run]:
    """What becomes of a case with this check."""
    case = case_of("SMI-CANARY", "SMI-CAN-07", features=("Canary",), stage=())(check)
    found = run(driver or Paper(), [case], provider="x", controller="example.com/x", limits=LIMITS)
    return found.results[0], found


def check_of(name: str) -> Callable[[Bench], None]:
    """What the suite's case of this name does."""
    return next(case.check for case in CASES if case.name == name)


def statuses(bench: Bench) -> None:
    """By statuses alone."""
    bench.apply(SPLIT)
    bench.expect_condition(SPLIT, "Accepted", "True", "Accepted")


def traffic(bench: Bench) -> None:
    """By traffic alone."""
    bench.expect_answers("a/b", URL, "v1")
    bench.expect_shares("a/b", URL, v1=1)
    bench.expect_refused("a/b", URL)


def both(bench: Bench) -> None:
    """By both, and traffic comes first."""
    bench.expect_answers("a/b", URL, "v1")
    statuses(bench)


def answers(bench: Bench) -> None:
    """By a status, and by what is answered to a call."""
    statuses(bench)
    assert bench.call("a/b", Call(url=URL))


def unmet(bench: Bench) -> None:
    """By traffic, and a status that is not so."""
    traffic(bench)
    bench.apply(SPLIT)
    bench.expect_condition(SPLIT, "Accepted", "False", "Invalid")


class TestClass:
    """Of the ProviderClass that is named."""

    def test_one_that_is_not_there_is_made_for_a_named_controller_only(self) -> None:
        """On a cluster in use a slip of the pen must not become the default class."""
        driver = Classless()
        with pytest.raises(ConformanceError, match=r"there is no ProviderClass 'x'.*--controller"):
            features_of(driver, "x", "", LIMITS)
        assert not driver.made

    def test_one_that_is_not_the_default_is_not_judged(self) -> None:
        """The suite's objects name no class: another provider would be judged in its place."""
        with pytest.raises(ConformanceError, match="are of ProviderClass 'x', not of 'y'"):
            features_of(Paper(), "y", "", LIMITS)

    def test_one_that_nobody_answers_for_goes_again(self) -> None:
        """What was made for the run is not left behind."""
        driver = Classless()
        with pytest.raises(ConformanceError, match=r"example.com/x: no provider has written the status"):
            features_of(driver, "x", "example.com/x", LIMITS)
        assert driver.made
        assert not driver.there


class TestOutcome:
    @pytest.mark.parametrize(
        ("check", "outcome", "told"),
        [
            (statuses, Outcome.PASSED, ""),
            (traffic, Outcome.SKIPPED, f"not run: answers of v1 at {URL}, and 2 more"),
            (both, Outcome.PARTLY, f"Not run: answers of v1 at {URL}"),
            (answers, Outcome.PARTLY, "Not run: calls from a/b"),
            (unmet, Outcome.FAILED, "condition Accepted"),
        ],
    )
    def test_only_what_was_run_whole_passes(self, check: Callable[[Bench], None], outcome: Outcome, told: str) -> None:
        """What comes after traffic is judged too; a case without a part that was judged is skipped."""
        result, _ = ran(check)
        assert result.outcome is outcome
        assert told in result.message

    @pytest.mark.parametrize("reason", ["Rejected", "Unsupported"])
    def test_an_object_that_cannot_come_into_force_fails(self, reason: str) -> None:
        """It need not be Programmed, for nobody runs who would say so."""
        assert ran(statuses, Paper(reason))[0].outcome is Outcome.FAILED
        assert ran(statuses, Paper("Pending"))[0].outcome is Outcome.PASSED

    def test_what_a_cluster_forbids_is_no_fault_of_the_provider(self) -> None:
        """The case is skipped, and says by what."""
        result, _ = ran(check_of("identity-and-services-of-others"), Guarded())
        assert result.outcome is Outcome.SKIPPED
        assert "it is forbidden" in result.message

    def test_a_cluster_that_takes_a_draft_fails(self) -> None:
        """spec: SMI-COMMON-06. On one machine a mutant shows it."""
        result, _ = ran(check_of("canary-of-an-early-draft"))
        assert result.outcome is Outcome.FAILED
        assert "it was taken" in result.message

    def test_what_was_made_goes_with_its_object(self) -> None:
        """spec: SMI-COMMON-03"""
        result, found = ran(statuses)
        assert found.made == {"Route.example.com/v1": {"of Canary smi-canary web"}}
        result, _ = ran(statuses, Paper(leaves=True))
        assert result.outcome is Outcome.FAILED
        assert "Route.example.com/v1 web" in result.message


def test_report_says_what_was_not_run() -> None:
    """Partial at best, on the page too, with what was made; a profile that is not claimed is unsupported."""
    _, found = ran(both)
    data = report(
        found, provider_class="x", version="1", mode=WITHOUT_DATA_PLANE, date="2026-01-01", command="c", complete=True
    )
    (profile,) = data["profiles"]
    assert profile["core"] == {
        "result": "partial",
        "statistics": {"passed": 0, "failed": 0, "skipped": 0, "partly": 1},
    }
    assert profile["extended"]["result"] == "unsupported"
    assert data["made"] == {"Route.example.com/v1": 1}
    shown = page(data)
    assert "No mesh ran" in shown
    assert (
        "| both | SMI-CAN-07 | partly: held: Canary web taken; Accepted=True Accepted of Canary web. Not run:" in shown
    )
