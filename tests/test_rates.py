"""Rates come from the difference of two looks at counters, read as Prometheus reads them."""

from __future__ import annotations

import itertools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smeagol.control import Edge, LatencySeries, RequestSeries, Traffic
from smeagol.rates import Series, grown, rates, sum_of_edges

BOUNDS = (0.001, 0.01, 0.1, None)


def requests(count: float, *, code: str = "200", pod: str = "web-1") -> RequestSeries:
    return RequestSeries(namespace="shop", pod=pod, direction="inbound", code=code, count=count)


def latency(*cumulative: float, pod: str = "web-1") -> LatencySeries:
    return LatencySeries(
        namespace="shop",
        pod=pod,
        direction="inbound",
        buckets=tuple(zip(BOUNDS, cumulative, strict=True)),
        sum=1.0,
        count=cumulative[-1],
    )


def edge(count: float, *names: str) -> Edge:
    return Edge(client="shop/cart", service="shop/web", requests=count, client_names=names)


def everything(_: Series) -> str:
    return "all"


class TestGrown:
    @given(
        st.lists(
            st.tuples(st.sampled_from("abc"), st.integers(0, 1000), st.integers(0, 1000)), unique_by=lambda t: t[0]
        )
    )
    def test_is_the_difference_of_every_counter(self, pods: list[tuple[str, int, int]]) -> None:
        before = Traffic(time=10, requests=tuple(requests(at, pod=pod) for pod, at, _ in pods))
        after = Traffic(time=12.5, requests=tuple(requests(at + more, pod=pod) for pod, at, more in pods))
        growth = grown(before, after)
        assert growth.time == 2.5
        assert [series.count for series in growth.requests] == [more for _, _, more in pods]

    def test_a_counter_that_fell_was_started_anew(self) -> None:
        """A restarted Pod's proxy counts from zero; a negative rate never happened."""
        growth = grown(
            Traffic(time=0, requests=(requests(500),), latency=(latency(1, 2, 3, 500),), edges=(edge(500),)),
            Traffic(time=1, requests=(requests(7),), latency=(latency(1, 2, 2, 7),), edges=(edge(7),)),
        )
        assert growth.requests[0].count == 7
        assert growth.latency == (latency(1, 2, 2, 7),)
        assert growth.edges[0].requests == 7

    def test_a_series_that_is_new_grew_by_all_it_says(self) -> None:
        growth = grown(Traffic(time=0), Traffic(time=1, requests=(requests(3),), latency=(latency(1, 1, 1, 1),)))
        assert growth.requests[0].count == 3
        assert growth.latency[0].count == 1

    @given(st.integers(0, 100), st.integers(0, 100), st.integers(0, 100))
    def test_growth_adds_up(self, first: int, more: int, yet_more: int) -> None:
        looks = [
            Traffic(time=n, edges=(edge(c),)) for n, c in enumerate((first, first + more, first + more + yet_more))
        ]
        total: tuple[Edge, ...] = looks[0].edges
        for before, after in itertools.pairwise(looks):
            total = sum_of_edges(total, grown(before, after).edges)
        assert total == looks[-1].edges


class TestSumOfEdges:
    def test_keeps_an_edge_that_the_proxies_have_forgotten(self) -> None:
        assert sum_of_edges((edge(5, "a.example"),), ()) == (edge(5, "a.example"),)

    def test_takes_names_from_where_something_was_sent(self) -> None:
        assert sum_of_edges((edge(5, "old"),), (edge(1, "new"),)) == (edge(6, "new"),)
        assert sum_of_edges((edge(5, "old"),), (edge(0),)) == (edge(5, "old"),)


class TestRates:
    def test_success_is_all_but_server_errors_and_missing_answers(self) -> None:
        """A 404 is an answer; a 503, and a request that got none, are not."""
        series = (requests(6), requests(2, code="404"), requests(1, code="503"), requests(1, code="0"))
        rate = rates(Traffic(time=2, requests=series), everything)["all"]
        assert rate.per_second == 5
        assert rate.success == pytest.approx(0.8)

    def test_nothing_sent_has_no_success_to_speak_of(self) -> None:
        rate = rates(Traffic(time=2, requests=(requests(0),)), everything)["all"]
        assert (rate.per_second, rate.success, rate.quantile(0.5)) == (0, None, None)

    def test_series_of_one_group_are_added_up(self) -> None:
        growth = Traffic(
            time=1,
            requests=(requests(1), requests(2, pod="web-2")),
            latency=(latency(1, 1, 1, 1), latency(0, 2, 2, 2, pod="web-2")),
        )
        rate = rates(growth, everything)["all"]
        assert rate.requests == 3
        assert [count for _, count in rate.buckets] == [1, 3, 3, 3]

    def test_series_without_a_group_are_left_out(self) -> None:
        assert rates(Traffic(time=1, requests=(requests(1),)), lambda _: None) == {}

    def test_quantiles_are_those_of_prometheus(self) -> None:
        """Half of 100 answers took up to 1 ms, 90 up to 10 ms, one longer than the last bound."""
        rate = rates(Traffic(time=1, latency=(latency(50, 90, 99, 100),)), everything)["all"]
        assert rate.quantile(0.25) == pytest.approx(0.0005)
        assert rate.quantile(0.5) == pytest.approx(0.001)
        assert rate.quantile(0.7) == pytest.approx(0.001 + 0.009 * 20 / 40)
        assert rate.quantile(0.999) == 0.1

    @given(st.lists(st.integers(0, 50), min_size=4, max_size=4), st.floats(0.01, 1), st.floats(0.01, 1))
    def test_a_higher_quantile_is_never_faster(self, counts: list[int], one: float, other: float) -> None:
        cumulative = [sum(counts[: n + 1]) for n in range(4)]
        rate = rates(Traffic(time=1, latency=(latency(*cumulative),)), everything)["all"]
        low, high = rate.quantile(min(one, other)), rate.quantile(max(one, other))
        assert (low is None) == (high is None) == (cumulative[-1] == 0)
        if low is not None and high is not None:
            assert 0 <= low <= high <= 0.1


def test_the_wire_keeps_what_rates_need() -> None:
    """The last bucket's bound is null in JSON: infinity has no number there."""
    traffic = Traffic(time=1, latency=(latency(1, 1, 1, 2),), requests=(requests(2),), edges=(edge(2, "a"),))
    assert msgspec.json.decode(msgspec.json.encode(traffic), type=Traffic) == traffic
