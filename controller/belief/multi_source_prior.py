"""The prior covariance of all sources, and the evidence for it in the readings; tensors in the unit cube, standardised.

f_s(x) = rho_s f_target(x) + b_s(x): all sources share the target's process, rho near 1; each other source adds a bias
of its own, a process and a constant (Kennedy & O'Hagan 2000; with rho = 1 Poloczek, Wang & Frazier 2017, misoKG).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import BeliefError

JITTERS = (0.0, 1e-8, 1e-6, 1e-4)

Theta = Mapping[str, Any]  # name -> (m, width): mean and rho, and the logarithms of all other hyperparameters


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

    def only(self, sources: Collection[int]) -> Data:
        """The readings of some sources; the others have their places, and none."""
        ends = [place.stop if s in sources else place.start for s, place in enumerate(self.rows)]
        rows = [slice(place.start, end) for place, end in zip(self.rows, ends, strict=True)]
        return Data.of([(self.X[r], self.Y[:, r], self.V[:, r]) for r in rows], self.groups)

    def with_settings(self, X: Mapping[int, Tensor]) -> Data:
        """The same with settings added to sources, their responses unknown and taken as 0."""
        sources = []
        for s, place in enumerate(self.rows):
            more = X.get(s, self.X[:0])
            Y, V = (torch.nn.functional.pad(A[:, place], (0, len(more))) for A in (self.Y, self.V))
            sources.append((torch.cat([self.X[place], more]), Y, V))
        return Data.of(sources, self.groups)

    @classmethod
    def of(cls, sources: Sequence[tuple[Tensor, Tensor, Tensor]], groups: tuple[int, ...]) -> Data:
        """From X, Y and V of each source."""
        ends = np.cumsum([0, *(len(X) for X, _, _ in sources)]).tolist()
        rows = tuple(slice(a, z) for a, z in itertools.pairwise(ends))
        X, Y, V = zip(*sources, strict=True)
        return cls(torch.cat(X), torch.cat(Y, dim=1), torch.cat(V, dim=1), rows, groups)


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
    size: Tensor = torch.exp(theta["signal"])[..., None]
    return size * matern(A, B, theta["lengthscale"], groups)


def bias(theta: Theta, s: int, A: Tensor, B: Tensor, groups: tuple[int, ...]) -> Tensor:
    """Covariance (m, n, k) of the bias of source ``s`` >= 1."""
    p = max(groups) + 1
    ls = theta["bias_lengthscale"][..., (s - 1) * p : s * p]
    size, offset = (torch.exp(theta[k][..., s - 1])[..., None, None] for k in ("bias", "offset"))
    return size * matern(A, B, ls, groups) + offset


def covariance_of_readings(theta: Theta, data: Data) -> Tensor:
    """(m, n, n): processes, biases, learned noise and given noise."""
    n, rho = len(data.X), rho_of_rows(theta, data)
    K = rho[:, :, None] * rho[:, None, :] * shared(theta, data.X, data.X, data.groups)
    for s, place in enumerate(data.rows[1:], start=1):
        X, ends = data.X[place], (place.start, n - place.stop)
        K = K + torch.nn.functional.pad(bias(theta, s, X, X, data.groups), ends + ends)
    return K + torch.diag_embed(_of_rows(torch.exp(theta["noise"]), data) + data.V)


def rho_of_rows(theta: Theta, data: Data) -> Tensor:
    """(m, n): the share of the target's process in each reading."""
    return _of_rows(torch.stack([rho(theta, s) for s in range(len(data.rows))], dim=-1), data)


def rho(theta: Theta, s: int) -> Tensor:
    """(m,) of source ``s``; 1 for the target."""
    values: Tensor = theta["rho"][..., s - 1] if s else torch.ones_like(theta["mean"][..., 0])
    return values


def _of_rows(values: Tensor, data: Data) -> Tensor:
    """Values (m, S) of the sources, at each reading: (m, n)."""
    return torch.repeat_interleave(values, torch.tensor([r.stop - r.start for r in data.rows]), dim=-1)


def factor(K: Tensor) -> Tensor:
    """The lower Cholesky factor, with a little jitter where rounding asks for it.

    Raises:
        BeliefError: if the matrix has none.
    """
    size = K.diagonal(dim1=-2, dim2=-1).mean(-1)[..., None, None].detach()
    for jitter in JITTERS:
        L: Tensor
        L, info = torch.linalg.cholesky_ex(K + jitter * size * torch.eye(K.shape[-1], dtype=K.dtype))
        if not info.any() and bool(torch.isfinite(L).all()):
            return L
    raise BeliefError(
        f"the covariance of {K.shape[-1]} readings cannot be factored: hyperparameters or readings are beyond float64; "
        "check the units and scales of the responses"
    )


def tensors(theta: Theta) -> dict[str, Tensor]:
    """Hyperparameters of plain floats as tensors (m, width)."""
    return {k: torch.tensor(np.asarray(v, dtype=np.float64)) for k, v in theta.items()}


def log_evidence(theta: Theta, data: Data) -> Tensor:
    """The log marginal likelihood of the readings, shape (m,)."""
    L = factor(covariance_of_readings(theta, data))
    R = torch.linalg.solve_triangular(L, (data.Y - theta["mean"]).unsqueeze(-1), upper=False)
    log_det = torch.log(L.diagonal(dim1=-2, dim2=-1)).sum(-1)
    value: Tensor = -0.5 * (R * R).sum((-2, -1)) - log_det - 0.5 * len(data.X) * math.log(2.0 * math.pi)
    return value
