"""Which values an expression can have at all: interval arithmetic over what its names may be.

The bounds are never too narrow; they may be too wide where a name stands in an expression twice.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .expressions import Expression


@dataclass(frozen=True)
class Interval:
    """All numbers from low to high."""

    low: float = -math.inf
    high: float = math.inf

    def __add__(self, other: Interval | float) -> Interval:
        o = _interval(other)
        return Interval(self.low + o.low, self.high + o.high)

    def __neg__(self) -> Interval:
        return Interval(-self.high, -self.low)

    def __sub__(self, other: Interval | float) -> Interval:
        return self + -_interval(other)

    def __rsub__(self, other: float) -> Interval:
        return -self + other

    def __mul__(self, other: Interval | float) -> Interval:
        o = _interval(other)
        # 0 times infinity is 0 here: no value of a name is infinite itself
        ends = [0.0 if 0.0 in (a, b) else a * b for a in (self.low, self.high) for b in (o.low, o.high)]
        return Interval(min(ends), max(ends))

    def __truediv__(self, other: Interval | float) -> Interval:
        o = _interval(other)
        if o.low <= 0.0 <= o.high:
            return Interval()
        return self * Interval(1.0 / o.high, 1.0 / o.low)

    def __rtruediv__(self, other: float) -> Interval:
        return Interval(other, other) / self

    def __pow__(self, other: Interval | float) -> Interval:
        o = _interval(other)
        if o.low != o.high:
            return Interval() if self.low <= 0.0 else Interval(0.0)
        if o.low == round(o.low) and o.low > 0:
            ends = [_power(self.low, o.low), _power(self.high, o.low)]
            is_even = round(o.low) % 2 == 0
            low = 0.0 if is_even and self.low <= 0.0 <= self.high else min(ends)
            return Interval(low, max(ends))
        return Interval(0.0) if o.low != round(o.low) or round(o.low) % 2 == 0 else Interval()

    def __rpow__(self, other: float) -> Interval:
        return Interval(0.0) if other > 0 else Interval()

    def __abs__(self) -> Interval:
        ends = (abs(self.low), abs(self.high))
        return Interval(0.0 if self.low <= 0.0 <= self.high else min(ends), max(ends))

    __radd__, __rmul__ = __add__, __mul__


class _Functions:
    """The functions of expressions, over intervals."""

    @staticmethod
    def exp(x: Interval | float) -> Interval:
        x = _interval(x)
        return Interval(_safe(math.exp, x.low, 0.0), _safe(math.exp, x.high, math.inf))

    @staticmethod
    def log(x: Interval | float) -> Interval:
        x = _interval(x)
        return _logarithm(math.log, x)

    @staticmethod
    def log10(x: Interval | float) -> Interval:
        x = _interval(x)
        return _logarithm(math.log10, x)

    @staticmethod
    def sqrt(x: Interval | float) -> Interval:
        x = _interval(x)
        return Interval(math.sqrt(max(x.low, 0.0)), math.sqrt(max(x.high, 0.0)))

    @staticmethod
    def tanh(x: Interval | float) -> Interval:
        x = _interval(x)
        return Interval(math.tanh(x.low), math.tanh(x.high))

    @staticmethod
    def sin(_: Interval | float) -> Interval:
        return Interval(-1.0, 1.0)

    cos = sin


def bounds_of(expression: Expression) -> tuple[float, float]:
    """The lowest and the highest value that an expression can have, whatever its names are."""
    found = expression.evaluate({name: Interval() for name in expression.names}, lib=_Functions)
    interval = _interval(found)
    return interval.low, interval.high


def _interval(x: Interval | float) -> Interval:
    return x if isinstance(x, Interval) else Interval(float(x), float(x))


def _power(x: float, n: float) -> float:
    return _safe(lambda y: y**n, x, math.inf if x > 0 or round(n) % 2 == 0 else -math.inf)


def _safe(f: Callable[[float], float], x: float, beyond: float) -> float:
    try:
        return f(x)
    except OverflowError:
        return beyond


def _logarithm(f: Callable[[float], float], x: Interval) -> Interval:
    low = -math.inf if x.low <= 0 else f(x.low)
    return Interval(low, -math.inf if x.high <= 0 else f(x.high))
