"""What a belief about settings is worth: the expected objective, less what may be infeasible.

U(x) = P(feasible) (E[objective] - worst), worked out with common random numbers, so that differences are smooth.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from botorch.posteriors import GPyTorchPosterior, Posterior, PosteriorList
from scipy.special import ndtr

if TYPE_CHECKING:
    from botorch.models.model import Model

    from ..space import Array
    from .objective import Objective

N_DRAWS = 16
LINEAR = 1e-6  # a margin whose linear part leaves less than this share of its spread is linear


@lru_cache(maxsize=16)
def normal_draws(n: int, m: int) -> Array:
    """(n, m) standard normal numbers, the same ever: scrambled Sobol points and their mirror images."""
    from scipy.stats import norm, qmc

    half = norm.ppf(qmc.Sobol(m, scramble=True, rng=0).random(n // 2))
    return np.concatenate([half, -half])


def expected(objective: Objective, mean: Array, sd: Array) -> tuple[Array, Array]:
    """The scaled objective's mean and the probability of being feasible.

    Args:
        objective: the goal.
        mean: (..., m) of the responses.
        sd: (..., m)

    Returns:
        Two arrays of shape (...). A margin is taken as normal, which is exact where a constraint is linear.
    """
    Z = normal_draws(N_DRAWS, mean.shape[-1])
    Y = mean[..., None, :] + sd[..., None, :] * Z
    values = objective.values(Y, lib=np).mean(axis=-1)
    feasible = np.ones_like(values)
    margins = objective.margins(Y, lib=np)
    if _share_a_response(objective):
        return values, _jointly(np.stack(margins, axis=-1), Z, objective)
    for margin in margins:
        feasible = feasible * ndtr(margin.mean(axis=-1) / np.maximum(margin.std(axis=-1), 1e-9))
    return values, feasible


def _share_a_response(objective: Objective) -> bool:
    names = [c.names for c in objective.goal.constraints]
    return sum(map(len, names)) > len(frozenset().union(*names))


def _jointly(margins: Array, Z: Array, objective: Objective) -> Array:
    """Probability (...) that all margins, (..., S, k) over the draws Z (S, m), are kept: they move together.

    What of a margin is not linear in the responses is taken as a noise of its own.
    """
    from .joint_margins import all_kept

    mean = margins.mean(axis=-2)
    loads, own = [], []
    for k, constraint in enumerate(objective.goal.constraints):
        columns = [j for j, name in enumerate(objective.responses) if name in constraint.names]
        off = margins[..., k] - mean[..., k, None]
        slope = off @ np.linalg.pinv(Z[:, columns]).T
        rest = np.sqrt(np.square(off - slope @ Z[:, columns].T).mean(axis=-1))
        load = np.zeros((*slope.shape[:-1], Z.shape[1]))
        load[..., columns] = slope
        loads.append(load)
        own.append(np.where(rest > LINEAR * off.std(axis=-1), rest, 0.0))
    apart = np.stack(own, axis=-1)[..., None] * np.eye(len(own))
    return all_kept(mean, np.concatenate([np.stack(loads, axis=-2), apart], axis=-1))


def utility(objective: Objective, mean: Array, sd: Array, worst: float, p_success: Array | None = None) -> Array:
    """U of shape (...), scaled; ``worst`` is what an infeasible setting counts as, and one at which trials fail."""
    values, feasible = expected(objective, mean, sd)
    if p_success is not None:
        return p_success * feasible * (values - worst)
    return feasible * (values - worst) if objective.margin_scales else values


def moments(model: Model, X: Array) -> tuple[Array, Array]:
    """Mean and standard deviation (n, m) of the noise-free responses at X (n, c)."""
    with torch.no_grad():
        posterior = model.posterior(torch.tensor(X).unsqueeze(-2))
        mean, variance = posterior.mean.squeeze(-2), _variance(posterior)
    return mean.numpy(), np.sqrt(np.maximum(variance.numpy(), 0.0))


def _variance(posterior: Posterior) -> torch.Tensor:
    """(n, m) of a posterior at (n, 1, c); read off the covariance, for GPyTorch's own answer is never below 1e-10."""
    if isinstance(posterior, PosteriorList):
        return torch.cat([_variance(p) for p in posterior.posteriors], dim=-1)
    if isinstance(posterior, GPyTorchPosterior):
        diagonal: torch.Tensor = posterior.distribution.lazy_covariance_matrix.diagonal(dim1=-2, dim2=-1)
        return diagonal
    variance: torch.Tensor = posterior.variance.squeeze(-2)
    return variance
