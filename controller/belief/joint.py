"""The target's responses as one Gaussian: members, emulator's error and discrepancy, given all readings.

A member that answers H(x) makes the readings y = H(X) + g(X) + noise, with g the emulator's error and the
discrepancy together. Given the member, g is a Gaussian process conditioned on that member's own residuals:
so every member passes near the readings, and their spread is what the readings leave open.

All in standardised units and achieved settings.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from . import discrepancy
from .emulator import Emulator
from .kriging import cholesky, lower_solve


@dataclass(frozen=True, eq=False)
class Joint:
    """Of m responses and N members, given j readings; or of one response, without the leading m."""

    emulator: Emulator
    theta: Tensor  # (m, c + 2) of the discrepancy
    X: Tensor  # (j, c) achieved settings of the readings
    noise: Tensor  # (m, j) variance of each
    known_root: Tensor  # (m, n, j) the emulator's root there
    L: Tensor  # (m, j, j) factor of the covariance of g + noise
    W: Tensor  # (m, j, N) weights of each member's residuals

    @classmethod
    def condition(cls, emulator: Emulator, theta: Tensor, X: Tensor, y: Tensor, noise: Tensor) -> Joint:
        """On readings y (m, j) at X (j, c)."""
        root = emulator.root(X)
        K = emulator.kernel(X, X) - root.mT @ root + discrepancy.covariance(theta, X, X)
        L = cholesky(K + torch.diag_embed(noise)) if len(X) else K
        residuals = y.unsqueeze(-1) - emulator.members(X)
        W = torch.cholesky_solve(residuals, L) if len(X) else residuals
        return cls(emulator, theta, X, noise, root, L, W)

    def response(self, k: int) -> Joint:
        """Of the k-th response alone."""
        rest = (a[k] for a in (self.noise, self.known_root, self.L, self.W))
        return Joint(self.emulator.response(k), self.theta[k], self.X, *rest)

    def at(self, X: Tensor) -> Point:
        """Everything that moments at X (..., a, c) need."""
        K = self.emulator.kernel(self._asked, X)  # one call for all: an ascent comes here thousands of times
        runs, readings = K[..., : self._n, :], K[..., self._n :, :]
        emulator_root = lower_solve(self.emulator.L, runs)
        members = runs.mT @ self.emulator.W
        if not len(self.X):
            return Point(X, members, emulator_root)
        error = readings - self.known_root.mT @ emulator_root  # (..., j, a)
        K = error + discrepancy.covariance(self.theta, self.X, X)
        root = lower_solve(self.L, K)
        return Point(X, members + K.mT @ self.W, torch.cat([emulator_root, root], -2))

    def covariance(self, a: Point, b: Point) -> Tensor:
        """Between the responses at a and at b, (..., a, b)."""
        return self.error(a, b) + a.deviations @ b.deviations.mT

    def error(self, a: Point, b: Point) -> Tensor:
        """The same, of the emulator's error and the discrepancy alone."""
        K = self.emulator.kernel(a.X, b.X) + discrepancy.covariance(self.theta, a.X, b.X)
        return K - a.root.mT @ b.root

    def variance(self, a: Point) -> Tensor:
        """The diagonal of ``covariance(a, a)``, (..., a)."""
        own = self.emulator.own_variance(a.X) + (2.0 * self.theta[..., -2:-1]).exp()
        return (own - a.root.square().sum(-2)).clamp_min(0.0) + a.deviations.square().sum(-1)

    def simulated_error(self, a: Point, b: Point) -> Tensor:
        """Covariance of the responses at a with the emulator's error at b, given the readings."""
        own = self._emulator_error(a, b)
        return own - a.root[..., self._n :, :].mT @ self._told(b) if len(self.X) else own

    def error_variance(self, a: Point) -> Tensor:
        """Of the emulator's error at a, given the readings, (..., a)."""
        own = self.emulator.own_variance(a.X) - a.root[..., : self._n, :].square().sum(-2)
        return own - self._told(a).square().sum(-2) if len(self.X) else own

    def discrepancy(self, a: Point) -> Added:
        """What the discrepancy adds at a."""
        own = (2.0 * self.theta[..., -2:-1]).exp().expand(*self.theta.shape[:-1], a.X.shape[-2])
        if not len(self.X):
            return Added(torch.zeros_like(own), own.sqrt())
        K = discrepancy.covariance(self.theta, self.X, a.X)
        told = lower_solve(self.L, K)
        members = K.mT @ self.W  # (..., a, N)
        left = (own - told.square().sum(-2)).clamp_min(0.0)
        return Added(members.mean(-1), (left + members.var(-1)).sqrt())

    @cached_property
    def _asked(self) -> Tensor:
        """(n + j, c): settings of the runs and of the readings."""
        return torch.cat([self.emulator.X, self.X])

    @property
    def _n(self) -> int:
        return self.emulator.X.shape[0]

    def _emulator_error(self, a: Point, b: Point) -> Tensor:
        """Covariance of the emulator's error, given the runs."""
        return self.emulator.kernel(a.X, b.X) - a.root[..., : self._n, :].mT @ b.root[..., : self._n, :]

    def _told(self, b: Point) -> Tensor:
        """(..., j, b): root of what the readings tell of the emulator's error at b."""
        K = self.emulator.kernel(self.X, b.X) - self.known_root.mT @ b.root[..., : self._n, :]
        return lower_solve(self.L, K)


@dataclass(frozen=True, eq=False)
class Added:
    """Mean and standard deviation of a part of the response, (..., a)."""

    mean: Tensor
    sd: Tensor


@dataclass(frozen=True, eq=False)
class Point:
    """Settings, with each member's conditional mean and the root of what is known of the errors there."""

    X: Tensor  # (..., a, c)
    members: Tensor  # (..., a, N)
    root: Tensor  # (..., n + j, a)

    @cached_property
    def mean(self) -> Tensor:
        """(..., a)."""
        return self.members.mean(-1)

    @cached_property
    def deviations(self) -> Tensor:
        """(..., a, N), so that their product is the members' covariance."""
        n_members = self.members.shape[-1]
        centred: Tensor = self.members - self.members.mean(-1, keepdim=True)
        return centred / float(np.sqrt(max(n_members - 1, 1)))
