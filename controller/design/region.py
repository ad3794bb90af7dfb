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
from scipy.special import ndtr

from .candidates import distinct
from .initial import spread_settings
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
        Z = normal_draws(N_DRAWS, self.margin.shape[-1])  # (F, k)
        gains = np.zeros(len(influence))
        now = _doubt(self.margin, self._sd(self.sd)) @ self.weight
        for start in range(0, len(influence), CHUNK):
            moved = influence[start : start + CHUNK]
            move = self._sd(np.minimum(np.abs(moved), self.sd))  # (n, r, k)
            left = self._sd(np.sqrt(np.maximum(self.sd**2 - moved**2, 0.0)))
            after = _doubt(self.margin + move[:, None] * Z[:, None, :], left[:, None])  # (n, F, r)
            gains[start : start + CHUNK] = now - after.mean(axis=1) @ self.weight
        return np.nan_to_num(np.maximum(gains, 0.0)) / self.n_spread

    def figures(self) -> dict[str, float]:
        """The share of the space in doubt, and that which is believed inside."""
        return {"in_doubt": self.doubt, "inside": self.inside}

    def _sd(self, sd: Array) -> Array:
        """(..., r, k) of the margins, for that of the responses (..., r, m)."""
        found: Array = np.sqrt(np.einsum("rkm,...rm->...rk", self.slope**2, sd**2))
        return found


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
        everywhere = InDoubt(X, sd, margin, slope, len(X), 0.0, 0.0, np.ones(len(X)))
        margin_sd = everywhere._sd(sd)  # noqa: SLF001 - our own
        doubt, inside = _doubt(margin, margin_sd), _inside(margin, margin_sd)
        p = s.p_success(X)
        weight = np.ones(len(X)) if p is None else p
        top = np.argsort(-doubt * weight, kind="stable")[:N_REFERENCES]
        share = float(doubt.mean()), float(inside.mean())
        return InDoubt(X[top], sd[top], margin[top], slope[top], len(X), *share, weight[top])


def inside_at(s: Situation, X: Array) -> Array:
    """(n,): the probability that the settings X (n, c) lie inside the region that the goal maps."""
    mean, sd = moments(s.model, X)
    margin, slope = _linear(s, mean, sd)
    return _inside(margin, np.sqrt(np.einsum("rkm,rm->rk", slope**2, sd**2)))


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


def _inside(margin: Array, sd: Array) -> Array:
    """Probability that all conditions hold, (...)."""
    z = margin / np.maximum(sd, 1e-12 * np.maximum(np.abs(margin), 1e-280))
    return np.asarray(np.prod(ndtr(z), axis=-1))


def _doubt(margin: Array, sd: Array) -> Array:
    """Probability of calling a setting wrongly, (...)."""
    p = _inside(margin, sd)
    return np.asarray(np.minimum(p, 1.0 - p))
