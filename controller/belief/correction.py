"""How readings correct the members: each against its forecast, or all again for a better emulator.

The forecast of a reading is each member's own, given the readings before; what is left to the error is the
emulator's error, the discrepancy and the noise. For a linear simulator the members then are a sample of the
exact posterior of its unknowns (Kennedy and O'Hagan 2001, with the ensemble in place of a Markov chain).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.linalg
import torch

from ..assimilation.etkf import estimate_inflation
from ..assimilation.mda import analyse_in_steps
from . import discrepancy
from .assembly import Assembly, Readings
from .emulator import Emulator
from .joint import Joint
from .kriging import as_tensor

if TYPE_CHECKING:
    from ..space import Array

N_STEPS = 4
MAX_Z = 5.0  # standard deviations of the prior
MIN_SPREAD = 0.01  # rms over members and unknowns, in z; less is a collapse
REVIVED_SPREAD = 0.1


@dataclass(frozen=True)
class Corrected:
    """Members z (N, p) after a reading, and the inflation that it called for."""

    Z: Array
    inflation: float


def take_in(
    assembly: Assembly, Z: Array, prior: Array, *, past: Readings, new: Readings, inflation: float
) -> Corrected:
    """The members after one reading.

    Args:
        assembly: the belief's numbers.
        Z: (N, p) members.
        prior: (N, p) those before any reading.
        past: readings that they know already.
        new: the one that they do not.
        inflation: the last estimate.
    """
    emulator = assembly.emulator(Z)
    joint = assembly.joint(emulator, past)
    point = joint.at(as_tensor(new.X))
    R = joint.error(point, point).diagonal(dim1=-2, dim2=-1).clamp_min(0.0).numpy()[:, 0] + assembly.noise(new)[:, 0]
    y = new.y[:, 0]
    inflation = estimate_inflation(point.members[:, 0].numpy().T, y, R, previous=inflation)
    G, level = _forecast_weights(emulator, joint, past, new)

    def forecast(Z: Array) -> Array:
        forecasts: Array = np.einsum("mn,mnN->Nm", G, assembly.outputs(_bounded(Z)).F) + level
        return forecasts

    Z = analyse_in_steps(_inflated(Z, inflation), forecast, y, R, n_steps=N_STEPS)
    return Corrected(alive(Z, prior), inflation)


def _forecast_weights(emulator: Emulator, joint: Joint, past: Readings, new: Readings) -> tuple[Array, Array]:
    """G (m, n) and level (m,): a member with outputs F forecasts G F + level for the new reading."""
    G = emulator.weights(as_tensor(new.X))  # (m, 1, n)
    if not len(past.X):
        return G[:, 0].numpy(), np.zeros(len(G))
    before, after = joint.at(as_tensor(past.X)), joint.at(as_tensor(new.X))
    n = emulator.X.shape[0]
    prior = joint.emulator.kernel(before.X, after.X) - before.root[:, :n].mT @ after.root[:, :n]
    prior = prior + discrepancy.covariance(joint.theta, before.X, after.X)
    gain = torch.cholesky_solve(prior, joint.L).mT  # (m, 1, j)
    level = gain @ as_tensor(past.y).unsqueeze(-1)
    return (G - gain @ emulator.weights(before.X))[:, 0].numpy(), level[:, 0, 0].numpy()


def take_all_in(assembly: Assembly, Z: Array, prior: Array, readings: Readings) -> Array:
    """The prior's members after all readings at once.

    A reading that was weighed when the emulator knew little is weighed again; ``Z`` are the members so far,
    near which the emulator's error is worked out.
    """
    emulator = assembly.emulator(Z)
    X = as_tensor(readings.X)
    root, theta = emulator.root(X), as_tensor(np.array(assembly.theta))
    K = emulator.kernel(X, X) - root.mT @ root + discrepancy.covariance(theta, X, X)
    R = scipy.linalg.block_diag(*(K.numpy() + _diagonals(assembly.noise(readings))))
    G = emulator.weights(X).numpy()  # (m, j, n)

    def forecast(Z: Array) -> Array:
        answers: Array = G @ assembly.outputs(_bounded(Z)).F  # (m, j, N)
        return answers.reshape(-1, answers.shape[-1]).T

    return alive(analyse_in_steps(prior, forecast, readings.y.ravel(), R, n_steps=N_STEPS), prior)


def learn_discrepancy(
    assembly: Assembly, Z: Array, readings: Readings, *, expect: discrepancy.Expectation
) -> discrepancy.Theta:
    """Its hyperparameters, from readings minus the members' answers."""
    emulator = assembly.emulator(Z)
    X = as_tensor(readings.X)
    root = emulator.root(X)
    known = emulator.kernel(X, X) - root.mT @ root
    residuals = as_tensor(readings.y).unsqueeze(-1) - emulator.members(X)
    return discrepancy.learn(
        readings.X, residuals, known=known, given=readings.given, start=assembly.theta, expect=expect
    )


def alive(Z: Array, prior: Array) -> Array:
    """The members, brought back towards the prior where they are not finite or all but equal."""
    is_whole = np.isfinite(Z).all(axis=1, keepdims=True)  # (N, 1)
    Z = np.where(is_whole, _bounded(np.where(np.isfinite(Z), Z, 0.0)), prior)
    spread = float(np.sqrt(Z.var(axis=0, ddof=1).mean()))
    if spread >= MIN_SPREAD:
        return Z
    return _bounded(Z.mean(axis=0) + REVIVED_SPREAD * (prior - prior.mean(axis=0)))


def _inflated(Z: Array, factor: float) -> Array:
    """Wider by a factor, though no unknown wider than its prior."""
    mean, sd = Z.mean(axis=0), Z.std(axis=0, ddof=1)
    room = np.maximum(1.0, 1.0 / np.maximum(sd, 1e-12))
    inflated: Array = mean + np.minimum(factor, room) * (Z - mean)
    return inflated


def _bounded(Z: Array) -> Array:
    return np.asarray(np.clip(Z, -MAX_Z, MAX_Z))


def _diagonals(a: Array) -> Array:
    """(m, j) to (m, j, j)."""
    diagonal: Array = a[:, :, None] * np.eye(a.shape[1])
    return diagonal
