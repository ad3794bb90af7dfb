"""Hyperparameters of the multi-source Gaussian process: their priors, and the most probable values given readings.

Lengthscales carry the dimension-scaled log-normal prior of Hvarfner, Hellsten & Nardi 2024, its mode kept and its width
made 1 instead of sqrt 3: with few readings the wide one ends in short lengthscales and forecasts that are too sure.
A bias is believed small and may become large, so that a useless simulator is found out.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from botorch.optim.batched_lbfgs_b import fmin_l_bfgs_b_batched

from ..errors import BeliefError
from .log_evidence import Layout, LogEvidence
from .multi_source_prior import Data, Theta

if TYPE_CHECKING:
    from ..space import Array

EVALUATIONS = 5  # of the posterior, an iteration at most: what a decision costs is bounded without a clock
TOLERANCE = 1e-7  # of the log posterior, relative
HOPELESS = 1e100  # a loss where there is none
RHO_SD = 0.3  # a simulator is made to say what the target says
RHO_SD_RECALLED = 0.5  # an earlier campaign may have had to do with something else
LEAST_NOISE = 1e-9  # of a variance, standardised: a forecast is never surer than 3e-5 of the readings' spread
N_FIT = 200  # readings at most in a fit: it costs their cube, and hyperparameters settle well before


@dataclass(frozen=True)
class Prior:
    """A normal density over the logarithm (over the value itself for mean and rho), and bounds.

    ``centre`` is the mode of the log-normal over the hyperparameter itself: its location less its variance.
    """

    width: int
    centre: float | tuple[float, ...]
    sd: float | tuple[float, ...]
    low: float
    high: float


def priors(n_parameters: int, is_quiet: Sequence[bool], is_recalled: Sequence[bool] = ()) -> dict[str, Prior]:
    """The priors of one response, standardised.

    Args:
        n_parameters: lengthscales a process.
        is_quiet: for each source, the target first, whether its noise is believed to be nearly nothing beyond what
            it tells: simulators, and instruments that give an sd.
        is_recalled: for each source, whether it is an earlier campaign: that it has to do with this one is less sure.
    """
    n_others = len(is_quiet) - 1
    rho_sd = tuple(RHO_SD_RECALLED if r else RHO_SD for r in is_recalled[1:]) if any(is_recalled) else RHO_SD
    lengthscale = math.sqrt(2.0) + 0.5 * math.log(n_parameters) - 3.0  # mode of LogNormal(sqrt 2 + log(d) / 2, sqrt 3)
    return {
        "mean": Prior(1, 0.0, 1.0, -10.0, 10.0),
        "signal": Prior(1, 0.0, 1.0, -7.0, 7.0),
        "lengthscale": Prior(n_parameters, lengthscale, 1.0, math.log(0.025), math.log(1e3)),
        "rho": Prior(n_others, 1.0, rho_sd, -3.0, 3.0),
        "bias": Prior(n_others, math.log(0.15), 1.5, math.log(1e-6), math.log(1e8)),
        "offset": Prior(n_others, math.log(0.05), 2.0, math.log(1e-6), math.log(1e8)),
        "bias_lengthscale": Prior(n_others * n_parameters, lengthscale + 0.5, 1.0, math.log(0.025), math.log(1e3)),
        "noise": Prior(
            1 + n_others,
            tuple(-10.0 if quiet else -8.0 for quiet in is_quiet),
            tuple(2.0 if quiet else 2.5 for quiet in is_quiet),
            math.log(LEAST_NOISE),
            math.log(1e4),
        ),
    }


def start(table: dict[str, Prior], n_responses: int) -> dict[str, Array]:
    """The most probable hyperparameters before any reading, (m, width) each."""
    return {k: np.tile(np.broadcast_to(p.centre, (p.width,)), (n_responses, 1)).astype(float) for k, p in table.items()}


def other_starts(cold: Mapping[str, Array], is_recalled: Sequence[bool] = ()) -> list[dict[str, Array]]:
    """Starts near other modes: smooth and noisy; and, where there are other sources, one that trusts none of them.

    Where earlier campaigns are recalled, one more that says these have nothing to do with the target.
    """
    smooth = {**cold, "lengthscale": cold["lengthscale"] + 1.5, "noise": cold["noise"] + 1.0}
    if not cold["bias"].size:
        return [smooth]
    rough = {"bias": cold["bias"] + 3.0, "bias_lengthscale": cold["bias_lengthscale"] - 1.0}
    starts = [smooth, {**cold, **rough, "lengthscale": cold["lengthscale"] + 0.7}]
    if any(is_recalled):
        places = np.array(is_recalled[1:])
        unrelated = {"rho": np.where(places, 0.0, cold["rho"]), "bias": np.where(places, 0.0, cold["bias"])}
        starts.append({**cold, **unrelated})
    return starts


def fit(
    starts: Sequence[Mapping[str, Any]], data: Data, table: dict[str, Prior], *, max_iterations: int
) -> dict[str, Array]:
    """The most probable hyperparameters, by L-BFGS-B from each of ``starts`` on, the best of each response.

    Args:
        starts: name -> (m, width).
        data: the readings.
        table: the priors of one response.
        max_iterations: of each ascent.

    Returns:
        name -> (m, width).

    Raises:
        BeliefError: if no ascent of a response ends at a finite posterior.
    """
    layout = Layout.of({name: p.width for name, p in table.items()})
    flat = np.stack([_flat(theta, table, len(data.Y)) for theta in starts])  # (k, m, size)
    rows = [_fitted(flat[:, j], data, j, table, layout, max_iterations) for j in range(len(data.Y))]
    theta = np.stack(rows)
    return {name: theta[:, place] for name, place in layout.places.items()}


def _fitted(
    starts: Array, data: Data, response: int, table: dict[str, Prior], layout: Layout, max_iterations: int
) -> Array:
    """Of one response: the best end, (size,)."""
    evidence = LogEvidence(data, response, layout)
    centre, sd, low, high = _vectors(table)
    n_left = np.full(len(starts), EVALUATIONS * max_iterations)

    def loss(X: Array, batch_indices: Sequence[int]) -> tuple[Array, Array]:
        values, gradients = np.full(len(X), HOPELESS), np.zeros_like(X)
        for row, k in enumerate(batch_indices):
            n_left[k] -= 1
            if n_left[k] < 0:
                continue
            with contextlib.suppress(BeliefError):
                value, gradient = evidence(X[row])
                z = (X[row] - centre) / sd
                values[row] = -value + 0.5 * float(z @ z)
                gradients[row] = z / sd - gradient
        is_sound = np.isfinite(values) & np.isfinite(gradients).all(axis=1)
        return np.where(is_sound, values, HOPELESS), np.where(is_sound[:, None], gradients, 0.0)

    ends, values, _ = fmin_l_bfgs_b_batched(
        loss,
        np.clip(starts, low, high),
        bounds=list(zip(low, high, strict=True)),
        factr=None,
        ftol=TOLERANCE,
        maxiter=max_iterations,
        pass_batch_indices=True,
    )
    best = int(np.argmin(values))
    if not values[best] < HOPELESS:
        raise BeliefError("the fit of the surrogate is not finite; check the units and scales of the responses")
    end: Array = ends[best]
    return end


def _flat(theta: Theta, table: dict[str, Prior], n_responses: int) -> Array:
    """The hyperparameters of each response as a row, (m, size)."""
    return np.concatenate([np.asarray(theta[name]).reshape(n_responses, -1) for name in table], axis=1)


def _vectors(table: dict[str, Prior]) -> tuple[Array, Array, Array, Array]:
    """Centre, sd, low and high of each hyperparameter, (size,) each."""
    rows = [[np.broadcast_to(x, (p.width,)) for x in (p.centre, p.sd, p.low, p.high)] for p in table.values()]
    centre, sd, low, high = (np.concatenate(column).astype(float) for column in zip(*rows, strict=True))
    return centre, sd, low, high
