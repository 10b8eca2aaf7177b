"""Kubernetes quantities, exactly: `1` is `1000m`, `1e3` is `1k`, `1Ki` is 1024; and weights, which are quantities.

The grammar, the rounding and the canonical form are those of `k8s.io/apimachinery/pkg/api/resource`; the golden table
in `tests/test_quantity.py` was made with it. Three things differ on purpose, all far outside of sane input: an exponent
above `MAX_DIGITS` is refused (there it wraps around at 32 bits), so is a longer text, and numbers of 1000E and more
keep their suffix (there it is lost).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import Self

from smeagol.errors import SmeagolError

__all__ = ["MAX_DIGITS", "Format", "Quantity", "QuantityError", "Weight"]

MAX_DIGITS = 256
"""Longest text, and largest exponent, that is read. Bounds the work that a hostile exponent can ask for."""

_NANO = 10**9
_MAX_BINARY = (2**63 - 1) * _NANO
"""Where Kubernetes caps quantities with a binary suffix, in nanounits."""


class QuantityError(SmeagolError, ValueError):
    """The text is no Kubernetes quantity."""

    code = "SMI-Q001"


class Format(Enum):
    """How a quantity was written, and so how it is written back."""

    DECIMAL_SI = "DecimalSI"  # 12M
    DECIMAL_EXPONENT = "DecimalExponent"  # 12e6
    BINARY_SI = "BinarySI"  # 12Mi


_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_DECIMAL_SUFFIX = {exponent: suffix for suffix, exponent in _DECIMAL.items()}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_BINARY_SUFFIX = {exponent: suffix for suffix, exponent in _BINARY.items()}
_TEXT = re.compile(r"([+-]?)([0-9]*)(?:\.([0-9]*))?([eEinumkKMGTP]*(?:[+-]?[0-9]+)?)")
_EXPONENT = re.compile(r"[eE]([+-]?[0-9]+)")


@dataclass(frozen=True, slots=True)
class Quantity:
    """An exact number in nanounits, the finest that Kubernetes keeps, and the format it was written in."""

    nanos: int
    format: Format = Format.DECIMAL_SI

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `text` as the API server does: trims outer blanks, rounds what is finer than 1n away from zero.

        Raises QuantityError.
        """
        # Go trims Unicode's blanks, as Python does; beyond that only ASCII counts ([0-9], not \d).
        stripped = text.strip()
        match = _TEXT.fullmatch(stripped) if len(stripped) <= MAX_DIGITS else None
        if not stripped or match is None:
            raise _invalid(text)
        sign, whole, fraction, suffix = match.group(1), match.group(2), match.group(3) or "", match.group(4)
        # A bare suffix, as in "m", is zero in Kubernetes, except where its slow path reads the number.
        has_digits = bool(whole or fraction)
        digits = int(whole + fraction or "0")
        if sign == "-":
            digits = -digits
        if suffix in _BINARY:
            if not has_digits and _BINARY[suffix] >= 50:
                raise _invalid(text)
            nanos = _scaled(digits << _BINARY[suffix], 9 - len(fraction))
            return cls(max(-_MAX_BINARY, min(nanos, _MAX_BINARY)), Format.BINARY_SI)
        if suffix in _DECIMAL:
            exponent, format_ = _DECIMAL[suffix], Format.DECIMAL_SI
        elif exponent_match := _EXPONENT.fullmatch(suffix):
            exponent, format_ = int(exponent_match.group(1)), Format.DECIMAL_EXPONENT
            if exponent > MAX_DIGITS:
                raise _invalid(text)
        else:
            raise _invalid(text)
        if not has_digits and exponent < -9:
            raise _invalid(text)
        return cls(_scaled(digits, 9 + exponent - len(fraction)), format_)

    @property
    def milli(self) -> int:
        """In milliunits, rounded away from zero as the server rounds (`100u` is 1)."""
        return _divide_away_from_zero(self.nanos, 10**6)

    def __str__(self) -> str:
        """The canonical form: no fraction, no lost precision, the largest suffix possible."""
        if self.nanos == 0:
            return "0"
        if self.format is Format.BINARY_SI and abs(self.nanos) >= 1024 * _NANO and self.nanos % _NANO == 0:
            amount, power = self.nanos // _NANO, 0
            while amount % 1024 == 0 and power < 60:
                amount, power = amount // 1024, power + 10
            return f"{amount}{_BINARY_SUFFIX.get(power, '')}"
        amount, power = self.nanos, -9
        ceiling = 18 if self.format is not Format.DECIMAL_EXPONENT else None
        while amount % 1000 == 0 and power != ceiling:
            amount, power = amount // 1000, power + 3
        if self.format is Format.DECIMAL_EXPONENT:
            return f"{amount}e{power}" if power else str(amount)
        return f"{amount}{_DECIMAL_SUFFIX[power]}"


class Weight(int):
    """How much of the traffic a backend gets, beside the others' weights, in milliunits: `500m` is 500 (spec: Canary).

    A plain number otherwise, since weights are only ever added and compared.
    """

    @classmethod
    def parse(cls, value: str | int) -> Self:
        """Read a weight as manifests have it: a whole number, or a quantity as text. Raises QuantityError."""
        milli = value * 1000 if isinstance(value, int) else Quantity.parse(value).milli
        if milli < 0:
            raise QuantityError(f"weight {value} is negative", fix="Use 0 for a backend that shall get no traffic")
        return cls(milli)

    @property
    def milli(self) -> int:
        return int(self)

    def __str__(self) -> str:
        return str(Quantity(self.milli * 10**6))

    def __repr__(self) -> str:
        return f"Weight({self})"


def _scaled(digits: int, exponent: int) -> int:
    """`digits` times ten to the `exponent`, rounded away from zero."""
    if exponent >= 0:
        factor: int = 10**exponent
        return digits * factor
    # Beyond the number's own length every divisor gives the same answer, so no huge power is ever computed.
    return _divide_away_from_zero(digits, 10 ** min(-exponent, 2 * MAX_DIGITS))


def _divide_away_from_zero(number: int, divisor: int) -> int:
    quotient = -(-abs(number) // divisor)
    return quotient if number >= 0 else -quotient


def _invalid(text: str) -> QuantityError:
    shown = text if len(text) <= 40 else f"{text[:40]}…"
    return QuantityError(
        f"{shown!r} is not a Kubernetes quantity",
        fix="Write a number, such as 1 or 0.5, with a suffix if need be: 500m, 1k, 2M, 1Ki, 1e3",
    )
