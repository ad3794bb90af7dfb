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

if TYPE_CHECKING:
    from ..space import Array

MAX_ITERATIONS = 20
MAX_EVALUATIONS = 200  # ten times the usual number; counted, for a clock would make a decision that does not replay


def ascend(f: Callable[[Tensor], Tensor], space: Space, starts: Array) -> Array:
    """Better settings, valid and feasible.

    The starts climb side by side as one problem: L-BFGS-B, or SLSQP where the space has constraints.

    Args:
        f: from rows (n, c) to values (n,), differentiable.
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
    n_evaluations = 0

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
        free, X = rows(x)
        value = -f(X).sum()
        (gradient,) = torch.autograd.grad(value, free)
        return float(value.detach()), np.nan_to_num(gradient.numpy()).ravel()

    method: dict[str, Any] = {"method": "L-BFGS-B"}
    if space.constraints or space.forbidden:
        method = {"method": "SLSQP", "constraints": _inequalities(space, rows)}
    result = minimize(
        loss,
        starts[:, columns].ravel(),
        jac=True,
        bounds=[space.bounds[k] for k in columns] * len(starts),
        options={"maxiter": MAX_ITERATIONS},
        **method,
    )
    X = rows(result.x)[1].detach().numpy()
    return pulled_back(space, starts, np.where(np.isfinite(X), X, starts))


def _inequalities(space: Space, rows: Callable[[Array], tuple[Tensor, Tensor]]) -> dict[str, Any]:
    """All margins of all rows, kept >= 0, with their Jacobian: each row's margins depend on that row alone."""

    def margins(x: Array) -> Array:
        with torch.no_grad():
            X = rows(x)[1]
            values: Array = torch.stack(space.margins(X, lib=torch)).numpy()
        return np.nan_to_num(values, nan=-1.0).ravel()

    def jacobian(x: Array) -> Array:
        free, X = rows(x)
        n, k = free.shape
        blocks = []
        for margin in space.margins(X, lib=torch):
            J = np.zeros((n, n, k))
            if margin.requires_grad:  # a constraint may name discrete parameters only
                J[np.arange(n), np.arange(n)] = torch.autograd.grad(margin.sum(), free, retain_graph=True)[0].numpy()
            blocks.append(J.reshape(n, n * k))
        return np.nan_to_num(np.concatenate(blocks))

    return {"type": "ineq", "fun": margins, "jac": jacobian}
