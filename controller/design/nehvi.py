"""The setting that promises the front most: noisy, constrained log expected hypervolume improvement.

Ament et al. 2023 (qLogNEHVI), Daulton, Balandat & Bakshy 2021. Few samples and a pruned baseline: a decision of two
objectives takes a fraction of a second, and the gain of the last samples is below the model's own error.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
import torch
from botorch.acquisition.logei import qLogProbabilityOfFeasibility
from botorch.acquisition.multi_objective import logei as botorch_logei
from botorch.acquisition.multi_objective.logei import qLogNoisyExpectedHypervolumeImprovement
from botorch.acquisition.multi_objective.utils import get_default_partitioning_alpha
from botorch.exceptions.warnings import BotorchWarning
from botorch.posteriors.posterior_list import PosteriorList
from botorch.sampling.base import MCSampler
from botorch.sampling.list_sampler import ListSampler
from botorch.sampling.normal import IIDNormalSampler, SobolQMCNormalSampler
from botorch.utils.sampling import manual_seed

if TYPE_CHECKING:
    from botorch.models.model import Model

    from ..belief.success import Success
    from ..space import Array
    from .trade_off import Front, TradeOff

# BoTorch would compile a kernel with whatever compiler the machine has: half a minute, and other last digits there.
botorch_logei._load_attempted = True  # noqa: SLF001

N_SAMPLES = 64
HARDLY = 0.1  # probability of being feasible of the best setting, below which feasibility is searched for first


class FrontAcquisition:
    """Over rows (n, c), to be screened and climbed; see ``logei.Acquisition`` for feasibility and success."""

    def __init__(
        self,
        model: Model,
        goal: TradeOff,
        front: Front,
        pending: Array,
        *,
        seed: int,
        success: Success | None = None,
    ) -> None:
        self._seed, self._success = seed, success
        objective, constraints = goal.for_botorch()
        sampler = _sampler(model, torch.tensor(front.X), seed=seed)
        X_pending = torch.tensor(pending) if len(pending) else None
        self.is_improvement = constraints is None or bool(front.feasible.max() >= HARDLY)
        if not self.is_improvement:
            self._f = qLogProbabilityOfFeasibility(model, constraints, sampler=sampler, X_pending=X_pending)
            return
        with manual_seed(seed), warnings.catch_warnings():  # pruning draws from torch's global generator
            warnings.simplefilter("ignore", BotorchWarning)
            self._f = qLogNoisyExpectedHypervolumeImprovement(
                model,
                front.corner.tolist(),
                torch.tensor(front.X),
                sampler=sampler,
                objective=objective,
                constraints=constraints,
                X_pending=X_pending,
                prune_baseline=True,
                alpha=get_default_partitioning_alpha(len(goal.parts)),
            )

    def __call__(self, X: torch.Tensor) -> torch.Tensor:
        """Log values (n,), differentiable."""
        with manual_seed(self._seed), warnings.catch_warnings():
            warnings.simplefilter("ignore", BotorchWarning)
            value: torch.Tensor = self._f(X.unsqueeze(-2))
        return value if self._success is None else value + self._success.log_probability(X)

    def values(self, X: Array) -> Array:
        """Log values (n,); -inf where there is none."""
        with torch.no_grad():
            values = self(torch.tensor(X)).numpy()
        return np.where(np.isfinite(values), values, -np.inf)


def _sampler(model: Model, X: torch.Tensor, *, seed: int) -> MCSampler:
    """Base samples in the shape that the model's posterior takes."""
    shape = torch.Size([N_SAMPLES])
    with torch.no_grad():
        posterior = model.posterior(X)
    if not isinstance(posterior, PosteriorList):
        return SobolQMCNormalSampler(shape, seed=seed)
    return ListSampler(*(IIDNormalSampler(shape, seed=seed + k) for k in range(len(posterior.posteriors))))
