"""One Gaussian process over settings x source, a batch over responses, as a BoTorch model of the target source.

Inputs are in the unit cube and responses standardised inside; a posterior is in the units of the responses. The
model is written out rather than put together of GPyTorch's modules: it works out what a batch of candidates shares
once (256 candidates, 200 readings, 4 responses: 0.01 s, and 0.6 s with a SingleTaskGP).

Laws:
    * Same numbers and same readings, same posterior, bit for bit.
    * Covariances are float64 and carry a nugget relative to the response's scale, so no scale breaks them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from botorch.acquisition.objective import PosteriorTransform
from botorch.models.gpytorch import GPyTorchModel
from botorch.posteriors.gpytorch import GPyTorchPosterior
from gpytorch.distributions import MultitaskMultivariateNormal, MultivariateNormal
from linear_operator.operators import BlockDiagLinearOperator, to_linear_operator
from torch import Tensor

from .multi_source_prior import Data, Theta, bias, covariance_of_readings, factor, rho, rho_of_rows, shared

if TYPE_CHECKING:
    from ..space import Array

NUGGET = 1e-8  # of a posterior covariance, relative to the scale of the response squared


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
        center: Array | Tensor,
        scale: Array | Tensor,
        achieved: Callable[[Any], Any] | None = None,
    ) -> None:
        super().__init__()
        self.theta, self.data = theta, data
        self.center, self.scale = torch.as_tensor(center), torch.as_tensor(scale)
        self.achieved = achieved or (lambda X: X)
        self.rho_of_rows = rho_of_rows(theta, data)
        self.factor = factor(covariance_of_readings(theta, data))
        self.alpha = torch.cholesky_solve((data.Y - theta["mean"]).unsqueeze(-1), self.factor)

    @property
    def num_outputs(self) -> int:
        """Responses."""
        return len(self.center)

    @property
    def batch_shape(self) -> torch.Size:
        """None: the responses are outputs."""
        return torch.Size()

    def of_responses(self, places: list[int]) -> MultiSourceGP:
        """The same for some of the responses."""
        few = replace(self.data, Y=self.data.Y[places], V=self.data.V[places])
        theta = {name: values[places] for name, values in self.theta.items()}
        with torch.no_grad():
            return MultiSourceGP(
                theta, few, center=self.center[places], scale=self.scale[places], achieved=self.achieved
            )

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
        mean, K = self._joint(self.achieved(X))
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
        mean_o, V_o = (A.reshape(*A.shape[:-1], b, own.shape[1]).movedim(-2, 0) for A in (mean_o, V_o))
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
        return self.theta["mean"] + (K @ self.alpha).squeeze(-1), V

    def _cross(self, s: int, X: Tensor) -> tuple[Tensor, Tensor]:
        """Covariance (m, N, n) of source ``s`` at X with the readings, and L^-1 of its transpose (m, n, N)."""
        K = (
            rho(self.theta, s)[:, None, None]
            * self.rho_of_rows[:, None]
            * shared(self.theta, X, self.data.X, self.data.groups)
        )
        if s:
            place = self.data.rows[s]
            block = bias(self.theta, s, X, self.data.X[place], self.data.groups)
            K = K + torch.nn.functional.pad(block, (place.start, len(self.data.X) - place.stop))
        return K, torch.linalg.solve_triangular(self.factor, K.mT, upper=False)

    def marginal(self, s: int, X: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance (m, N) of source ``s`` at X (N, c), noise-free, standardised."""
        K, V = self._cross(s, X)
        prior = rho(self.theta, s)[:, None] ** 2 * torch.exp(self.theta["signal"])
        if s:
            prior = prior + torch.exp(self.theta["bias"][:, [s - 1]]) + torch.exp(self.theta["offset"][:, [s - 1]])
        variance = (prior - (V * V).sum(-2)).clamp_min(NUGGET)
        return self.theta["mean"] + (K @ self.alpha).squeeze(-1), variance

    def covariance_with_target(self, s: int, X: Tensor, X_ref: Tensor) -> Tensor:
        """(m, N, r): of source ``s`` at X with the target at X_ref, standardised."""
        _, V = self._cross(s, X)
        _, V_ref = self._cross(0, X_ref)
        return rho(self.theta, s)[:, None, None] * shared(self.theta, X, X_ref, self.data.groups) - V.mT @ V_ref

    def noise(self, s: int) -> Tensor:
        """Variance (m, 1) of a reading of source ``s``, standardised: learned, and what it usually tells."""
        told = self.data.V[:, self.data.rows[s]]
        usual = told.median(dim=-1, keepdim=True).values if told.shape[-1] else torch.zeros_like(self.theta["mean"])
        return torch.exp(self.theta["noise"][:, [s]]) + usual
