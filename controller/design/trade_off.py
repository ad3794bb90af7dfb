"""Several objectives as the acquisition functions want them: each larger is better, each scaled to about one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..goal import Goal
from ..pareto import corner, front_of
from .candidates import distinct
from .objective import Objective
from .utility import expected, moments

if TYPE_CHECKING:
    from botorch.acquisition.multi_objective.objective import GenericMCMultiOutputObjective
    from botorch.models.model import Model
    from torch import Tensor

    from ..belief.evidence import Evidence
    from ..space import Array

N_BASELINE = 24  # settings that may be on the front; the others are no rivals
LIKELY = 0.5  # probability of being feasible from which a setting counts as on the front


@dataclass(frozen=True)
class TradeOff:
    """The objectives of a goal, the same readings behind all."""

    parts: tuple[Objective, ...]

    @classmethod
    def fit(cls, goal: Goal, responses: tuple[str, ...], Y: Array) -> TradeOff:
        """With the scales of the readings Y of shape (n, m)."""
        return cls(tuple(Objective.fit(goal, responses, Y, place=k) for k in range(len(goal.aims))))

    @property
    def goal(self) -> Goal:
        """What they are of."""
        return self.parts[0].goal

    @property
    def scale(self) -> float:
        """The unit of a volume."""
        return float(np.clip(np.prod([p.scale for p in self.parts]), 1e-300, 1e300))

    def values(self, Y: Any, *, lib: Any) -> Any:
        """The scaled objectives (..., k) of responses (..., m)."""
        return lib.stack([p.values(Y, lib=lib) for p in self.parts], -1)

    def feasibility(self, mean: Array, sd: Array) -> Array:
        """Probability of keeping the outcome constraints, (...)."""
        return expected(self.parts[0], mean, sd)[1]

    def corner(self, values: Array) -> Array:
        """The scaled reference point (k,): thresholds where there are some, else inferred of the front of values."""
        thresholds = self.goal.thresholds
        floors = [
            (p.aim.floor(thresholds[p.aim.text]) - p.center) / p.scale if p.aim.text in thresholds else None
            for p in self.parts
        ]
        points = [tuple(row) for row in values.tolist()]
        return np.array(corner([points[k] for k in front_of(points)], floors))

    def for_botorch(self) -> tuple[GenericMCMultiOutputObjective, list[Callable[[Tensor], Tensor]] | None]:
        """The objectives over samples (..., m), and callables that are negative where feasible."""
        import torch
        from botorch.acquisition.multi_objective.objective import GenericMCMultiOutputObjective

        objective = GenericMCMultiOutputObjective(lambda Y, X=None: self.values(Y, lib=torch))
        return objective, self.parts[0].for_botorch()[1]


@dataclass(frozen=True)
class Front:
    """What is believed of the settings that were asked for and may be on the front, the most promising first."""

    X: Array  # (n, c)
    values: Array  # (n, k) scaled, of the mean
    feasible: Array  # (n,)
    corner: Array  # (k,)

    @classmethod
    def of(cls, model: Model, evidence: Evidence, goal: TradeOff, spread: Array) -> Front:
        """By layers of fronts, the likely feasible ones first.

        The reference point is that of the front which the model expects, over the settings asked and a spread: that
        of the readings alone would be too near where the front is not known to its ends.
        """
        asked = evidence.asked_now(evidence.target)
        if not len(asked):
            asked = np.concatenate([evidence.asked_now(s) for s, o in evidence.observations.items() if len(o)])
        X = distinct(asked)
        mean, sd = moments(model, X)
        values, feasible = goal.values(mean, lib=np), goal.feasibility(mean, sd)
        likely = feasible >= LIKELY
        kept = layers(values, likely if likely.any() else feasible >= feasible.max(), N_BASELINE)
        rest = np.setdiff1d(np.arange(len(X)), kept)
        rest = rest[np.argsort(-feasible[rest], kind="stable")][: N_BASELINE - len(kept)]
        order = np.concatenate([kept, rest]).astype(int)
        mean, sd = moments(model, np.concatenate([X, spread]))
        everywhere = goal.values(mean, lib=np)
        likely = goal.feasibility(mean, sd) >= LIKELY
        corner = goal.corner(everywhere[likely] if likely.any() else everywhere)
        return cls(X[order], values[order], feasible[order], corner)


def layers(values: Array, usable: Any, n: int) -> Array:
    """Places of the first n usable rows of values (r, k), front after front."""
    left: list[int] = [int(k) for k in np.flatnonzero(usable)]
    order: list[int] = []
    while left and len(order) < n:
        front = set(front_of([tuple(values[k]) for k in left]))
        order += [k for j, k in enumerate(left) if j in front]
        left = [k for j, k in enumerate(left) if j not in front]
    return np.array(order[:n], dtype=int)
