"""Rows of the cube pulled onto equality constraints, within their bounds.

Continuous columns move by Gauss-Newton steps of least length; a column that stands at its bound and would leave it is
held. Where that is not enough, or all columns are discrete, discrete columns move by single steps and pairs of steps,
whatever brings the sides nearest together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .space import Array

CLOSE = 1e-12  # of the sides of an equality: what rounding leaves
MAX_NEWTON = 40
MAX_MOVES = 60
H = 1e-6  # of the cube, for differences
MAX_PAIRED = 12  # discrete columns of which pairs are moved
NEAR = 1e-3  # weight of a step's length against what it mends


@dataclass(frozen=True)
class Box:
    """What each row may become: (n, c) bounds of its columns."""

    lower: Array
    upper: Array

    def of(self, rows: Any) -> Box:
        """Some of the rows."""
        return Box(self.lower[rows], self.upper[rows])


@dataclass(frozen=True)
class Moves:
    """Which columns may move: freely, or by steps of so much."""

    continuous: tuple[int, ...]
    steps: tuple[tuple[int, float], ...] = ()


def projected(residuals: Callable[[Array], Array], X: Array, box: Box, moves: Moves) -> Array:
    """X with residuals of 0, as near as it can be; rows that cannot reach it are left where they came to.

    Args:
        residuals: from rows (n, c) to (n, m), about one in size over the space.
        X: (n, c), discrete columns valid already.
        box: bounds of each row.
        moves: which columns may move.
    """
    import numpy as np

    X = _newton(residuals, X, box, moves.continuous)
    if not moves.steps:
        return X
    for _ in range(2):
        bad = np.flatnonzero(~(_size(residuals(X)) <= CLOSE * 100))
        if not len(bad):
            break
        stepped = _stepped(residuals, X[bad], box.of(bad), moves.steps)
        X[bad] = _newton(residuals, stepped, box.of(bad), moves.continuous)
    return X


def _size(R: Array) -> Array:
    """(n,) the largest residual of each row; NaN and infinity stay large."""
    import numpy as np

    largest: Array = np.nan_to_num(np.abs(R), nan=np.inf).max(axis=1, initial=0.0)
    return largest


def _newton(residuals: Callable[[Array], Array], X: Array, box: Box, columns: tuple[int, ...]) -> Array:
    import numpy as np

    X = X.copy()
    if not columns:
        return X
    place = list(columns)
    todo = np.arange(len(X))
    with np.errstate(all="ignore"):
        for _ in range(MAX_NEWTON):
            R = residuals(X[todo])
            is_open = ~(_size(R) <= CLOSE)
            todo, R = todo[is_open], R[is_open]
            if not len(todo):
                break
            J = jacobian(residuals, X[todo], place)
            lower, upper = box.lower[todo][:, place], box.upper[todo][:, place]
            U = X[todo][:, place]
            step = _bounded_step(R, J, U, lower, upper)
            X[np.ix_(todo, np.array(place))] = np.clip(U + step, lower, upper)
            todo = todo[np.isfinite(step).all(axis=1) & (np.abs(step).max(axis=1) > 0)]
    return X


def _bounded_step(R: Array, J: Array, U: Array, lower: Array, upper: Array) -> Array:
    """The shortest step that mends the linearised residuals, (n, k), without columns held at their bounds."""
    import numpy as np

    free = upper > lower
    for _ in range(U.shape[1]):
        W = J * free[:, None, :]
        step = -np.einsum("nmk,nm->nk", W, _solved(np.einsum("nmk,nlk->nml", W, J * free[:, None, :]), R))
        held = free & (((U <= lower) & (step < 0)) | ((U >= upper) & (step > 0)))
        if not held.any():
            break
        free = free & ~held
    found: Array = np.nan_to_num(step, nan=0.0, posinf=0.0, neginf=0.0)
    return found


def _solved(A: Array, R: Array) -> Array:
    """Least squares (n, m) of small systems, singular ones among them."""
    import numpy as np

    A = np.nan_to_num(A, nan=0.0, posinf=0.0, neginf=0.0)
    solved: Array = np.einsum("nml,nl->nm", np.linalg.pinv(A, rcond=1e-10, hermitian=True), np.nan_to_num(R))
    return solved


def jacobian(residuals: Callable[[Array], Array], X: Array, columns: list[int]) -> Array:
    """(n, m, k) by central differences."""
    import numpy as np

    parts = []
    for column in columns:
        moved = np.concatenate([X, X])
        moved[: len(X), column] += H
        moved[len(X) :, column] -= H
        R = residuals(moved)
        parts.append((R[: len(X)] - R[len(X) :]) / (2.0 * H))
    jacobian: Array = np.stack(parts, axis=-1)
    return jacobian


def _stepped(residuals: Callable[[Array], Array], X: Array, box: Box, steps: tuple[tuple[int, float], ...]) -> Array:
    """Steps of discrete columns, one or two at a time, as long as they bring the residuals down."""
    import numpy as np

    X, origin = X.copy(), X.copy()
    singles = [((column, sign * step),) for column, step in steps for sign in (-1, 1)]
    pairs = [(a[0], b[0]) for k, a in enumerate(singles) for b in singles[k + 1 :] if a[0][0] != b[0][0]]
    options = [*singles, *(pairs if len(steps) <= MAX_PAIRED else ())]
    todo = np.arange(len(X))
    with np.errstate(all="ignore"):
        size = np.abs(residuals(X)).sum(axis=1)
        for _ in range(MAX_MOVES):
            best, where = size[todo], np.full(len(todo), -1)
            for k, option in enumerate(options):
                moved, is_allowed = _moved(X[todo], box.of(todo), option)
                length = sum(np.abs(moved[:, c] - origin[todo, c]) for c, _ in option)
                found = np.abs(residuals(moved)).sum(axis=1)
                # what mends as much by a shorter way is better; a tie of rounding is none
                value = found + NEAR * length * np.maximum(size[todo], CLOSE)
                better = is_allowed & (found < size[todo] - CLOSE) & (value < best)
                best, where = np.where(better, value, best), np.where(better, k, where)
            if (where < 0).all():
                break
            for j in np.flatnonzero(where >= 0):
                for column, step in options[where[j]]:
                    X[todo[j], column] += step
            todo = todo[where >= 0]
            size[todo] = np.abs(residuals(X[todo])).sum(axis=1)
            todo = todo[size[todo] > CLOSE]
            if not len(todo):
                break
    return X


def _moved(X: Array, box: Box, option: tuple[tuple[int, float], ...]) -> tuple[Array, Array]:
    """The rows moved, and which of them stay within their bounds."""
    import numpy as np

    moved, is_allowed = X.copy(), np.ones(len(X), dtype=bool)
    for column, step in option:
        moved[:, column] += step
        is_allowed &= (moved[:, column] >= box.lower[:, column] - 1e-9) & (
            moved[:, column] <= box.upper[:, column] + 1e-9
        )
    return moved, is_allowed
