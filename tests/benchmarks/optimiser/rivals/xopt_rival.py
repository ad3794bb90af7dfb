"""Xopt's ExpectedImprovementGenerator, and MOBOGenerator for several aims, from the starts of the BoTorch loop.

Its discrete variables are numbers, so a choice is told as its number; integers are relaxed and rounded. Where nothing
feasible is known it cannot decide: then it goes on with the Sobol sequence.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from gest_api.vocs import VOCS, DiscreteVariable
from problem import Choice, Problem, Setting
from xopt.generators.bayesian import ExpectedImprovementGenerator, MOBOGenerator

from rivals.rival import FreeRows, Rival
from rivals.sobol import Sobol

torch.set_num_threads(1)
warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)


class Xopt(Rival):
    def __init__(self, problem: Problem, seed: int) -> None:
        super().__init__(problem, seed)
        torch.manual_seed(seed)
        np.random.seed(seed)
        self.starts = Sobol(problem, seed)
        self.rows = self.starts.rows if problem.rows else FreeRows(problem)
        self.n_initial = min(10, 2 * len(problem.parameters))
        variables = {
            p.name: DiscreteVariable(values=set(range(len(p.choices)))) if isinstance(p, Choice) else [p.low, p.high]
            for p in problem.parameters
        }
        vocs = VOCS(
            variables=variables,
            objectives={a.response: "MAXIMIZE" if a.is_maximised else "MINIMIZE" for a in problem.aims},
            constraints={name: ["LESS_THAN", 0.0] for name in problem.limited},
        )
        if len(problem.aims) > 1:
            reference = {a.response: a.reference for a in problem.aims}
            self.generator = MOBOGenerator(vocs=vocs, reference_point=reference)
        else:
            self.generator = ExpectedImprovementGenerator(vocs=vocs)
        self.n_told, self.n_feasible = 0, 0

    def ask(self, n: int) -> list[Setting]:
        if self.n_told < self.n_initial:
            return self.starts.ask(min(n, self.n_initial - self.n_told))
        if not self.n_feasible:
            return self.starts.ask(n)
        settings = [self._plain(found) for found in self.generator.suggest(n)]
        return [self.rows.nearest(s) for s in settings] if self.problem.rows else settings

    def tell(self, settings: Sequence[Setting], readings: Sequence[dict[str, float]]) -> None:
        rows = [{**self._numbers(s), **reading} for s, reading in zip(settings, readings, strict=True)]
        self.generator.ingest(rows)
        self.n_told += len(rows)
        self.n_feasible += sum(all(r[c] < 0 for c in self.problem.limited) for r in readings)

    def recommend(self) -> Setting | None:
        """Where its model's mean is best among what was measured."""
        if len(self.problem.aims) > 1 or self.n_told < 2:
            return None
        data: pd.DataFrame = self.generator.data
        model = self.generator.train_model(data)
        columns = [p.name for p in self.problem.parameters]
        with torch.no_grad():
            mean = model.posterior(torch.tensor(data[columns].to_numpy(dtype=float)).unsqueeze(-2)).mean[:, 0]
        aim = self.problem.aims[0]
        loss = np.array([aim.loss(float(m)) for m in mean.flatten()])
        for name in self.problem.limited:
            loss[data[name].to_numpy() > 0] = np.inf
        return self._plain(data[columns].iloc[int(loss.argmin())].to_dict())

    def _numbers(self, setting: Setting) -> dict[str, float]:
        return {
            p.name: float(p.choices.index(setting[p.name])) if isinstance(p, Choice) else float(setting[p.name])
            for p in self.problem.parameters
        }

    def _plain(self, found: dict[str, float]) -> Setting:
        setting: Setting = {}
        for p in self.problem.parameters:
            if isinstance(p, Choice):
                setting[p.name] = p.choices[round(float(found[p.name]))]
            else:
                setting[p.name] = p.decode(np.array([(float(found[p.name]) - p.low) / (p.high - p.low)]))
        return setting
