"""How good the forecasts were: z-scores, coverage of intervals and CRPS, over all readings and the second half.

Gneiting and Raftery, J. Am. Stat. Assoc. 2007, 102, 359.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import NamedTuple

LEVELS = (0.5, 0.8, 0.95)
_NORMAL = NormalDist()


class Scored(NamedTuple):
    """One reading against its forecast."""

    z: float  # reading minus forecast, in standard deviations of the forecast
    sd: float  # of the forecast, in the unit of the response


@dataclass(frozen=True)
class Calibration:
    """What n forecasts were worth. Well calibrated: mean z 0, sd of z 1, coverage equal to its level."""

    n: int
    mean_z: float
    sd_z: float
    coverage: tuple[float, ...]  # of the intervals of LEVELS
    crps: float  # mean, in the unit of the response; smaller is better

    def covers(self, level: float) -> float:
        """The share of readings within the central interval of one of LEVELS."""
        return self.coverage[LEVELS.index(level)]


def calibration(scored: Sequence[Scored]) -> Calibration | None:
    """Of all the pairs; None where there are none."""
    n = len(scored)
    if not n:
        return None
    z = [s.z for s in scored]
    mean = math.fsum(z) / n
    return Calibration(
        n=n,
        mean_z=mean,
        sd_z=math.sqrt(math.fsum((x - mean) ** 2 for x in z) / (n - 1)) if n > 1 else 0.0,
        coverage=tuple(coverage(z, level) for level in LEVELS),
        crps=math.fsum(crps(s) for s in scored) / n,
    )


def second_half(scored: Sequence[Scored]) -> Sequence[Scored]:
    """The later half: what the belief was worth once it had learned; the middle one counts as later."""
    return scored[len(scored) // 2 :]


def running(scored: Sequence[Scored]) -> list[Calibration]:
    """The calibration after each reading, in one pass (Welford 1962)."""
    within, total, mean, squares = [0] * len(LEVELS), 0.0, 0.0, 0.0
    halves = [half_width(level) for level in LEVELS]
    course = []
    for n, s in enumerate(scored, start=1):
        within = [k + (abs(s.z) <= half) for k, half in zip(within, halves, strict=True)]
        total += crps(s)
        step = s.z - mean
        mean += step / n
        squares += step * (s.z - mean)
        sd = math.sqrt(squares / (n - 1)) if n > 1 else 0.0
        course.append(Calibration(n, mean, sd, tuple(k / n for k in within), total / n))
    return course


def coverage(z: Sequence[float], level: float) -> float:
    """The share of z-scores within the central interval of a standard normal that holds ``level``."""
    half = half_width(level)
    return sum(abs(x) <= half for x in z) / len(z)


def half_width(level: float) -> float:
    """Half the central interval that holds ``level`` of a standard normal: 1.28 for 0.8."""
    return _NORMAL.inv_cdf(0.5 + level / 2)


def crps(scored: Scored) -> float:
    """Continuous ranked probability score of a Gaussian forecast: sd (z (2 Phi(z) - 1) + 2 phi(z) - 1 / sqrt(pi))."""
    z, sd = scored
    return sd * (z * math.erf(z / math.sqrt(2)) + 2 * _NORMAL.pdf(z) - 1 / math.sqrt(math.pi))
