"""The settings at which an acquisition function is highest: screened, climbed from the best, then swept.

Laws:
    * What is found is valid, feasible and, where anything else is left, not barred.
    * Whatever the acquisition function does, something is found; a note says which part of the search failed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..belief.failures import described
from ..belief.success import Success
from ..errors import BeliefError
from .ascent import ascend
from .candidates import as_asked, discrete_neighbours, distinct, raw_candidates, without
from .climb import climb
from .safeguard import CROWD, Barred, space_filling, usable

if TYPE_CHECKING:
    from ..belief.evidence import Evidence
    from ..method import Method
    from ..space import Array, Space

N_RAW, N_RAW_LARGE = 256, 128  # screened settings; fewer where readings make each of them dear
LARGE = 200
N_STARTS = 4
N_KEPT = 5  # settings that are handed on
APART = 0.05  # of the cube: starts nearer than this climb the same hill
N_SWEEPS = 3


@dataclass(frozen=True)
class Found:
    """Settings, the best first; ``note`` says which part of the search failed, if any did."""

    X: Array  # (k, c)
    log_values: Array  # (k,) of the acquisition function, a logarithm; -inf where unknown
    note: str = ""
    is_improvement: bool = True  # whether the values are what is wanted, not the log probability of being feasible
    how: str = ""  # by which acquisition function, in words
    fallback: int = 0  # 0 the search as it should be; 1 screened only; 2 space-filling, no model had a say


def search(
    acquisition: Any,
    evidence: Evidence,
    *,
    near: Array,
    avoid: Array,
    seed: int,
    rng: np.random.Generator,
    is_constant: bool = False,
    method: Method | None = None,
) -> Found:
    """Of the target's settings those with the highest values, several distinct ones.

    Args:
        acquisition: ``values`` from rows (n, c) to (n,), ``is_improvement``, and either ``value_and_gradient`` or a
            call from a tensor (n, c) to a tensor (n,).
        evidence: the readings.
        near: (k, c) good settings, around which some of the candidates lie.
        avoid: (k, c) settings not to be asked for.
        seed: the campaign's.
        rng: of this decision.
        is_constant: whether all readings of the target are equal.
        method: what a person has settled of the search.
    """
    space = evidence.space_of(evidence.target)
    try:
        barred = _barred(acquisition, evidence, avoid, is_constant=is_constant)
        n_raw = N_RAW if sum(map(len, evidence.observations.values())) < LARGE else N_RAW_LARGE
        n_raw = (method and method.n_candidates) or n_raw
        every = raw_candidates(space, near, n=n_raw, seed=seed, rng=rng)
        raw = barred.freest(every)  # where every setting was asked for, repeats are all that is left
        values = acquisition.values(raw)
        if not np.isfinite(values).any():
            raise BeliefError("no candidate has a finite value")
    except Exception as error:  # whatever it is: the loop never dies of the model, and the decision says so
        return no_search(evidence, seed=seed, reason=described(error))
    note = ""
    try:
        n_starts = (method and method.n_starts) or N_STARTS
        raw, values, note = _refined(acquisition, space, raw, values, barred, n_starts)
    except Exception as error:
        note = f"best of {len(raw)} screened settings, since the ascent failed: {described(error)}"
    kept = _apart(raw, values, N_KEPT)
    return Found(as_asked(space, raw[kept]), values[kept], note, acquisition.is_improvement, fallback=1 if note else 0)


def no_search(evidence: Evidence, *, seed: int, reason: str) -> Found:
    """A point of the sequence, where the acquisition function failed."""
    row = space_filling(evidence, evidence.target, seed=seed)
    note = f"next Sobol point, since the acquisition failed: {reason}"
    return Found(row[None], np.array([-np.inf]), note, fallback=2)


def _barred(acquisition: Any, evidence: Evidence, avoid: Array, *, is_constant: bool) -> Barred:
    target = evidence.target
    # The probability of being feasible is highest beside what was read: left alone, it reads that ever again.
    # Of equal readings a model learns nothing but that: only elsewhere can there be another one.
    n_crowd = 1 if is_constant else None if acquisition.is_improvement else CROWD
    pending, failed = distinct(evidence.pending_at(target)), evidence.infeasible_at(target)
    return Barred(pending, avoid, failed, evidence.of(target).X_set, Success.of(evidence, target), n_crowd)


def _refined(
    acquisition: Any, space: Space, raw: Array, values: Array, barred: Barred, n_starts: int
) -> tuple[Array, Array, str]:
    """The screened settings and what was reached by climbing from the best of them; and what was wrong with that."""
    starts = raw[_apart(raw, values, n_starts)]
    reached = _climbed(acquisition, space, starts)
    sound = usable(space, reached)
    n_bad = len(reached) - len(sound)
    note = f"{n_bad} of {len(reached)} climbed settings, not finite or outside the space, left out" if n_bad else ""
    X = barred.without(distinct(as_asked(space, sound))) if len(sound) else sound
    if len(X):
        raw, values = np.concatenate([raw, X]), np.concatenate([values, acquisition.values(X)])
    return (*_swept(acquisition, space, raw, values, barred), note)


def _climbed(acquisition: Any, space: Space, starts: Array) -> Array:
    """By batched L-BFGS-B where only bounds cut the space, else by SLSQP."""
    has_demands = space.has_margins or space.is_tied or space.is_bound
    return ascend(acquisition, space, starts) if has_demands else climb(acquisition, space, starts)


def _swept(acquisition: Any, space: Space, X: Array, values: Array, barred: Barred) -> tuple[Array, Array]:
    """With discrete steps from the best setting, as long as one is better."""
    for _ in range(N_SWEEPS):
        near = barred.without(without(discrete_neighbours(space, X[values.argmax()]), X))
        if not len(near):
            break
        found, best = acquisition.values(near), values.max()
        X, values = np.concatenate([X, near]), np.concatenate([values, found])
        if found.max() <= best:
            break
        climbed = usable(space, _climbed(acquisition, space, near[[found.argmax()]]))
        better = barred.without(without(as_asked(space, climbed), X))
        if len(better):
            X, values = np.concatenate([X, better]), np.concatenate([values, acquisition.values(better)])
    return X, values


def _apart(X: Array, values: Array, n: int) -> list[int]:
    """Places of the best n rows that are not close to a better one."""
    chosen: list[int] = []
    for k in np.argsort(-values, kind="stable"):
        if len(chosen) == n or not np.isfinite(values[k]):
            break
        if all(np.abs(X[k] - X[j]).max() > APART for j in chosen):
            chosen.append(int(k))
    return chosen
