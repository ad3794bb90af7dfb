"""How far a reading or a run would move the forecast of the target, in standardised units.

For Gaussians the mean at x_ref moves by cov(f(x_ref), y(x)) / sd(y(x)) times a standard normal number:
Frazier, Powell and Dayanik, INFORMS J. Comput. 2009, 21, 599. Pending readings count as read.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .joint import Joint, Point
from .kriging import cholesky, lower_solve

VARIANCE_FLOOR = 1e-6  # where the emulator errs less, a run tells nothing


def target_influence(joint: Joint, at: Point, reference: Point, *, pending: Point, noise: Tensor) -> Tensor:
    """Of a reading of the target at n settings on r others: (m, n, r).

    Args:
        joint: given the readings.
        at: the n settings that might be measured.
        reference: the r settings.
        pending: settings that soon will have been measured.
        noise: (m,) variance of a reading.
    """
    moved, variance = joint.covariance(at, reference), joint.variance(at)
    if pending.X.shape[0]:
        L = _pending_factor(joint, pending, noise)
        u = lower_solve(L, joint.covariance(pending, at))
        v = lower_solve(L, joint.covariance(pending, reference))
        moved, variance = moved - u.mT @ v, variance - u.square().sum(-2)
    return moved / (variance.clamp_min(0.0) + noise[:, None]).sqrt()[:, :, None]


def simulated_influence(joint: Joint, at: Point, reference: Point, *, pending: Point, noise: Tensor) -> Tensor:
    """Of a run of the simulator: it reveals the emulator's error there, not the unknowns. As above."""
    moved, variance = joint.simulated_error(reference, at).mT, joint.error_variance(at)
    if pending.X.shape[0]:
        L = _pending_factor(joint, pending, noise)
        u = lower_solve(L, joint.simulated_error(pending, at))
        v = lower_solve(L, joint.covariance(pending, reference))
        moved, variance = moved - u.mT @ v, variance - u.square().sum(-2)
    own = joint.emulator.noise.mean(-1) + VARIANCE_FLOOR
    return moved / (variance.clamp_min(0.0) + own[:, None]).sqrt()[:, :, None]


def _pending_factor(joint: Joint, pending: Point, noise: Tensor) -> Tensor:
    return cholesky(
        joint.covariance(pending, pending) + torch.diag_embed(noise[:, None].expand(-1, pending.X.shape[0]))
    )
