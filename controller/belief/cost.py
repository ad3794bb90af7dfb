"""What a trial really costs, learned from what sources reported: the logarithm of a cost over setting and order.

A Gaussian process whose covariance adds a constant, a trend and a smooth part over the setting, and the same over the
order of the trials, for costs drift. Which parts there are, and how noisy a cost is, is what predicts each reported
cost best from all others (leave one out, in closed form: Rasmussen & Williams 2006, section 5.4.2).

Laws:
    * Same costs, same model, bit for bit; nothing here draws random numbers.
    * An expected cost stays within ``BEYOND`` times what was ever reported.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..space import Array

MIN_COSTS = 5  # reported ones, before they count for more than what is declared
N_COSTS = 50  # the newest are learned from: older ones say little of a cost that drifts
BEYOND = 3.0
NEGLIGIBLE = 1e-3  # of the largest cost: a smaller one has a logarithm that says too much
CONSTANT = 4.0  # variances, of standardised logarithms
LINEAR, QUADRATIC, SMOOTH = 2.0, 1.0, 1.0
TREND, WANDERING = 1.0, 0.5
NOISES = (1e-5, 1e-3, 1e-2, 0.1, 0.5)
LENGTHSCALES = (0.3, 0.6, 1.2)  # of a smooth part, for one column; in c columns by root c longer


class Shape(NamedTuple):
    """The parts of a covariance."""

    over_setting: str  # none, linear, quadratic, smooth
    lengthscale: float
    over_order: str  # none, trend, wandering
    noise: float


@dataclass(frozen=True)
class CostModel:
    """The cost of one source in one resource."""

    shape: Shape
    X: Array  # (n, c) in the unit cube
    order: Array  # (n,) of the trials of the source, 0 the first
    alpha: Array  # (n,) K^-1 of the standardised logarithms
    center: float
    scale: float
    low: float  # bounds of what is expected
    high: float

    @classmethod
    def learn(cls, X: Array, order: Array, costs: Array) -> CostModel:
        """From reported costs, at least two.

        Args:
            X: (n, c) settings asked for.
            order: (n,) places of the trials among all of the source.
            costs: (n,) not negative.
        """
        X, order, costs = X[-N_COSTS:], order[-N_COSTS:].astype(float), costs[-N_COSTS:]
        top = float(costs.max())
        if top <= 0.0:
            return cls(Shape("none", 1.0, "none", 1.0), X, order, np.zeros(len(X)), 0.0, 1.0, 0.0, 0.0)
        y = np.log(np.maximum(costs, NEGLIGIBLE * top))
        center, scale = float(y.mean()), float(y.std()) or 1.0
        z = (y - center) / scale
        best = max(_shapes(X.shape[1]), key=lambda shape: _predictive(shape, X, order, z))
        inverse = _inverse(best, X, order)
        alpha = np.zeros(len(X)) if inverse is None else inverse @ z
        return cls(best, X, order, alpha, center, scale, float(costs.min()) / BEYOND, top * BEYOND)

    def at(self, X: Array, order: int) -> Array:
        """The cost that half of the trials stay below, at settings X (k, c) of the trial number ``order``: (k,)."""
        K = _covariance(self.shape, X, np.full(len(X), float(order)), self.X, self.order)
        with np.errstate(over="ignore"):
            expected = np.exp(self.center + self.scale * (K @ self.alpha))
        bounded: Array = np.clip(expected, self.low, self.high)
        return bounded


def _shapes(n_columns: int) -> Iterator[Shape]:
    """From the plainest on: of two that predict as well the first is taken."""
    far = math.sqrt(max(n_columns, 1))
    settings = [("none", 1.0), ("linear", 1.0), ("quadratic", 1.0), *(("smooth", far * ls) for ls in LENGTHSCALES)]
    for (kind, ls), over_order, noise in itertools.product(settings, ("none", "trend", "wandering"), NOISES):
        yield Shape(kind, ls, over_order, noise)


def _predictive(shape: Shape, X: Array, order: Array, z: Array) -> float:
    """The mean log density of each cost given all others, at the size of the covariance that suits them best."""
    inverse = _inverse(shape, X, order)
    if inverse is None:
        return -math.inf
    precision = inverse.diagonal()
    errors = (inverse @ z) / precision
    size = float((errors**2 * precision).mean())
    return float(0.5 * np.log(precision).mean() - 0.5 * math.log(max(size, 1e-12)))


def _inverse(shape: Shape, X: Array, order: Array) -> Array | None:
    K = _covariance(shape, X, order, X, order) + shape.noise * np.eye(len(X))
    try:
        root = np.linalg.inv(np.linalg.cholesky(K))
    except np.linalg.LinAlgError:
        return None
    inverse: Array = root.T @ root
    return inverse


def _covariance(shape: Shape, A: Array, a: Array, B: Array, b: Array) -> Array:
    """(n, k) of settings A (n, c) at orders a (n,) with B (k, c) at b (k,)."""
    K = np.full((len(A), len(B)), CONSTANT)
    product = (A - 0.5) @ (B - 0.5).T
    if shape.over_setting != "none":
        K += LINEAR * 4.0 * product
    if shape.over_setting == "quadratic":
        K += QUADRATIC * 16.0 * product**2
    if shape.over_setting == "smooth":
        squares = ((A[:, None] - B[None]) ** 2).sum(-1)
        K += SMOOTH * np.exp(-0.5 * squares / shape.lengthscale**2)
    if shape.over_order != "none":
        last = max(float(b.max(initial=0.0)), 1.0)  # B are the learned ones
        s, t = a / last - 0.5, b / last - 0.5
        K += TREND * 4.0 * np.outer(s, t)
        if shape.over_order == "wandering":
            K += WANDERING * np.exp(-0.5 * ((s[:, None] - t[None]) / 0.3) ** 2)
    return K
