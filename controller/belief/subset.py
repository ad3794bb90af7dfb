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
    old = X[: N - len(chosen)]
    distance = np.full(len(old), np.inf)
    for row in chosen:
        distance = np.minimum(distance, ((old - X[row]) ** 2).sum(axis=1))
    while len(chosen) < n:
        row = int(distance.argmax())
        chosen.append(row)
        distance = np.minimum(distance, ((old - old[row]) ** 2).sum(axis=1))
        distance[row] = -np.inf
    return np.sort(chosen)
