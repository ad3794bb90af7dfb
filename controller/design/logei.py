"""The setting at which the target promises most: noisy, constrained log expected improvement.

Ament, Daulton, Eriksson, Balandat & Bakshy 2023 (LogEI); Letham, Karrer, Ottoni & Bakshy 2019 (noisy, constrained).
Where hardly a setting seems feasible yet, the search is for feasibility first. In closed form where the goal allows it
(``analytic``), by Monte Carlo over any goal and any model otherwise.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from botorch.acquisition.logei import qLogNoisyExpectedImprovement, qLogProbabilityOfFeasibility
from botorch.exceptions.warnings import BotorchWarning
from botorch.posteriors.posterior_list import PosteriorList
from botorch.sampling.base import MCSampler
from botorch.sampling.list_sampler import ListSampler
from botorch.sampling.normal import IIDNormalSampler, SobolQMCNormalSampler
from botorch.utils.sampling import manual_seed

from ..belief.failures import described
from ..belief.multi_source import MultiSourceGP
from ..belief.posterior import TargetPosterior
from ..belief.success import Success
from ..method import Method
from .analytic import HARDLY, AnalyticAcquisition, planes_of
from .candidates import distinct, first_of_each
from .searching import Found, no_search, search
from .trust_region import in_trust_region
from .utility import expected, moments

if TYPE_CHECKING:
    from botorch.models.model import Model

    from ..belief.evidence import Evidence
    from ..space import Array
    from .objective import Objective

N_SAMPLES = 128
N_BASELINE = 24  # settings that may be the best one; the others are no rivals
N_PROMISING, N_NEWEST = 400, 100  # settings that are looked at: the best by their readings, and the newest
N_NEAR = 5  # of them, around which candidates lie


class Acquisition:
    """The acquisition function over rows (n, c), to be screened and climbed.

    Log expected improvement; the log probability of being feasible as long as hardly a setting seems feasible.
    Where trials failed, the log probability that one succeeds is added: what is expected of a reading comes only
    if there is one (Gelbart, Snoek & Adams 2014).
    """

    def __init__(
        self,
        model: Model,
        objective: Objective,
        baseline: Array,
        pending: Array,
        *,
        seed: int,
        success: Success | None = None,
        n_samples: int = N_SAMPLES,
    ) -> None:
        self.how = f"by Monte Carlo log expected improvement ({n_samples} samples)"
        self._seed, self._success = seed, success
        mc_objective, constraints = objective.for_botorch()
        self._is_free = constraints is None
        sampler = _sampler(model, torch.tensor(baseline), n_samples, seed=seed)
        X_pending = torch.tensor(pending) if len(pending) else None
        self.is_improvement = constraints is None or _feasibility(model, objective, baseline).max() >= HARDLY
        if not self.is_improvement:
            self._f = qLogProbabilityOfFeasibility(model, constraints, sampler=sampler, X_pending=X_pending)
            return
        with manual_seed(seed), warnings.catch_warnings():  # pruning draws from torch's global generator
            warnings.simplefilter("ignore", BotorchWarning)  # of samples in which no setting is feasible
            self._f = qLogNoisyExpectedImprovement(
                model,
                torch.tensor(baseline),
                sampler=sampler,
                objective=mc_objective,
                constraints=constraints,
                X_pending=X_pending,
                prune_baseline=True,
            )

    def __call__(self, X: torch.Tensor) -> torch.Tensor:
        """Log values (n,), differentiable."""
        value: torch.Tensor
        if self._is_free:
            value = self._f(X.unsqueeze(-2))
        else:  # where no baseline setting is feasible, BoTorch draws from torch's global generator at every call
            with manual_seed(self._seed), warnings.catch_warnings():
                warnings.simplefilter("ignore", BotorchWarning)
                value = self._f(X.unsqueeze(-2))
        return value if self._success is None else value + self._success.log_probability(X)

    def values(self, X: Array) -> Array:
        """Log values (n,); -inf where there is none."""
        with torch.no_grad():
            values = self(torch.tensor(X)).numpy()
        return np.where(np.isfinite(values), values, -np.inf)


def best_settings(
    model: Model,
    evidence: Evidence,
    objective: Objective,
    *,
    avoid: Array,
    seed: int,
    rng: np.random.Generator,
    is_constant: bool = False,
    method: Method | None = None,
) -> Found:
    """The settings of the target with the highest log expected improvement, several distinct ones.

    Args:
        model: of the target's noise-free responses.
        evidence: the readings; the target's pending settings count as rivals that are not known yet.
        objective: the goal.
        avoid: (k, c) settings not to be asked for.
        seed: the campaign's.
        rng: of this decision.
        is_constant: whether all readings of the target are equal.
        method: what a person has settled of it.
    """
    method = method or Method()
    try:
        baseline = likely_best(model, evidence, objective)
        acquisition = acquisition_of(model, evidence, objective, baseline, seed=int(rng.integers(2**31)), method=method)
    except Exception as error:  # whatever it is: the loop never dies of the model, and the decision says so
        return no_search(evidence, seed=seed, reason=described(error))
    near = baseline[:N_NEAR]
    words = ""
    if method.trust_region and len(evidence.of(evidence.target)):
        region, side = in_trust_region(evidence, model, objective)
        evidence = replace(evidence, spaces={**evidence.spaces, evidence.target: region})
        words = f" in a trust region of side {side:.3g}"
    found = search(
        acquisition, evidence, near=near, avoid=avoid, seed=seed, rng=rng, is_constant=is_constant, method=method
    )
    return replace(found, how="" if found.fallback == 2 else acquisition.how + words)


def acquisition_of(
    model: Model, evidence: Evidence, objective: Objective, baseline: Array, *, seed: int, method: Method | None = None
) -> Acquisition | AnalyticAcquisition:
    """In closed form where the goal allows it, else by Monte Carlo."""
    success = Success.of(evidence, evidence.target)
    pending = distinct(evidence.pending_at(evidence.target))
    method = method or Method()
    planes = None
    if isinstance(model, MultiSourceGP) and method.acquisition != "log_ei_mc":
        planes = planes_of(objective, _readings(evidence, objective))
    if planes is None:
        n = method.n_samples
        return Acquisition(model, objective, baseline, pending, seed=seed, success=success, n_samples=n)
    return AnalyticAcquisition(TargetPosterior.of(model), planes, baseline, pending, success=success)


def _readings(evidence: Evidence, objective: Objective) -> Array:
    """All sources' readings of the responses that the goal names, (n, m)."""
    places = [evidence.responses.index(r) for r in objective.responses]
    return np.concatenate([o.Y[:, places] for o in evidence.observations.values() if len(o)])


def _sampler(model: Model, X: torch.Tensor, n_samples: int, *, seed: int) -> MCSampler:
    """Base samples in the shape that the model's posterior takes."""
    shape = torch.Size([n_samples])
    with torch.no_grad():
        posterior = model.posterior(X)
    if not isinstance(posterior, PosteriorList):
        return SobolQMCNormalSampler(shape, seed=seed)
    # One seed for all, as get_sampler has it, would make the responses the same random number.
    return ListSampler(*(IIDNormalSampler(shape, seed=seed + k) for k in range(len(posterior.posteriors))))


def _feasibility(model: Model, objective: Objective, X: Array) -> Array:
    return expected(objective, *moments(model, X))[1]


def likely_best(model: Model, evidence: Evidence, objective: Objective) -> Array:
    """The settings that were asked for and may be the best, (<= N_BASELINE, c), the most promising first.

    Those of the target; while it has none, those of the other sources. Of many readings a bounded number is looked at,
    so that a decision costs the same however long a campaign has run.
    """
    sources = [evidence.target] if len(evidence.of(evidence.target)) else list(evidence.observations)
    X = distinct(np.concatenate([_looked_at(evidence, s, objective) for s in sources if len(evidence.of(s))]))
    mean, _ = moments(model, X)
    return X[np.argsort(-_promise(objective, mean), kind="stable")[:N_BASELINE]]


def _looked_at(evidence: Evidence, source: str, objective: Objective) -> Array:
    """What a source was asked for: all, or the settings with the best readings and the newest ones, oldest first."""
    X = evidence.asked_now(source)
    if len(X) <= N_PROMISING + N_NEWEST:
        return X
    places = [evidence.responses.index(r) for r in objective.responses]
    order = np.argsort(-_promise(objective, evidence.of(source).Y[:, places]), kind="stable")
    best = order[first_of_each(X[order])[:N_PROMISING]]  # a setting that was read again and again counts once
    return X[np.union1d(best, np.arange(len(X) - N_NEWEST, len(X)))]


def _promise(objective: Objective, Y: Array) -> Array:
    """(n,): the objective of responses (n, m); the less feasible, the further behind."""
    values: Array = objective.values(Y, lib=np)
    for margin in objective.margins(Y, lib=np):
        values = values + 10.0 * np.minimum(margin, 0.0)
    return values
