"""The running mean and variance of each source's readings: what every other belief must beat.

Welford, Technometrics 1962, 4, 419: one pass, stable, so a reading costs the same at trial 10,000 as at 1.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from . import Prediction

if TYPE_CHECKING:
    from ..campaign import Campaign
    from ..space import Array
    from .evidence import Evidence, Observations

MIN_READINGS = 2
LARGEST = sys.float_info.max  # a dump must stay plain JSON, which knows no infinity
MAX_PASSED = 64  # older readings looked at before the rest is taken for old; more than may be in flight


@dataclass(frozen=True)
class Moments:
    """Of one source: n readings, their mean and the sum of squares about it, per response."""

    n: int = 0
    mean: tuple[float, ...] = ()
    squares: tuple[float, ...] = ()

    def add(self, values: list[float]) -> Moments:
        """With one more reading."""
        if not self.n:
            return Moments(1, tuple(values), (0.0,) * len(values))
        n = self.n + 1
        mean = tuple(m + (y / n - m / n) for m, y in zip(self.mean, values, strict=True))
        squares = tuple(
            min(LARGEST, s + (y - before) * (y - after))  # in this order: LARGEST also where that is not a number
            for s, y, before, after in zip(self.squares, values, self.mean, mean, strict=True)
        )
        return Moments(n, mean, squares)

    @property
    def sd(self) -> list[float]:
        """Of the next reading, the mean's own error included; above 0 also where all readings were equal."""
        variances = (s / (self.n - 1) * (1.0 + 1.0 / self.n) for s in self.squares)
        floors = (1e-9 * abs(m) or 1e-9 for m in self.mean)
        return [max(v**0.5, f) for v, f in zip(variances, floors, strict=True)]


@dataclass(frozen=True)
class Climatology:
    """A belief that no setting matters; it forecasts at no cost."""

    kind: ClassVar[str] = "climatology"

    sources: Mapping[str, Moments] = field(default_factory=dict)

    @classmethod
    def prior(cls, campaign: Campaign) -> Climatology:
        """Before any reading."""
        return cls()

    @classmethod
    def load(cls, dump: Mapping[str, Any]) -> Climatology:
        """The inverse of ``dump``."""
        return cls({k: Moments(v["n"], tuple(v["mean"]), tuple(v["squares"])) for k, v in dump["sources"].items()})

    def correct(self, evidence: Evidence, fresh: tuple[int, ...], rng: np.random.Generator) -> Climatology:
        """With the readings of the trials ``fresh``; reads no others."""
        wanted = set(fresh)
        changed = {}
        for name, observations in evidence.observations.items():
            moments = self.sources.get(name, Moments())
            for row in _rows_of(observations, wanted):
                moments = moments.add(observations.Y[row].tolist())
            changed[name] = moments
        return replace(self, sources={**self.sources, **changed})

    def predict(self, evidence: Evidence, source: str, X: Array) -> Prediction | None:
        """The mean of all readings of ``source``, at every setting alike."""
        moments = self.sources.get(source)
        if moments is None or moments.n < MIN_READINGS:
            return None
        return Prediction(np.tile(moments.mean, (len(X), 1)), np.tile(moments.sd, (len(X), 1))).if_finite()

    def unknowns(self, source: str) -> dict[str, tuple[float, ...]]:
        """None: a simulator runs at its nominal values."""
        return {}

    def dump(self) -> dict[str, Any]:
        """Plain data."""
        sources = {k: {"n": v.n, "mean": list(v.mean), "squares": list(v.squares)} for k, v in self.sources.items()}
        return {"kind": self.kind, "sources": sources}


def _rows_of(observations: Observations, wanted: set[int]) -> list[int]:
    """Where the wanted trials stand, oldest first; looked for from the end, where fresh readings are."""
    rows: list[int] = []
    row = len(observations.trials)
    n_left, n_passed = len(wanted), 0
    while n_left and row and n_passed < MAX_PASSED:
        row -= 1
        if observations.trials[row] in wanted:
            rows.append(row)
            n_left, n_passed = n_left - 1, 0
        else:
            n_passed += 1
    return rows[::-1]
