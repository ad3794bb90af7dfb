"""BoTorch's tutorial on discrete fidelities: qMultiFidelityKnowledgeGradient per cost, and its recommendation.

https://botorch.org/docs/tutorials/discrete_multi_fidelity_bo: SingleTaskMultiFidelityGP, 5 restarts, 128 raw samples,
optimize_acqf_mixed over the fidelities, recommendation by the posterior mean at the target. Of one setting at a time,
with 16 fantasies instead of 128 (a decision takes seconds even so), and after 40 trials at the target only, for a
cheap source at a thousandth of the cost would never let it end. Sources must be levels of one fidelity.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import torch
from botorch import fit_gpytorch_mll
from botorch.acquisition import PosteriorMean
from botorch.acquisition.cost_aware import InverseCostWeightedUtility
from botorch.acquisition.fixed_feature import FixedFeatureAcquisitionFunction
from botorch.acquisition.knowledge_gradient import qMultiFidelityKnowledgeGradient
from botorch.acquisition.utils import project_to_target_fidelity
from botorch.models import SingleTaskMultiFidelityGP
from botorch.models.deterministic import GenericDeterministicModel
from botorch.models.transforms import Standardize
from botorch.optim import optimize_acqf, optimize_acqf_mixed
from gpytorch.mlls import ExactMarginalLogLikelihood
from problem import Problem, Setting
from world import World

from rivals.rival import NotSupportedError, Rival
from rivals.sobol import Sobol

torch.set_num_threads(1)
torch.set_default_dtype(torch.float64)
warnings.filterwarnings("ignore")
N_CHOOSING = 40


class BoTorchMFKG(Rival):
    def __init__(self, problem: Problem, seed: int) -> None:
        super().__init__(problem, seed)
        levels = {s.fidelity: s for s in problem.sources}
        if len(problem.sources) < 2 or len(levels) < len(problem.sources) or problem.rows:
            raise NotSupportedError("for several sources in a box that are levels of one fidelity")
        torch.manual_seed(seed)
        self.levels = levels
        self.d = problem.n_columns
        self.X: list[list[float]] = []
        self.y: list[float] = []

    def ask(self, n: int) -> list[Setting]:
        raise NotImplementedError("it chooses the source too: see play")

    def tell(self, settings: Sequence[Setting], readings: Sequence[dict[str, float]]) -> None:
        raise NotImplementedError("it chooses the source too: see play")

    def play(self, world: World) -> None:
        others = sorted(level for level in self.levels if level < 1)
        starts = [1.0, 1.0] + [others[i % len(others)] for i in range(2 * self.d)]
        for setting, level in zip(Sobol(self.problem, self.seed).ask(len(starts)), starts, strict=True):
            self._measure(world, setting, level)
        while world.n_left:
            x = self._next(world)
            self._measure(world, self.problem.decode(x[: self.d]), float(x[self.d]))

    def _measure(self, world: World, setting: Setting, level: float) -> None:
        (reading,) = world.measure([setting], self.levels[level].name)
        aim = self.problem.aims[0]
        self.X.append([*self.problem.encode(setting), level])
        self.y.append(-aim.loss(reading[aim.response]))

    def _fit(self) -> SingleTaskMultiFidelityGP:
        X, y = torch.tensor(np.array(self.X)), torch.tensor(self.y)[:, None]
        model = SingleTaskMultiFidelityGP(X, y, outcome_transform=Standardize(1), data_fidelities=[self.d])
        fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
        return model

    def _best_mean(self, model: SingleTaskMultiFidelityGP) -> tuple[torch.Tensor, torch.Tensor]:
        mean = FixedFeatureAcquisitionFunction(PosteriorMean(model), d=self.d + 1, columns=[self.d], values=[1.0])
        box = torch.tensor([[0.0] * self.d, [1.0] * self.d])
        options = {"batch_limit": 10, "maxiter": 200}
        return optimize_acqf(mean, bounds=box, q=1, num_restarts=10, raw_samples=1024, options=options)

    def _next(self, world: World) -> np.ndarray:
        model = self._fit()
        _, current = self._best_mean(model)
        levels = torch.tensor(sorted(self.levels))
        prices = torch.tensor([self.levels[float(level)].cost for level in levels])

        def cost(X: torch.Tensor) -> torch.Tensor:
            return prices[torch.argmin((X[..., self.d :] - levels).abs(), dim=-1, keepdim=True)]

        gain = qMultiFidelityKnowledgeGradient(
            model=model,
            num_fantasies=16,
            current_value=current,
            cost_aware_utility=InverseCostWeightedUtility(GenericDeterministicModel(cost)),
            project=lambda X: project_to_target_fidelity(X, d=self.d + 1, target_fidelities={self.d: 1.0}),
        )
        bounds = torch.tensor([[0.0] * (self.d + 1), [1.0] * (self.d + 1)])
        allowed = sorted(self.levels) if len(self.X) < N_CHOOSING else [1.0]
        allowed = [level for level in allowed if world.affords(self.levels[level].name)]
        found, _ = optimize_acqf_mixed(
            gain,
            bounds=bounds,
            fixed_features_list=[{self.d: level} for level in allowed],
            q=1,
            num_restarts=5,
            raw_samples=128,
            options={"batch_limit": 5, "maxiter": 200},
        )
        row = found[0].numpy()
        return np.array([*row[: self.d], min(self.levels, key=lambda level: abs(level - row[self.d]))])

    def recommend(self) -> Setting | None:
        """Where the posterior mean at the target is best in the whole box."""
        if len(self.X) < 2:
            return None
        best, _ = self._best_mean(self._fit())
        return self.problem.decode(best[0].numpy()[: self.d])
