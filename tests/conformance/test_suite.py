"""The parts of the suite that need no mesh: bounds, oracle, coverage, choice, report."""

from __future__ import annotations

import ast
import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from smeagol.binomial import bounds
from smeagol.conformance.cases import CASES
from smeagol.conformance.cases.matrix import combinations, splits
from smeagol.conformance.chance import complaints
from smeagol.conformance.coverage import UNSEEN
from smeagol.conformance.kubernetes import Adjustments, adjusted
from smeagol.conformance.model import PROFILES, ConformanceError, Outcome, Result
from smeagol.conformance.oracle import Answer, Client, Server, answer, backends
from smeagol.conformance.report import page, report
from smeagol.conformance.suite import Pick, Run, chosen, groups
from smeagol.conformance.write import stage

ROOT = Path(__file__).parents[2]
REPORTS = sorted((ROOT / "conformance" / "reports").glob("*.yaml"))
TLS = frozenset({"MutualTLS"})


def rules() -> list[str]:
    text = (ROOT / "docs" / "specification.md").read_text(encoding="utf-8")
    return re.findall(r"(?m)^\| (SMI-[A-Z]+-[0-9]{2}) \|", text)


def cited(file: Path) -> set[str]:
    """The rules that the tests of a file say they prove: what they do not is no proof."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    tests = (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef))
    said = (ast.get_docstring(node) or "" for node in tests if node.name.lower().startswith("test"))
    return {rule for text in said for rule in re.findall(r"SMI-[A-Z]+-[0-9]{2}\b", text)}


class TestCoverage:
    def test_every_rule_is_checked_or_excused(self) -> None:
        """Each rule of the specification has a case or a reason why there is none, and none has both."""
        checked = {rule for case in CASES for rule in case.rules}
        assert checked | set(UNSEEN) == set(rules())
        assert not checked & set(UNSEEN)

    def test_what_no_case_checks_is_proved_on_a_cluster(self) -> None:
        """By a test there, which names the rule."""
        proved = {rule for file in (ROOT / "tests" / "e2e").glob("test_*.py") for rule in cited(file)}
        assert set(UNSEEN) - proved == set()

    def test_features_are_those_of_the_specification(self) -> None:
        text = (ROOT / "docs" / "specification.md").read_text(encoding="utf-8")
        features = set(re.findall(r"(?m)^\| `([A-Za-z]+)` \|", text))
        assert {feature for profile in PROFILES.values() for feature in profile.features} == features

    def test_cases_are_well_formed(self) -> None:
        """Names are unique, each says what it is about, and asks for features of its profile only."""
        assert len({case.name for case in CASES}) == len(CASES)
        for case in CASES:
            assert case.about, case.name
            assert case.features <= PROFILES[case.profile].features, case.name
            for name in case.stage:
                assert stage(name), name


class TestChance:
    @given(st.integers(1, 400), st.integers(1, 9))
    def test_bounds_hold_what_is_likely(self, n: int, tenths: int) -> None:
        low, high = bounds(n, Fraction(tenths, 10))
        assert 0 <= low <= n * tenths / 10 <= high <= n

    def test_bounds_are_exact(self) -> None:
        """Of 20 draws of one half, 0 and 20 are each rarer than one in a million; 1 and 19 are not."""
        assert bounds(20, Fraction(1, 2), alpha=4e-6) == (1, 19)
        assert bounds(100, Fraction(0)) == (0, 0)

    def test_complaints(self) -> None:
        assert complaints({"v1": 510, "v2": 490}, {"v1": Fraction(1, 2), "v2": Fraction(1, 2)}) == []
        assert complaints({"v1": 700, "v2": 300}, {"v1": Fraction(1, 2), "v2": Fraction(1, 2)})
        assert complaints({"v1": 999, "v2": 1}, {"v1": Fraction(1)})


class TestOracle:
    """Written out once by hand, so that the oracle is not its own judge."""

    @pytest.mark.parametrize(
        ("client", "mode", "meshed", "expected"),
        [
            ("meshed", "Strict", True, Answer("s", "me")),
            ("meshed", "Permissive", True, Answer("s", "me")),
            ("meshed", "", True, Answer("s", "-")),
            ("meshed", "", False, Answer("s", "forged")),
            ("stranger", "Strict", True, Answer("")),
            ("stranger", "Permissive", True, Answer("s", "-")),
            ("stranger", "", True, Answer("s", "-")),
            ("stranger", "", False, Answer("s", "forged")),
        ],
    )
    def test_answers(self, client: str, mode: str, meshed: bool, expected: Answer) -> None:
        caller = Client("c", meshed=client == "meshed", identity="me" if client == "meshed" else "")
        assert answer(caller, Server("s", "s", meshed=meshed, mode=mode), "forged") == expected

    def test_backends(self) -> None:
        own = frozenset({"a", "b"})
        assert backends({"a": 1, "b": 0, "gone": 5}, own, own, split=True) == {"a"}
        assert backends({"a": 1}, own, own, split=False) == own
        assert backends({"gone": 1}, own, own, split=True) == own

    def test_generated_calls_are_the_same_each_time(self) -> None:
        assert list(splits()) == list(splits())
        assert len(list(combinations("me", permissive=True))) == 3 * 4 * 4 * 2


class TestChoice:
    def test_filters_add_up(self) -> None:
        found = chosen(Pick(profiles=["SMI-CANARY"], rules=["SMI-CAN-07"]))
        assert {case.name for case in found} == {"canary-weights", "canary-matrix"}
        assert all(case.features >= {"CanaryTCP"} for case in chosen(Pick(features=["CanaryTCP"])))

    @pytest.mark.parametrize(
        ("pick", "told"),
        [
            (Pick(rules=["SMI-NONE"]), "'SMI-NONE'.*--list"),
            (Pick(profiles=["canary"]), r"Did you mean SMI-CANARY\?"),
            (Pick(cases=["canary-weight"]), "canary-weights"),
            (Pick(rules=["SMI-CLASS-07"]), "the CRD says it"),
        ],
    )
    def test_a_filter_that_fits_nothing_is_a_slip(self, pick: Pick, told: str) -> None:
        """What is likely meant is named; of a rule that no case sees, the reason is given."""
        with pytest.raises(ConformanceError, match=told):
            chosen(pick)


class TestOnAnyCluster:
    def test_manifests_ask_for_proxies_as_the_provider_knows_it(self) -> None:
        """What asks for a proxy or declines one says so in the provider's words too; the image is the given one."""
        how = Adjustments(
            image="echo:1",
            meshed_labels={"istio-injection": "enabled"},
            meshed_annotations={"linkerd.io/inject": "enabled"},
            unmeshed_labels={"sidecar.istio.io/inject": "false"},
        )
        found = {(m["kind"], m["metadata"]["name"]): adjusted(m, how) for m in stage("canary")}
        namespace = found["Namespace", "smi-canary"]["metadata"]
        assert namespace["labels"] == {"smi-spec.io/inject": "enabled", "istio-injection": "enabled"}
        assert namespace["annotations"] == {"linkerd.io/inject": "enabled"}
        assert found["Pod", "stranger"]["metadata"]["labels"]["sidecar.istio.io/inject"] == "false"
        assert found["Pod", "client"]["metadata"]["labels"] == {"app": "client"}
        assert found["Pod", "client"]["spec"]["containers"][0]["image"] == "echo:1"

    def test_what_runs_side_by_side_shares_no_pods(self) -> None:
        """Each case is in one group, in order, and no stage in two."""
        found = groups(CASES)
        assert sorted(c.name for own in found for c in own) == sorted(c.name for c in CASES)
        stages = [{name for case in own for name in case.stage} for own in found]
        assert len(found) == 3
        assert sum(len(names) for names in stages) == len(set().union(*stages))
        assert all(own == sorted(own, key=CASES.index) for own in found)


def made(*outcomes: Outcome, features: frozenset[str] = TLS) -> dict[str, Any]:
    cases = [case for case in CASES if case.profile == "SMI-MUTUALTLS" and case.core]
    results = [Result(case=case, outcome=outcome) for case, outcome in zip(cases, outcomes, strict=False)]
    run = Run(features=features, controller="example.com/x", results=results)
    return report(
        run, provider_class="x", version="1", mode="standalone", date="2026-01-01", command="c", complete=True
    )


class TestReport:
    @pytest.mark.parametrize(
        ("outcomes", "result"),
        [
            ((Outcome.PASSED, Outcome.PASSED), "success"),
            ((Outcome.PASSED, Outcome.SKIPPED), "partial"),
            ((Outcome.SKIPPED, Outcome.FAILED), "failure"),
        ],
    )
    def test_core(self, outcomes: tuple[Outcome, ...], result: str) -> None:
        """A skipped core test makes the result partial."""
        data = made(*outcomes)
        assert data["profiles"][0]["core"]["result"] == result
        assert "MutualTLSPermissive" in data["profiles"][0]["extended"]["unsupportedFeatures"]
        assert result in page(data)

    @pytest.mark.parametrize("path", REPORTS, ids=lambda path: path.name)
    def test_stored_page_is_that_of_its_report(self, path: Path) -> None:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert path.with_suffix(".md").read_text(encoding="utf-8") == page(data)

    @pytest.mark.parametrize("path", REPORTS, ids=lambda path: path.name)
    def test_stored_report_is_of_this_suite(self, path: Path) -> None:
        """All cases of today are in it, and nothing of the machine it was made on."""
        text = path.read_text(encoding="utf-8")
        data = yaml.safe_load(text)
        assert [case["name"] for case in data["cases"]] == [case.name for case in CASES]
        assert not re.search(r"/(tmp|home|root|work)/|localhost", text)
