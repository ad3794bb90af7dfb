"""The strategy to learn a response everywhere: what a reading takes from the variance, averaged over the space.

Seo, Wallat, Graepel & Obermayer 2000 (integrated variance; qNIPV in BoTorch). For Gaussians it has a closed form: a
reading takes influence² from the variance at each setting, whatever it says.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from .candidates import distinct
from .initial import spread_settings
from .one_step import best_by_gain
from .utility import moments

if TYPE_CHECKING:
    from ..space import Array
    from .searching import Found
    from .strategy import Situation

N_REFERENCES = 192


@dataclass(frozen=True)
class Unexplained:
    """The variance that is left at settings spread over the space, as a share of the readings' own."""

    X: Array  # (r, c)
    sd: Array  # (r, m)
    size: Array  # (m,) standard deviation of the readings
    weight: Array  # (r,) of sum 1: how much the setting counts

    @property
    def asked(self) -> Array:
        """All of them."""
        return self.X

    def gains(self, influence: Array) -> Array:
        """By how much the share shrinks."""
        taken = np.minimum((influence / self.size) ** 2, (self.sd / self.size) ** 2)
        return np.asarray(np.nan_to_num(np.einsum("nrm,r->n", taken, self.weight) / len(self.size)))

    def figures(self) -> dict[str, float]:
        """The share of the variance that is unexplained, 1 at most."""
        left = np.einsum("rm,r->m", (self.sd / self.size) ** 2, self.weight)
        return {"unexplained": float(np.minimum(left, 1.0).mean())}


class Learn:
    """See ``Strategy``."""

    measure = "log_variance_taken"
    scale = 1.0

    def __init__(self, s: Situation) -> None:
        self._s = s

    def find(self) -> Found:
        """By what a reading takes from the variance."""
        asked = self._s.evidence.of(self._s.evidence.target).X_set
        return best_by_gain(self._s, self._view, self._view.X[:0] if not len(asked) else distinct(asked)[-5:])

    def view(self, found: Found) -> Unexplained:
        """The same for all actions."""
        return self._view

    def rivals(self) -> Array:
        """None: repeats are weighed among all other settings."""
        return self._view.X[:0]

    @cached_property
    def _view(self) -> Unexplained:
        s = self._s
        X = distinct(spread_settings(s.space, N_REFERENCES, start=0, seed=s.seed))
        _, sd = moments(s.model, X)
        size = s.readings.std(axis=0)
        size = np.where(size > 0, size, np.maximum(sd.max(axis=0), 1e-300))
        p = s.p_success(X)
        weight = np.ones(len(X)) if p is None else np.maximum(p, 1e-9)
        return Unexplained(X, sd, size, weight / weight.sum())
