"""How probable it is that a trial succeeds at all, learned from where a source answered and where it failed.

Unknown constraints: Gelbart, Snoek & Adams 2014. Hidden ones: Lee, Gramacy, Linkletter & Gray 2011. A Gaussian process
with a probit, by Laplace's approximation (Rasmussen & Williams 2006, algorithms 3.1 and 3.2), averaged over a few
hypotheses of what failure depends on: all parameters alike, more or less smoothly, or one of them alone.

Laws:
    * Without a failure there is no such model, and nothing that was decided without it changes.
    * Far from all trials the probability is that of the prior, ``P0``: one failure does not condemn the rest.
    * Same settings, same probabilities, bit for bit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from . import one_thread  # noqa: F401 - before any tensor is worked on
from .multi_source_prior import factor, matern
from .standardised import groups
from .subset import newest_and_spread

if TYPE_CHECKING:
    from ..space import Array
    from .evidence import Evidence

P0 = 0.8  # of success where nothing is known
VARIANCE = 4.0  # of the latent process: from P = 0.05 to 0.999 within one standard deviation
LENGTHS = (0.15, 0.4, 1.0)  # of the cube, times the root of the number of parameters
ALONE, REST = 0.3, 5.0  # lengthscales where one parameter alone decides
MAX_KEPT = 100  # settings in the model; its cost grows with their cube
MAX_NEWTON = 12
CONVERGED = 1e-6
NEGLIGIBLE = 1e-3  # weight of a hypothesis that is not carried on


@dataclass(frozen=True, eq=False)
class Success:
    """The hypotheses (h) that the outcomes at n settings leave, with their weights."""

    X: Tensor  # (n, c)
    groups: tuple[int, ...]
    log_lengths: Tensor  # (h, p)
    log_weights: Tensor  # (h,)
    slope: Tensor  # (h, n) of the log likelihood in the latent values
    root: Tensor  # (h, n) W^1/2: of minus the second derivative of the log likelihood
    L: Tensor  # (h, n, n) factor of I + W^1/2 K W^1/2

    @classmethod
    def of(cls, evidence: Evidence, source: str) -> Success | None:
        """Of a source; None where it never failed."""
        failed = evidence.infeasible_at(source)
        if not len(failed):
            return None
        answered = evidence.of(source).X_set
        failed = failed[newest_and_spread(failed, MAX_KEPT // 2)]
        answered = answered[newest_and_spread(answered, MAX_KEPT - len(failed))]
        outcome = torch.cat([torch.ones(len(answered)), -torch.ones(len(failed))]).double()
        return cls._fit(torch.tensor(np.concatenate([answered, failed])), outcome, groups(evidence.space))

    @classmethod
    def _fit(cls, X: Tensor, outcome: Tensor, columns: tuple[int, ...]) -> Success:
        log_lengths = _hypotheses(max(columns) + 1)
        with torch.no_grad():
            mode = _mode(VARIANCE * matern(X, X, log_lengths, columns), outcome)
        weights = torch.log_softmax(mode.log_evidence, dim=0)
        kept = weights > math.log(NEGLIGIBLE)
        weights = torch.log_softmax(weights[kept], dim=0)
        return cls(X, columns, log_lengths[kept], weights, mode.slope[kept], mode.root[kept], mode.L[kept])

    def log_probability(self, X: Tensor) -> Tensor:
        """Of success at rows X (n, c), differentiable; (n,)."""
        K = VARIANCE * matern(X, self.X, self.log_lengths, self.groups)  # (h, N, n)
        mean = _prior_mean() + (K @ self.slope.unsqueeze(-1)).squeeze(-1)
        explained = torch.linalg.solve_triangular(self.L, self.root.unsqueeze(-1) * K.mT, upper=False)
        variance = (VARIANCE - explained.square().sum(-2)).clamp_min(0.0)
        log_p = torch.special.log_ndtr(mean / torch.sqrt(1.0 + variance))
        value: Tensor = torch.logsumexp(self.log_weights[:, None] + log_p, dim=0)
        return value

    def log_probability_and_gradient(self, X: Array) -> tuple[Array, Array]:
        """Of success at rows X (n, c): (n,) and (n, c)."""
        rows = torch.tensor(X, requires_grad=True)
        value = self.log_probability(rows)
        (gradient,) = torch.autograd.grad(value.sum(), rows)
        return value.detach().numpy(), gradient.numpy()

    def probability(self, X: Array) -> Array:
        """Of success at rows X (n, c); (n,)."""
        if not len(X):
            return np.empty(0)
        with torch.no_grad():
            p: Array = self.log_probability(torch.tensor(X)).exp().numpy()
        return p


@dataclass(frozen=True, eq=False)
class _Mode:
    """Laplace's approximation at the mode of the latent values."""

    slope: Tensor  # (h, n)
    root: Tensor  # (h, n)
    L: Tensor  # (h, n, n)
    log_evidence: Tensor  # (h,)


def _mode(K: Tensor, outcome: Tensor) -> _Mode:
    """By Newton's method from the prior's mean on.

    Args:
        K: (h, n, n) of the latent process under each hypothesis.
        outcome: (n,) 1 where a trial succeeded, -1 where it failed.
    """
    mean, eye = _prior_mean(), torch.eye(len(outcome), dtype=K.dtype)
    f = torch.full(K.shape[:-1], mean, dtype=K.dtype)
    for _ in range(MAX_NEWTON):
        slope, W = _slope_and_curvature(f, outcome)
        root = W.sqrt()
        L = factor(eye + root.unsqueeze(-1) * K * root.unsqueeze(-2))
        b = W * (f - mean) + slope
        inner = torch.cholesky_solve((root * _times(K, b)).unsqueeze(-1), L).squeeze(-1)
        a = b - root * inner
        last, f = f, mean + _times(K, a)
        if float((f - last).abs().max()) < CONVERGED:
            break
    slope, W = _slope_and_curvature(f, outcome)
    root = W.sqrt()
    L = factor(eye + root.unsqueeze(-1) * K * root.unsqueeze(-2))
    log_det = L.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    evidence = -0.5 * (a * (f - mean)).sum(-1) + torch.special.log_ndtr(outcome * f).sum(-1) - log_det
    return _Mode(slope, root, L, evidence)


def _slope_and_curvature(f: Tensor, outcome: Tensor) -> tuple[Tensor, Tensor]:
    """Of log ndtr(outcome f): its derivative, and minus its second one (Rasmussen & Williams, eq. 3.16)."""
    ratio = torch.exp(-0.5 * f * f - 0.5 * math.log(2.0 * math.pi) - torch.special.log_ndtr(outcome * f))
    return outcome * ratio, (ratio * (ratio + outcome * f)).clamp_min(1e-12)


def _times(K: Tensor, a: Tensor) -> Tensor:
    product: Tensor = (K @ a.unsqueeze(-1)).squeeze(-1)
    return product


def _hypotheses(p: int) -> Tensor:
    """(h, p) logarithms of lengthscales."""
    alike = [[length * math.sqrt(p)] * p for length in LENGTHS]
    alone = [[ALONE if k == j else REST for k in range(p)] for j in range(p)] if p > 1 else []
    return torch.tensor(alike + alone, dtype=torch.float64).log()


def _prior_mean() -> float:
    return NormalDist().inv_cdf(P0) * math.sqrt(1.0 + VARIANCE)
