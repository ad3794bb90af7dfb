"""Hyperparameters of the multi-source Gaussian process: their priors, and the most probable values given readings.

Lengthscales carry the dimension-scaled log-normal prior of Hvarfner, Hellsten & Nardi 2024, its mode kept and its width
made 1 instead of sqrt 3: with few readings the wide one ends in short lengthscales and forecasts that are too sure.
A bias is believed small and may become large, so that a useless simulator is found out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from ..errors import BeliefError
from .multi_source_prior import Data, Theta, log_evidence

if TYPE_CHECKING:
    from ..space import Array

EVALUATIONS = 5  # of the posterior, an iteration at most: what a decision costs is bounded without a clock
N_FIT = 200  # readings at most in a fit: it costs their cube, and hyperparameters settle well before


@dataclass(frozen=True)
class Prior:
    """A normal density over the logarithm (over the value itself for mean and rho), and bounds.

    ``centre`` is the mode of the log-normal over the hyperparameter itself: its location less its variance.
    """

    width: int
    centre: float | tuple[float, ...]
    sd: float | tuple[float, ...]
    low: float
    high: float


def priors(n_parameters: int, is_quiet: Sequence[bool]) -> dict[str, Prior]:
    """The priors of one response, standardised.

    Args:
        n_parameters: lengthscales a process.
        is_quiet: for each source, the target first, whether its noise is believed to be nearly nothing beyond what
            it tells: simulators, and instruments that give an sd.
    """
    n_others = len(is_quiet) - 1
    lengthscale = math.sqrt(2.0) + 0.5 * math.log(n_parameters) - 3.0  # mode of LogNormal(sqrt 2 + log(d) / 2, sqrt 3)
    return {
        "mean": Prior(1, 0.0, 1.0, -10.0, 10.0),
        "signal": Prior(1, 0.0, 1.0, -7.0, 7.0),
        "lengthscale": Prior(n_parameters, lengthscale, 1.0, math.log(0.025), math.log(1e3)),
        "rho": Prior(n_others, 1.0, 0.3, -3.0, 3.0),
        "bias": Prior(n_others, math.log(0.15), 1.5, math.log(1e-6), math.log(1e8)),
        "offset": Prior(n_others, math.log(0.05), 2.0, math.log(1e-6), math.log(1e8)),
        "bias_lengthscale": Prior(n_others * n_parameters, lengthscale + 0.5, 1.0, math.log(0.025), math.log(1e3)),
        "noise": Prior(
            1 + n_others,
            tuple(-10.0 if quiet else -5.5 for quiet in is_quiet),
            tuple(2.0 if quiet else 1.5 for quiet in is_quiet),
            math.log(1e-6),
            math.log(1e4),
        ),
    }


def start(table: dict[str, Prior], n_responses: int) -> dict[str, Array]:
    """The most probable hyperparameters before any reading, (m, width) each."""
    return {k: np.tile(np.broadcast_to(p.centre, (p.width,)), (n_responses, 1)).astype(float) for k, p in table.items()}


def other_starts(cold: Mapping[str, Array]) -> list[dict[str, Array]]:
    """Starts near other modes: smooth and noisy; and, where there are other sources, one that trusts none of them."""
    smooth = {**cold, "lengthscale": cold["lengthscale"] + 1.5, "noise": cold["noise"] + 1.0}
    if not cold["bias"].size:
        return [smooth]
    rough = {"bias": cold["bias"] + 3.0, "bias_lengthscale": cold["bias_lengthscale"] - 1.0}
    return [smooth, {**cold, **rough, "lengthscale": cold["lengthscale"] + 0.7}]


def fit(theta: Theta, data: Data, table: dict[str, Prior], *, max_iterations: int) -> tuple[dict[str, Array], Array]:
    """The most probable hyperparameters, by L-BFGS-B from ``theta`` on.

    Returns:
        The hyperparameters, and the log posterior of each response, shape (m,).

    Raises:
        BeliefError: if the posterior is not finite at the start.
    """
    shapes = {k: np.asarray(v).shape for k, v in theta.items()}
    x0 = np.concatenate([np.ravel(theta[k]) for k in table])
    bounds = [(p.low, p.high) for k, p in table.items() for _ in range(math.prod(shapes[k]))]

    def loss(x: Array) -> tuple[float, Array]:
        flat = torch.tensor(x, requires_grad=True)
        try:
            value = -_log_posterior(_unflatten(flat, shapes), data, table).sum()
            (gradient,) = torch.autograd.grad(value, flat)
        except BeliefError:
            return 1e100, np.zeros_like(x)
        return float(value.detach()), np.nan_to_num(gradient.numpy())

    x0 = np.clip(x0, *np.array(bounds).T)
    result = minimize(
        loss,
        x0,
        jac=True,
        bounds=bounds,
        method="L-BFGS-B",
        options={"maxiter": max_iterations, "maxfun": EVALUATIONS * max_iterations},
    )
    best = _unflatten(torch.tensor(result.x), shapes)
    with torch.no_grad():
        value = _log_posterior(best, data, table)
    if not bool(torch.isfinite(value).all()):
        raise BeliefError("the fit of the surrogate is not finite; check the units and scales of the responses")
    return {k: v.numpy() for k, v in best.items()}, value.numpy()


def _log_posterior(theta: Theta, data: Data, table: dict[str, Prior]) -> Tensor:
    """Log marginal likelihood plus log prior, shape (m,)."""
    value = log_evidence(theta, data)
    for k, p in table.items():
        z = (theta[k] - torch.tensor(p.centre, dtype=torch.float64)) / torch.tensor(p.sd, dtype=torch.float64)
        value = value - 0.5 * (z * z).sum(-1)
    return value


def _unflatten(flat: Tensor, shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    parts = torch.split(flat, [math.prod(s) for s in shapes.values()])
    return {k: part.reshape(s) for (k, s), part in zip(shapes.items(), parts, strict=True)}
