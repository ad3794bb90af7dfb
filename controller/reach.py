"""How far a setting may be from where the device may be: the guard's ``max_step``, kept by the mind as well.

The guard refuses a step that is too long; a mind that kept asking for it would get nowhere. What it does not know of
the device's place, a refusal tells it.

Law: what comes out is allowed by the guard's limits and forbidden regions if what came in was.
"""

from __future__ import annotations

import numpy as np

from .feasible import find_feasible
from .records import Setting
from .space import Array, Space
from .state import State

N_TRIED = 32  # settings within reach, where a constraint stands between


def within_reach(state: State, source: str, setting: Setting) -> Setting:
    """The setting, or one within a step of wherever the source may be, as near to it as can be.

    Where nothing is within a step of all places it is near the newest, and the guard has the last word.
    """
    places = state.places.get(source, ())
    steps = state.campaign.guard_of(source).max_step
    if not places or not steps:  # a simulator is nowhere
        return setting
    space = state.campaign.spaces[source]
    for known in (places, places[:1]):
        near = space.within(_reach(known, steps))
        if _is_within(near, setting):
            return setting
        nearer = None if near.is_empty else _nearest(near, space.encode(setting))
        if nearer is not None:
            return nearer
    return setting


def _reach(places: tuple[Setting, ...], steps: dict[str, float]) -> dict[str, tuple[float, float]]:
    """By parameter: the values within a step of every place."""
    reach = {}
    for name, step in steps.items():
        known = [float(x) for p in places if isinstance(x := p.get(name), int | float)]
        if known:
            reach[name] = (max(known) - step, min(known) + step)
    return reach


def _is_within(near: Space, setting: Setting) -> bool:
    return not near.is_empty and bool(near.is_feasible(near.encode(setting)[None])[0])


def _nearest(near: Space, goal: Array) -> Setting | None:
    """The setting drawn in, else the nearest of a few that keep the constraints; None where there is none."""
    row = near.round(goal[None])
    if near.is_feasible(row)[0]:
        return near.decode(row[0])
    found = find_feasible(near, N_TRIED)
    if found is None:
        found = find_feasible(near, 1)
    if found is None:
        return None
    return near.decode(found[np.abs(found - goal).sum(axis=1).argmin()])
