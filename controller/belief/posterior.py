"""The target's posterior with its gradient in the setting, in NumPy: what a search over settings asks for many times.

It is that of ``MultiSourceGP``, written out once more without autograd; at 50 readings in six dimensions a batch of
eight settings takes 0.1 ms. It can be made to know the response at some settings, as of a sample of what is pending.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.linalg.lapack import dtrtri

from .multi_source_prior import factor

if TYPE_CHECKING:
    from ..space import Array
    from .multi_source import MultiSourceGP

SQRT5 = math.sqrt(5.0)
JITTER = 1e-8  # of a known response, relative to the process: two equal settings must not make it singular
SMALLEST = 1e-12  # of a variance, relative to the process


@dataclass(frozen=True, eq=False)
class Moments:
    """Of one response at N settings under k hypotheses of what is known: standardised, with gradients."""

    mean: Array  # (N, k)
    sd: Array  # (N,)
    d_mean: Array  # (N, k, c); empty where no gradient was asked for
    d_sd: Array  # (N, c)


@dataclass(frozen=True, eq=False)
class ResponsePosterior:
    """One response of the target, noise-free and standardised: prior mean, process and what is known of it."""

    X: Array  # (n, c) settings that were read, or are supposed to be known
    weight: Array  # (c,) 1 / lengthscale of each column
    signal: float
    rho: Array  # (n,) share of the target's process in each row
    prior_mean: float
    alpha: Array  # (n, k) K^-1 (y - mean), one column a hypothesis
    root: Array  # (n, n) the inverse of the Cholesky factor of K

    def at(self, X: Array, *, gradient: bool = True) -> Moments:
        """Mean and standard deviation at achieved settings X (N, c)."""
        A, B = (X - 0.5) * self.weight, (self.X - 0.5) * self.weight
        squares = (A * A).sum(1)[:, None] + (B * B).sum(1) - 2.0 * A @ B.T
        r = SQRT5 * np.sqrt(np.maximum(squares, 0.0))
        decay = np.exp(-r) * (self.signal * self.rho)
        linear = (1.0 + r) * decay
        K = linear + r * r * decay / 3.0  # (N, n)
        mean = self.prior_mean + K @ self.alpha
        V = K @ self.root.T  # (N, n)
        variance = np.maximum(self.signal - (V * V).sum(1), SMALLEST * self.signal)
        sd = np.sqrt(variance)
        if not gradient:
            return Moments(mean, sd, np.empty(0), np.empty(0))
        slope = (-5.0 / 3.0) * linear  # of K in half the squared distance
        d_mean = np.stack([self._gradient(slope * a, A, B) for a in self.alpha.T], axis=1)
        d_variance = -2.0 * self._gradient(slope * (V @ self.root), A, B)
        return Moments(mean, sd, d_mean, d_variance / (2.0 * sd[:, None]))

    def _gradient(self, G: Array, A: Array, B: Array) -> Array:
        """sum_n G_Nn (x_N - x_n) / l^2, (N, c)."""
        gradient: Array = (G.sum(1)[:, None] * A - G @ B) * self.weight
        return gradient

    def covariance(self, X: Array) -> Array:
        """(b, b) at achieved settings X."""
        A, B = (X - 0.5) * self.weight, (self.X - 0.5) * self.weight
        V = _matern(A, B) * (self.signal * self.rho) @ self.root.T
        covariance: Array = self.signal * _matern(A, A) - V @ V.T
        return covariance

    def knowing(self, X: Array, draws: Array) -> ResponsePosterior:
        """The same, each of k samples of the response at X (b, c) taken as known in turn.

        Args:
            X: achieved settings.
            draws: (k, b) standard normal numbers.
        """
        C = self.covariance(X) + JITTER * self.signal * np.eye(len(X))
        L = _factored(C)
        moments = self.at(X, gradient=False)
        samples = moments.mean[:, :1] + L @ draws.T  # (b, k)
        return self._extended(X, samples, L)

    def knowing_mean(self, X: Array) -> ResponsePosterior:
        """The same, the mean at X (b, c) taken as known."""
        return self.knowing(X, np.zeros((1, len(X))))

    def _extended(self, X: Array, samples: Array, L: Array) -> ResponsePosterior:
        """With rows for what is known: the factor of the larger matrix is [[L_K, 0], [V, L]]."""
        A, B = (X - 0.5) * self.weight, (self.X - 0.5) * self.weight
        n, b = len(self.X), len(X)
        V = _matern(A, B) * (self.signal * self.rho) @ self.root.T  # (b, n)
        inverse = _inverse(L)
        root = np.zeros((n + b, n + b))
        root[:n, :n] = self.root
        root[n:, :n] = -inverse @ V @ self.root
        root[n:, n:] = inverse
        mean = self.at(X, gradient=False).mean[:, :1]
        beta = inverse.T @ (inverse @ (samples - mean))  # (b, k)
        alpha = np.concatenate([self.alpha[:, :1] - self.root.T @ (V.T @ beta), beta])
        rho = np.concatenate([self.rho, np.ones(b)])
        return ResponsePosterior(
            np.concatenate([self.X, X]), self.weight, self.signal, rho, self.prior_mean, alpha, root
        )


@dataclass(frozen=True, eq=False)
class TargetPosterior:
    """All responses of the target at requested settings."""

    responses: tuple[ResponsePosterior, ...]
    center: Array  # (m,)
    scale: Array  # (m,)
    noise: Array  # (m,) standard deviation of a reading, standardised
    achieved: Callable[[Any], Any]
    turn: Array  # (c, c) or empty: gradient in the requested setting = gradient in the achieved one @ turn

    @classmethod
    def of(cls, gp: MultiSourceGP) -> TargetPosterior:
        """The same posterior as ``gp``'s."""
        theta = {name: values.numpy() for name, values in gp.theta.items()}
        X, L = gp.data.X.numpy(), gp.factor.numpy()
        groups = np.array(gp.data.groups)
        rho, alpha = gp.rho_of_rows.numpy(), gp.alpha.numpy()
        responses = tuple(
            ResponsePosterior(
                X,
                np.exp(-theta["lengthscale"][j])[groups],
                float(np.exp(theta["signal"][j, 0])),
                rho[j],
                float(theta["mean"][j, 0]),
                alpha[j],
                _inverse(L[j]),
            )
            for j in range(gp.num_outputs)
        )
        noise = np.sqrt(gp.noise(0).numpy()[:, 0])
        return cls(responses, gp.center.numpy(), gp.scale.numpy(), noise, gp.achieved, _turn(gp.achieved, X.shape[1]))

    def at(self, j: int, X: Array, posterior: ResponsePosterior, *, gradient: bool = True) -> Moments:
        """Response j in its own units at requested settings X (N, c), by a posterior that may know more."""
        found = posterior.at(self.achieved(X), gradient=gradient)
        mean, sd = self.center[j] + self.scale[j] * found.mean, self.scale[j] * found.sd
        if not gradient:
            return Moments(mean, sd, found.d_mean, found.d_sd)
        d_mean, d_sd = self.scale[j] * found.d_mean, self.scale[j] * found.d_sd
        if self.turn.size:
            d_mean, d_sd = d_mean @ self.turn, d_sd @ self.turn
        return Moments(mean, sd, d_mean, d_sd)


def _matern(A: Array, B: Array) -> Array:
    squares = (A * A).sum(1)[:, None] + (B * B).sum(1) - 2.0 * A @ B.T
    r = SQRT5 * np.sqrt(np.maximum(squares, 0.0))
    correlation: Array = (1.0 + r + r * r / 3.0) * np.exp(-r)
    return correlation


def _factored(C: Array) -> Array:
    return factor(torch.tensor(C)).numpy()


def _inverse(L: Array) -> Array:
    inverse, _ = dtrtri(L, lower=1)
    return np.tril(inverse)


def _turn(achieved: Callable[[Any], Any], c: int) -> Array:
    """The Jacobian of the achieved in the requested setting, which is linear; empty where they are the same."""
    origin = achieved(np.zeros((1, c)))[0]
    J = achieved(np.eye(c)) - origin
    turn: Array = J.T
    return np.empty(0) if np.array_equal(J, np.eye(c)) and not origin.any() else turn
