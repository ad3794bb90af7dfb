"""A scrambled Sobol sequence; a random order, where there are rows to choose from. What anything must beat."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from problem import Problem, Setting
from scipy.stats import qmc

from rivals.rival import FreeRows, Rival


class Sobol(Rival):
    def __init__(self, problem: Problem, seed: int) -> None:
        super().__init__(problem, seed)
        self.rows = FreeRows(problem)
        self.order = list(np.random.default_rng(seed).permutation(len(problem.rows)))
        n_trials = max(int(np.ceil(problem.budget / problem.target.cost)), 64)
        sequence = qmc.Sobol(len(problem.parameters), rng=np.random.default_rng(seed))
        self.points = list(sequence.random_base2(int(np.ceil(np.log2(n_trials)))))

    def ask(self, n: int) -> list[Setting]:
        if self.problem.rows:
            return [self.rows.take(self.order.pop()) for _ in range(n)]
        return [self.problem.uniform(self.points.pop(0)) for _ in range(n)]

    def tell(self, settings: Sequence[Setting], readings: Sequence[dict[str, float]]) -> None:
        pass
