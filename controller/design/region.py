"""The strategy to map a region: what a reading is expected to take from the share of the space that is in doubt.

A setting is in doubt by the probability that it is called inside or outside wrongly; the reading that is expected to
shrink its mean over the space most is taken (stepwise uncertainty reduction: Bect, Ginsbourger, Li, Picheny & Vazquez
2012; Chevalier et al. 2014), which unlike the straddle of Gotovos et al. 2013 sees what a reading says of others.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from .candidates import distinct
from .initial import spread_settings
from .joint_margins import all_kept
from .one_step import best_by_gain
from .utility import moments, normal_draws

if TYPE_CHECKING:
    from ..space import Array
    from .searching import Found
    from .strategy import Situation

N_SPREAD = 512
N_REFERENCES = 128  # of them those most in doubt; the others add little
N_DRAWS = 16
CHUNK = 64
STEP = 1e-3  # of a standard deviation, for slopes


@dataclass(frozen=True)
class InDoubt:
    """The margins of the conditions at settings, >= 0 inside; linear in the responses about their means."""

    X: Array  # (r, c)
    sd: Array  # (r, m) of the responses
    margin: Array  # (r, k)
    slope: Array  # (r, k, m)
    n_spread: int  # settings of which these are the most doubtful
    doubt: float  # mean over the spread
    inside: float
    weight: Array  # (r,)

    @property
    def asked(self) -> Array:
        """All of them."""
        return self.X

    def gains(self, influence: Array) -> Array:
        """By how much the share of the space that is in doubt is expected to shrink."""
        Z = normal_draws(N_DRAWS, self.sd.shape[-1])  # (F, m): a response moves all of its conditions at once
        gains = np.zeros(len(influence))
        now = _doubt(self.margin, self.slope * self.sd[:, None]) @ self.weight
        for start in range(0, len(influence), CHUNK):
            moved = np.clip(influence[start : start + CHUNK], -self.sd, self.sd)  # (n, r, m)
            left = np.sqrt(np.maximum(self.sd**2 - moved**2, 0.0))
            margin = self.margin + np.einsum("rkm,nrm,fm->nfrk", self.slope, moved, Z, optimize=True)
            after = _doubt(margin, (self.slope * left[:, :, None])[:, None])  # (n, F, r)
            gains[start : start + CHUNK] = now - after.mean(axis=1) @ self.weight
        return np.nan_to_num(np.maximum(gains, 0.0)) / self.n_spread

    def figures(self) -> dict[str, float]:
        """The share of the space in doubt, and that which is believed inside."""
        return {"in_doubt": self.doubt, "inside": self.inside}


class Map:
    """See ``Strategy``."""

    measure = "log_doubt_taken"
    scale = 1.0

    def __init__(self, s: Situation) -> None:
        self._s = s

    def find(self) -> Found:
        """By what a reading takes from the doubt."""
        return best_by_gain(self._s, self._view, self._view.X[:5])

    def view(self, found: Found) -> InDoubt:
        """The same for all actions."""
        return self._view

    def rivals(self) -> Array:
        """None: repeats are weighed among all other settings."""
        return self._view.X[:0]

    @cached_property
    def _view(self) -> InDoubt:
        s = self._s
        X = distinct(spread_settings(s.space, N_SPREAD, start=0, seed=s.seed))
        mean, sd = moments(s.model, X)
        margin, slope = _linear(s, mean, sd)
        inside = all_kept(margin, slope * sd[:, None])
        doubt = np.minimum(inside, 1.0 - inside)
        p = s.p_success(X)
        weight = np.ones(len(X)) if p is None else p
        top = np.argsort(-doubt * weight, kind="stable")[:N_REFERENCES]
        share = float(doubt.mean()), float(inside.mean())
        return InDoubt(X[top], sd[top], margin[top], slope[top], len(X), *share, weight[top])


def inside_at(s: Situation, X: Array) -> Array:
    """(n,): the probability that the settings X (n, c) lie inside the region that the goal maps."""
    mean, sd = moments(s.model, X)
    margin, slope = _linear(s, mean, sd)
    return all_kept(margin, slope * sd[:, None])


def _linear(s: Situation, mean: Array, sd: Array) -> tuple[Array, Array]:
    """Margins (r, k) of the goal's conditions at the means (r, m), and their slopes (r, k, m)."""

    def margins(Y: Array) -> Array:
        values = {name: Y[..., j] for j, name in enumerate(s.names)}
        with np.errstate(all="ignore"):
            found = [c.margin(values, lib=np) + 0.0 * Y[..., 0] for c in s.goal.conditions]
        return np.asarray(np.nan_to_num(np.stack(found, axis=-1), nan=-1e9, posinf=1e9, neginf=-1e9))

    step = np.maximum(STEP * sd, 1e-12 * np.maximum(np.abs(mean), 1e-280))
    slopes = []
    for j in range(mean.shape[1]):
        up, down = mean.copy(), mean.copy()
        up[:, j] += step[:, j]
        down[:, j] -= step[:, j]
        slopes.append((margins(up) - margins(down)) / (2 * step[:, j, None]))
    return margins(mean), np.stack(slopes, axis=-1)


def _doubt(margin: Array, load: Array) -> Array:
    """Probability of calling a setting wrongly, (...)."""
    p = all_kept(margin, load)
    return np.asarray(np.minimum(p, 1.0 - p))
