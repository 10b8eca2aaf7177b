"""The arithmetic behind the benchmark's report."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.figures import Goal, Spread, Verdict, median, quantile

SAMPLES = st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32), min_size=1).map(sorted)


class TestQuantile:
    @given(samples=SAMPLES, q=st.floats(0, 1))
    def test_is_the_smallest_sample_that_covers_the_share(self, samples: list[float], q: float) -> None:
        """At least the share `q` of all samples is no larger; with any smaller sample it would be less than that."""
        found = quantile(samples, q)
        assert found in samples
        assert sum(sample <= found for sample in samples) >= q * len(samples)
        assert sum(sample < found for sample in samples) <= q * len(samples)

    def test_is_never_better_than_what_was_measured(self) -> None:
        """The 99th percentile of few samples is their worst, not something between the two worst."""
        assert quantile([1.0, 2.0, 300.0], 0.99) == 300.0

    def test_of_nothing_is_refused(self) -> None:
        """No samples: something was not measured, and no number may stand for it."""
        with pytest.raises(ValueError, match="no samples"):
            quantile([], 0.5)


class TestMedian:
    def test_is_the_middle_or_the_mean_of_both_middles(self) -> None:
        """In any order."""
        assert median([9.0, 1.0, 2.0]) == 2.0
        assert median([9.0, 1.0, 2.0, 4.0]) == 3.0

    @given(samples=SAMPLES)
    def test_lies_between_the_quarters(self, samples: list[float]) -> None:
        """The middle is no less than a quarter of the samples, no more than three quarters."""
        assert quantile(samples, 0.25) <= median(samples) <= quantile(samples, 0.75) or len(samples) < 4


class TestSpread:
    def test_shows_least_median_and_most(self) -> None:
        """As the tables of the report say."""
        assert Spread.of([3.0, 1.0, 1234.56]).show() == "1.0 / 3.0 / 1,234.6"


class TestGoal:
    @pytest.mark.parametrize(("measured", "verdict"), [(0.49, Verdict.PASS), (0.5, Verdict.PASS), (0.51, Verdict.MISS)])
    def test_is_met_up_to_its_limit(self, measured: float, verdict: Verdict) -> None:
        """The limit itself still counts."""
        assert Goal("twice as fast", 0.5, measured).verdict is verdict
