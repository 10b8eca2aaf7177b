"""The demo calls a split wrong only if it is: judged by the exact binomial distribution, not by a rule of thumb."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smeagol.binomial import ALPHA, bounds
from smeagol.control import Condition, MeshInfo, ObjectStatus, SmiObject, Status
from smeagol.demo.judge import held, shares
from smeagol.demo.load import Counts, Slot, total
from smeagol.demo.script import Expected, Step

ME = "client.foobar.example"
TWO_TO_ONE = Step(title="two to one", desired=(("v1", Fraction(2, 3)), ("v2", Fraction(1, 3))))
NO_STATUS = Status(mesh=MeshInfo(name="demo"))


def counts(*, failed: int = 0, identity: str = f"{ME},spiffe://x", **versions: int) -> Counts:
    answered = sum(versions.values())
    errors = {"TimeoutError: ": failed} if failed else {}
    return total(
        [
            Slot(
                time=0,
                seconds=1,
                sent=answered + failed,
                failed=failed,
                errors=errors,
                versions=versions,
                identities={identity: answered},
            )
        ]
    )


NOTHING = total([])


def exact_tail(n: int, p: Fraction, k: int) -> Fraction:
    """P(X <= k) for X ~ Binomial(n, p), in whole numbers."""
    return sum((math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k + 1)), Fraction(0))


class TestBounds:
    @given(n=st.integers(1, 60), p=st.fractions(0, 1, max_denominator=40), alpha=st.sampled_from([1e-6, 1e-2, 0.2]))
    def test_are_those_of_the_exact_distribution(self, n: int, p: Fraction, alpha: float) -> None:
        """Below `low`, and above `high`, lies at most alpha/2 of the distribution; one more would be too much."""
        low, high = bounds(n, p, alpha)
        assert 0 <= low <= high <= n
        slack = Fraction(1, 10**9)  # the distribution is summed in floating point
        assert exact_tail(n, p, low - 1) <= Fraction(alpha) / 2 + slack
        assert exact_tail(n, p, low) > Fraction(alpha) / 2 - slack
        assert 1 - exact_tail(n, p, high) <= Fraction(alpha) / 2 + slack

    def test_a_zero_share_allows_no_request_at_all(self) -> None:
        """Canary: a zero weight gets no request at all, and everything is everything."""
        assert bounds(3000, Fraction(0)) == (0, 0)
        assert bounds(3000, Fraction(1)) == (3000, 3000)

    def test_tell_two_to_one_from_half_and_half(self) -> None:
        """The original text called 1 against 500m "about 50 %"; the demo's window must be able to refute that."""
        low, _ = bounds(3000, Fraction(2, 3))
        assert low > bounds(3000, Fraction(1, 2))[1]

    @pytest.mark.parametrize("n", [1, 10, 3000, 20_000])
    def test_hold_for_large_windows(self, n: int) -> None:
        low, high = bounds(n, Fraction(1, 3), ALPHA)
        assert low <= n / 3 <= high


class TestHeld:
    def test_a_step_holds_when_shares_names_and_answers_are_right(self) -> None:
        verdict = held(TWO_TO_ONE, NOTHING, counts(v1=2000, v2=1000), NO_STATUS, identity=ME)
        assert verdict.held
        assert [share.measured for share in verdict.shares] == pytest.approx([2 / 3, 1 / 3])

    def test_a_wrong_share_is_named_with_what_was_expected(self) -> None:
        verdict = held(TWO_TO_ONE, NOTHING, counts(v1=1500, v2=1500), NO_STATUS, identity=ME)
        low, high = bounds(3000, Fraction(2, 3))
        assert not verdict.held
        assert verdict.complaints[0] == f"v1 answered 1,500 of 3,000, expected {low:,} to {high:,}"

    def test_one_stray_answer_breaks_a_step_that_allows_none(self) -> None:
        """Canary: at weight 0m no traffic reaches the new version."""
        step = Step(title="v2 at zero", desired=(("v1", Fraction(1)), ("v2", Fraction(0))))
        assert held(step, NOTHING, counts(v1=3000), NO_STATUS, identity=ME).held
        assert not held(step, NOTHING, counts(v1=2999, v2=1), NO_STATUS, identity=ME).held

    def test_a_version_that_nobody_expected_breaks_the_step(self) -> None:
        assert not held(TWO_TO_ONE, NOTHING, counts(v1=2000, v2=1000, v3=1), NO_STATUS, identity=ME).held

    def test_a_failure_while_the_change_was_on_its_way_counts(self) -> None:
        """Canary: changing weights under load, no failed request. The share is only held to what came after."""
        verdict = held(TWO_TO_ONE, counts(v1=90, failed=1), counts(v1=2000, v2=1000), NO_STATUS, identity=ME)
        assert verdict.complaints == ("1 failed: TimeoutError: ",)
        assert verdict.failed == 1
        assert verdict.sent == 3091
        assert shares(TWO_TO_ONE.desired, verdict.counts) == verdict.shares

    def test_requests_without_the_clients_name_break_the_step(self) -> None:
        """MutualTLS: the names from the client's certificate reach the app in x-sme-identity."""
        verdict = held(TWO_TO_ONE, NOTHING, counts(v1=2000, v2=1000, identity=""), NO_STATUS, identity=ME)
        assert verdict.complaints == (f"3,000 requests arrived without the name {ME}",)

    def test_the_mesh_must_say_what_the_step_expects(self) -> None:
        """Canary: a backend that does not exist yet is left out, and status names it."""
        expected = Expected(
            kind="Canary", name="foobar", condition="ResolvedRefs", status="False", reason="BackendNotFound"
        )
        step = Step(title="early", desired=(("v1", Fraction(1)),), expects=(expected,))

        def saying(status: str, reason: str) -> Status:
            condition = Condition(type="ResolvedRefs", status=status, reason=reason)
            found = SmiObject(
                kind="Canary", namespace="default", name="foobar", status=ObjectStatus(conditions=(condition,))
            )
            return Status(mesh=MeshInfo(name="demo"), objects=(found,))

        window = counts(v1=600)
        assert held(step, NOTHING, window, saying("False", "BackendNotFound"), identity=ME).held
        contradicted = held(step, NOTHING, window, saying("True", "ResolvedRefs"), identity=ME)
        assert contradicted.complaints == (
            "Canary foobar says ResolvedRefs=True/ResolvedRefs, expected False/BackendNotFound",
        )
        assert not held(step, NOTHING, window, NO_STATUS, identity=ME).held
