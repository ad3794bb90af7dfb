"""The strategy for one objective: log expected improvement, and the gain of the best recommendation."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from .candidates import distinct
from .initial import spread_settings
from .knowledge import Outlook
from .logei import N_NEAR, best_settings, likely_best
from .objective import Objective
from .one_step import best_by_gain
from .searching import Found
from .utility import expected, moments, utility

if TYPE_CHECKING:
    from ..space import Array
    from .strategy import Situation

N_REFERENCES = 40
N_BEST = 15  # of them settings that were asked for already
N_SPREAD = 128  # screened for the rest by what is expected of them


class Best:
    """See ``Strategy``."""

    measure = "log_ei"

    def __init__(self, s: Situation) -> None:
        self._s = s
        self.objective = Objective.fit(s.goal, s.names, s.readings)
        self.scale = self.objective.scale

    def find(self) -> Found:
        """By log expected improvement, or as the campaign's method says."""
        s = self._s
        if s.method.acquisition == "knowledge_gradient":
            likely = self._likely[:N_NEAR]
            view = self.view(Found(likely, np.zeros(len(likely))))
            return replace(best_by_gain(s, view, likely), how="by the knowledge gradient")
        return best_settings(
            s.model,
            s.evidence,
            self.objective,
            avoid=s.avoid,
            seed=s.seed,
            rng=s.rng,
            is_constant=s.is_constant,
            method=s.method,
        )

    def view(self, found: Found) -> Outlook:
        """Settings of which one may turn out best, (<= N_REFERENCES, c).

        Those of the acquisition, the best that were asked for, and of a spread those with the highest utility.
        """
        s = self._s
        spread = spread_settings(s.space, N_SPREAD, start=0, seed=s.seed)
        if len(spread):
            mean, sd = moments(s.model, spread)
            worst = float(self.objective.values(mean, lib=np).min())
            spread = spread[np.argsort(-utility(self.objective, mean, sd, worst), kind="stable")]
        X = distinct(np.concatenate([found.X, self._likely[:N_BEST], spread]))[:N_REFERENCES]
        return Outlook.at(X, s.model, self.objective, p_success=s.p_success(X))

    def rivals(self) -> Array:
        """The likely best of the settings that were read."""
        return self._likely if len(self._s.evidence.of(self._s.evidence.target)) else self._likely[:0]

    def worth(self, X: Array) -> Array:
        """The utility: expected objective, less what may be infeasible."""
        mean, sd = moments(self._s.model, X)
        worst = float(self.objective.values(mean, lib=np).min()) - 1.0
        return utility(self.objective, mean, sd, worst, self._s.p_success(X))

    def feasibility(self, mean: Array, sd: Array) -> Array:
        """Of the outcome constraints."""
        return expected(self.objective, mean, sd)[1]

    @cached_property
    def _likely(self) -> Array:
        return likely_best(self._s.model, self._s.evidence, self.objective)
