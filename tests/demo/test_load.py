"""What the sample client writes down is added up without losing anything."""

from __future__ import annotations

import json

import pytest

from smeagol.demo.load import Slot, read_slot, total

LINE = (
    '{"time": 10.25, "seconds": 0.25, "sent": 3, "failed": 1, "errors": {"OSError: gone": 1}, "versions": {"v1": 2}, '
    '"identities": {"a.example": 2}, "latency": [[0.001, 1], [0.01, 1]]}'
)


class TestReadSlot:
    def test_reads_the_clients_line(self) -> None:
        slot = read_slot(LINE)
        assert slot is not None
        assert (slot.time, slot.sent, slot.failed, slot.versions) == (10.25, 3, 1, {"v1": 2})

    @pytest.mark.parametrize("line", ["", "listening on 8080", "{}", '{"time": "x"}', LINE[:-1]])
    def test_passes_over_everything_else(self, line: str) -> None:
        assert read_slot(line) is None


class TestTotal:
    def test_adds_every_count(self) -> None:
        first = Slot(time=0, seconds=0.25, sent=2, failed=0, versions={"v1": 2}, latency=((0.001, 2),))
        second = Slot(time=1, seconds=0.75, sent=4, failed=1, errors={"E": 1}, versions={"v1": 1, "v2": 2})
        counts = total([first, second])
        assert (counts.sent, counts.failed, counts.answered) == (6, 1, 5)
        assert counts.versions == (("v1", 3), ("v2", 2))
        assert counts.of("v2") == 2
        assert counts.of("v3") == 0
        assert counts.errors == (("E", 1),)
        assert counts.rate == pytest.approx(6.0)

    def test_nothing_is_nothing(self) -> None:
        counts = total([])
        assert (counts.sent, counts.rate, counts.quantile(0.5)) == (0, 0.0, None)


class TestQuantile:
    def test_lies_within_its_bucket(self) -> None:
        """90 answers took up to 1 ms, 10 up to 10 ms: half within the first bucket, the 99th of 100 in the second."""
        counts = total([Slot(time=0, seconds=1, sent=100, failed=0, latency=((0.001, 90), (0.01, 10)))])
        assert counts.quantile(0.5) == pytest.approx(0.001 * 50 / 90)
        assert counts.quantile(0.99) == pytest.approx(0.001 + 0.009 * 9 / 10)
        assert counts.quantile(1.0) == pytest.approx(0.01)

    def test_reads_what_the_client_writes(self) -> None:
        slot = read_slot(json.dumps({**json.loads(LINE), "latency": [[0.002, 5]]}))
        assert slot is not None
        assert total([slot]).quantile(1.0) == pytest.approx(0.002)
