"""Gradient ascent of an acquisition function from several settings at once, the discrete columns held fixed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from ..errors import BeliefError
from ..space import Space
from .candidates import pulled_back
from .climb import with_gradient

if TYPE_CHECKING:
    from ..space import Array

MAX_ITERATIONS = 20
MAX_EVALUATIONS = 200  # ten times the usual number; counted, for a clock would make a decision that does not replay


def ascend(f: Any, space: Space, starts: Array) -> Array:
    """Better settings, valid and feasible.

    The starts climb side by side as one problem: L-BFGS-B, or SLSQP where the space has constraints.

    Args:
        f: an acquisition function; see ``climb.with_gradient``.
        space: where settings live.
        starts: (n, c), feasible.

    Returns:
        (<= n, c)

    Raises:
        BeliefError: where the evaluations allowed are spent.
    """
    columns = list(space.continuous_columns)
    if not columns or not len(starts):
        return starts
    base = torch.tensor(starts)
    value_and_gradient, n_evaluations = with_gradient(f), 0

    def rows(x: Array) -> tuple[Tensor, Tensor]:
        free = torch.tensor(x.reshape(len(starts), len(columns)), requires_grad=True)
        X = base.clone()
        X[:, columns] = free
        return free, X

    def loss(x: Array) -> tuple[float, Array]:
        nonlocal n_evaluations
        n_evaluations += 1
        if n_evaluations > MAX_EVALUATIONS:
            raise BeliefError(f"no end after {MAX_EVALUATIONS} evaluations")
        values, gradients = value_and_gradient(rows(x)[1].detach().numpy())
        return -float(values.sum()), np.nan_to_num(-gradients[:, columns]).ravel()

    method: dict[str, Any] = {"method": "L-BFGS-B"}
    if demands := _demands(space, rows):
        method = {"method": "SLSQP", "constraints": demands}
    result = minimize(
        loss,
        starts[:, columns].ravel(),
        jac=True,
        bounds=_bounds(space, starts, columns),
        options={"maxiter": MAX_ITERATIONS},
        **method,
    )
    X = rows(result.x)[1].detach().numpy()
    return pulled_back(space, starts, np.where(np.isfinite(X), X, starts))


def _bounds(space: Space, starts: Array, columns: list[int]) -> list[tuple[float, float]]:
    """Of each column of each row: what is not active, and a component that is not used, stay where they are."""
    if not space.is_bound:
        return [space.bounds[k] for k in columns] * len(starts)
    box = space.box(starts)
    lower, upper = box.lower[:, columns].ravel(), box.upper[:, columns].ravel()
    return list(zip(lower.tolist(), upper.tolist(), strict=True))


def _demands(space: Space, rows: Callable[[Array], tuple[Tensor, Tensor]]) -> list[dict[str, Any]]:
    """The margins of all rows, kept >= 0, and what ties parameters together, kept 0."""
    found = []
    if space.has_margins:
        found.append(_demand("ineq", lambda X: space.margins(X, lib=torch), rows))
    if space.is_tied:
        found.append(_demand("eq", lambda X: space.ties(X, lib=torch), rows))
    return found


def _demand(
    kind: str, values_of: Callable[[Tensor], list[Tensor]], rows: Callable[[Array], tuple[Tensor, Tensor]]
) -> dict[str, Any]:
    """Values of all rows with their Jacobian: each row's depend on that row alone."""

    def values(x: Array) -> Array:
        with torch.no_grad():
            found: Array = torch.stack(values_of(rows(x)[1])).numpy()
        return np.nan_to_num(found, nan=-1.0).ravel()

    def jacobian(x: Array) -> Array:
        free, X = rows(x)
        n, k = free.shape
        blocks = []
        for margin in values_of(X):
            J = np.zeros((n, n, k))
            if margin.requires_grad:  # a constraint may name discrete parameters only
                J[np.arange(n), np.arange(n)] = torch.autograd.grad(margin.sum(), free, retain_graph=True)[0].numpy()
            blocks.append(J.reshape(n, n * k))
        return np.nan_to_num(np.concatenate(blocks))

    return {"type": kind, "fun": values, "jac": jacobian}
