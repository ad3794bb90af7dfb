"""Optuna's GPSampler and TPESampler by ask and tell, as a study of its own with the defaults."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from problem import Choice, Problem, Setting, Whole

from rivals.rival import FreeRows, Rival

optuna.logging.set_verbosity(optuna.logging.ERROR)
warnings.filterwarnings("ignore", module="optuna")


class _Optuna(Rival):
    def __init__(self, problem: Problem, seed: int) -> None:
        super().__init__(problem, seed)
        directions = ["maximize" if a.is_maximised else "minimize" for a in problem.aims]
        self.study = optuna.create_study(directions=directions, sampler=self.sampler())
        self.space = {p.name: _distribution(p) for p in problem.parameters}
        self.rows = FreeRows(problem)
        self.open: list[optuna.Trial] = []

    def sampler(self) -> optuna.samplers.BaseSampler:
        raise NotImplementedError

    def ask(self, n: int) -> list[Setting]:
        self.open = [self.study.ask(self.space) for _ in range(n)]
        settings = [{p.name: t.params[p.name] for p in self.problem.parameters} for t in self.open]
        return [self.rows.nearest(s) for s in settings] if self.problem.rows else settings

    def tell(self, settings: Sequence[Setting], readings: Sequence[dict[str, float]]) -> None:
        for trial, setting, reading in zip(self.open, settings, readings, strict=True):
            values = [reading[a.response] for a in self.problem.aims]
            if self.problem.rows:  # the row that was measured, not the setting that was asked for
                self.study.tell(trial, state=optuna.trial.TrialState.FAIL)
                done = optuna.trial.create_trial(params=setting, distributions=self.space, values=values)
                self.study.add_trial(done)
                continue
            for name in self.problem.limited:
                trial.set_constraint(name, reading[name])
            self.study.tell(trial, values)


class OptunaGP(_Optuna):
    def sampler(self) -> optuna.samplers.BaseSampler:
        return optuna.samplers.GPSampler(seed=self.seed)


class OptunaTPE(_Optuna):
    def sampler(self) -> optuna.samplers.BaseSampler:
        return optuna.samplers.TPESampler(seed=self.seed)


def _distribution(p: object) -> BaseDistribution:
    if isinstance(p, Choice):
        return CategoricalDistribution(p.choices)
    if isinstance(p, Whole):
        return IntDistribution(p.low, p.high)
    return FloatDistribution(p.low, p.high, log=p.log)
