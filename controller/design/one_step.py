"""The settings of the target whose reading gains most, by the gain itself: screened, then improved step by step.

For goals whose gain is cheap: it is worked out of influences, for any belief, and needs no gradient.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .candidates import as_asked, discrete_neighbours, distinct, pulled_back, raw_candidates, without
from .safeguard import Barred, usable
from .searching import Found

if TYPE_CHECKING:
    from ..space import Array, Space
    from .strategy import Situation, View

N_RAW = 192
N_KEPT = 5
SIZES = (0.1, 0.03, 0.01)  # of the steps, as shares of the cube, one a round
N_STEPS = 48
APART = 0.05  # of the cube: settings nearer than this would teach the same


def best_by_gain(s: Situation, view: View, near: Array) -> Found:
    """Several distinct settings, the best first, with the logarithm of their gains in ``log_values``.

    Args:
        s: what the decision is made from.
        view: what a change of the forecasts is worth.
        near: (k, c) settings around which some of the candidates lie; perhaps none.
    """
    target = s.evidence.target
    n_crowd = 1 if s.is_constant else None
    failed, read = s.evidence.infeasible_at(target), s.evidence.of(target).X_set
    barred = Barred(s.pending, s.avoid, failed, read, s.success, n_crowd)

    def gains(X: Array) -> Array:
        found = view.gains(s.influence(target, X, view.X))
        p = s.p_success(X)
        return found if p is None else found * p

    X = barred.freest(as_asked(s.space, raw_candidates(s.space, near, n=N_RAW, seed=s.seed, rng=s.rng)))
    values = gains(X)
    for size in SIZES:
        top = X[np.argsort(-values, kind="stable")[:N_KEPT]]
        more = usable(s.space, as_asked(s.space, _stepped(s.space, top, size, s.rng)))
        more = barred.without(without(distinct(more), X)) if len(more) else more
        if len(more):
            X, values = np.concatenate([X, more]), np.concatenate([values, gains(more)])
    kept: list[int] = []
    for k in np.argsort(-values, kind="stable"):
        if len(kept) < N_KEPT and all(np.abs(X[k] - X[j]).max() > APART for j in kept):
            kept.append(int(k))
    with np.errstate(divide="ignore"):
        return Found(X[kept], np.log(values[kept]))


def _stepped(space: Space, X: Array, size: float, rng: np.random.Generator) -> Array:
    """Feasible rows beside those of X: continuous parameters moved by about ``size``, and one discrete step away."""
    near = [discrete_neighbours(space, X[0])]
    if columns := list(space.continuous_columns):
        origin = X[np.arange(N_STEPS) % len(X)]
        moved = origin.copy()
        moved[:, columns] += size * rng.standard_normal((N_STEPS, len(columns)))
        near.append(pulled_back(space, origin, moved))
    return np.concatenate(near)
