"""Numbers of forty digits that carry what a careful evaluation in some precision may lose of them.

The reference that hostile numbers are judged by: it shares no code with the library, and its exponents
reach 10^±999999, so that nothing overflows on the way to a finite answer. Beside each value stands a bound
of the error that its formula commits when every operation is rounded to a given precision (running error
analysis), so that a badly conditioned answer is judged by its own conditioning.
"""

from __future__ import annotations

import decimal
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import TypeAlias

import torch

#: No trap is set: infinities and NaN are values here, as they are in floating point.
_DIGITS = decimal.Context(prec=40, Emax=999_999, Emin=-999_999, traps=[])

_ZERO, _ONE, _INFINITE = Decimal(0), Decimal(1), Decimal("Infinity")

#: How many times the bound an answer may be off: library formulas are arranged otherwise than ours.
_SLACK = Decimal(8)


@dataclass(frozen=True)
class Precision:
    """A floating-point format: its rounding, its smallest normal and its largest number."""

    unit: Decimal
    tiny: Decimal
    largest: Decimal

    @classmethod
    def of(cls, dtype: torch.dtype) -> Precision:
        """Return the format of a torch dtype."""
        info = torch.finfo(dtype)
        return cls(Decimal(info.eps), Decimal(info.tiny), Decimal(info.max))


Number: TypeAlias = "Exact | Decimal | float"


@dataclass(frozen=True)
class Exact:
    """A value, and how far from it a computation in the given precision may end up.

    >>> x = Exact.of(1e30, Precision.of(torch.float32))
    >>> (x * x).complaint(float("inf")), (x * x).complaint(1.0)
    ('', '1.0, where 1.00000000e+60 is right, within ...')
    """

    value: Decimal
    error: Decimal
    precision: Precision

    @classmethod
    def of(cls, number: float, precision: Precision) -> Exact:
        """Return a number that is given, and so has no error."""
        return cls(Decimal(number), _ZERO, precision)

    def __add__(self, other: Number) -> Exact:
        right = self._other(other)
        return self._rounded(_DIGITS.add(self.value, right.value), _DIGITS.add(self.error, right.error))

    def __neg__(self) -> Exact:
        return Exact(-self.value, self.error, self.precision)

    def __sub__(self, other: Number) -> Exact:
        return self + (-self._other(other))

    def __mul__(self, other: Number) -> Exact:
        right = self._other(other)
        error = _DIGITS.add(
            _DIGITS.multiply(abs(self.value), right.error),
            _DIGITS.multiply(_DIGITS.add(abs(right.value), right.error), self.error),
        )
        return self._rounded(_DIGITS.multiply(self.value, right.value), error)

    def map(self, function: Callable[[Decimal], Decimal]) -> Exact:
        """Return ``function`` of this number, its error read off at both ends of this number's own."""
        value = function(self.value)
        ends = (_DIGITS.add(self.value, self.error), _DIGITS.subtract(self.value, self.error))
        error = max((abs(_DIGITS.subtract(function(end), value)) for end in ends), key=_size)
        return self._rounded(value, error + 2 * _DIGITS.multiply(self.precision.unit, abs(value)))

    def complaint(self, found: float) -> str:
        """Return what is wrong with the answer ``found``, or an empty string."""
        if found != found:
            return f"NaN, where {self.value:.6g} is right"
        allowed = _DIGITS.multiply(_SLACK, self.error)
        if self.value.is_infinite() or not allowed.is_finite():
            right = not self.value.is_infinite() or Decimal(found) == self.value
            return "" if right else f"{found!r}, where {self.value} is right"
        if abs(found) == float("inf"):
            farthest = _DIGITS.add(self.value if found > 0 else -self.value, allowed)
            right = farthest > self.precision.largest
            return "" if right else f"{found!r}, where {self.value:.6g} is right"
        if abs(_DIGITS.subtract(Decimal(found), self.value)) <= allowed:
            return ""
        return f"{found!r}, where {self.value:.9g} is right, within {allowed:.2g}"

    def _other(self, other: Number) -> Exact:
        if isinstance(other, Exact):
            return other
        return Exact(Decimal(other), _ZERO, self.precision)

    def _rounded(self, value: Decimal, error: Decimal) -> Exact:
        if not value.is_finite():
            return Exact(value, _ZERO, self.precision)
        rounding = _DIGITS.multiply(self.precision.unit, abs(value))
        total = _DIGITS.add(error, _DIGITS.add(rounding, self.precision.tiny))
        return Exact(value, _INFINITE if total.is_nan() else total, self.precision)


def _size(error: Decimal) -> Decimal:
    return _INFINITE if error.is_nan() else error


def total(numbers: Iterable[Exact]) -> Exact:
    """Return the sum of at least one number."""
    first, *others = numbers
    for other in others:
        first = first + other
    return first


def exp(x: Decimal) -> Decimal:
    """Return eˣ."""
    return _DIGITS.exp(x)


def log(x: Decimal) -> Decimal:
    """Return log x, −∞ where x is not above 0."""
    return _DIGITS.ln(x) if x > 0 else -_INFINITE


def log1p(x: Decimal) -> Decimal:
    """Return log(1 + x), x ≥ 0."""
    return _DIGITS.ln(_DIGITS.add(_ONE, x)) if x > Decimal("1e-19") else x


def tanh(x: Decimal) -> Decimal:
    """Return tanh x."""
    small = _DIGITS.exp(-2 * abs(x))
    size = _DIGITS.divide(_ONE - small, _ONE + small)
    return size if x >= 0 else -size


def sigmoid(x: Decimal) -> Decimal:
    """Return 1 / (1 + e⁻ˣ)."""
    small = _DIGITS.exp(-abs(x))
    return _DIGITS.divide(_ONE if x >= 0 else small, _DIGITS.add(_ONE, small))


def clamp(x: Decimal, limit: Decimal) -> Decimal:
    """Return ``x`` within ±limit."""
    return max(-limit, min(limit, x))
