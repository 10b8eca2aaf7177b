"""Quantities are those of Kubernetes: a golden table made with its own parser, and the laws of arithmetic."""

from __future__ import annotations

import time
from contextlib import suppress
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smeagol.quantity import Format, Quantity, QuantityError, Weight

# Text, canonical form and milliunits, as k8s.io/apimachinery v0.37.2 gives them.
ACCEPTED: list[tuple[str, str, int]] = [
    ("0", "0", 0),
    ("1", "1", 1_000),
    ("+1", "1", 1_000),
    ("-1", "-1", -1_000),
    ("1.", "1", 1_000),
    ("5.", "5", 5_000),
    (".5", "500m", 500),
    ("0.5", "500m", 500),
    ("1.5", "1500m", 1_500),
    ("010", "10", 10_000),
    ("00", "0", 0),
    ("0.0", "0", 0),
    ("1000", "1k", 1_000_000),
    ("1500", "1500", 1_500_000),
    ("1000000", "1M", 1_000_000_000),
    ("1000m", "1", 1_000),
    ("1500m", "1500m", 1_500),
    ("500m", "500m", 500),
    ("10m", "10m", 10),
    ("0m", "0", 0),
    ("0.0001", "100u", 1),
    ("0.0005", "500u", 1),
    ("0.001", "1m", 1),
    ("100u", "100u", 1),
    ("100n", "100n", 1),
    ("5u", "5u", 1),
    ("1n", "1n", 1),
    ("0.1n", "1n", 1),
    ("1e-10", "1e-9", 1),
    ("-0.0001", "-100u", -1),
    ("1k", "1k", 1_000_000),
    ("1M", "1M", 1_000_000_000),
    ("1G", "1G", 1_000_000_000_000),
    ("1T", "1T", 1_000_000_000_000_000),
    ("1P", "1P", 1_000_000_000_000_000_000),
    ("1E", "1E", 1_000_000_000_000_000_000_000),
    ("1.5k", "1500", 1_500_000),
    ("0.5M", "500k", 500_000_000),
    ("1e3", "1e3", 1_000_000),
    ("1E3", "1e3", 1_000_000),
    ("1e-3", "1e-3", 1),
    ("1e+3", "1e3", 1_000_000),
    ("12e6", "12e6", 12_000_000_000),
    ("1e21", "1e21", 1_000_000_000_000_000_000_000_000),
    ("1e22", "10e21", 10_000_000_000_000_000_000_000_000),
    ("0e5", "0", 0),
    ("1Ki", "1Ki", 1_024_000),
    ("1Mi", "1Mi", 1_048_576_000),
    ("1Gi", "1Gi", 1_073_741_824_000),
    ("1Ti", "1Ti", 1_099_511_627_776_000),
    ("1Pi", "1Pi", 1_125_899_906_842_624_000),
    ("1Ei", "1Ei", 1_152_921_504_606_846_976_000),
    ("2048Ki", "2Mi", 2_097_152_000),
    ("1024", "1024", 1_024_000),
    ("0.5Ki", "512", 512_000),
    ("1.5Gi", "1536Mi", 1_610_612_736_000),
    ("0.1Ki", "102400m", 102_400),
    ("1023Ki", "1023Ki", 1_047_552_000),
    ("-1Ki", "-1Ki", -1_024_000),
    ("99Ei", "9223372036854775807", 9_223_372_036_854_775_807_000),
    ("9223372036854775807", "9223372036854775807", 9_223_372_036_854_775_807_000),
    ("9223372036854775808", "9223372036854775808", 9_223_372_036_854_775_808_000),
    (
        "1234567890123456789012345678901234567890",
        "1234567890123456789012345678901234567890",
        1_234_567_890_123_456_789_012_345_678_901_234_567_890_000,
    ),
    (" 1 ", "1", 1_000),
    ("\u00a01", "1", 1_000),
    ("m", "0", 0),
    ("Ki", "0", 0),
    (".", "0", 0),
    ("+", "0", 0),
    ("-", "0", 0),
    ("e3", "0", 0),
]

REFUSED = [
    "",
    " ",
    "1K",
    "1e",
    "1ki",
    "1KI",
    "1i",
    "1_000",
    "1,5",
    "NaN",
    "Infinity",
    "inf",
    "\u0661",
    "1 000",
    "1m5",
    "0x10",
    "1e1.5",
    "--1",
    "+-1",
    "1..0",
    "abc",
    "1mm",
    "e-10",
    "Pi",
    "1B",
    "50%",
    "1/2",
    "null",
    "true",
]


class TestGoldenTable:
    """What Kubernetes takes, it takes here, with the same value; what it refuses is refused."""

    @pytest.mark.parametrize(("text", "canonical", "milli"), ACCEPTED)
    def test_accepted(self, text: str, canonical: str, milli: int) -> None:
        quantity = Quantity.parse(text)
        assert (str(quantity), quantity.milli) == (canonical, milli)

    @pytest.mark.parametrize("text", REFUSED)
    def test_refused(self, text: str) -> None:
        with pytest.raises(QuantityError, match="SMI-Q001"):
            Quantity.parse(text)

    def test_large_decimal_keeps_its_suffix(self) -> None:
        """Kubernetes writes 1000E as "1"; here no canonical form changes the value."""
        assert str(Quantity.parse("1000E")) == "1000E"


numbers = st.integers(min_value=-(10**30), max_value=10**30)


class TestLaws:
    """Parsing and formatting are exact."""

    @given(nanos=numbers, format_=st.sampled_from(Format))
    def test_canonical_form_reads_back_as_the_same_number(self, nanos: int, format_: Format) -> None:
        if format_ is Format.BINARY_SI:
            nanos %= 2**63 * 10**9  # beyond, Kubernetes caps
        quantity = Quantity(nanos, format_)
        again = Quantity.parse(str(quantity))
        assert again.nanos == nanos
        assert str(again) == str(quantity)

    @given(whole=st.integers(0, 10**12), digits=st.text("0123456789", max_size=9), exponent=st.integers(-9, 40))
    def test_value_is_exact_until_nanounits_and_rounded_up_below(self, whole: int, digits: str, exponent: int) -> None:
        exact = Fraction(f"{whole}.{digits or 0}") * Fraction(10) ** exponent * 10**9
        assert Quantity.parse(f"{whole}.{digits}e{exponent}").nanos == -(-exact.numerator // exact.denominator)

    @given(nanos=numbers)
    def test_milliunits_are_rounded_away_from_zero(self, nanos: int) -> None:
        milli = Quantity(nanos).milli
        assert abs(milli) * 10**6 - abs(nanos) in range(10**6)
        assert milli * nanos >= 0

    @given(text=st.text(max_size=40))
    def test_any_text_is_a_quantity_or_refused(self, text: str) -> None:
        with suppress(QuantityError):
            Quantity.parse(text)

    @pytest.mark.parametrize(
        "text", ["1e999999999999", "1e-999999999999", "9" * 10**6, "1e" + "9" * 10**6, "." + "0" * 10**6]
    )
    def test_hostile_text_takes_no_time(self, text: str) -> None:
        started = time.thread_time()
        with suppress(QuantityError):
            assert Quantity.parse(text).nanos == 1
        assert time.thread_time() - started < 0.5


class TestWeight:
    """Canary: a weight is a quantity in milliunits, never negative."""

    @pytest.mark.parametrize(
        ("value", "milli"), [(1, 1000), (0, 0), ("500m", 500), ("1", 1000), ("1e3", 10**6), ("100u", 1)]
    )
    def test_in_milliunits(self, value: str | int, milli: int) -> None:
        assert Weight.parse(value).milli == milli

    @pytest.mark.parametrize("value", [-1, "-1", "-1m"])
    def test_negative_is_refused(self, value: str | int) -> None:
        with pytest.raises(QuantityError, match="negative"):
            Weight.parse(value)

    @given(milli=st.integers(0, 10**15))
    def test_reads_back(self, milli: int) -> None:
        assert Weight.parse(str(Weight(milli))) == milli
