"""BayBE by its Campaign with the default recommenders.

It has no outcome constraints: an infeasible reading is told as the worst feasible value seen so far. Integers
are relaxed and rounded (a product of all their values is too large for it); choices are one-hot, tables its own.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import pandas as pd
import torch
from baybe import Campaign
from baybe.objectives import ParetoObjective
from baybe.parameters import CategoricalParameter, NumericalContinuousParameter, NumericalDiscreteParameter
from baybe.searchspace import SearchSpace
from baybe.settings import active_settings
from baybe.targets import NumericalTarget
from problem import Choice, Problem, Setting, Whole

from rivals.rival import FreeRows, Rival

torch.set_num_threads(1)
warnings.filterwarnings("ignore")


class BayBE(Rival):
    def __init__(self, problem: Problem, seed: int) -> None:
        super().__init__(problem, seed)
        active_settings.random_seed = seed
        targets = [NumericalTarget(a.response, minimize=not a.is_maximised) for a in problem.aims]
        objective = targets[0].to_objective() if len(targets) == 1 else ParetoObjective(targets)
        self.columns = [p.name for p in problem.parameters]
        self.rows = FreeRows(problem)
        if problem.rows:
            frame = pd.DataFrame(list(problem.rows))[self.columns]
            space = SearchSpace.from_dataframe(frame, [_discrete(p, frame) for p in problem.parameters])
        else:
            space = SearchSpace.from_product([_parameter(p) for p in problem.parameters])
        self.campaign = Campaign(space, objective)
        self.told: list[tuple[dict[str, float | str], dict[str, float], bool]] = []

    def ask(self, n: int) -> list[Setting]:
        if self.problem.limited and self.told:
            self._rewrite()
        self.asked = self.campaign.recommend(batch_size=n)
        settings = []
        for record in self.asked[self.columns].to_dict("records"):
            if self.problem.rows:
                settings.append(self.rows.nearest(self._plain(record)))
            else:
                settings.append(self._plain(record))
        return settings

    def tell(self, settings: Sequence[Setting], readings: Sequence[dict[str, float]]) -> None:
        for setting, reading in zip(settings, readings, strict=True):
            feasible = all(reading[c] <= 0 for c in self.problem.limited)
            row = {k: float(v) if isinstance(v, int) else v for k, v in setting.items()}
            self.told.append((row, {a.response: reading[a.response] for a in self.problem.aims}, feasible))
        if not self.problem.limited:
            new = [{**row, **values} for row, values, _ in self.told[-len(settings) :]]
            self.campaign.add_measurements(pd.DataFrame(new))

    def _rewrite(self) -> None:
        """Tell all again, with the penalty of today."""
        aims = [a.response for a in self.problem.aims]
        known = [v for _, v, ok in self.told if ok] or [v for _, v, _ in self.told]
        worst = {a.response: max((v[a.response] for v in known), key=a.loss) for a in self.problem.aims}
        rows = [{**row, **(values if ok else {k: worst[k] for k in aims})} for row, values, ok in self.told]
        self.campaign = Campaign(self.campaign.searchspace, self.campaign.objective)
        self.campaign.add_measurements(pd.DataFrame(rows))

    def recommend(self) -> Setting | None:
        """Where its surrogate's mean is best among what was measured."""
        if len(self.problem.aims) > 1 or len(self.told) < 2:
            return None
        if self.problem.limited:
            self._rewrite()
        frame = pd.DataFrame([row for row, _, ok in self.told if ok or not self.problem.limited])
        if frame.empty:
            return None
        aim = self.problem.aims[0]
        mean = self.campaign.posterior_stats(frame, stats=["mean"])[f"{aim.response}_mean"]
        best = mean.idxmax() if aim.is_maximised else mean.idxmin()
        return self._plain(frame.loc[best].to_dict())

    def _plain(self, record: dict[str, object]) -> Setting:
        setting: Setting = {}
        for p in self.problem.parameters:
            value = record[p.name]
            if isinstance(p, Choice):
                setting[p.name] = str(value)
            elif isinstance(p, Whole):
                setting[p.name] = round(float(value))
            else:
                setting[p.name] = min(max(float(value), p.low), p.high)
        return setting


def _parameter(p: object) -> CategoricalParameter | NumericalContinuousParameter:
    if isinstance(p, Choice):
        return CategoricalParameter(p.name, values=p.choices)
    return NumericalContinuousParameter(p.name, bounds=(p.low, p.high))


def _discrete(p: object, frame: pd.DataFrame) -> CategoricalParameter | NumericalDiscreteParameter:
    if isinstance(p, Choice):
        return CategoricalParameter(p.name, values=p.choices)
    values = sorted(set(frame[p.name].astype(float)))
    return NumericalDiscreteParameter(p.name, values=values)
