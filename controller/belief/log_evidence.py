"""The log marginal likelihood of all readings and its gradient in the hyperparameters, written out in NumPy.

Rasmussen & Williams 2006, eq. 5.9: dL = 1/2 tr((a a' - K^-1) dK), a = K^-1 (y - mean). Worked out by hand because a fit
asks for it some twenty times a decision: at 50 readings in six dimensions 0.15 ms, and 1.2 ms through autograd.
The covariance is that of ``multi_source_prior``, one response at a time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg.lapack import dpotrf, dpotri, dpotrs

from ..errors import BeliefError
from .multi_source_prior import JITTERS, Data

if TYPE_CHECKING:
    from ..space import Array

SQRT5 = math.sqrt(5.0)
LOG_2PI = math.log(2.0 * math.pi)


@dataclass(frozen=True, eq=False)
class Layout:
    """Where each hyperparameter of one response stands in a flat vector."""

    places: Mapping[str, slice]

    @classmethod
    def of(cls, widths: Mapping[str, int]) -> Layout:
        """From the width of each, in order."""
        places, start = {}, 0
        for name, width in widths.items():
            places[name] = slice(start, start + width)
            start += width
        return cls(places)

    @property
    def size(self) -> int:
        """Of the vector."""
        return int(max(place.stop for place in self.places.values()))


class LogEvidence:
    """L(theta) of one response, with its gradient; what does not depend on theta is worked out once."""

    def __init__(self, data: Data, response: int, layout: Layout) -> None:
        self._layout, self._rows = layout, data.rows
        self._y = data.Y[response].numpy()
        self._given = data.V[response].numpy()
        self._shared = _Distances(data.X.numpy(), data.groups)
        self._own = [_Distances(data.X[rows].numpy(), data.groups) for rows in data.rows[1:]]
        self._source = np.repeat(np.arange(len(data.rows)), [r.stop - r.start for r in data.rows])

    def __call__(self, theta: Array) -> tuple[float, Array]:
        """The log evidence and its gradient.

        Args:
            theta: (size,), as ``Layout`` has it; logarithms but for mean and rho.

        Raises:
            BeliefError: where the covariance cannot be factored.
        """
        part = {name: theta[place] for name, place in self._layout.places.items()}
        rho = np.concatenate([[1.0], part["rho"]])[self._source]  # (n,)
        signal = math.exp(part["signal"][0])
        matern, slope, weight = self._shared.matern(part["lengthscale"])
        S = signal * matern
        pairs = rho[:, None] * rho
        K = pairs * S
        noise = np.exp(part["noise"])[self._source]
        blocks = [self._bias(part, s) for s in range(len(self._own))]
        for (B, *_), offset, rows in zip(blocks, np.exp(part["offset"]), self._rows[1:], strict=True):
            K[rows, rows] += B + offset
        K[np.diag_indices_from(K)] += noise + self._given
        residual = self._y - part["mean"][0]
        value, a, inverse = _solved(K, residual)
        W = np.outer(a, a) - inverse
        gradient = np.empty_like(theta)
        place = self._layout.places
        gradient[place["mean"]] = a.sum()
        WS = W * S
        shared = WS * pairs
        gradient[place["signal"]] = 0.5 * shared.sum()
        gradient[place["lengthscale"]] = 0.5 * signal * self._shared.dot(W * pairs * slope) * weight
        by_row = (WS * rho).sum(axis=1)  # sum_j W_ij S_ij rho_j
        diagonal = np.diagonal(W) * noise
        gradient[place["noise"]] = [0.5 * diagonal[rows].sum() for rows in self._rows]
        for s, (B, slope_b, weight_b) in enumerate(blocks):
            rows = self._rows[1 + s]
            Ws = W[rows, rows]
            p = len(weight_b)
            gradient[place["rho"].start + s] = by_row[rows].sum()
            gradient[place["bias"].start + s] = 0.5 * (Ws * B).sum()
            gradient[place["offset"].start + s] = 0.5 * math.exp(part["offset"][s]) * Ws.sum()
            first = place["bias_lengthscale"].start + s * p
            size = math.exp(part["bias"][s])
            gradient[first : first + p] = 0.5 * size * self._own[s].dot(Ws * slope_b) * weight_b
        return value, gradient

    def _bias(self, part: Mapping[str, Array], s: int) -> tuple[Array, Array, Array]:
        """The process of source s + 1 beside the target's: covariance, slope and weights."""
        p = len(part["lengthscale"])
        matern, slope, weight = self._own[s].matern(part["bias_lengthscale"][s * p : (s + 1) * p])
        return math.exp(part["bias"][s]) * matern, slope, weight


@dataclass(frozen=True, eq=False)
class _Distances:
    """Squared distances of settings, one matrix a parameter."""

    X: Array  # (n, c)
    groups: tuple[int, ...]

    @cached_property
    def squares(self) -> Array:
        """(p, n * n)."""
        n = len(self.X)
        squares = np.zeros((max(self.groups) + 1, n, n))
        for k, group in enumerate(self.groups):
            column = self.X[:, k]
            squares[group] += np.square(column[:, None] - column)
        return squares.reshape(len(squares), -1)

    def matern(self, log_lengthscale: Array) -> tuple[Array, Array, Array]:
        """Matérn 5/2 correlations (n, n); -2 times their slope in the square; weights (p,)."""
        weight = np.exp(-2.0 * log_lengthscale)
        n = len(self.X)
        r = SQRT5 * np.sqrt((weight @ self.squares).reshape(n, n))
        decay = np.exp(-r)
        linear = (1.0 + r) * decay
        return linear + r * r * decay / 3.0, (5.0 / 3.0) * linear, weight

    def dot(self, M: Array) -> Array:
        """(p,): the sum of M times each matrix of squares."""
        product: Array = self.squares @ M.ravel()
        return product


def _solved(K: Array, residual: Array) -> tuple[float, Array, Array]:
    """The log density of residuals, K^-1 times them, and K^-1."""
    n = len(K)
    size = float(np.diagonal(K).mean())
    for jitter in JITTERS:
        L, info = dpotrf(K + jitter * size * np.eye(n) if jitter else K, lower=1, clean=0)
        if info == 0 and np.isfinite(size):
            break
    else:
        raise BeliefError(f"the covariance of {n} readings cannot be factored; check the units and scales")
    a, _ = dpotrs(L, residual, lower=1)
    value = -0.5 * float(residual @ a) - float(np.log(np.diagonal(L)).sum()) - 0.5 * n * LOG_2PI
    inverse, _ = dpotri(L, lower=1)
    inverse = np.tril(inverse)
    inverse += np.tril(inverse, -1).T
    return value, a, inverse
