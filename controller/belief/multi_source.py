"""One Gaussian process over settings x source, a batch over responses, as a BoTorch model of the target source.

f_s(x) = f_target(x) + b_s(x): all sources share the target's process; each other source adds a bias of its own,
a process and a constant (Poloczek, Wang & Frazier 2017, misoKG; Kennedy & O'Hagan 2000). Inputs are in the unit
cube and responses standardised inside; a posterior is in the units of the responses.

Laws:
    * Same numbers and same readings, same posterior, bit for bit.
    * Covariances are float64 and carry a nugget relative to the response's scale, so no scale breaks them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from botorch.acquisition.objective import PosteriorTransform
from botorch.models.gpytorch import GPyTorchModel
from botorch.posteriors.gpytorch import GPyTorchPosterior
from gpytorch.distributions import MultitaskMultivariateNormal, MultivariateNormal
from linear_operator.operators import BlockDiagLinearOperator, to_linear_operator
from torch import Tensor

from ..errors import BeliefError

if TYPE_CHECKING:
    from ..space import Array

NUGGET = 1e-8  # of a posterior covariance, relative to the scale of the response squared
JITTERS = (0.0, 1e-8, 1e-6, 1e-4)

Theta = Mapping[str, Any]  # name -> (m, width): the mean, and the logarithms of all other hyperparameters


@dataclass(frozen=True)
class Data:
    """Readings, standardised, one source after the other; the target stands first."""

    X: Tensor  # (n, c)
    Y: Tensor  # (m, n)
    V: Tensor  # (m, n) variance that the source gave, 0 where it gave none
    rows: tuple[slice, ...]  # of each source
    groups: tuple[int, ...]  # (c,) the parameter of each column: a categorical's columns share a lengthscale

    @property
    def n_parameters(self) -> int:
        """How many lengthscales a kernel has."""
        return max(self.groups) + 1

    def with_settings(self, X: Mapping[int, Tensor]) -> Data:
        """The same with settings added to sources, their responses unknown and taken as 0."""
        parts, rows, start = [], [], 0
        for s, place in enumerate(self.rows):
            more = X.get(s, self.X[:0])
            parts.append((torch.cat([self.X[place], more]), place, len(more)))
            rows.append(slice(start, start + place.stop - place.start + len(more)))
            start = rows[-1].stop
        padded = [
            torch.cat([torch.nn.functional.pad(A[:, p], (0, k)) for _, p, k in parts], dim=1) for A in (self.Y, self.V)
        ]
        return Data(torch.cat([x for x, _, _ in parts]), *padded, tuple(rows), self.groups)


def matern(A: Tensor, B: Tensor, log_lengthscale: Tensor, groups: tuple[int, ...]) -> Tensor:
    """Matérn 5/2 correlations.

    Args:
        A: (..., n, c).
        B: (..., k, c).
        log_lengthscale: (..., p), one a parameter.
        groups: the parameter of each column.

    Returns:
        (..., n, k).
    """
    weight = torch.exp(-log_lengthscale)[..., None, groups]
    A, B = (A - 0.5) * weight, (B - 0.5) * weight
    squares = (A * A).sum(-1)[..., :, None] + (B * B).sum(-1)[..., None, :] - 2.0 * A @ B.mT
    r = torch.sqrt(5.0 * squares.clamp_min(0.0) + 1e-20)  # never 0: the root has no gradient there
    return (1.0 + r + r * r / 3.0) * torch.exp(-r)


def shared(theta: Theta, A: Tensor, B: Tensor, groups: tuple[int, ...]) -> Tensor:
    """Covariance (m, n, k) of the target's process; A and B may have batch dimensions before (m, n, c)."""
    return torch.exp(theta["signal"])[..., None] * matern(A, B, theta["lengthscale"], groups)


def bias(theta: Theta, s: int, A: Tensor, B: Tensor, groups: tuple[int, ...]) -> Tensor:
    """Covariance (m, n, k) of the bias of source ``s`` >= 1."""
    p = max(groups) + 1
    ls = theta["bias_lengthscale"][..., (s - 1) * p : s * p]
    size, offset = (torch.exp(theta[k][..., s - 1])[..., None, None] for k in ("bias", "offset"))
    return size * matern(A, B, ls, groups) + offset


def covariance_of_readings(theta: Theta, data: Data) -> Tensor:
    """(m, n, n): processes, biases, learned noise and given noise."""
    n = len(data.X)
    K = shared(theta, data.X, data.X, data.groups)
    for s, place in enumerate(data.rows[1:], start=1):
        X, ends = data.X[place], (place.start, n - place.stop)
        K = K + torch.nn.functional.pad(bias(theta, s, X, X, data.groups), ends + ends)
    return K + torch.diag_embed(_noise(theta, data) + data.V)


def _noise(theta: Theta, data: Data) -> Tensor:
    lengths = torch.tensor([r.stop - r.start for r in data.rows])
    return torch.repeat_interleave(torch.exp(theta["noise"]), lengths, dim=-1)


def factor(K: Tensor) -> Tensor:
    """The lower Cholesky factor, with a little jitter where rounding asks for it.

    Raises:
        BeliefError: if the matrix has none.
    """
    size = K.diagonal(dim1=-2, dim2=-1).mean(-1)[..., None, None].detach()
    for jitter in JITTERS:
        L, info = torch.linalg.cholesky_ex(K + jitter * size * torch.eye(K.shape[-1], dtype=K.dtype))
        if not info.any() and bool(torch.isfinite(L).all()):
            return L
    raise BeliefError(
        f"the covariance of {K.shape[-1]} readings cannot be factored: hyperparameters or readings are beyond float64; "
        "check the units and scales of the responses"
    )


class MultiSourceGP(GPyTorchModel):  # type: ignore[misc]
    """The exact posterior of all sources; as a BoTorch model it speaks for the target.

    Args:
        theta: hyperparameters as tensors.
        data: the readings.
        center: (m,) and ``scale``: (m,) that lead back to the units of the responses.
        achieved: the setting that the target really reaches when asked for X; by default X.
    """

    def __init__(
        self,
        theta: Theta,
        data: Data,
        *,
        center: Array,
        scale: Array,
        achieved: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.theta, self.data = theta, data
        self.center, self.scale = torch.as_tensor(center), torch.as_tensor(scale)
        self._achieved = achieved or (lambda X: X)
        self._L = factor(covariance_of_readings(theta, data))
        self._alpha = torch.cholesky_solve((data.Y - theta["mean"]).unsqueeze(-1), self._L)

    @property
    def num_outputs(self) -> int:
        """Responses."""
        return len(self.center)

    @property
    def batch_shape(self) -> torch.Size:
        """None: the responses are outputs."""
        return torch.Size()

    def posterior(
        self,
        X: Tensor,
        output_indices: list[int] | None = None,
        observation_noise: bool | Tensor = False,
        posterior_transform: PosteriorTransform | None = None,
    ) -> GPyTorchPosterior:
        """Noise-free responses of the target at requested settings X of shape (..., q, c)."""
        if output_indices is not None or observation_noise is not False:
            raise NotImplementedError("this model gives all responses, without noise; call it with neither option")
        mean, K = self._joint(self._achieved(X))
        if self.num_outputs == 1:
            normal = MultivariateNormal(mean.squeeze(-2), to_linear_operator(K.squeeze(-3)))
        else:  # block diagonal: the shape whose Cholesky factor the acquisition functions keep
            blocks = BlockDiagLinearOperator(to_linear_operator(K))
            normal = MultitaskMultivariateNormal(mean.mT, blocks, interleaved=False)
        posterior = GPyTorchPosterior(normal)
        return posterior if posterior_transform is None else posterior_transform(posterior)

    def _joint(self, X: Tensor) -> tuple[Tensor, Tensor]:
        """Mean (..., m, q) and covariance (..., m, q, q) in the units of the responses."""
        batch, q, m = X.shape[:-2], X.shape[-2], self.num_outputs
        mean, K = self._standardised(X.reshape(-1, q, X.shape[-1]))
        K = K + NUGGET * torch.eye(q, dtype=K.dtype)
        mean = self.center[:, None] + self.scale[:, None] * mean
        K = K * (self.scale**2)[:, None, None]
        return mean.reshape(*batch, m, q), K.reshape(*batch, m, q, q)

    def _standardised(self, X: Tensor) -> tuple[Tensor, Tensor]:
        """Mean (b, m, q) and covariance (b, m, q, q) at X (b, q, c).

        An acquisition function asks for its baseline beside every candidate; such rows are worked out once.
        """
        b = len(X)
        is_common = (X == X[:1]).all(-1).all(0) if b > 1 else torch.zeros(X.shape[1], dtype=torch.bool)
        common, own = X[0, is_common], X[:, ~is_common]
        mean_c, V_c = self._solved(common)
        mean_o, V_o = self._solved(own.reshape(-1, X.shape[-1]))
        mean_o, V_o = (A.unflatten(-1, (b, own.shape[1])).movedim(-2, 0) for A in (mean_o, V_o))
        groups, theta = self.data.groups, self.theta
        cc = shared(theta, common, common, groups) - V_c.mT @ V_c
        oc = shared(theta, own[:, None], common, groups) - V_o.mT @ V_c
        oo = shared(theta, own[:, None], own[:, None], groups) - V_o.mT @ V_o
        K = torch.cat([torch.cat([cc.expand(b, -1, -1, -1), oc.mT], -1), torch.cat([oc, oo], -1)], -2)
        mean = torch.cat([mean_c.expand(b, -1, -1), mean_o], -1)
        places = torch.cat([is_common.nonzero(), (~is_common).nonzero()]).squeeze(-1).argsort()
        return mean[..., places], K[..., places, :][..., places]

    def _solved(self, X: Tensor) -> tuple[Tensor, Tensor]:
        """Of the target at X (N, c): mean (m, N), and L^-1 of the covariance with the readings, (m, n, N)."""
        K, V = self._cross(0, X)
        return self.theta["mean"] + (K @ self._alpha).squeeze(-1), V

    def _cross(self, s: int, X: Tensor) -> tuple[Tensor, Tensor]:
        """Covariance (m, N, n) of source ``s`` at X with the readings, and L^-1 of its transpose (m, n, N)."""
        K = shared(self.theta, X, self.data.X, self.data.groups)
        if s:
            place = self.data.rows[s]
            block = bias(self.theta, s, X, self.data.X[place], self.data.groups)
            K = K + torch.nn.functional.pad(block, (place.start, len(self.data.X) - place.stop))
        return K, torch.linalg.solve_triangular(self._L, K.mT, upper=False)

    def marginal(self, s: int, X: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance (m, N) of source ``s`` at X (N, c), noise-free, standardised."""
        K, V = self._cross(s, X)
        prior = torch.exp(self.theta["signal"])
        if s:
            prior = prior + torch.exp(self.theta["bias"][:, [s - 1]]) + torch.exp(self.theta["offset"][:, [s - 1]])
        variance = (prior - (V * V).sum(-2)).clamp_min(NUGGET)
        return self.theta["mean"] + (K @ self._alpha).squeeze(-1), variance

    def covariance_with_target(self, s: int, X: Tensor, X_ref: Tensor) -> Tensor:
        """(m, N, r): of source ``s`` at X with the target at X_ref, standardised."""
        _, V = self._cross(s, X)
        _, V_ref = self._cross(0, X_ref)
        return shared(self.theta, X, X_ref, self.data.groups) - V.mT @ V_ref

    def noise(self, s: int) -> Tensor:
        """Variance (m, 1) of a reading of source ``s``, standardised: learned, and what it usually tells."""
        told = self.data.V[:, self.data.rows[s]]
        usual = told.median(dim=-1, keepdim=True).values if told.shape[-1] else torch.zeros_like(self.theta["mean"])
        return torch.exp(self.theta["noise"][:, [s]]) + usual


def tensors(theta: Theta) -> dict[str, Tensor]:
    """Hyperparameters of plain floats as tensors (m, width)."""
    return {k: torch.tensor(np.asarray(v, dtype=np.float64)) for k, v in theta.items()}


def log_evidence(theta: Theta, data: Data) -> Tensor:
    """The log marginal likelihood of the readings, shape (m,)."""
    L = factor(covariance_of_readings(theta, data))
    R = torch.linalg.solve_triangular(L, (data.Y - theta["mean"]).unsqueeze(-1), upper=False)
    log_det = torch.log(L.diagonal(dim1=-2, dim2=-1)).sum(-1)
    return -0.5 * (R * R).sum((-2, -1)) - log_det - 0.5 * len(data.X) * math.log(2.0 * math.pi)
