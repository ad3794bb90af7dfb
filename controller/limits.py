"""What limits leave of one parameter, in its column of the unit cube.

Law: what ``decode`` gives for a column that is left lies within the limits, to the bit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .parameters import Categorical, Continuous, Ordinal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Column = NDArray[np.float64]

EDGE = 1e-9  # of the column: nearer to an end than this, a value is decoded to see on which side it lies
N_NUDGES = 60


@dataclass(frozen=True)
class Interval:
    """The columns from ``low`` to ``high`` of a continuous parameter."""

    parameter: Continuous
    low: float
    high: float
    within: tuple[float, float]  # the limits themselves

    def from_quantiles(self, q: Column) -> Column:
        """Columns spread evenly over what is left."""
        import numpy as np

        column: Column = np.minimum(self.low + q * (self.high - self.low), self.high)
        return column

    def nearest(self, u: Column) -> Column:
        """The columns, drawn in."""
        import numpy as np

        column: Column = np.clip(u, self.low, self.high)
        return column

    def holds(self, u: Column) -> Any:
        """Which columns lie within."""
        import numpy as np

        inside = (u >= self.low) & (u <= self.high)
        near = ~inside & (u >= self.low - EDGE) & (u <= self.high + EDGE)
        for k in np.flatnonzero(near):
            inside[k] = self.within[0] <= self.parameter.decode([u[k]]) <= self.within[1]
        return inside


@dataclass(frozen=True)
class Choice:
    """Those of the n values of a discrete parameter that are left, by their place."""

    n_values: int
    places: Sequence[int]  # rising, at least one

    def from_quantiles(self, q: Column) -> Column:
        """Columns of the values left, each with equal weight."""
        import numpy as np

        k = np.minimum((q * len(self.places)).astype(int), len(self.places) - 1)
        return self._columns(k)

    def nearest(self, u: Column) -> Column:
        """The columns of the values left that are nearest."""
        import numpy as np

        wanted = np.round(np.clip(u, 0.0, 1.0) * (self.n_values - 1))
        if isinstance(self.places, range):
            return self._columns(np.clip(wanted.astype(int) - self.places.start, 0, len(self.places) - 1))
        return self._columns(np.abs(wanted[:, None] - np.asarray(self.places)).argmin(axis=1))

    def holds(self, u: Column) -> Any:
        """Which columns are those of values left."""
        import numpy as np

        k = np.round(u * (self.n_values - 1))
        if isinstance(self.places, range):
            return (k >= self.places.start) & (k < self.places.stop)
        return np.isin(k, self.places)

    @property
    def low(self) -> float:
        """The lowest column."""
        return self.places[0] / (self.n_values - 1)

    @property
    def high(self) -> float:
        """The highest column."""
        return self.places[-1] / (self.n_values - 1)

    def _columns(self, k: Any) -> Column:
        import numpy as np

        places = k + self.places.start if isinstance(self.places, range) else np.asarray(self.places)[k]
        column: Column = places / (self.n_values - 1)
        return column


Left = Interval | Choice


def left_of(parameter: Any, low: float, high: float) -> Left | None:
    """What limits leave of a parameter; None: nothing."""
    if isinstance(parameter, Categorical):
        return None
    if isinstance(parameter, Continuous):
        return _interval(parameter, low, high)
    if isinstance(parameter, Ordinal):
        places = tuple(k for k, v in enumerate(parameter.levels) if low <= level_number(v) <= high)
        return Choice(parameter.n_values, places) if places else None
    n, step = parameter.n_values, (parameter.high - parameter.low) / (parameter.n_values - 1)
    first = _place((low - parameter.low) / step, n)
    last = _place((high - parameter.low) / step, n)
    near = [k for k in range(first - 2, first + 3) if 0 <= k < n and _value(parameter, k) >= low]
    far = [k for k in range(last - 2, last + 3) if 0 <= k < n and _value(parameter, k) <= high]
    if not near or not far or near[0] > far[-1]:
        return None
    return Choice(n, range(near[0], far[-1] + 1))


def level_number(level: object) -> float:
    """A level as a number; NaN where it is a label."""
    return float(level) if isinstance(level, int | float) and not isinstance(level, bool) else math.nan


def _place(k: float, n: int) -> int:
    """The whole number nearest to k among those that have a value, and one beyond either end."""
    return round(min(max(k, -1.0), float(n)))


def _value(parameter: Any, k: int) -> float:
    return float(parameter.decode([k / (parameter.n_values - 1)]))


def _interval(p: Continuous, low: float, high: float) -> Interval | None:
    if low > p.high or high < p.low:
        return None
    first = 0.0 if low <= p.low else _end(p, low, inwards=1.0)
    last = 1.0 if high >= p.high else _end(p, high, inwards=-1.0)
    if first is None or last is None or not low <= p.decode([first]) <= p.decode([last]) <= high:
        return None
    return Interval(p, first, last, (low, high))


def _end(p: Continuous, limit: float, *, inwards: float) -> float | None:
    """The column next to a limit, on its inner side, that decodes to itself; None where there is none."""
    u = start = p.encode(limit)[0]
    for k in range(N_NUDGES):
        value = p.decode([u])
        if (value - limit) * inwards >= 0:
            return min(max(p.encode(value)[0], 0.0), 1.0)
        u = start + inwards * 1e-16 * 2.0**k
    return None
