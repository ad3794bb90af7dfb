"""The setting at which the target promises most: noisy, constrained log expected improvement.

Ament, Daulton, Eriksson, Balandat & Bakshy 2023 (LogEI); Letham, Karrer, Ottoni & Bakshy 2019 (noisy, constrained).
Where hardly a setting seems feasible yet, the search is for feasibility first.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
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
from ..belief.success import Success
from ..errors import BeliefError
from .ascent import ascend
from .candidates import as_asked, discrete_neighbours, distinct, raw_candidates, without
from .safeguard import CROWD, Barred, space_filling, usable
from .utility import expected, moments

if TYPE_CHECKING:
    from botorch.models.model import Model

    from ..belief.evidence import Evidence
    from ..space import Array, Space
    from .objective import Objective

N_SAMPLES = 128
N_RAW, N_RAW_LARGE = 256, 128  # screened settings; fewer where readings make each of them dear
LARGE = 200
N_STARTS = 4
N_BASELINE = 24  # settings that may be the best one; the others are no rivals
APART = 0.05  # of the cube: starts nearer than this climb the same hill
N_SWEEPS = 3
HARDLY = 0.1  # probability of being feasible of the best setting, below which feasibility is searched for first


@dataclass(frozen=True)
class Found:
    """Settings, the best first; ``note`` says which part of the search failed, if any did."""

    X: Array  # (k, c)
    log_values: Array  # (k,) log expected improvement of the scaled objective; -inf where unknown
    note: str = ""
    is_improvement: bool = True  # whether the values are that, and not the log probability of being feasible
    fallback: int = 0  # 0 the search as it should be; 1 screened only; 2 space-filling, no model had a say


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
    ) -> None:
        self._seed, self._success = seed, success
        mc_objective, constraints = objective.for_botorch()
        sampler = _sampler(model, torch.tensor(baseline), seed=seed)
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
        # Where no baseline setting is feasible, BoTorch draws from torch's global generator at every call.
        with manual_seed(self._seed), warnings.catch_warnings():
            warnings.simplefilter("ignore", BotorchWarning)
            value: torch.Tensor = self._f(X.unsqueeze(-2))
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
    """
    space, target = evidence.space_of(evidence.target), evidence.target
    try:
        success = Success.of(evidence, target)
        baseline = likely_best(model, evidence, objective)
        pending = distinct(evidence.pending_at(target))
        acquisition = Acquisition(model, objective, baseline, pending, seed=int(rng.integers(2**31)), success=success)
        # The probability of being feasible is highest beside what was read: left alone, it reads that ever again.
        # Of equal readings a model learns nothing but that: only elsewhere can there be another one.
        n_crowd = 1 if is_constant else None if acquisition.is_improvement else CROWD
        barred = Barred(pending, avoid, evidence.infeasible_at(target), evidence.of(target).X_set, success, n_crowd)
        n_raw = N_RAW if sum(map(len, evidence.observations.values())) < LARGE else N_RAW_LARGE
        every = as_asked(space, raw_candidates(space, baseline[:5], n=n_raw, seed=seed, rng=rng))
        raw = barred.freest(every)  # where every setting was asked for, repeats are all that is left
        values = acquisition.values(raw)
        if not np.isfinite(values).any():
            raise BeliefError("no candidate has a finite expected improvement")
    except Exception as error:  # whatever it is: the loop never dies of the model, and the decision says so
        row = space_filling(evidence, target, seed=seed)
        note = f"next Sobol point, since the acquisition failed: {described(error)}"
        return Found(row[None], np.array([-np.inf]), note, fallback=2)
    note = ""
    try:
        raw, values, note = _refined(acquisition, space, raw, values, barred)
    except Exception as error:
        note = f"best of {len(raw)} screened settings, since the ascent failed: {described(error)}"
    return _best(raw, values, note, is_improvement=acquisition.is_improvement)


def _sampler(model: Model, X: torch.Tensor, *, seed: int) -> MCSampler:
    """Base samples in the shape that the model's posterior takes."""
    shape = torch.Size([N_SAMPLES])
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

    Those of the target; while it has none, those of the other sources.
    """
    asked = evidence.of(evidence.target).X_set
    if not len(asked):
        asked = np.concatenate([o.X_set for o in evidence.observations.values() if len(o)])
    X = distinct(asked)
    mean, _ = moments(model, X)
    values = objective.values(mean, lib=np)
    for margin in objective.margins(mean, lib=np):
        values = values + 10.0 * np.minimum(margin, 0.0)  # the less feasible, the further behind
    return X[np.argsort(-values, kind="stable")[:N_BASELINE]]


def _refined(
    acquisition: Acquisition, space: Space, raw: Array, values: Array, barred: Barred
) -> tuple[Array, Array, str]:
    """The screened settings and what was reached by climbing from the best of them; and what was wrong with that."""
    starts = raw[_apart(raw, values, N_STARTS)]
    reached = ascend(acquisition, space, starts)
    sound = usable(space, reached)
    n_bad = len(reached) - len(sound)
    note = f"{n_bad} of {len(reached)} climbed settings, not finite or outside the space, left out" if n_bad else ""
    X = barred.without(distinct(as_asked(space, sound))) if len(sound) else sound
    if len(X):
        raw, values = np.concatenate([raw, X]), np.concatenate([values, acquisition.values(X)])
    return (*_swept(acquisition, space, raw, values, barred), note)


def _swept(acquisition: Acquisition, space: Space, X: Array, values: Array, barred: Barred) -> tuple[Array, Array]:
    """With discrete steps from the best setting, as long as one is better."""
    for _ in range(N_SWEEPS):
        near = barred.without(without(discrete_neighbours(space, X[values.argmax()]), X))
        if not len(near):
            break
        found, best = acquisition.values(near), values.max()
        X, values = np.concatenate([X, near]), np.concatenate([values, found])
        if found.max() <= best:
            break
        climbed = usable(space, ascend(acquisition, space, near[[found.argmax()]]))
        better = barred.without(without(as_asked(space, climbed), X))
        if len(better):
            X, values = np.concatenate([X, better]), np.concatenate([values, acquisition.values(better)])
    return X, values


def _apart(X: Array, values: Array, n: int) -> list[int]:
    """Places of the best n rows that are not close to a better one."""
    chosen: list[int] = []
    for k in np.argsort(-values, kind="stable"):
        if len(chosen) == n or not np.isfinite(values[k]):
            break
        if all(np.abs(X[k] - X[j]).max() > APART for j in chosen):
            chosen.append(int(k))
    return chosen


def _best(X: Array, values: Array, note: str, *, is_improvement: bool) -> Found:
    kept = _apart(X, values, N_STARTS + 1)
    return Found(X[kept], values[kept], note, is_improvement, fallback=1 if note else 0)
