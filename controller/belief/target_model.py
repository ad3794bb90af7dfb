"""The target's responses as a BoTorch model: joint over settings, differentiable in them.

An acquisition function asks for the same baseline settings beside every candidate of a batch; those rows are
worked out once
and taken for constants. A response that is modelled by its logarithm is linearised about its median.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from botorch.models.model import Model, ModelList
from botorch.posteriors import GPyTorchPosterior
from gpytorch.distributions import MultivariateNormal
from torch import Tensor

from .actuation import Actuation
from .joint import Joint, Point
from .scales import MAX_EXPONENT, Scales

NUGGET = 1e-7  # in standardised units: two equal settings must not make a covariance singular


@dataclass(frozen=True)
class Unit:
    """One response's way from standardised units back to its own."""

    is_log: bool
    centre: float
    size: float

    def backward(self, mean: Tensor) -> tuple[Tensor, Tensor]:
        """The response, and its slope in the standardised one."""
        linked = self.centre + self.size * mean
        if not self.is_log:
            return linked, torch.full_like(linked, self.size)
        response = linked.clamp(-MAX_EXPONENT, MAX_EXPONENT).exp()
        return response, self.size * response


@dataclass(frozen=True, eq=False)
class _Shared:
    """Settings (s, c) that are the same throughout a batch, and their covariance (s, s)."""

    point: Point
    covariance: Tensor


class ResponseModel(Model):  # type: ignore[misc]
    """One response over requested settings."""

    def __init__(self, joint: Joint, *, unit: Unit, actuation: Actuation) -> None:
        super().__init__()
        self.joint = joint
        self.unit = unit
        self.actuation = actuation
        self._last_shared: _Shared | None = None

    @property
    def num_outputs(self) -> int:
        """One."""
        return 1

    @property
    def batch_shape(self) -> torch.Size:
        """None of its own."""
        return torch.Size()

    def posterior(
        self,
        X: Tensor,
        output_indices: list[int] | None = None,
        observation_noise: bool | Tensor = False,
        posterior_transform: Any = None,
    ) -> Any:
        """Of the noise-free response at X (..., q, c)."""
        del output_indices, observation_noise
        mean, covariance = self._standardised(self.actuation.achieved(X.double()))
        response, slope = self.unit.backward(mean)
        covariance = slope.unsqueeze(-1) * covariance * slope.unsqueeze(-2)
        posterior = GPyTorchPosterior(MultivariateNormal(response, covariance))
        return posterior if posterior_transform is None else posterior_transform(posterior)

    def _standardised(self, X: Tensor) -> tuple[Tensor, Tensor]:
        """Mean (..., q) and covariance (..., q, q)."""
        batch = X.reshape(-1, *X.shape[-2:])
        is_shared = (batch == batch[:1]).all(-1).all(0)  # (q,)
        if is_shared.any() and not is_shared.all():
            mean, covariance = self._with_shared(batch, is_shared)
        else:
            point = self._points(batch)
            mean, covariance = point.mean, self.joint.covariance(point, point)
        covariance = covariance + NUGGET * torch.eye(X.shape[-2], dtype=X.dtype)
        return mean.reshape(X.shape[:-1]), covariance.reshape(*X.shape[:-1], X.shape[-2])

    def _with_shared(self, X: Tensor, is_shared: Tensor) -> tuple[Tensor, Tensor]:
        """The same for a batch (b, q, c) in which some rows are the same throughout."""
        b = len(X)
        known, own = self._shared(X[0, is_shared].detach()), self._points(X[:, ~is_shared])
        shared = known.point
        between = self.joint.covariance(own, shared)  # (b, own, shared)
        top = torch.cat([known.covariance.expand(b, -1, -1), between.mT], -1)
        bottom = torch.cat([between, self.joint.covariance(own, own)], -1)
        back = torch.cat([is_shared.nonzero(), (~is_shared).nonzero()]).squeeze(-1).argsort()
        covariance = torch.cat([top, bottom], -2)[:, back][:, :, back]
        return torch.cat([shared.mean.expand(b, -1), own.mean], -1)[:, back], covariance

    def _shared(self, X: Tensor) -> _Shared:
        """Kept from call to call: an acquisition function's baseline does not change."""
        if self._last_shared is None or not torch.equal(self._last_shared.point.X, X):
            point = self.joint.at(X)
            self._last_shared = _Shared(point, self.joint.covariance(point, point))
        return self._last_shared

    def _points(self, X: Tensor) -> Point:
        """Of (b, q, c), by one wide solve in place of b narrow ones."""
        b, q, c = X.shape
        flat = self.joint.at(X.reshape(b * q, c))
        root = flat.root.reshape(-1, b, q).transpose(0, 1)
        return replace(flat, X=X, members=flat.members.reshape(b, q, -1), root=root)


def target_model(joint: Joint, responses: Sequence[int], *, scales: Scales, actuation: Actuation) -> ModelList:
    """One ``ResponseModel`` for each of these responses, by place."""
    units = [Unit(*u) for u in zip(scales.is_log, scales.centre, scales.size, strict=True)]
    return ModelList(*(ResponseModel(joint.response(k), unit=units[k], actuation=actuation) for k in responses))
