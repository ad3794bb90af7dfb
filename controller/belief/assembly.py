"""What a belief's numbers and the evidence make together: runs, readings, emulator, joint Gaussian.

Everything that the assimilated simulator predicts or corrects is worked out from an ``Assembly``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from . import discrepancy
from .emulator import Emulator, Learned
from .evidence import Evidence, Members, Observations
from .joint import Joint
from .kriging import as_tensor
from .regression import Outputs, outputs_of
from .scales import LARGEST, Scales
from .unknown import Unknowns

if TYPE_CHECKING:
    from ..space import Array

MAX_RUNS = 400  # the newest; their cubes bound what a decision costs
MAX_READINGS = 400
MIN_MEMBERS = 8  # a run with fewer cannot be regressed on its unknowns
SMALLEST_SD, LARGEST_SD = 1e-4, 1e6  # of a reading's noise, in standardised units
FAR = 1e6  # standardised; a reading beyond says only "far off", and its square stays a number


@dataclass(frozen=True, eq=False)
class Runs:
    """The simulator's ensemble runs."""

    X: Array  # (n, c)
    members: tuple[Members, ...]

    @classmethod
    def of(cls, observations: Observations, n_unknowns: int) -> Runs:
        """The newest usable ones, oldest first."""
        rows = [k for k, run in enumerate(observations.members) if run is not None and _is_usable(run, n_unknowns)]
        rows = rows[-MAX_RUNS:]
        return cls(observations.X_set[rows], tuple(observations.members[k] for k in rows))  # type: ignore[misc]

    def __len__(self) -> int:
        return len(self.X)


def _is_usable(run: Members, n_unknowns: int) -> bool:
    fits = run.unknowns.ndim == 2 and run.unknowns.shape[1] == n_unknowns and len(run.Y) == len(run.unknowns)
    if not fits or len(run.Y) < MIN_MEMBERS:
        return False
    return bool((np.abs(run.Y) <= LARGEST).all() and np.isfinite(run.unknowns).all())


@dataclass(frozen=True, eq=False)
class Readings:
    """The target's readings in standardised units."""

    X: Array  # (j, c) achieved
    y: Array  # (m, j)
    given: Array  # (m, j) variance of the noise, NaN where the reading gave none

    @classmethod
    def of(cls, observations: Observations, rows: Sequence[int], scales: Scales) -> Readings:
        """Of some rows."""
        Y, sd = observations.Y[list(rows)], observations.sd[list(rows)]
        with np.errstate(over="ignore"):
            given = np.clip(sd / scales.slope(Y), SMALLEST_SD, LARGEST_SD) ** 2  # NaN stays NaN
            y = np.clip(scales.forward(Y), -FAR, FAR)
        return cls(observations.X[list(rows)], y.T, given.T)


@dataclass(frozen=True, eq=False)
class Assembly:
    """A belief's numbers with the evidence."""

    runs: Runs
    unknowns: Unknowns
    learned: Learned
    theta: discrepancy.Theta  # of the discrepancy

    def outputs(self, Z: Array) -> Outputs:
        """What members z (N, p) answer in each run."""
        return outputs_of(self.runs.members, Z, unknowns=self.unknowns, scales=self.learned.scales)

    def emulator(self, Z: Array) -> Emulator:
        """For members z (N, p)."""
        return Emulator.condition(self.runs.X, self.outputs(Z), self.learned.theta)

    def joint(self, emulator: Emulator, readings: Readings) -> Joint:
        """Given readings."""
        X, y = as_tensor(readings.X), as_tensor(readings.y)
        return Joint.condition(emulator, as_tensor(np.array(self.theta)), X, y, as_tensor(self.noise(readings)))

    def noise(self, readings: Readings) -> Array:
        """(m, j) variance of each reading."""
        return discrepancy.noise_variance(np.array(self.theta), readings.given)

    def next_noise(self, readings: Readings) -> Array:
        """(m,) variance of a reading to come: the mean of those before."""
        past = readings.given if readings.given.shape[1] else np.full((len(self.theta), 1), np.nan)
        variance: Array = discrepancy.noise_variance(np.array(self.theta), past).mean(axis=1)
        return variance


def rows_of(evidence: Evidence, trials: Sequence[int]) -> list[int]:
    """Where the newest of some trials stand among the target's readings."""
    wanted = set(trials)
    return [k for k, t in enumerate(evidence.of(evidence.target).trials) if t in wanted][-MAX_READINGS:]
