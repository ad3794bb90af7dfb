"""The setting at which the target promises most: noisy, constrained log expected improvement.

Ament, Daulton, Eriksson, Balandat & Bakshy 2023 (LogEI); Letham, Karrer, Ottoni & Bakshy 2019 (noisy, constrained).
Where no reading was feasible yet, an improvement is any feasible outcome, so the search is for feasibility.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from botorch.acquisition.logei import qLogNoisyExpectedImprovement
from botorch.exceptions.errors import BotorchError
from botorch.sampling.normal import SobolQMCNormalSampler
from botorch.utils.sampling import manual_seed
from linear_operator.utils.errors import NotPSDError

from ..errors import BeliefError
from .ascent import ascend
from .candidates import as_asked, discrete_neighbours, distinct, raw_candidates, without
from .initial import initial_setting

if TYPE_CHECKING:
    from botorch.models.model import Model

    from ..belief.evidence import Evidence
    from ..space import Array, Space
    from .objective import Objective

N_SAMPLES = 128
N_RAW, N_RAW_LARGE = 256, 128  # screened settings; fewer where readings make each of them dear
LARGE = 200
N_STARTS = 4
N_BASELINE = 48  # settings that may be the best one; the others are no rivals
APART = 0.05  # of the cube: starts nearer than this climb the same hill
N_SWEEPS = 3
FAILURES = (RuntimeError, ValueError, NotPSDError, BotorchError, BeliefError)  # what linear algebra may end in


@dataclass(frozen=True)
class Found:
    """Settings, the best first; ``note`` says which part of the search failed, if any did."""

    X: Array  # (k, c)
    log_values: Array  # (k,) log expected improvement of the scaled objective; -inf where unknown
    note: str = ""


class Acquisition:
    """Log expected improvement over rows (n, c) as a function to be screened and climbed."""

    def __init__(self, model: Model, objective: Objective, baseline: Array, pending: Array, *, seed: int) -> None:
        mc_objective, constraints = objective.for_botorch()
        with manual_seed(seed):  # pruning draws from the global generator; its state is put back
            self._f = qLogNoisyExpectedImprovement(
                model,
                torch.tensor(baseline),
                sampler=SobolQMCNormalSampler(torch.Size([N_SAMPLES]), seed=seed),
                objective=mc_objective,
                constraints=constraints,
                X_pending=torch.tensor(pending) if len(pending) else None,
                prune_baseline=True,
            )

    def __call__(self, X: torch.Tensor) -> torch.Tensor:
        """Log values (n,), differentiable."""
        value: torch.Tensor = self._f(X.unsqueeze(-2))
        return value

    def values(self, X: Array) -> Array:
        """Log values (n,); -inf where there is none."""
        with torch.no_grad():
            values = self(torch.tensor(X)).numpy()
        return np.where(np.isfinite(values), values, -np.inf)


def best_settings(
    model: Model, evidence: Evidence, objective: Objective, *, avoid: Array, seed: int, rng: np.random.Generator
) -> Found:
    """The settings of the target with the highest log expected improvement, several distinct ones.

    Args:
        model: of the target's noise-free responses.
        evidence: the readings; the target's pending settings count as rivals that are not known yet.
        objective: the goal.
        avoid: (k, c) settings not to be asked for.
        seed: the campaign's.
        rng: of this decision.
    """
    space = evidence.space
    try:
        baseline = likely_best(model, evidence, objective)
        pending = distinct(evidence.pending_at(evidence.target))
        acquisition = Acquisition(model, objective, baseline, pending, seed=int(rng.integers(2**31)))
        n_raw = N_RAW if sum(map(len, evidence.observations.values())) < LARGE else N_RAW_LARGE
        every = as_asked(space, raw_candidates(space, baseline[:5], n=n_raw, seed=seed, rng=rng))
        raw = without(every, avoid)
        raw = raw if len(raw) else every  # where every setting was asked for, repeats are all that is left
        values = acquisition.values(raw)
        if not np.isfinite(values).any():
            raise BeliefError("no candidate has a finite expected improvement")
    except FAILURES as error:
        row = initial_setting(space, len(evidence.of(evidence.target)) + len(avoid), seed)
        return Found(row[None], np.array([-np.inf]), f"next Sobol point, since the acquisition failed: {error}")
    try:
        raw, values = _refined(acquisition, space, raw, values, avoid)
        note = ""
    except FAILURES as error:
        note = f"best of {len(raw)} screened settings, since the ascent failed: {error}"
    return _best(raw, values, note)


def likely_best(model: Model, evidence: Evidence, objective: Objective) -> Array:
    """The settings that were asked for and may be the best, (<= N_BASELINE, c), the most promising first.

    Those of the target; while it has none, those of the other sources.
    """
    asked = evidence.of(evidence.target).X_set
    if not len(asked):
        asked = np.concatenate([o.X_set for o in evidence.observations.values() if len(o)])
    X = distinct(asked)
    with torch.no_grad():
        posterior = model.posterior(torch.tensor(X).unsqueeze(-2))
        mean = posterior.mean.squeeze(-2).numpy()
    values = objective.values(mean, lib=np)
    for margin in objective.margins(mean, lib=np):
        values = values + 10.0 * np.minimum(margin, 0.0)  # the less feasible, the further behind
    return X[np.argsort(-values, kind="stable")[:N_BASELINE]]


def _refined(acquisition: Acquisition, space: Space, raw: Array, values: Array, avoid: Array) -> tuple[Array, Array]:
    """The screened settings and what was reached by climbing from the best of them."""
    starts = raw[_apart(raw, values, N_STARTS)]
    X = without(distinct(as_asked(space, ascend(acquisition, space, starts))), avoid)
    if len(X):
        raw, values = np.concatenate([raw, X]), np.concatenate([values, acquisition.values(X)])
    return _swept(acquisition, space, raw, values, avoid)


def _swept(acquisition: Acquisition, space: Space, X: Array, values: Array, avoid: Array) -> tuple[Array, Array]:
    """With discrete steps from the best setting, as long as one is better."""
    for _ in range(N_SWEEPS):
        near = without(discrete_neighbours(space, X[values.argmax()]), np.concatenate([X, avoid]))
        if not len(near):
            break
        found, best = acquisition.values(near), values.max()
        X, values = np.concatenate([X, near]), np.concatenate([values, found])
        if found.max() <= best:
            break
        better = without(as_asked(space, ascend(acquisition, space, near[[found.argmax()]])), np.concatenate([X, avoid]))
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


def _best(X: Array, values: Array, note: str) -> Found:
    kept = _apart(X, values, N_STARTS + 1)
    return Found(X[kept], values[kept], note)
