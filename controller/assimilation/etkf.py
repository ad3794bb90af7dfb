"""The ensemble transform Kalman analysis: how an observation moves and narrows an ensemble, without chance.

Bishop, Etherton and Majumdar, Mon. Weather Rev. 2001, 129, 420; the symmetric square root of Hunt, Kostelich
and Szunyogh, Physica D 2007, 230, 112. Letters: E ensemble (N, p), H the observed quantities, y the
observation, R the covariance of its error, d the innovation.

Laws:
    * Linear H, Gaussian errors: the analysed mean and covariance are the exact posterior of the ensemble's.
    * The spread of no direction grows; where R is infinite nothing changes.
"""

from __future__ import annotations

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from ..errors import BeliefError

Array = NDArray[np.float64]

SMALLEST = 1e-14  # squared singular values below this share of the largest carry no information
MAX_INFLATION = 1.2


def analyse(E: Array, HE: Array, y: Array, R: Array) -> Array:
    """The ensemble after an observation.

    Args:
        E: (N, p) members.
        HE: (N, k) what each member says is observed.
        y: (k,) what was observed.
        R: (k, k) covariance of the observation's error, or (k,) variances; a variance may be infinite.

    Returns:
        (N, p): mean moved by the gain, deviations by the symmetric transform.

    Raises:
        BeliefError: where a number is not finite, or R is no covariance.
    """
    scale = 1.0 / np.sqrt(max(len(E) - 1, 1))
    S, d = _whitened(scale * (HE - HE.mean(axis=0)), y - HE.mean(axis=0), R)
    V, s2 = _directions(S)
    mean = E.mean(axis=0)
    deviations = E - mean
    weights = scale * V @ ((V.T @ (S @ d)) / (1.0 + s2))  # (N,)
    shrunk = deviations + V @ ((1.0 / np.sqrt(1.0 + s2) - 1.0)[:, None] * (V.T @ deviations))
    analysed: Array = mean + weights @ deviations + shrunk
    return analysed


def _whitened(A: Array, d: Array, R: Array) -> tuple[Array, Array]:
    """Observations in units of their error: A (N, k) and d (k,)."""
    if not (np.isfinite(A).all() and np.isfinite(d).all()) or np.isnan(R).any():
        raise BeliefError("a member's forecast or the observation is not finite; leave that reading out")
    if R.ndim == 1:
        if not (R > 0).all():
            raise BeliefError(f"the smallest error variance {R.min():g} must be above 0; give the reading an sd")
        w = 1.0 / np.sqrt(R)
        return A * w, d * w
    try:
        L = np.linalg.cholesky(R)
    except np.linalg.LinAlgError as error:
        raise BeliefError(
            "the observation error's covariance is not positive definite; enlarge its diagonal"
        ) from error
    white: Array = scipy.linalg.solve_triangular(L, np.column_stack([A.T, d]), lower=True)
    return white[:, :-1].T, white[:, -1]


def _directions(S: Array) -> tuple[Array, Array]:
    """V (N, r) and s2 (r,), so that S S' = V diag(s2) V'; through the smaller of the two Gram matrices."""
    if len(S) <= S.shape[1]:
        s2, V = np.linalg.eigh(S @ S.T)
        return V, np.maximum(s2, 0.0)
    s2, U = np.linalg.eigh(S.T @ S)
    known = s2 > SMALLEST * max(s2[-1], np.finfo(float).tiny)
    return S @ U[:, known] / np.sqrt(s2[known]), s2[known]


def inflate(E: Array, factor: float) -> Array:
    """The ensemble with its deviations from the mean multiplied by ``factor``."""
    mean = E.mean(axis=0)
    inflated: Array = mean + factor * (E - mean)
    return inflated


def estimate_inflation(HE: Array, y: Array, R: Array, *, previous: float = 1.0, weight: float = 0.2) -> float:
    """The factor that makes the spread of the forecast fit its innovation.

    Wang and Bishop, J. Atmos. Sci. 2003, 60, 1140: E[d' R^-1 d] = factor^2 tr(R^-1 H P H') + k, with
    one innovation's estimate bounded and smoothed over time.

    Args:
        HE: (N, k) what each member forecasts.
        y: (k,) what was observed.
        R: (k,) variances.
        previous: the last estimate.
        weight: of the new estimate against the last.

    Returns:
        From 1 to ``MAX_INFLATION``.
    """
    S, d = _whitened(HE - HE.mean(axis=0), y - HE.mean(axis=0), R)
    spread = float((S**2).sum()) / max(len(HE) - 1, 1)
    if spread <= np.finfo(float).tiny:
        return previous
    wanted = np.sqrt(np.clip((float(d @ d) - len(d)) / spread, 1.0, MAX_INFLATION**2))
    return float(np.clip(previous + weight * (wanted - previous), 1.0, MAX_INFLATION))
