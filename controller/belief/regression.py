"""What the members of today would have answered in a run of yesterday's members.

A run holds the responses of N members at one setting. A kernel ridge regression of them on the standardised
unknowns, in its dual form (the unknowns may outnumber the members), answers for any other members; the kernel
is a polynomial of degree 3 whose higher terms weigh little. Smoothing by leave-one-out in closed form
(Rasmussen and Williams 2006, section 5.4.2).

Law: for the members of the run itself it returns what the run returned.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..space import Array
    from .evidence import Members
    from .scales import Scales
    from .unknown import Unknowns

OFFSET = 2.5  # times p: linear, quadratic and cubic terms of members drawn from the prior weigh about 9 : 4 : 1
SMOOTHING = 10.0 ** np.arange(-10.0, 1.5)
MAX_REGRESSED = 256  # members of a run that the regression is fitted to; its cost grows with their cube
SAME = 1e-7  # of a z: members that differ by less are the same
MIN_VARIANCE = 1e-10


@dataclass(frozen=True, eq=False)
class Regression:
    """One run: responses (N, m) regressed on z (N, p)."""

    Z_run: Array  # (N, p)
    Y_run: Array  # (N, m)
    Z: Array  # (M, p) of the members fitted to, M <= N
    mean: Array  # (m,)
    alpha: Array  # (M, m) dual weights
    U: Array  # (M, M) eigenvectors of the kernel matrix
    inverse: Array  # (M, m) eigenvalues of its smoothed inverse
    smoothing: Array  # (m,)
    variance: Array  # (m,) of the process

    @classmethod
    def fit(cls, Z: Array, Y: Array) -> Regression:
        """Eigenvalues once; each response takes the smoothing that leaves it out best."""
        Z_run, Y_run = Z, Y
        Z, Y = (a[:: -(-len(a) // MAX_REGRESSED)] for a in (Z, Y))
        mean = Y.mean(axis=0)
        w, U = np.linalg.eigh(_kernel(Z, Z))
        inverses = 1.0 / (np.maximum(w, 0.0) + SMOOTHING[:, None])  # (s, N)
        rotated = U.T @ (Y - mean)
        alphas = np.einsum("ij,sj,jm->sim", U, inverses, rotated)
        precision = inverses @ (U**2).T  # (s, N) diagonal of the inverse
        left_out = ((alphas / precision[:, :, None]) ** 2).mean(axis=1)  # (s, m)
        best = left_out.argmin(axis=0)
        columns = np.arange(Y.shape[1])
        alpha = alphas[best, :, columns].T
        variance = (alpha**2 / precision[best].T).mean(axis=0)
        return cls(Z_run, Y_run, Z, mean, alpha, U, inverses[best].T, SMOOTHING[best], variance)

    def predict(self, Z: Array) -> tuple[Array, Array]:
        """Responses (N', m) of members z (N', p), and their mean variance (m,)."""
        if Z.shape == self.Z_run.shape and float(np.abs(Z - self.Z_run).max()) < SAME:
            return self.Y_run, np.full(self.Y_run.shape[1], MIN_VARIANCE)
        K = _kernel(Z, self.Z)
        explained = ((K @ self.U) ** 2).mean(axis=0) @ self.inverse  # (m,)
        own = float((_scaled(np.einsum("ij,ij->i", Z, Z), Z.shape[1])).mean())
        variance = self.variance * (np.maximum(own - explained, 0.0) + self.smoothing)
        return self.mean + K @ self.alpha, np.maximum(variance, MIN_VARIANCE)


def _kernel(A: Array, B: Array) -> Array:
    return _scaled(A @ B.T, A.shape[1])


def _scaled(products: Array, p: int) -> Array:
    """The kernel of inner products; about 1 for a member of the prior with itself."""
    kernel: Array = ((OFFSET * p + products) / (OFFSET * p + p)) ** 3
    return kernel


@dataclass(frozen=True, eq=False)
class Outputs:
    """What N members answer at each of n simulated settings, in standardised units."""

    F: Array  # (m, n, N)
    variance: Array  # (m, n) of the regression


def outputs_of(runs: Sequence[Members], Z: Array, *, unknowns: Unknowns, scales: Scales) -> Outputs:
    """The responses of members z (N, p) in each run."""
    pairs = [_regression_of(run, unknowns, scales).predict(Z) for run in runs]
    F = np.stack([values.T for values, _ in pairs], axis=1)
    return Outputs(F, np.stack([variance for _, variance in pairs], axis=1))


def _regression_of(run: Members, unknowns: Unknowns, scales: Scales) -> Regression:
    shape = (len(run.Y), run.unknowns.shape[1])
    return _fitted(run.unknowns.tobytes(), run.Y.tobytes(), shape, unknowns, scales)


@lru_cache(maxsize=512)  # a run never changes, and every decision asks for it again
def _fitted(values: bytes, Y: bytes, shape: tuple[int, int], unknowns: Unknowns, scales: Scales) -> Regression:
    Z = unknowns.to_z(np.frombuffer(values).reshape(shape))
    return Regression.fit(Z, scales.forward(np.frombuffer(Y).reshape(shape[0], -1)))
