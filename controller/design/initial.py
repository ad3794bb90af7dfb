"""Before the belief decides: points of a scrambled Sobol sequence that keep the constraints."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..errors import BeliefError
from ..feasible import find_feasible, sequence
from ..space import Space

if TYPE_CHECKING:
    from ..space import Array

N_PULLED = 8


def initial_setting(space: Space, k: int, seed: int) -> Array:
    """The k-th feasible point of the seed's sequence, shape (n_columns,).

    Raises:
        BeliefError: if no feasible setting is found.
    """
    row = sequence(space, seed).row(k)
    if row is not None:
        return row
    pulled = find_feasible(space, 1, seed=seed + k)  # narrow: each place has a scramble of its own
    if pulled is None:
        raise BeliefError("no setting within the bounds was found to keep the constraints; loosen one of them")
    return pulled[0]  # type: ignore[no-any-return]


def spread_settings(space: Space, n: int, *, start: int, seed: int) -> Array:
    """Up to n points of the same sequence from place ``start`` on, (n, n_columns); fewer where the region is narrow."""
    points = sequence(space, seed)
    rows = [row for k in range(start, start + n) if (row := points.row(k)) is not None]
    if rows:
        return np.stack(rows)
    pulled = find_feasible(space, N_PULLED, seed=seed)
    return np.empty((0, space.n_columns)) if pulled is None else pulled
