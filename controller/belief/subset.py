"""Which readings a bounded model keeps: the newest half, and of the older ones those that cover the settings best."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..space import Array


def newest_and_spread(X: Array, n: int) -> NDArray[np.intp]:
    """Rows of X, ascending.

    The newest stand where the search is now; the rest are chosen one by one, each farthest from all chosen
    (Gonzalez 1985), so that no region that was seen is forgotten.

    Args:
        X: (N, c), oldest first.
        n: how many are kept.
    """
    N = len(X)
    if n >= N:
        return np.arange(N)
    chosen = list(range(N - n // 2, N))
    if not chosen:
        chosen = [N - 1][:n]
    old = np.ascontiguousarray(X[: N - len(chosen)].T)  # (c, n_old): long rows add up fast
    distance = np.full(old.shape[1], np.inf)
    for row in chosen:
        np.minimum(distance, _squares(old, X[row]), out=distance)
    while len(chosen) < n:
        row = int(distance.argmax())
        chosen.append(row)
        np.minimum(distance, _squares(old, X[row]), out=distance)
        distance[row] = -np.inf
    return np.sort(chosen)


def _squares(columns: Array, x: Array) -> Array:
    """(N,): the squared distances of columns (c, N) from x (c,), added up in one order on every machine."""
    away = columns - x[:, None]
    away *= away
    total: Array = away.sum(axis=0)
    return total
