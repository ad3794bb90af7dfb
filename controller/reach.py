"""How far a setting may be from where the device may be: the guard's ``max_step``, kept by the mind as well.

The guard refuses a step that is too long; a mind that kept asking for it would get nowhere. What it does not know of
the device's place, a refusal tells it.

Laws:
    * What comes out is allowed by the guard's limits and forbidden regions if what came in was.
    * What people were asked for and did not answer may be carried out in any order, and each keeps the step.
    * What is in flight, failed or was refused is not stepped to again, unless nothing else is within reach.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .feasible import find_feasible
from .records import Setting
from .space import Array, Space
from .state import State

N_TRIED = 32  # settings within reach, where the nearest will not do
EDGE = 1e-9  # of the cube: rounding
SHARE = 0.1  # of what is within reach: no further from a reading than this, a setting is read already


def within_reach(state: State, source: str, setting: Setting) -> Setting:
    """The setting, or one within a step of wherever the source may be, as near to it as can be.

    Where nothing is within a step of all places it is near the newest, and the guard has the last word.
    """
    known, asked = state.places.get(source, ()), _asked_of_people(state, source)
    steps = state.campaign.guard_of(source).max_step
    if not (known or asked) or not steps or state.campaign.sources[source].kind == "simulator":
        return setting
    space = state.spaces[source]
    for places in ((*known, *asked), known, known[:1]):
        near = space.within(_reach(places, steps))
        if not places or near.is_empty:
            continue
        if _is_within(near, setting):
            return setting
        nearer = _nearest(state, source, near, space.encode(setting))
        if nearer is not None:
            return nearer
    return setting


def _asked_of_people(state: State, source: str) -> tuple[Setting, ...]:
    """Where people may take the source yet: nobody knows the order."""
    is_by_hand = state.campaign.sources[source].is_manual
    open_ = (state.trials[n] for n in (*state.waiting, *state.running))
    return tuple(t.trial.setting for t in open_ if t.trial.source == source and (is_by_hand or not t.is_ours))


def _reach(places: tuple[Setting, ...], steps: dict[str, float]) -> dict[str, tuple[float, float]]:
    """By parameter: the values within a step of every place."""
    reach = {}
    for name, step in steps.items():
        known = [float(x) for p in places if isinstance(x := p.get(name), int | float)]
        if known:
            reach[name] = (max(known) - step, min(known) + step)
    return reach


def _is_within(near: Space, setting: Setting) -> bool:
    return bool(near.is_feasible(near.encode(setting)[None])[0])


def _nearest(state: State, source: str, near: Space, goal: Array) -> Setting | None:
    """The setting drawn in, else the nearest of a few; None where there is none.

    What is read already is left for what is not: where the way is barred, the edge would be read for ever.
    """
    from .design.safeguard import Barred

    evidence = state.evidence
    row, read = near.round(goal[None]), evidence.of(source).X_set
    failed = evidence.infeasible_at(source)
    barred = Barred(evidence.pending_at(source), failed, failed, read, _success(state, source))
    if near.is_feasible(row)[0] and len(barred.without(row)) and not _is_read(row, read, np.zeros(row.shape[1]))[0]:
        return near.decode(row[0])
    X = _candidates(near, row)
    if X is None:
        return None
    free = barred.freest(X)
    new = free[~_is_read(free, read, SHARE * np.ptp(X, axis=0))]
    rows = new if len(new) else free
    return near.decode(rows[np.abs(rows - goal).sum(axis=1).argmin()])


def _candidates(near: Space, row: Array) -> Array | None:
    """Feasible rows within reach: all over it, some of them near the row that was wanted."""
    found = find_feasible(near, N_TRIED)
    if found is None:
        found = find_feasible(near, 1)
    if found is None:
        return None
    X = np.concatenate([row, found, near.round(row + (found - row) / 8)])
    kept: Array = X[near.is_feasible(X)]
    return kept


def _is_read(X: Array, read: Array, within: Array) -> Any:
    """Which rows are as near to a reading, in every column."""
    return (np.abs(X[:, None] - read) <= within + EDGE).all(axis=-1).any(axis=-1)


def _success(state: State, source: str) -> Any:
    """How likely a trial is to succeed; None where none failed."""
    if not len(state.evidence.infeasible_at(source)):
        return None
    from .belief.success import Success

    return Success.of(state.evidence, source)
