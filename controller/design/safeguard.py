"""What every proposal must be, whatever found it; and the settings that are tried where no model can say.

Laws:
    * A proposal is finite, within the space of its source, feasible, and not in flight already unless every setting is.
    * What fails again and again is left: a setting that hardly can succeed is asked for only where all are such.
    * Nothing is silent: whoever replaces a setting gets the reason, for the words and figures of the decision.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.spatial import cKDTree

from ..belief.success import Success
from ..errors import BeliefError
from .candidates import as_asked, is_among
from .initial import initial_setting

if TYPE_CHECKING:
    from ..belief.evidence import Evidence
    from ..space import Array, Space

HOPELESS = 0.25  # probability of success below which a setting is left alone: three failures beside each other
PROMISING = 0.4  # and above which a point of the sequence is good enough: half the prior's
CROWD = 3  # readings near a setting, after which one more there is no search any more
NEAR = 0.05  # of the cube, in every parameter
N_TRIED = 16  # points of the sequence that are looked at
EDGE = 1e-9  # of the cube: rounding


@dataclass(frozen=True, eq=False)
class Barred:
    """The settings of one source that are not to be asked for."""

    in_flight: Array  # (k, c)
    known: Array  # (k, c) failed, or read without noise
    failed: Array  # (k, c) and ``read``: (k, c), of which a setting must not be nearer to the failed ones
    read: Array
    success: Success | None = None
    n_crowd: int | None = None  # readings that may lie together; None for any number

    def without(self, X: Array) -> Array:
        """The rows that nothing bars."""
        free: Array = X[~self._reasons(X)[0]]
        return free

    def freest(self, X: Array) -> Array:
        """The same; where nothing would be left, the rows with the fewest reasons against them, never none."""
        return next((X[~barred] for barred in self._reasons(X) if not barred.all()), X)

    def _reasons(self, X: Array) -> list[Any]:
        """Which rows are barred, from all reasons together to the one that weighs most."""
        in_flight = is_among(X, self.in_flight)
        asked = in_flight | is_among(X, self.known)
        failing = asked | is_hopeless(self.success, X) | self._is_beside_failure(X)
        return [failing | self._is_crowded(X), failing, asked, in_flight]

    def _is_beside_failure(self, X: Array) -> Any:
        """Nearer to a failure than to a reading: the edge of what works is halved, not crept along from outside."""
        if not len(self.failed):
            return np.zeros(len(X), dtype=bool)
        to_failed = cKDTree(self.failed).query(X, p=np.inf)[0]
        to_read = self._tree.query(X, p=np.inf)[0] if len(self.read) else np.inf
        return (to_failed <= NEAR) & (to_failed <= to_read)

    def _is_crowded(self, X: Array) -> Any:
        if self.n_crowd is None or not len(self.read):
            return np.zeros(len(X), dtype=bool)
        return self._tree.query_ball_point(X, NEAR, p=np.inf, return_length=True) >= self.n_crowd

    @cached_property
    def _tree(self) -> Any:
        """Of what was read: distances to tens of thousands of readings fill no memory."""
        return cKDTree(self.read)


def is_hopeless(success: Success | None, X: Array) -> Any:
    """Which rows hardly can succeed."""
    return np.zeros(len(X), dtype=bool) if success is None else success.probability(X) < HOPELESS


def usable(space: Space, X: Array) -> Array:
    """The rows that are finite, within the cube and feasible, guards' limits and forbidden regions among it."""
    with np.errstate(invalid="ignore"):
        low, high = np.array(space.bounds).T  # a context lies where it was measured, perhaps beyond the cube
        is_within = (np.minimum(low, 0.0) - EDGE <= X) & (np.maximum(high, 1.0) + EDGE >= X)
        kept = X[(np.isfinite(X) & is_within).all(axis=1)]
    found: Array = kept[space.is_feasible(kept)] if space.is_cut else kept
    return found


def fault_of(row: Array, evidence: Evidence, source: str) -> str:
    """What is wrong with a setting that is to be proposed; empty where nothing is."""
    if not np.isfinite(row).all():
        return "is not finite"
    if not len(usable(evidence.space_of(source), row[None])):
        return "lies outside the space"
    return "is in flight already" if is_among(row[None], evidence.pending_at(source))[0] else ""


def space_filling(evidence: Evidence, source: str, *, seed: int) -> Array:
    """The next Sobol point, away from what is known: asked for nowhere yet, and not where trials fail.

    Returns:
        (c,)

    Raises:
        BeliefError: if no feasible setting is found, and none is known.
    """
    asked = np.concatenate([evidence.of(source).X_set, evidence.pending_at(source), evidence.infeasible_at(source)])
    success, space = Success.of(evidence, source), evidence.space_of(source)
    rows: list[Array] = []
    for k in range(N_TRIED):
        try:
            row = as_asked(space, initial_setting(space, len(asked) + k, seed)[None])
        except BeliefError:
            break
        if not is_among(row, asked)[0] and (success is None or success.probability(row)[0] >= PROMISING):
            return np.asarray(row[0])
        rows.append(row)
    return _least_bad(np.concatenate(rows) if rows else usable(space, asked), evidence, source, success)


def _least_bad(rows: Array, evidence: Evidence, source: str, success: Success | None) -> Array:
    """Where every point is known or likely to fail: one that is not in flight, the likeliest to succeed."""
    if not len(rows):
        raise BeliefError("no setting within the bounds was found to keep the constraints; loosen one of them")
    failed = evidence.infeasible_at(source)
    free = Barred(evidence.pending_at(source), failed, failed, evidence.of(source).X_set).freest(rows)
    best: Array = free[0 if success is None else int(success.probability(free).argmax())]
    return best
