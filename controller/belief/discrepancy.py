"""What the simulator lacks: a Gaussian process over the settings, learned from readings minus forecasts.

Kennedy and O'Hagan, J. R. Stat. Soc. B 2001, 63, 425. Its hyperparameters are maximal a posteriori, with
priors that expect a discrepancy of some 15 % of what the simulator varies, so that a few readings claim
little. The members carry what is not known of the unknowns, so the likelihood is averaged over them (the
M-step of Dempster, Laird and Rubin, J. R. Stat. Soc. B 1977, 39, 1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from .kriging import LogNormal, as_tensor, fit_map, log_likelihood, matern

if TYPE_CHECKING:
    from ..space import Array

Theta = tuple[tuple[float, ...], ...]

NUGGET = 1e-6


@dataclass(frozen=True)
class Expectation:
    """How large a discrepancy and a noise are expected, as shares of what the simulator varies."""

    sd: float = 0.15
    sd_log_sd: float = 0.5
    noise: float = 0.03
    noise_log_sd: float = 1.0

    def prior(self, c: int) -> LogNormal:
        """Of the logarithms of c lengths, the sd and the noise."""
        mean = [np.log(0.4 * np.sqrt(c))] * c + [np.log(self.sd), np.log(self.noise)]
        return LogNormal(np.array(mean), np.array([0.5] * c + [self.sd_log_sd, self.noise_log_sd]))

    def start(self, m: int, c: int) -> Theta:
        """Before any reading."""
        return (tuple(map(float, self.prior(c).mean)),) * m


# The assimilated simulator alone: what it lacks is taken for noise.
NONE = Expectation(sd=1e-4, sd_log_sd=0.01, noise=0.05)


def covariance(theta: Tensor, A: Tensor, B: Tensor) -> Tensor:
    """Of the discrepancy, in standardised units.

    Args:
        theta: (c + 2,) or (m, c + 2) logarithms: lengths, sd, noise.
        A: (..., a, c) settings.
        B: (..., b, c) others.
    """
    c = A.shape[-1]
    return theta[..., c, None, None].exp().square() * matern(A, B, theta[..., None, :c].exp())


def noise_variance(theta: Array, given: Array) -> Array:
    """(m, j): the reading's own variance where it has one, else what was learned."""
    learned = np.exp(2.0 * theta[:, -1:])
    return np.where(np.isnan(given), learned, given) + NUGGET


def learn(X: Array, residuals: Tensor, *, known: Tensor, given: Array, start: Theta, expect: Expectation) -> Theta:
    """The hyperparameters.

    Args:
        X: (j, c) achieved settings.
        residuals: (m, j, N) reading minus each member's answer.
        known: (m, j, j) covariance of the emulator's error.
        given: (m, j) variance of each reading's noise, NaN where it gave none.
        start: of the last fit.
        expect: the prior.
    """
    settings, own = as_tensor(X), as_tensor(given)

    def log_lik(theta: Tensor) -> Tensor:
        noise = torch.where(torch.isnan(own), (2.0 * theta[:, -1:]).exp(), own) + NUGGET
        C = known + covariance(theta, settings, settings) + torch.diag_embed(noise)
        return log_likelihood(C, residuals)

    return rows(fit_map(log_lik, np.array(start), expect.prior(X.shape[1])))


def rows(theta: Array) -> Theta:
    """As plain numbers."""
    return tuple(tuple(map(float, row)) for row in theta)
