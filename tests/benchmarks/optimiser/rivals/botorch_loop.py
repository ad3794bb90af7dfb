"""The loop of BoTorch's closed-loop tutorial: ten starts at random, SingleTaskGP, qLogNEI by optimize_acqf.

https://botorch.org/docs/tutorials/closed_loop_botorch_only: its settings are kept (256 samples, 10 restarts, 512 raw
samples, maxiter 200), with Sobol starts (2 d where d < 5). Choices and integers: MixedSingleTaskGP and
optimize_acqf_mixed as in BoTorch's documentation; batches: sequential greedy with pending points, as its optimiser
does; several aims: qLogNEHVI with the inferred reference point; tables: optimize_acqf_discrete.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import torch
from botorch import fit_gpytorch_mll
from botorch.acquisition.logei import qLogNoisyExpectedImprovement
from botorch.acquisition.multi_objective.logei import qLogNoisyExpectedHypervolumeImprovement
from botorch.acquisition.multi_objective.objective import IdentityMCMultiOutputObjective
from botorch.acquisition.objective import GenericMCObjective
from botorch.models import MixedSingleTaskGP, ModelListGP, SingleTaskGP
from botorch.models.transforms import Standardize
from botorch.optim import optimize_acqf, optimize_acqf_discrete, optimize_acqf_mixed
from botorch.sampling import SobolQMCNormalSampler
from botorch.utils.multi_objective.hypervolume import infer_reference_point
from botorch.utils.multi_objective.pareto import is_non_dominated
from gpytorch.mlls import SumMarginalLogLikelihood
from problem import Choice, Problem, Setting

from rivals.rival import FreeRows, Rival
from rivals.sobol import Sobol

torch.set_num_threads(1)
torch.set_default_dtype(torch.float64)
warnings.filterwarnings("ignore")


class BoTorchLoop(Rival):
    def __init__(self, problem: Problem, seed: int) -> None:
        super().__init__(problem, seed)
        torch.manual_seed(seed)
        self.n_initial = min(10, 2 * len(problem.parameters))
        self.starts = Sobol(problem, seed)
        self.rows = self.starts.rows if problem.rows else FreeRows(problem)
        self.columns = _Columns(problem)
        self.X: list[np.ndarray] = []
        self.Y: list[list[float]] = []  # aims to be maximised, then limits that are feasible at or below zero
        self.model: ModelListGP | None = None

    def ask(self, n: int) -> list[Setting]:
        if len(self.X) < self.n_initial:
            return self.starts.ask(min(n, self.n_initial - len(self.X)))
        self._fit()
        acquisition = self._acquisition()
        if self.problem.rows:
            free = np.flatnonzero(self.rows.free)
            choices = torch.tensor(self.columns.table[free])
            found, _ = optimize_acqf_discrete(acquisition, q=n, choices=choices, max_batch_size=2048)
            indices = [free[int(torch.cdist(x[None], choices).argmin())] for x in found]
            return [self.rows.take(int(i)) for i in indices]
        return [self.columns.decode(x.numpy()) for x in self._maximise(acquisition, n)]

    def tell(self, settings: Sequence[Setting], readings: Sequence[dict[str, float]]) -> None:
        for setting, reading in zip(settings, readings, strict=True):
            self.X.append(self.columns.encode(setting))
            aims = [-a.loss(reading[a.response]) for a in self.problem.aims]
            self.Y.append(aims + [reading[c] for c in self.problem.limited])

    def recommend(self) -> Setting | None:
        """Where the posterior mean is best among what was measured, as the tutorials recommend."""
        if len(self.X) < 2 or len(self.problem.aims) > 1:
            return None
        self._fit()
        with torch.no_grad():
            mean = self.model.posterior(torch.tensor(np.array(self.X))).mean
        score = mean[:, 0].clone()
        score[(mean[:, 1:] > 0).any(dim=1)] = -torch.inf
        return self.columns.decode(self.X[int(score.argmax())])

    def _fit(self) -> None:
        X, Y = torch.tensor(np.array(self.X)), torch.tensor(np.array(self.Y))
        discrete = self.columns.categorical
        models = []
        for j in range(Y.shape[1]):
            y = Y[:, j : j + 1]
            if discrete:
                models.append(MixedSingleTaskGP(X, y, cat_dims=discrete, outcome_transform=Standardize(1)))
            else:
                models.append(SingleTaskGP(X, y, outcome_transform=Standardize(1)))
        self.model = ModelListGP(*models)
        fit_gpytorch_mll(SumMarginalLogLikelihood(self.model.likelihood, self.model))

    def _acquisition(self) -> qLogNoisyExpectedImprovement | qLogNoisyExpectedHypervolumeImprovement:
        X = torch.tensor(np.array(self.X))
        n_aims = len(self.problem.aims)
        shared = {
            "model": self.model,
            "X_baseline": X,
            "prune_baseline": True,
            "constraints": [lambda Z, j=j: Z[..., j] for j in range(n_aims, len(self.Y[0]))] or None,
        }
        if n_aims == 1:
            sampler = SobolQMCNormalSampler(torch.Size([256]))
            objective = GenericMCObjective(lambda Z, X=None: Z[..., 0])
            return qLogNoisyExpectedImprovement(sampler=sampler, objective=objective, **shared)
        Y = torch.tensor(np.array(self.Y))[:, :n_aims]
        reference = infer_reference_point(Y[is_non_dominated(Y)])
        return qLogNoisyExpectedHypervolumeImprovement(
            ref_point=reference.tolist(),
            sampler=SobolQMCNormalSampler(torch.Size([128])),
            objective=IdentityMCMultiOutputObjective(outcomes=list(range(n_aims))),
            **shared,
        )

    def _maximise(self, acquisition: torch.nn.Module, n: int) -> torch.Tensor:
        bounds = torch.tensor(self.columns.bounds)
        shared = {"bounds": bounds, "q": n, "num_restarts": 10, "raw_samples": 512}
        options = {"batch_limit": 5, "maxiter": 200}
        if fixed := self.columns.fixed():
            found, _ = optimize_acqf_mixed(acquisition, fixed_features_list=fixed, options=options, **shared)
        else:
            found, _ = optimize_acqf(acquisition, options=options, sequential=True, **shared)
        return found


class _Columns:
    """Settings as rows for the mixed GP: a choice is one column that holds its number, all else the unit interval."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.categorical = [i for i, p in enumerate(problem.parameters) if isinstance(p, Choice)]
        highs = [len(p.choices) - 1.0 if isinstance(p, Choice) else 1.0 for p in problem.parameters]
        self.bounds = np.array([[0.0] * len(highs), highs])
        self.table = np.array([self.encode(row) for row in problem.rows])

    def encode(self, setting: Setting) -> np.ndarray:
        return np.array(
            [
                float(p.choices.index(setting[p.name])) if isinstance(p, Choice) else p.encode(setting[p.name])[0]
                for p in self.problem.parameters
            ]
        )

    def decode(self, row: np.ndarray) -> Setting:
        setting: Setting = {}
        for p, x in zip(self.problem.parameters, row, strict=True):
            setting[p.name] = p.choices[round(float(x))] if isinstance(p, Choice) else p.decode(np.array([x]))
        return setting

    def fixed(self) -> list[dict[int, float]]:
        """Every combination of choices; integers are relaxed and rounded."""
        combinations: list[dict[int, float]] = [{}]
        for i in self.categorical:
            n = len(self.problem.parameters[i].choices)
            combinations = [{**c, i: float(k)} for c in combinations for k in range(n)]
        return combinations if self.categorical else []
