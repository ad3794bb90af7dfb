"""Space-filling settings that keep the input constraints: scrambled Sobol points, pulled into narrow regions.

Sobol 1967; scrambling by Owen 1998. A region too small to be hit is reached by projecting points onto it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from .space import Space

if TYPE_CHECKING:
    from .space import Array

BLOCK = 256
MAX_BLOCKS = 64  # 16,384 tries before points are pulled in
MAX_PULLS = 40


def find_feasible(space: Space, n: int, *, seed: int = 0, start: int = 0) -> Array | None:
    """``n`` feasible rows, those from place ``start`` of the seed's sequence on.

    Returns:
        (n, n_columns) in the unit cube, or None where no feasible setting was found.
    """
    import numpy as np

    rows: list[Array] = []
    n_found = 0
    for block in range(MAX_BLOCKS + (start + n) // BLOCK):
        X = _feasible_block(space, seed, block)
        rows.append(X)
        n_found += len(X)
        if n_found >= start + n:
            return np.concatenate(rows)[start : start + n]
    return _pulled_in(space, n, seed=seed)


@lru_cache(maxsize=512)
def _sobol_block(n_dimensions: int, seed: int, block: int) -> Array:
    """One block of the scrambled sequence; kept, since each decision asks for the next point."""
    from scipy.stats import qmc

    engine = qmc.Sobol(n_dimensions, scramble=True, rng=seed)
    if block:
        engine.fast_forward(block * BLOCK)
    return engine.random(BLOCK)


def _feasible_block(space: Space, seed: int, block: int) -> Array:
    X = space.from_quantiles(_sobol_block(len(space.parameters), seed % 2**32, block))
    return X[space.is_feasible(X)] if space.constraints else X


def _pulled_in(space: Space, n: int, *, seed: int) -> Array | None:
    """Sobol points projected onto the feasible set, then rounded to valid settings."""
    import numpy as np
    from scipy.optimize import minimize

    def distance(x: Any, x0: Any) -> float:
        return float(((x - x0) ** 2).sum())

    def kept(x: Any, k: int) -> float:
        return float(space.margins(x, lib=np)[k]) - 1e-7

    constraints: Any = [{"type": "ineq", "fun": kept, "args": (k,)} for k in range(len(space.constraints))]
    found: list[Array] = []
    for x0 in space.from_quantiles(_sobol_block(len(space.parameters), seed % 2**32, 0))[: MAX_PULLS + n]:
        with np.errstate(all="ignore"):
            result = minimize(
                distance,
                x0,
                args=(x0,),
                method="SLSQP",
                bounds=[(0.0, 1.0)] * space.n_columns,
                constraints=constraints,
            )
        x = space.round(result.x[None, :])
        if space.is_feasible(x)[0]:
            found.append(x[0])
        if len(found) == n:
            return np.stack(found)
    return None
