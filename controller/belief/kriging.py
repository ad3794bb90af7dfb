"""What the simulator's Gaussian processes share: the kernel, a safe Cholesky factor, MAP fits.

Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006. All in float64 and in standardised
units; m responses are independent and stand in the leading dimension.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from ..errors import BeliefError

if TYPE_CHECKING:
    from ..space import Array

JITTERS = (0.0, 1e-10, 1e-8, 1e-6, 1e-4)
MAX_DEVIATIONS = 4.0  # of the prior; a hyperparameter is kept within
EVALUATIONS = 5  # of the likelihood, an iteration at most
HUGE = 1e10  # the loss where a covariance cannot be factorised


@dataclass(frozen=True)
class LogNormal:
    """What is believed of d hyperparameters: normal in the logarithm."""

    mean: Array  # (d,)
    sd: Array  # (d,)


def as_tensor(x: Array) -> Tensor:
    """A float64 tensor of its own memory."""
    return torch.tensor(np.asarray(x), dtype=torch.float64)


def matern(X: Tensor, Y: Tensor, length: Tensor) -> Tensor:
    """The Matern-5/2 correlation (R & W, eq. 4.17).

    Args:
        X: (..., a, c) settings.
        Y: (..., b, c) others.
        length: broadcasts with both, e.g. (c,) or (m, 1, c).

    Returns:
        (..., a, b).
    """
    A, B = X / length, Y / length
    squared = A.square().sum(-1).unsqueeze(-1) + B.square().sum(-1).unsqueeze(-2) - 2.0 * A @ B.mT
    r = (5.0 * squared).clamp_min(1e-20).sqrt()  # clamped: the root has no derivative at 0
    correlation: Tensor = (1.0 + r + r.square() / 3.0) * torch.exp(-r)
    return correlation


def cholesky(C: Tensor) -> Tensor:
    """The lower factor of a covariance (..., n, n), with as little jitter as will do.

    Raises:
        BeliefError: where no jitter helps.
    """
    size = C.diagonal(dim1=-2, dim2=-1).mean(-1)[..., None, None]
    eye = torch.eye(C.shape[-1], dtype=C.dtype)
    for jitter in JITTERS:
        L: Tensor
        L, info = torch.linalg.cholesky_ex(C + jitter * size * eye)
        if not info.any() and bool(torch.isfinite(L).all()):
            return L
    raise BeliefError(
        "the readings' covariance cannot be factorised; look for readings that are not finite or of "
        "very different size, or use belief: climatology"
    )


def lower_solve(L: Tensor, B: Tensor) -> Tensor:
    """What solves L X = B for a lower factor L."""
    solved: Tensor = torch.linalg.solve_triangular(L, B, upper=False)
    return solved


def log_likelihood(C: Tensor, R: Tensor) -> Tensor:
    """Of residuals under N(0, C), averaged over columns.

    Args:
        C: (m, n, n).
        R: (m, n, k) k draws of the residuals.

    Returns:
        (m,); minus ``HUGE`` where C cannot be factorised.
    """
    L, info = torch.linalg.cholesky_ex(C)
    ok = (info == 0)[:, None, None]
    L = torch.where(ok, L, torch.eye(C.shape[-1], dtype=C.dtype))
    white = lower_solve(L, R)
    value = -0.5 * white.square().sum((-2, -1)) / R.shape[-1] - L.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return torch.where(info == 0, value, -HUGE)


def fit_map(log_lik: Callable[[Tensor], Tensor], start: Array, prior: LogNormal, *, n_iterations: int = 60) -> Array:
    """The hyperparameters of greatest posterior density.

    Args:
        log_lik: logarithms of the hyperparameters (m, d) to log likelihoods (m,), differentiable.
        start: (m, d) logarithms, e.g. of the last fit.
        prior: of each response alike.
        n_iterations: of L-BFGS at most.

    Returns:
        (m, d) logarithms; never worse than ``start``.
    """
    mean, sd = as_tensor(prior.mean), as_tensor(prior.sd)

    def loss(flat: Array) -> tuple[float, Array]:
        theta = torch.tensor(flat.reshape(start.shape), requires_grad=True)
        value = 0.5 * ((theta - mean) / sd).square().sum() - log_lik(theta).sum()
        (slope,) = torch.autograd.grad(value, theta)
        if not (torch.isfinite(value) and torch.isfinite(slope).all()):
            return HUGE, np.zeros_like(flat)
        return float(value.detach()), slope.numpy().ravel()

    low, high = prior.mean - MAX_DEVIATIONS * prior.sd, prior.mean + MAX_DEVIATIONS * prior.sd
    x0 = np.clip(start, low, high).ravel()
    bounds = [pair for _ in start for pair in zip(low, high, strict=True)]
    found = minimize(
        loss,
        x0,
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"maxiter": n_iterations, "maxfun": EVALUATIONS * n_iterations, "ftol": 1e-7},
    )
    best = found.x if np.isfinite(found.fun) and found.fun <= loss(x0)[0] else x0
    return np.asarray(best.reshape(start.shape))
