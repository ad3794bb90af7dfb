"""The emulator: what the simulator would answer at any setting for each member, from the runs there are.

Within a run the regression answers for today's members; between runs kriging (R & W, chapter 2) with one
kernel a response and one set of weights for all members, so that all members' answers are one matrix product:
O'Hagan, Reliab. Eng. Syst. Saf. 2006, 91, 1290. A trend linear in the settings stands in the kernel.

Laws:
    * From given hyperparameters everything here is linear algebra: no fit, no chance.
    * At a simulated setting it returns what was simulated, within the regression's own error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from .kriging import LogNormal, as_tensor, cholesky, fit_map, log_likelihood, lower_solve, matern
from .regression import Outputs, outputs_of
from .scales import Scales, may_be_log

if TYPE_CHECKING:
    from ..space import Array
    from .evidence import Members
    from .unknown import Unknowns

CONSTANT = 1.0  # prior variance of the level, in standardised units
NUGGET = 1e-6
GROWTH = 1.15  # hyperparameters are learned anew when the runs have grown by this
MIN_FOR_LOG = 6  # runs before a logarithm is considered
MIN_GAIN = 2.0  # nats by which a logarithm must fit better, and the same to leave it again


@dataclass(frozen=True)
class Learned:
    """The emulator's learned numbers."""

    n_runs: int  # when they were learned
    n_linked: int  # when the links were chosen
    scales: Scales
    theta: tuple[tuple[float, ...], ...]  # (m, c + 2) logarithms: lengths, sd, slope

    def is_due(self, n_runs: int) -> bool:
        """Whether there are enough new runs to learn anew."""
        return n_runs > GROWTH * self.n_runs

    def still_fits(self, answers: Sequence[Array], readings: Array) -> bool:
        """Whether every logarithm taken still exists; answers and readings as for ``learn``."""
        return not (np.asarray(self.scales.is_log, dtype=bool) & ~may_be_log(answers, readings)).any()

    def dump(self) -> dict[str, Any]:
        """Plain data."""
        theta = [list(row) for row in self.theta]
        return {
            "n_runs": self.n_runs,
            "n_linked": self.n_linked,
            "scales": self.scales.dump(),
            "theta": theta,
        }

    @classmethod
    def load(cls, dump: dict[str, Any]) -> Learned:
        """The inverse of ``dump``."""
        theta = tuple(tuple(row) for row in dump["theta"])
        return cls(dump["n_runs"], dump["n_linked"], Scales.load(dump["scales"]), theta)


@dataclass(frozen=True, eq=False)
class Emulator:
    """Conditioned on n runs, for N members and m responses; or for one response, without the leading m."""

    X: Tensor  # (n, c) simulated settings
    theta: Tensor  # (m, c + 2)
    noise: Tensor  # (m, n) variance of the regression at each
    L: Tensor  # (m, n, n) factor of the runs' covariance
    W: Tensor  # (m, n, N) weights of the members

    @classmethod
    def condition(cls, X: Array, outputs: Outputs, theta: Sequence[Sequence[float]]) -> Emulator:
        """From runs at X (n, c)."""
        settings, hyper, noise = as_tensor(X), as_tensor(np.array(theta)), as_tensor(outputs.variance)
        L = cholesky(covariance(hyper, settings, settings) + torch.diag_embed(noise + NUGGET))
        return cls(settings, hyper, noise, L, torch.cholesky_solve(as_tensor(outputs.F), L))

    def with_pending(self, X: Array) -> Emulator:
        """As if runs at X (k, c) had come back with what is expected: only the variance changes."""
        if not len(X):
            return self
        settings = torch.cat([self.X, as_tensor(X)])
        usual = self.noise.mean(-1, keepdim=True).expand(*self.noise.shape[:-1], len(X))
        noise = torch.cat([self.noise, usual], -1)
        L = cholesky(covariance(self.theta, settings, settings) + torch.diag_embed(noise + NUGGET))
        W = torch.cat([self.W, self.W.new_zeros(*self.W.shape[:-2], len(X), self.W.shape[-1])], -2)
        return replace(self, X=settings, noise=noise, L=L, W=W)

    def response(self, k: int) -> Emulator:
        """Of the k-th response alone."""
        return Emulator(self.X, self.theta[k], self.noise[k], self.L[k], self.W[k])

    def kernel(self, A: Tensor, B: Tensor) -> Tensor:
        """Before any run, (m, a, b)."""
        return covariance(self.theta, A, B)

    def members(self, X: Tensor) -> Tensor:
        """Each one's answers at X (..., a, c): (..., a, N)."""
        return self.kernel(X, self.X) @ self.W

    def root(self, X: Tensor) -> Tensor:
        """Half of what the runs take off the kernel: given them it is less by the product of two; (..., n, a)."""
        return lower_solve(self.L, self.kernel(self.X, X))

    def own_variance(self, X: Tensor) -> Tensor:
        """The variance before any run, (..., a)."""
        sd, slope = self.theta[..., -2:-1].exp(), self.theta[..., -1:].exp()
        return CONSTANT + slope.square() * (X - 0.5).square().sum(-1) + sd.square()

    def variance(self, X: Tensor) -> Tensor:
        """Of the emulator's error at X (..., a, c), given the runs: (..., a)."""
        return (self.own_variance(X) - self.root(X).square().sum(-2)).clamp_min(0.0)

    def weights(self, X: Tensor) -> Tensor:
        """What makes of the outputs F of any members their answers at X: (m, a, n)."""
        return torch.cholesky_solve(self.kernel(self.X, X), self.L).mT


def covariance(theta: Tensor, A: Tensor, B: Tensor) -> Tensor:
    """Level, linear trend and a Matern process, in standardised units.

    Args:
        theta: (c + 2,) or (m, c + 2) logarithms: lengths, sd, slope.
        A: (..., a, c) settings.
        B: (..., b, c) others.
    """
    c = A.shape[-1]
    sd, slope = theta[..., c, None, None].exp(), theta[..., c + 1, None, None].exp()
    trend = (A - 0.5) @ (B - 0.5).mT
    return CONSTANT + slope.square() * trend + sd.square() * matern(A, B, theta[..., None, :c].exp())


def _prior(c: int) -> LogNormal:
    mean = [np.log(0.5 * np.sqrt(c))] * c + [np.log(0.7), np.log(0.7)]
    return LogNormal(np.array(mean), np.array([0.8] * c + [0.7, 0.7]))


def learn(
    X: Array, runs: Sequence[Members], Z: Array, readings: Array, *, unknowns: Unknowns, last: Learned | None
) -> Learned:
    """Hyperparameters from the members' mean answers, links from which scale they fit better.

    Args:
        X: (n, c) simulated settings.
        runs: what came of each.
        Z: (N, p) today's members.
        readings: (j, m) of the instrument; a logarithm must exist of them too.
        unknowns: their priors.
        last: what was learned before; the fit starts there.
    """
    answers = [run.Y for run in runs]
    m = answers[0].shape[1]
    linear, logs = np.zeros(m, dtype=bool), may_be_log(answers, readings)
    now = np.asarray(last.scales.is_log, dtype=bool) & logs if last else linear
    is_choosing = len(X) >= MIN_FOR_LOG and len(X) >= 2 * (last.n_linked if last else 0)
    links = [logs, linear] if is_choosing and logs.any() else [now]
    fits = [_fit(X, runs, Z, unknowns=unknowns, scales=Scales.of(answers, link), last=last) for link in links]
    chosen, theta = now, fits[0][0]
    if len(fits) > 1:
        margin = np.where(now, -MIN_GAIN, MIN_GAIN)
        chosen = logs & (fits[0][1] - fits[1][1] > margin)
        theta = np.where(chosen[:, None], fits[0][0], fits[1][0])
    n_linked = len(X) if is_choosing else (last.n_linked if last else 0)
    return Learned(len(X), n_linked, Scales.of(answers, chosen), tuple(tuple(map(float, row)) for row in theta))


def _fit(
    X: Array, runs: Sequence[Members], Z: Array, *, unknowns: Unknowns, scales: Scales, last: Learned | None
) -> tuple[Array, Array]:
    """Hyperparameters (m, c + 2), and the log likelihood (m,) of the mean answers in their own units."""
    outputs = outputs_of(runs, Z, unknowns=unknowns, scales=scales)
    means = outputs.F.mean(axis=-1)  # (m, n)
    settings, noise, y = as_tensor(X), as_tensor(outputs.variance), as_tensor(means[:, :, None])

    def log_lik(theta: Tensor) -> Tensor:
        C = covariance(theta, settings, settings) + torch.diag_embed(noise + NUGGET)
        return log_likelihood(C, y)

    prior = _prior(X.shape[1])
    start = np.tile(prior.mean, (len(means), 1))
    if last is not None:
        start = np.where((np.array(last.scales.is_log) == np.array(scales.is_log))[:, None], last.theta, start)
    theta = fit_map(log_lik, start, prior)
    answers = scales.backward(means.T)  # (n, m)
    jacobian = np.log(np.maximum(scales.slope(answers), np.finfo(float).tiny)).sum(axis=0)
    return theta, log_lik(as_tensor(theta)).numpy() - jacobian
