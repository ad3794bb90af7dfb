"""What is achieved when a setting is requested: a linear shift, learned from what was read back.

Bayesian linear regression with a prior about no shift at all, so that few readings move it little. The
settings stand in the unit cube; one-hot columns of categorical parameters are left alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from ..space import Array, Space
    from .evidence import Observations

PRIOR_SD = 0.1  # of a shift, and of its change over half the cube
READ_BACK_SD = 0.01  # scatter of what is achieved about the line
NEGLIGIBLE = 1e-9


@dataclass(frozen=True)
class Actuation:
    """achieved = requested + (1, 2 requested - 1) shift; ``shift`` is (1 + c, c), or empty for none."""

    shift: tuple[tuple[float, ...], ...] = ()

    @classmethod
    def learn(cls, space: Space, observations: Observations) -> Actuation:
        """From requested and achieved settings; no shift where they have been the same."""
        difference = np.where(numeric_columns(space), observations.X - observations.X_set, 0.0)
        if not len(difference) or float(np.abs(difference).max()) < NEGLIGIBLE:
            return cls()
        B = _basis(observations.X_set)
        A = B.T @ B + (READ_BACK_SD / PRIOR_SD) ** 2 * np.eye(B.shape[1])
        shift = np.linalg.solve(A, B.T @ difference)
        return cls(tuple(tuple(map(float, row)) for row in shift))

    @classmethod
    def load(cls, dump: Mapping[str, Any]) -> Actuation:
        """The inverse of ``dump``."""
        return cls(tuple(tuple(row) for row in dump["shift"]))

    def dump(self) -> dict[str, Any]:
        """Plain data."""
        return {"shift": [list(row) for row in self.shift]}

    def achieved(self, X: Any) -> Any:
        """What is expected at requested settings X (..., c), an array of NumPy or torch."""
        if not self.shift:
            return X
        as_like = X.new_tensor if hasattr(X, "new_tensor") else np.array
        return X + as_like(self.shift[0]) + (2.0 * X - 1.0) @ as_like(self.shift[1:])


def numeric_columns(space: Space) -> Array:
    """(c,) 1 for the columns of numeric parameters that are set, 0 for those of a choice or a context."""
    numeric = np.ones(space.n_columns)
    for name, p in space.varied.items():
        if p.kind == "categorical" or p.context:  # what is measured drifts by itself; nobody asked for it
            numeric[space.columns[name]] = 0.0
    return numeric


def _basis(X: Array) -> Array:
    return np.column_stack([np.ones(len(X)), 2.0 * X - 1.0])
