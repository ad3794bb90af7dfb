"""Space-filling settings that keep the input constraints: scrambled Sobol points, pulled into narrow regions.

Sobol 1967; scrambling by Owen 1998. A region too small to be hit is reached by projecting points onto it.
"""

from __future__ import annotations

from functools import lru_cache
from threading import Lock
from typing import TYPE_CHECKING, Any

from .cube import on_surface
from .diving import dived
from .programme import is_ruled_out, solved
from .space import Space

if TYPE_CHECKING:
    from .space import Array

BLOCK = 256
MAX_EMPTY = 32  # blocks without a feasible point before points are pulled into the region instead
MAX_PULLS = 40
MIN_SHARE = 0.03  # of points on the surface of equalities; with fewer, points are projected onto it


def find_feasible(space: Space, n: int, *, seed: int = 0) -> Array | None:
    """``n`` feasible rows: the first of the seed's sequence, or points pulled into a narrow region.

    Returns:
        (n, n_columns) in the unit cube, or None where no feasible setting was found.
    """
    import numpy as np

    if space.is_empty or is_ruled_out(space):
        return None
    points = sequence(space, seed)
    rows = [points.row(k) for k in range(n)]
    found = [row for row in rows if row is not None]
    if len(found) == n:
        return np.stack(found)
    pulled = _pulled_in(space, n, seed=seed)
    if pulled is None:
        pulled = solved(space, n, seed=seed)
    return dived(space, n, seed=seed) if pulled is None else pulled


def sequence(space: Space, seed: int) -> Sequence:
    """The seed's sequence of feasible points; kept, since each decision asks for the next one."""
    return _sequence(space.key, seed % 2**32)


@lru_cache(maxsize=16)
def _sequence(key: tuple[Any, ...], seed: int) -> Sequence:
    return Sequence(Space.of_key(key), seed)


class Sequence:
    """The feasible points that were found so far; it only remembers what its seed says, so calls stay pure."""

    def __init__(self, space: Space, seed: int) -> None:
        from scipy.stats import qmc

        self._space = space
        self._engine = qmc.Sobol(space.n_quantiles, scramble=True, rng=seed)
        self._rows: list[Array] = []
        self._n_empty = 0
        self._lock = Lock()  # sessions of several threads share it

    def row(self, k: int) -> Array | None:
        """The k-th feasible point, shape (n_columns,); None where the region is too narrow to be hit."""
        with self._lock:
            while len(self._rows) <= k and self._n_empty < MAX_EMPTY:
                kept = self._block(self._engine.random(BLOCK))
                self._n_empty = 0 if len(kept) else self._n_empty + 1
                self._rows.extend(kept)
            return self._rows[k].copy() if k < len(self._rows) else None

    def _block(self, Q: Array) -> Array:
        """The feasible ones of some points; where equalities hold, points of the surface rather than beside it."""
        if self._space.equalities and self._space.table is None:
            X = on_surface(self._space, Q)
            kept = X[self._space.is_feasible(X)]
            if len(kept) >= MIN_SHARE * BLOCK:
                return kept
        X = self._space.from_quantiles(Q)
        return X[self._space.is_feasible(X)] if self._space.is_cut else X


def _pulled_in(space: Space, n: int, *, seed: int) -> Array | None:
    """Sobol points projected onto the feasible set, then rounded to valid settings."""
    import numpy as np
    from scipy.optimize import minimize
    from scipy.stats import qmc

    if space.table is not None or not space.continuous_columns:
        return None  # nothing to be pulled

    def distance(x: Any, x0: Any) -> float:
        return float(((x - x0) ** 2).sum())

    def kept(x: Any, k: int) -> float:
        return float(space.margins(x, lib=np)[k]) - 1e-7

    def tied(x: Any, k: int) -> float:
        return float(space.residuals(x[None])[0, k])

    n_margins = len(space.constraints) + len(space.forbidden)
    n_ties = len(space.equalities) + len(space.mixtures)
    constraints: Any = [{"type": "ineq", "fun": kept, "args": (k,)} for k in range(n_margins)]
    constraints += [{"type": "eq", "fun": tied, "args": (k,)} for k in range(n_ties)]
    quantiles = qmc.Sobol(space.n_quantiles, scramble=True, rng=seed % 2**32).random(BLOCK)
    found: list[Array] = []
    for x0 in space.from_quantiles(quantiles)[: MAX_PULLS + n]:
        with np.errstate(all="ignore"):
            result = minimize(
                distance,
                x0,
                args=(x0,),
                method="SLSQP",
                bounds=_bounds(space, x0),
                constraints=constraints,
            )
        x = space.round(result.x[None, :])
        if space.is_feasible(x)[0]:
            found.append(x[0])
        if len(found) == n:
            return np.stack(found)
    return None


def _bounds(space: Space, x0: Array) -> list[tuple[float, float]]:
    """Of each column: what ties parameters together is kept with the choices that x0 has made."""
    if not space.is_bound:
        return space.bounds
    box = space.box(x0[None])
    return [(float(low), float(high)) for low, high in zip(box.lower[0], box.upper[0], strict=True)]
