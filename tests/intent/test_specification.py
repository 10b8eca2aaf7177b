"""The ids of the rules, by which tests and the specification refer to each other."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
RULE = re.compile(r"SMI-[A-Z]+-[0-9]{2}\b")


def rules() -> list[str]:
    """The rules of the specification, in the order in which it states them."""
    text = (ROOT / "docs" / "specification.md").read_text(encoding="utf-8")
    return re.findall(r"(?m)^\| (SMI-[A-Z]+-[0-9]{2}) \|", text)


def test_each_rule_is_stated_once() -> None:
    """An id stands for one rule, and the rules of a section are numbered through."""
    stated = rules()
    assert len(stated) == len(set(stated))
    sections = dict.fromkeys(rule.rpartition("-")[0] for rule in stated)
    for section in sections:
        numbers = [int(rule[-2:]) for rule in stated if rule.startswith(f"{section}-")]
        assert numbers == list(range(1, len(numbers) + 1)), section


def test_tests_cite_rules_that_exist() -> None:
    """A test that cites a rule cites one that is stated."""
    stated = set(rules())
    for path in sorted((ROOT / "tests").rglob("*.py")):
        unknown = set(RULE.findall(path.read_text(encoding="utf-8"))) - stated
        assert not unknown, f"{path.relative_to(ROOT)} cites {', '.join(sorted(unknown))}"


def test_every_rule_is_proven() -> None:
    """Each rule is cited by a test, which a wrong implementation fails."""
    here = Path(__file__)
    cited = {
        rule
        for path in (ROOT / "tests").rglob("test_*.py")
        if path != here
        for rule in RULE.findall(path.read_text(encoding="utf-8"))
    }
    assert [rule for rule in rules() if rule not in cited] == []


def test_resolution_is_proven() -> None:
    """Every rule that the resolution alone decides is cited by a test of it."""
    cited = {rule for path in Path(__file__).parent.glob("test_*.py") for rule in RULE.findall(path.read_text("utf-8"))}
    decided_here = re.compile(
        r"SMI-(COMMON-0[2-4]|CLASS-0[1-6]|POD-|PORT-|SVC-0[1-6]|MTLS-(03|0[6-9]|1[0-2]|14)|CAN-(0[1-5]|0[7-9]|1[0-8])|SIDE-0[3-5])"
    )
    missing = [rule for rule in rules() if decided_here.match(rule) and rule not in cited]
    assert missing == []
