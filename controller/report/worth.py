"""Sums over scored readings, exact, so that a part of a long campaign is what is left when its beginning is taken off.

Shewchuk, Discrete Comput. Geom. 1997, 18, 305: a sum kept as doubles that do not overlap loses nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from ..calibration import LEVELS, Calibration, Scored, crps, half_width

_HALVES = tuple(half_width(level) for level in LEVELS)


@dataclass
class Sums:
    """Of n scored readings."""

    n: int = 0
    within: list[int] = field(default_factory=lambda: [0] * len(LEVELS))  # the intervals of LEVELS
    z: list[float] = field(default_factory=list)
    z_squared: list[float] = field(default_factory=list)
    crps: list[float] = field(default_factory=list)

    @classmethod
    def of(cls, scored: Iterable[Scored]) -> Sums:
        """Of all of them."""
        sums = cls()
        for s in scored:
            sums.add(s)
        return sums

    @classmethod
    def load(cls, dump: dict[str, Any]) -> Sums:
        """The inverse of ``vars``."""
        return cls(**dump)

    def add(self, s: Scored) -> None:
        """One more."""
        self.n += 1
        self.within = [k + (abs(s.z) <= half) for k, half in zip(self.within, _HALVES, strict=True)]
        _grow(self.z, s.z)
        _grow(self.z_squared, s.z * s.z)
        _grow(self.crps, crps(s))

    def plus(self, other: Sums, *, sign: int = 1) -> Sums:
        """With others, or without them."""
        made = Sums(self.n + sign * other.n, [a + sign * b for a, b in zip(self.within, other.within, strict=True)])
        for name in ("z", "z_squared", "crps"):
            partials = list(getattr(self, name))
            for x in getattr(other, name):
                _grow(partials, sign * x)
            setattr(made, name, partials)
        return made

    def calibration(self) -> Calibration | None:
        """What the forecasts were worth; None where there are none."""
        if not self.n:
            return None
        total = sum(map(Fraction, self.z), Fraction())
        squares = sum(map(Fraction, self.z_squared), Fraction()) - total * total / self.n  # exact: nothing cancels
        return Calibration(
            n=self.n,
            mean_z=math.fsum(self.z) / self.n,
            sd_z=math.sqrt(max(0.0, float(squares / (self.n - 1)))) if self.n > 1 else 0.0,
            coverage=tuple(k / self.n for k in self.within),
            crps=math.fsum(self.crps) / self.n,
        )


def _grow(partials: list[float], x: float) -> None:
    """Add x to a sum that is kept as doubles that do not overlap."""
    kept = 0
    for partial in partials:
        large, small = (x, partial) if abs(x) >= abs(partial) else (partial, x)
        x = large + small
        rest = small - (x - large)
        if rest:
            partials[kept] = rest
            kept += 1
    partials[kept:] = [x]
