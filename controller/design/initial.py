"""Before the belief decides: points of a scrambled Sobol sequence that keep the constraints (Sobol 1967; Owen 1998)."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from ..errors import BeliefError
from ..expressions import Constraint
from ..feasible import find_feasible
from ..parameters import Parameter
from ..space import Space

if TYPE_CHECKING:
    from ..space import Array

BLOCK = 256
MAX_EMPTY = 32  # blocks without a feasible point before points are pulled into the region instead
N_PULLED = 8


def initial_setting(space: Space, k: int, seed: int) -> Array:
    """The k-th feasible point of the seed's sequence, shape (n_columns,).

    Raises:
        BeliefError: if no feasible setting is found.
    """
    sequence = _sequence(tuple(space.parameters.items()), space.constraints, seed % 2**32)
    row = sequence.row(k)
    if row is not None:
        return row
    pulled = find_feasible(space, 1, seed=seed + k)  # narrow: each place has a scramble of its own
    if pulled is None:
        raise BeliefError("no setting within the bounds was found to keep the constraints; loosen one of them")
    return pulled[0]  # type: ignore[no-any-return]


def spread_settings(space: Space, n: int, *, start: int, seed: int) -> Array:
    """Up to n points of the same sequence from place ``start`` on, (n, n_columns); fewer where the region is narrow."""
    sequence = _sequence(tuple(space.parameters.items()), space.constraints, seed % 2**32)
    rows = [row for k in range(start, start + n) if (row := sequence.row(k)) is not None]
    if rows:
        return np.stack(rows)
    pulled = find_feasible(space, N_PULLED, seed=seed)
    return np.empty((0, space.n_columns)) if pulled is None else pulled


@lru_cache(maxsize=8)
def _sequence(
    parameters: tuple[tuple[str, Parameter], ...], constraints: tuple[Constraint, ...], seed: int
) -> _Sequence:
    return _Sequence(Space(dict(parameters), constraints), seed)


class _Sequence:
    """The feasible points that were found so far; it only remembers what its seed says, so calls stay pure."""

    def __init__(self, space: Space, seed: int) -> None:
        from scipy.stats import qmc

        self._space = space
        self._engine = qmc.Sobol(len(space.parameters), scramble=True, rng=seed)
        self._blocks: list[Array] = []
        self._ends: list[int] = []
        self._n_empty = 0

    def row(self, k: int) -> Array | None:
        while not self._ends or self._ends[-1] <= k:
            if self._n_empty >= MAX_EMPTY:
                return None
            self._extend()
        block = int(np.searchsorted(self._ends, k, side="right"))
        return self._blocks[block][k - (self._ends[block - 1] if block else 0)].copy()  # type: ignore[no-any-return]

    def _extend(self) -> None:
        X = self._space.from_quantiles(self._engine.random(BLOCK))
        if self._space.constraints:
            X = X[self._space.is_feasible(X)]
        if not len(X):
            self._n_empty += 1
            return
        self._n_empty = 0
        self._blocks.append(X)
        self._ends.append(len(X) + (self._ends[-1] if self._ends else 0))
