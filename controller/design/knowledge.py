"""What a reading is expected to be worth: the knowledge gradient over a set of reference settings.

Frazier, Powell & Dayanik 2009; over sources Poloczek, Wang & Frazier 2017. A reading moves the target's mean at
the references by influence x Z, Z standard normal, and takes influence² from their variance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .utility import moments, normal_draws, utility

if TYPE_CHECKING:
    from botorch.models.model import Model

    from ..space import Array
    from .objective import Objective

N_FANTASIES = 64
MAX_GAIN = 1e300
CHUNK = 8  # actions worked out at once: their arrays stay in the cache


@dataclass(frozen=True)
class Outlook:
    """The target as believed at r reference settings, and what each is worth."""

    objective: Objective
    X: Array  # (r, c)
    mean: Array  # (r, m) noise-free responses
    sd: Array  # (r, m)
    worst: float  # what an infeasible setting counts as, scaled
    p_success: Array | None = None  # (r,) that a trial succeeds there; None where none ever failed

    @classmethod
    def at(cls, X: Array, model: Model, objective: Objective, *, p_success: Array | None = None) -> Outlook:
        """From the model of the target."""
        mean, sd = moments(model, X)
        values = objective.values(mean, lib=np)
        worst = float(values.min()) - 1.0  # one spread of the readings below
        return cls(objective, X, mean, sd, worst, p_success)

    @property
    def asked(self) -> Array:
        """All of them."""
        return self.X

    def figures(self) -> dict[str, float]:
        """None: the best reading speaks for itself."""
        return {}

    def gains(self, influence: Array) -> Array:
        """E[max U after] - max E[U after] of each action, >= 0 and in the units of the objective.

        Args:
            influence: (n, r, m) of n actions on the references.

        Returns:
            (n,)
        """
        Z = normal_draws(N_FANTASIES, self.mean.shape[-1])
        gains = np.zeros(len(influence))
        for start in range(0, len(influence), CHUNK):
            moved = influence[start : start + CHUNK]
            sd = np.sqrt(np.maximum(self.sd**2 - moved**2, 0.0))  # (k, r, m)
            mean = self.mean + moved[:, None] * Z[:, None, :]  # (k, F, r, m)
            U = utility(self.objective, mean, np.broadcast_to(sd[:, None], mean.shape), self.worst, self.p_success)
            gains[start : start + CHUNK] = U.max(axis=2).mean(axis=1) - U.mean(axis=1).max(axis=1)
        # An objective such as exp(y) may promise more than a number holds.
        return np.nan_to_num(self.objective.scale * np.maximum(gains, 0.0), nan=0.0, posinf=MAX_GAIN)
