"""A trust region about the best reading: it grows with success and shrinks with failure, told by the readings alone.

Eriksson, Pearce, Gardner, Turner & Poloczek 2019 (TuRBO-1). The side is a fold over the target's readings in order, so
that the same ledger gives the same region; one that became too small begins anew as large as the first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..belief.multi_source import MultiSourceGP
from ..parameters import Continuous, Integer, Stepped

if TYPE_CHECKING:
    from ..belief.evidence import Evidence
    from ..space import Array, Space
    from .objective import Objective

FIRST, SMALLEST, LARGEST = 0.8, 0.5**7, 1.6  # of the side, in the unit cube
N_SUCCESSES = 3  # in a row, before it doubles
N_FAILURES = 4  # at least, before it halves; as many as there are parameters where those are more
BETTER = 1e-3  # of the objective's spread: a smaller step is no success


def in_trust_region(evidence: Evidence, model: Any, objective: Objective) -> tuple[Space, float]:
    """What the target may be asked for within the region, and the region's side."""
    target = evidence.target
    space, observed = evidence.space_of(target), evidence.of(target)
    places = [evidence.responses.index(r) for r in objective.responses]
    worth = _worth(objective, observed.Y[:, places])
    side = side_of(worth, n_parameters=space.n_set)
    centre = observed.X_set[int(np.argmax(worth))]
    return space.within(_limits(space, centre, side * _weights(model, space))), side


def side_of(worth: Array, *, n_parameters: int) -> float:
    """The side after readings of these scaled objectives (n,), oldest first."""
    side, best, n_good, n_bad = FIRST, -np.inf, 0, 0
    for x in worth:
        if x > best + BETTER:
            n_good, n_bad, best = n_good + 1, 0, float(x)
        else:
            n_good, n_bad = 0, n_bad + 1
        if n_good == N_SUCCESSES:
            side, n_good = min(2.0 * side, LARGEST), 0
        elif n_bad == max(N_FAILURES, n_parameters):
            side, n_bad = side / 2.0, 0
        if side < SMALLEST:
            side = FIRST
    return side


def _worth(objective: Objective, Y: Array) -> Array:
    """The objective, behind every feasible one where a constraint is broken."""
    worth: Array = objective.values(Y, lib=np)
    for margin in objective.margins(Y, lib=np):
        worth = worth + 10.0 * np.minimum(margin, 0.0)
    return worth


def _weights(model: Any, space: Space) -> Array:
    """(c,) of mean 1 in the logarithm: longer where the response changes slowly."""
    if not isinstance(model, MultiSourceGP):
        return np.ones(space.n_columns)
    log_length = model.theta["lengthscale"].mean(0).numpy()[list(space.groups)]
    log_weight = np.clip(log_length - log_length.mean(), -np.log(4.0), np.log(4.0))
    weights: Array = np.exp(log_weight - log_weight.mean())
    return weights


def _limits(space: Space, centre: Array, sides: Array) -> dict[str, tuple[float, float]]:
    """By parameter, in its units; choices and levels are not limited."""
    found = {}
    for name, p in space.varied.items():
        if p.context or not isinstance(p, Continuous | Stepped | Integer):
            continue
        k = space.columns[name].start
        low, high = max(centre[k] - sides[k] / 2.0, 0.0), min(centre[k] + sides[k] / 2.0, 1.0)
        found[name] = (float(p.decode([low])), float(p.decode([high])))
    return found
