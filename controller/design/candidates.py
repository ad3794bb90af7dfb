"""Settings worth looking at: spread over the space, near the best ones, and one discrete step away."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..parameters import Categorical, Continuous
from ..space import Space
from .initial import spread_settings

if TYPE_CHECKING:
    from ..space import Array

STEPS = (0.02, 0.1, 0.3)  # of perturbations, as shares of the cube
N_HALVINGS = 8
MAX_NEIGHBOURS = 128


def raw_candidates(space: Space, near: Array, *, n: int, seed: int, rng: np.random.Generator) -> Array:
    """About n valid, feasible and distinct rows to be screened.

    Args:
        space: where settings live.
        near: (k, c) good settings, best first, around which a quarter of the candidates lie; perhaps none.
        n: how many are wanted; fewer come where the space has fewer settings.
        seed: of the Sobol sequence; the campaign's own, so that its blocks are worked out once.
        rng: for the place in the sequence and the perturbations.

    Returns:
        (<= n, n_columns) in the unit cube.
    """
    n_near = n // 4
    near = near[space.is_feasible(near)] if space.is_cut else near  # a person may have gone beyond a guard's limits
    spread = spread_settings(space, n - n_near, start=int(rng.integers(512)), seed=seed)
    if len(near) == 0:
        near = spread[:4]
    if len(spread) < n // 4:  # a narrow region: its known points lead to others
        near, n_near = np.concatenate([near, spread]), n
    if len(near) == 0:
        return spread
    return distinct(np.concatenate([spread, _perturbed(space, near, n_near, rng)]))


def _perturbed(space: Space, near: Array, n: int, rng: np.random.Generator) -> Array:
    """Steps from feasible rows, halved until they keep the constraints."""
    origin = near[np.arange(n) % len(near)]
    target = space.from_quantiles(rng.random((n, len(space.parameters))))
    size = np.array(STEPS)[np.arange(n) // len(near) % len(STEPS)]
    is_moved = rng.random((n, len(space.parameters))) < max(0.5, 1.0 / len(space.parameters))
    X = origin.copy()
    for j, (name, p) in enumerate(space.parameters.items()):
        place = space.columns[name]
        if isinstance(p, Continuous):
            X[:, place.start] += is_moved[:, j] * size * rng.standard_normal(n)
        else:
            X[:, place] = np.where((is_moved[:, j] & (rng.random(n) < 0.5))[:, None], target[:, place], X[:, place])
    return pulled_back(space, origin, X)


def pulled_back(space: Space, origin: Array, X: Array) -> Array:
    """X rounded to valid rows, each moved towards its feasible ``origin`` as far as the constraints ask for.

    Args:
        space: where settings live.
        origin: (n, c) feasible rows.
        X: (n, c) any rows.

    Returns:
        (<= n, c) feasible rows; those that did not come within after some halvings are left out.
    """
    step = np.ones(len(X))
    rows = space.round(X)
    for _ in range(N_HALVINGS if space.is_cut else 0):
        outside = ~space.is_feasible(rows)
        if not outside.any():
            break
        step[outside] /= 2.0
        rows = space.round(origin + step[:, None] * (X - origin))
    return rows[space.is_feasible(rows)] if space.is_cut else rows


def as_asked(space: Space, X: Array) -> Array:
    """The rows of the very settings that would be written down, (n, c): decoded and encoded again."""
    return np.stack([space.encode(space.decode(row)) for row in X]) if len(X) else X


def discrete_neighbours(space: Space, row: Array) -> Array:
    """All feasible rows that differ from ``row`` in one discrete parameter, by one step or to another choice."""
    rows: list[Array] = []
    for name, p in space.parameters.items():
        if isinstance(p, Continuous):
            continue
        place = space.columns[name]
        if isinstance(p, Categorical):
            values = np.eye(p.n_values)
        else:
            values = row[place.start] + np.array([[-1.0], [1.0]]) / (p.n_values - 1)
            values = values[(values[:, 0] > -1e-9) & (values[:, 0] < 1 + 1e-9)]
        block = np.tile(row, (len(values), 1))
        block[:, place] = values
        rows.extend(space.round(block))
    if not rows:
        return np.empty((0, space.n_columns))
    X = without(distinct(np.stack(rows[:MAX_NEIGHBOURS])), row[None])
    return X[space.is_feasible(X)] if space.is_cut else X


def distinct(X: Array) -> Array:
    """Rows without repeats, in their order."""
    _, first = np.unique(np.round(X, 9), axis=0, return_index=True)
    return X[np.sort(first)]


def without(X: Array, avoided: Array) -> Array:
    """The rows of X that are not among ``avoided``."""
    return X[~is_among(X, avoided)]


def is_among(X: Array, others: Array) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Which rows of X (n, c) are among the others (k, c), to nine digits."""
    if not len(others) or not len(X):
        return np.zeros(len(X), dtype=bool)
    known = {row.tobytes() for row in np.round(others, 9) + 0.0}
    return np.array([row.tobytes() in known for row in np.round(X, 9) + 0.0])
