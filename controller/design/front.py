"""The strategy for a trade-off: expected hypervolume improvement, and the gain of the front that is recommended.

The volume that a front dominates is the mean, over directions, of the farthest point along each (Deng & Zhang 2019).
So a gain is that of the best recommendation, direction by direction, and one source is worth more than another by
what it changes of the front.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import gamma, pi
from typing import TYPE_CHECKING, Any

import numpy as np

from .candidates import distinct
from .initial import spread_settings
from .knowledge import CHUNK, MAX_GAIN
from .nehvi import FrontAcquisition
from .searching import search
from .trade_off import LIKELY, Front, TradeOff, layers
from .utility import moments, normal_draws

if TYPE_CHECKING:
    from ..space import Array
    from .searching import Found
    from .strategy import Situation

N_REFERENCES = 48
N_ASKED = 24  # of them settings that were asked for already
N_SPREAD = 256
N_FANTASIES = 32
N_DIRECTIONS = 32


class ForFront:
    """See ``Strategy``."""

    measure = "log_ehvi"

    def __init__(self, s: Situation) -> None:
        self._s = s
        self.goal = TradeOff.fit(s.goal, s.names, s.readings)
        self.scale = self.goal.scale

    def find(self) -> Found:
        """By log expected hypervolume improvement."""
        s = self._s
        seed = int(s.rng.integers(2**31))
        acquisition = FrontAcquisition(s.model, self.goal, self._front, s.pending, seed=seed, success=s.success)
        return search(
            acquisition,
            s.evidence,
            near=self._front.X[:8],
            avoid=s.avoid,
            seed=s.seed,
            rng=s.rng,
            is_constant=s.is_constant,
            method=s.method,
        )

    def view(self, found: Found) -> FrontView:
        """Settings that may be on the front: of the acquisition, asked for, and of a spread the foremost layers."""
        s, spread = self._s, self._spread
        if len(spread):
            mean, sd = moments(s.model, spread)
            likely = self.goal.feasibility(mean, sd) >= LIKELY
            usable = likely | (not likely.any())
            order: Any = layers(self.goal.values(mean, lib=np), usable, N_REFERENCES)
            spread = spread[order]
        X = distinct(np.concatenate([found.X, self._front.X[:N_ASKED], spread]))[:N_REFERENCES]
        mean, sd = moments(s.model, X)
        return FrontView(self.goal, X, mean, sd, self._front.corner, s.p_success(X))

    def rivals(self) -> Array:
        """The settings that were read and may be on the front."""
        return self._front.X if len(self._s.evidence.of(self._s.evidence.target)) else self._front.X[:0]

    @cached_property
    def _front(self) -> Front:
        return Front.of(self._s.model, self._s.evidence, self.goal, self._spread)

    @cached_property
    def _spread(self) -> Array:
        return spread_settings(self._s.space, N_SPREAD, start=0, seed=self._s.seed)


@dataclass(frozen=True)
class FrontView:
    """The target as believed at r settings, and the volume that they dominate."""

    goal: TradeOff
    X: Array  # (r, c)
    mean: Array  # (r, m)
    sd: Array  # (r, m)
    corner: Array  # (k,)
    p_success: Array | None = None  # (r,)

    @property
    def asked(self) -> Array:
        """All of them."""
        return self.X

    def gains(self, influence: Array) -> Array:
        """Growth of the expected volume, in the product of the objectives' units; see ``View``."""
        Z = normal_draws(N_FANTASIES, self.mean.shape[-1])
        gains = np.zeros(len(influence))
        for start in range(0, len(influence), CHUNK):
            moved = influence[start : start + CHUNK]
            sd = np.sqrt(np.maximum(self.sd**2 - moved**2, 0.0))
            mean = self.mean + moved[:, None] * Z[:, None, :]  # (a, F, r, m)
            U = self._reached(mean, np.broadcast_to(sd[:, None], mean.shape))  # (a, F, r, W)
            gained = U.max(axis=2).mean(axis=1) - U.mean(axis=1).max(axis=1)  # (a, W)
            gains[start : start + CHUNK] = gained.mean(axis=-1)
        return np.nan_to_num(self.goal.scale * np.maximum(gains, 0.0), nan=0.0, posinf=MAX_GAIN)

    def figures(self) -> dict[str, float]:
        """The volume that is believed to be dominated, in the product of the objectives' units."""
        volume = float(self._reached(self.mean, self.sd).max(axis=0).mean()) * self.goal.scale
        return {"expected_volume": volume} if np.isfinite(volume) else {}

    def _reached(self, mean: Array, sd: Array) -> Array:
        """Each setting's part of the volume along each direction, (..., r, W)."""
        above = np.maximum(self.goal.values(mean, lib=np) - self.corner, 0.0)
        k = above.shape[-1]
        far = np.full((*above.shape[:-1], N_DIRECTIONS), np.inf)
        for j, direction in enumerate(directions(k).T):
            far = np.minimum(far, above[..., j, None] / direction)
        part = pi ** (k / 2) / (2**k * gamma(k / 2 + 1)) * far**k
        weight = self.goal.feasibility(mean, sd) if self.goal.goal.constraints else 1.0
        weight = weight if self.p_success is None else weight * self.p_success
        return np.asarray(part * np.broadcast_to(weight, above.shape[:-1])[..., None])


@lru_cache(maxsize=8)
def directions(k: int) -> Array:
    """(N_DIRECTIONS, k): spread evenly over the positive part of the unit sphere, the same ever."""
    from scipy.stats import norm, qmc

    if k == 2:
        angle = (np.arange(N_DIRECTIONS) + 0.5) / N_DIRECTIONS * pi / 2
        return np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    u = qmc.Sobol(k, scramble=True, rng=0).random(N_DIRECTIONS)
    rows = np.abs(norm.ppf(np.clip(u, 1e-6, 1 - 1e-6)))
    rows = np.maximum(rows, 1e-6)
    found: Array = rows / np.linalg.norm(rows, axis=-1, keepdims=True)
    return found
