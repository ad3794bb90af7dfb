"""Whether one reading is so far off that it must not teach a belief before a person has looked at it.

Both must hold: it lies far outside the range of the source's other readings, and far outside its own forecast. Either
alone may be news: a steep response leaves every range, and a young belief is too sure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ..space import Array
    from .evidence import Evidence

MIN_OTHERS = 5  # readings, before their range says anything
FAR = 1e3  # times that range
MIN_Z = 30.0  # standard deviations of the forecast


def is_outlier(evidence: Evidence, source: str, trial: int, *, z: float | None) -> str:
    """Why a reading is an outlier; empty where it is none.

    Args:
        evidence: holds the reading of ``trial`` among those of its source.
        source: who gave it.
        trial: its number.
        z: the largest number of standard deviations, of any response, between reading and forecast; None where
            nothing was forecast, and then no reading is an outlier.
    """
    if z is None or not abs(z) > MIN_Z:
        return ""
    observations = evidence.of(source)
    row = list(observations.trials).index(trial)
    others = np.delete(observations.Y, row, axis=0)
    if len(others) < MIN_OTHERS:
        return ""
    for name, y, values in zip(evidence.responses, observations.Y[row], others.T, strict=True):
        if said := _beyond(name, float(y), values):
            return f"{said}, and {abs(z):.3g} standard deviations from its forecast (more than {MIN_Z:g})"
    return ""


def _beyond(name: str, y: float, others: Array) -> str:
    """How far y lies beyond the other readings of a response; empty where that is not far."""
    low, high = float(others.min()), float(others.max())
    # halves, for the whole may be beyond float64; a constant is judged by its own size
    half = high / 2 - low / 2 or max(abs(low), abs(high)) / 2
    beyond = max(low / 2 - y / 2, y / 2 - high / 2)
    if half == 0.0 or not beyond > FAR * half:
        return ""
    return (
        f"{name}={y:.6g} lies {beyond / half:.3g} times the range of the {len(others)} other readings "
        f"({low:.6g} to {high:.6g}) beyond it (more than {FAR:g})"
    )
