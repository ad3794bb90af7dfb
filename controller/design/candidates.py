"""Settings worth looking at: spread over the space, near the best ones, and one discrete step away."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..cube import moves_of
from ..parameters import Categorical, Continuous
from ..space import Space
from .initial import spread_settings

if TYPE_CHECKING:
    from ..space import Array

STEPS = (0.02, 0.1, 0.3)  # of perturbations, as shares of the cube
N_HALVINGS = 8
MAX_NEIGHBOURS = 128
ELSEWHERE = 0.25  # of the perturbed mixtures have other components
N_TABLE = 8  # times as many are screened of a table, where no gradient leads on


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
    near = space.at_context(near)  # what was good at another time is looked at now
    near = near[space.is_feasible(near)] if space.is_cut else near  # a person may have gone beyond a guard's limits
    if space.table is not None:
        return _of_table(space, near, N_TABLE * n, seed=seed, rng=rng)
    spread = spread_settings(space, n - n_near, start=int(rng.integers(512)), seed=seed)
    if len(near) == 0:
        near = spread[:4]
    if len(spread) < n // 4:  # a narrow region: its known points lead to others
        near, n_near = np.concatenate([near, spread]), n
    if len(near) == 0:
        return spread
    return distinct(np.concatenate([spread, _perturbed(space, near, n_near, rng)]))


def _of_table(space: Space, near: Array, n: int, *, seed: int, rng: np.random.Generator) -> Array:
    """Rows of the table of candidates: spread over it, and those around the good ones; all of a short one."""
    table = space.table
    assert table is not None
    if len(table.allowed(space).rows) <= n:
        return space.from_quantiles(
            (np.arange(len(table.allowed(space).rows)) + 0.5)[:, None] / len(table.allowed(space).rows)
        )
    rows = [spread_settings(space, n - n // 4, start=int(rng.integers(512)), seed=seed)]
    rows += [table.neighbours(space, row, n // 4 // len(near)) for row in near]
    return distinct(np.concatenate(rows))


def _perturbed(space: Space, near: Array, n: int, rng: np.random.Generator) -> Array:
    """Steps from feasible rows, halved until they keep the constraints."""
    origin = near[np.arange(n) % len(near)]
    target = space.from_quantiles(rng.random((n, space.n_quantiles)))
    size = np.array(STEPS)[np.arange(n) // len(near) % len(STEPS)]
    names = [name for name, p in space.varied.items() if not p.context]
    is_moved = rng.random((n, len(names))) < max(0.5, 1.0 / len(names))
    X = origin.copy()
    for j, name in enumerate(names):
        p, place = space.varied[name], space.columns[name]
        if isinstance(p, Continuous):
            X[:, place.start] += is_moved[:, j] * size * rng.standard_normal(n)
        else:
            X[:, place] = np.where((is_moved[:, j] & (rng.random(n) < 0.5))[:, None], target[:, place], X[:, place])
    for mixture in space.mixtures:  # within its face, or on another one
        columns = [space.columns[name].start for name in mixture.of]
        is_elsewhere = (rng.random(n) < ELSEWHERE)[:, None]
        inside = np.where(origin[:, columns] > 0, X[:, columns], origin[:, columns])
        X[:, columns] = np.where(is_elsewhere, target[:, columns], inside)
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
    if space.table is not None:  # its rows are settings already
        return X
    return np.stack([space.encode(space.decode(row)) for row in X]) if len(X) else X


def discrete_neighbours(space: Space, row: Array) -> Array:
    """All feasible rows that differ from ``row`` in one discrete parameter, by one step or to another choice."""
    if space.table is not None:
        return without(space.table.neighbours(space, row, MAX_NEIGHBOURS), row[None])
    rows: list[Array] = []
    for name, p in space.varied.items():
        if isinstance(p, Continuous) or p.context:
            continue
        place = space.columns[name]
        if isinstance(p, Categorical):
            values = np.array(p.codes)
        else:
            values = row[place.start] + np.array([[-1.0], [1.0]]) / (p.n_values - 1)
            values = values[(values[:, 0] > -1e-9) & (values[:, 0] < 1 + 1e-9)]
        block = np.tile(row, (len(values), 1))
        block[:, place] = values
        rows.extend(space.round(block))
    if space.is_tied:
        rows = [*_exchanged(space, row), *rows]
    if not rows:
        return np.empty((0, space.n_columns))
    X = without(distinct(np.stack(rows[:MAX_NEIGHBOURS])), row[None])
    return X[space.is_feasible(X)] if space.is_cut else X


def _exchanged(space: Space, row: Array) -> list[Array]:
    """Rows in which what one parameter gives another one takes: components of mixtures, and discrete parameters."""
    found: list[Array] = []
    for mixture in space.mixtures:
        columns = [space.columns[name].start for name in mixture.of]
        used = [c for c in columns if row[c] > 0]
        for c in used:
            for other in columns:
                if other not in used:  # another component in its place, and a share for one more
                    for share in (1.0, 0.5):
                        moved = row.copy()
                        moved[c], moved[other] = (1.0 - share) * row[c], share * row[c]
                        found.append(moved)
            if len(used) > 1:
                moved = row.copy()
                moved[c] = 0.0
                found.append(moved)
    steps = moves_of(space).steps
    for k, (a, up) in enumerate(steps):
        for b, down in steps[k + 1 :]:
            for sign in (-1.0, 1.0):
                moved = row.copy()
                moved[a] += sign * up
                moved[b] -= sign * down
                found.append(moved)
    return list(space.round(np.stack(found[:MAX_NEIGHBOURS]))) if found else []


def distinct(X: Array) -> Array:
    """Rows without repeats, in their order."""
    return X[first_of_each(X)]


def first_of_each(X: Array) -> np.ndarray[tuple[int, ...], np.dtype[np.intp]]:
    """The places of the rows that no row before them is the same as, to nine digits; rising."""
    _, first = np.unique(np.round(X, 9), axis=0, return_index=True)
    return np.sort(first)


def without(X: Array, avoided: Array) -> Array:
    """The rows of X that are not among ``avoided``."""
    return X[~is_among(X, avoided)]


def is_among(X: Array, others: Array) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Which rows of X (n, c) are among the others (k, c), to nine digits."""
    if not len(others) or not len(X):
        return np.zeros(len(X), dtype=bool)
    known = {row.tobytes() for row in np.round(others, 9) + 0.0}
    return np.array([row.tobytes() in known for row in np.round(X, 9) + 0.0])
