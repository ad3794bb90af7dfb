"""What a person likes, learned from answers "this one rather than that": a Gaussian process behind a probit.

Chu & Ghahramani 2005. Laplace's approximation, with the length scale of the highest evidence of a few; an answer too
many or two that contradict each other do no harm. Items are rows of responses, standardised.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.special import log_ndtr, ndtr

if TYPE_CHECKING:
    from ..space import Array

NOISE = 0.2  # of a judgement, in standard deviations of what is liked over all items
LENGTHS = (0.7, 1.4, 2.8, 5.6)  # in standard deviations of the responses, times the root of their number
N_NEWTON = 30
NUGGET = 1e-6


@dataclass(frozen=True)
class Liking:
    """The posterior of how much rows of responses are liked."""

    center: Array  # (m,)
    size: Array  # (m,)
    length: float
    Z: Array  # (n, m) the items that were compared, standardised
    weight: Array  # (n,) so that the mean is k(., Z) weight
    inner: Array  # (n, n) so that the covariance is k - k(., Z) inner k(Z, .)

    @classmethod
    def learn(cls, Y: Array, answers: Array) -> Liking:
        """From items Y (n, m) and answers (k, 2): places of the better and of the worse one, k >= 1."""
        center, size = Y.mean(axis=0), Y.std(axis=0)
        size = np.where(size > 0, size, 1.0)
        used, places = np.unique(answers, return_inverse=True)
        Z = (Y[used] - center) / size
        pairs = np.zeros((len(answers), len(used)))
        places = places.reshape(answers.shape)
        pairs[np.arange(len(answers)), places[:, 0]] = 1.0
        pairs[np.arange(len(answers)), places[:, 1]] -= 1.0
        fits = [_laplace(_kernel(Z, Z, length * np.sqrt(Z.shape[1])), pairs) for length in LENGTHS]
        best = int(np.argmax([fit[0] for fit in fits]))
        _, weight, inner = fits[best]
        return cls(center, size, LENGTHS[best] * float(np.sqrt(Z.shape[1])), Z, weight, inner)

    def mean(self, Y: Any) -> Any:
        """How much rows of responses (..., m) are liked, (...), in NumPy or torch."""
        if isinstance(Y, torch.Tensor):
            U = (Y - torch.as_tensor(self.center)) / torch.as_tensor(self.size)
            far = (U.unsqueeze(-2) - torch.as_tensor(self.Z)).square().sum(-1)
            return (-0.5 * far / self.length**2).exp() @ torch.as_tensor(self.weight)
        return _kernel((Y - self.center) / self.size, self.Z, self.length) @ self.weight

    def covariance(self, Y: Array) -> Array:
        """Of how much the rows Y (n, m) are liked, (n, n)."""
        U = (Y - self.center) / self.size
        k = _kernel(U, self.Z, self.length)
        return np.asarray(_kernel(U, U, self.length) - k @ self.inner @ k.T)


def _kernel(A: Array, B: Array, length: float) -> Array:
    far = ((A[..., None, :] - B) ** 2).sum(axis=-1)
    return np.asarray(np.exp(-0.5 * far / length**2))


def _laplace(K: Array, pairs: Array) -> tuple[float, Array, Array]:
    """Evidence, weights and inner matrix at the mode of what is liked, for pairs (k, n) of +1 and -1."""
    n, unit = len(K), np.sqrt(2.0) * NOISE
    K = K + NUGGET * np.eye(n)
    f: Array = np.zeros(n)
    for _ in range(N_NEWTON):
        g, W = _slopes(f, pairs, unit)
        f = np.asarray(np.linalg.solve(np.eye(n) + K @ W, K @ (W @ f + g)), dtype=float)
    g, W = _slopes(f, pairs, unit)
    _, logdet = np.linalg.slogdet(np.eye(n) + K @ W)
    evidence = float(log_ndtr(pairs @ f / unit).sum() - 0.5 * f @ g - 0.5 * logdet)
    return evidence, g, np.asarray(np.linalg.solve(np.eye(n) + W @ K, W), dtype=float)


def _slopes(f: Array, pairs: Array, unit: float) -> tuple[Array, Array]:
    """Gradient (n,) and negative Hessian (n, n) of the answers' log likelihood."""
    z = pairs @ f / unit
    ratio = np.exp(-0.5 * z**2 - 0.5 * np.log(2 * np.pi) - log_ndtr(z))
    curve = ratio * (z + ratio) / unit**2
    return pairs.T @ ratio / unit, pairs.T @ (curve[:, None] * pairs)


def question(Y: Array, answers: Array) -> tuple[int, int] | None:
    """Places of the two items whose comparison is expected to lead to the best one; None where all were compared.

    EUBO: the expected liking of the better of the two (Lin, Astudillo, Frazier & Bakshy 2022). Before the first answer
    the two that differ most.
    """
    n = len(Y)
    a, b = np.triu_indices(n, 1)
    asked = {frozenset(pair) for pair in answers.tolist()}
    free = np.array([frozenset((i, j)) not in asked for i, j in zip(a.tolist(), b.tolist(), strict=True)], dtype=bool)
    a, b = a[free], b[free]
    if not len(a):
        return None
    if not len(answers):
        size = np.where(Y.std(axis=0) > 0, Y.std(axis=0), 1.0)
        worth = (((Y[a] - Y[b]) / size) ** 2).sum(axis=1)
    else:
        liking = Liking.learn(Y, answers)
        mean, S = liking.mean(Y), liking.covariance(Y)
        sd = np.sqrt(np.maximum(S[a, a] + S[b, b] - 2 * S[a, b], 1e-12))
        z = (mean[a] - mean[b]) / sd
        worth = mean[a] * ndtr(z) + mean[b] * ndtr(-z) + sd * np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)
    best = int(worth.argmax())
    return int(a[best]), int(b[best])
