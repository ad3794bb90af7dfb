"""Settings of discrete spaces that nonlinear demands leave few of: relaxed, rounded a column at a time, then stepped.

Diving as in mixed-integer programming (Berthold 2006): after each rounding the columns that are still free mend it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .parameters import Categorical, Continuous
from .projecting import Box, Moves, projected

if TYPE_CHECKING:
    from .space import Array, Space

N_STARTS = 1024
MAX_STAGES = 8  # in which the discrete columns are rounded
MAX_STEPPED = 32  # rows, those nearest to the region, that are mended by single steps


def dived(space: Space, n: int, *, seed: int) -> Array | None:
    """``n`` rows that keep all demands, perhaps repeated.

    Returns:
        (n, n_columns), or None where none was found or nothing is discrete.
    """
    import numpy as np
    from scipy.stats import qmc

    moves, n_values = _moves(space)
    if space.table is not None or not moves.steps:
        return None
    Q = qmc.Sobol(space.n_quantiles, scramble=True, rng=seed % 2**32).random(N_STARTS)
    X = space.from_quantiles(Q)

    def shortfall(X: Array) -> Array:
        short = [np.maximum(-np.asarray(m), 0.0) for m in space.margins(X, lib=np)]
        return np.stack([*short, *map(np.asarray, space.ties(X, lib=np))], axis=1)

    with np.errstate(all="ignore"):
        X = _rounded(shortfall, X, space.box(X), moves, n_values, rng=np.random.default_rng(seed % 2**32))
        X = space.round(X)
        is_kept = space.is_feasible(X)
        if not is_kept.any():
            far = np.nan_to_num(shortfall(X), nan=np.inf).max(axis=1, initial=0.0)
            X = X[np.argsort(far, kind="stable")[:MAX_STEPPED]]
            X = space.round(projected(shortfall, X, space.box(X), moves))
            is_kept = space.is_feasible(X)
    found = X[is_kept]
    return found[np.arange(n) % len(found)] if len(found) else None


def _moves(space: Space) -> tuple[Moves, dict[int, int]]:
    """The numeric columns that are set, and how many values the discrete ones have."""
    continuous, n_values = [], {}
    for name, p in space.varied.items():
        if p.context or isinstance(p, Categorical):
            continue
        column = space.columns[name].start
        if isinstance(p, Continuous):
            continuous.append(column)
        else:
            n_values[column] = p.n_values
    steps = tuple((column, 1.0 / (count - 1)) for column, count in n_values.items())
    return Moves(tuple(continuous), steps), n_values


def _rounded(shortfall: Any, X: Array, box: Box, moves: Moves, n_values: dict[int, int], *, rng: Any) -> Array:
    """X with its discrete columns on their values, each row's in an order of its own."""
    import numpy as np

    columns, counts = np.array(list(n_values)), np.array(list(n_values.values()))
    order = rng.permuted(np.tile(np.arange(len(columns)), (len(X), 1)), axis=1)
    lower, upper, all_free = box.lower.copy(), box.upper.copy(), Moves((*moves.continuous, *columns.tolist()))
    rows = np.arange(len(X))[:, None]
    for stage in np.array_split(order, min(len(columns), MAX_STAGES), axis=1):
        X = projected(shortfall, X, Box(lower, upper), all_free)
        place, last = columns[stage], counts[stage] - 1
        on_value = np.round(X[rows, place] * last) / last
        # of an amount or a parameter that is not active the box says what it must stay at
        held = np.clip(on_value, lower[rows, place], upper[rows, place])
        X[rows, place] = lower[rows, place] = upper[rows, place] = held
    return projected(shortfall, X, Box(lower, upper), all_free)
