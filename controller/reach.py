"""How far a setting may be from the one before it: the guard's ``max_step``, kept by the mind as well.

The guard refuses a step that is too long; a mind that kept asking for it would get nowhere.
"""

from __future__ import annotations

from .errors import CampaignError
from .records import Setting
from .state import State


def within_reach(state: State, source: str, setting: Setting) -> Setting:
    """The setting, or as much of the way to it from the last one as the steps allow and the space has."""
    spec = state.campaign.sources[source]
    rules = state.campaign.guard if spec.guard is None else spec.guard
    places = _places(state, source) if rules.max_step else []
    if not places:
        return setting
    share = min((_share(setting, places, name, step) for name, step in rules.max_step.items()), default=1.0)
    if share >= 1.0:
        return setting
    nearer: Setting = {}
    for name, goal in setting.items():
        now = places[0].get(name)
        is_number = isinstance(goal, int | float) and isinstance(now, int | float) and name in rules.max_step
        nearer[name] = float(now + share * (goal - now)) if is_number else goal  # type: ignore[operator]
    space = state.campaign.space
    try:
        return space.check(space.decode(space.encode(nearer)))
    except (CampaignError, ValueError):  # a constraint stands between the two: the guard has the last word
        return setting


def _share(setting: Setting, places: list[Setting], name: str, step: float) -> float:
    """How much of the way from the newest place may be gone and be within a step of every place."""
    goal, now = setting.get(name), places[0].get(name)
    if not isinstance(goal, int | float) or not isinstance(now, int | float) or goal == now:
        return 1.0
    length, sign = abs(goal - now), 1.0 if goal > now else -1.0
    others = [float(p[name]) for p in places if isinstance(p.get(name), int | float)]
    return max(0.0, min((step - sign * (now - other)) / length for other in others))


def _places(state: State, source: str) -> list[Setting]:
    """Where the source may be, as far as the ledger tells, newest first: all it was told since its last reading."""
    found: list[Setting] = []
    for number in range(len(state.trials), 0, -1):
        known = state.trials.get(number)
        has_begun = known is not None and (known.status in ("acting", "observed", "late", "unknown") or known.failure)
        if known is None or known.trial.source != source or not has_begun:
            continue
        found.append(known.trial.setting)
        if known.status == "observed":
            break
    return found
