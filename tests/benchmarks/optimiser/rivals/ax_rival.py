"""Ax by its Client with the defaults: what it chooses for itself, from the first trial on."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence

import torch
from ax.api.client import Client
from ax.api.configs import ChoiceParameterConfig, RangeParameterConfig
from problem import Choice, Problem, Setting, Whole

from rivals.rival import FreeRows, Rival

torch.set_num_threads(1)
warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)


class Ax(Rival):
    def __init__(self, problem: Problem, seed: int) -> None:
        super().__init__(problem, seed)
        torch.manual_seed(seed)
        self.client = Client(random_seed=seed)
        self.client.configure_experiment(parameters=[_config(p) for p in problem.parameters], name=problem.name)
        signs = [("" if a.is_maximised else "-") + a.response for a in problem.aims]
        limits = [f"{name} <= 0" for name in problem.limited]
        self.client.configure_optimization(objective=", ".join(signs), outcome_constraints=limits or None)
        self.rows = FreeRows(problem)
        self.open: list[int] = []

    def ask(self, n: int) -> list[Setting]:
        found = dict(self.client.get_next_trials(max_trials=n))
        while len(found) < n:  # it may hand out fewer than were asked for
            found |= self.client.get_next_trials(max_trials=n - len(found))
        self.open = list(found)
        settings = [{p.name: setting[p.name] for p in self.problem.parameters} for setting in found.values()]
        return [self.rows.nearest(s) for s in settings] if self.problem.rows else settings

    def tell(self, settings: Sequence[Setting], readings: Sequence[dict[str, float]]) -> None:
        for trial, setting, reading in zip(self.open, settings, readings, strict=True):
            index = trial
            if self.problem.rows:  # the row that was measured, not the setting that was asked for
                self.client.mark_trial_abandoned(trial)
                index = self.client.attach_trial(setting)
            self.client.complete_trial(index, raw_data=reading)

    def recommend(self) -> Setting | None:
        if len(self.problem.aims) > 1:
            return None
        setting, *_ = self.client.get_best_parameterization(use_model_predictions=True)
        return {p.name: setting[p.name] for p in self.problem.parameters}


def _config(p: object) -> RangeParameterConfig | ChoiceParameterConfig:
    if isinstance(p, Choice):
        return ChoiceParameterConfig(p.name, values=list(p.choices), parameter_type="str", is_ordered=False)
    if isinstance(p, Whole):
        return RangeParameterConfig(p.name, bounds=(p.low, p.high), parameter_type="int")
    scaling = "log" if p.log else "linear"
    return RangeParameterConfig(p.name, bounds=(p.low, p.high), parameter_type="float", scaling=scaling)
