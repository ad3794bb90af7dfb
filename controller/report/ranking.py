"""What a reading is worth under a declared goal, and the front of those that none dominates; in plain numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from ..pareto import compromise, dominates

if TYPE_CHECKING:
    from .declaration import Declaration
    from .story import TrialStory

T = TypeVar("T", bound="TrialStory")


def objectives(declared: Declaration, values: Mapping[str, float]) -> list[float]:
    """Each objective as a person reads it; empty where one has no value, and for a goal without objectives."""
    try:
        found = [float(aim.in_words(aim.objective(values))) for aim in declared.goal.aims]
    except (ArithmeticError, ValueError, KeyError, TypeError):
        return []
    return found if all(map(math.isfinite, found)) else []


def margin(declared: Declaration, values: Mapping[str, float]) -> float:
    """The least margin of the outcome constraints, >= 0 where all hold."""
    try:
        return min((float(m) for m in declared.goal.margins(values)), default=0.0)
    except (ArithmeticError, ValueError, KeyError, TypeError):
        return -math.inf


def merit(declared: Declaration, t: TrialStory) -> tuple[bool, bool, float, tuple[float, ...], int]:
    """The larger the better; of two readings alike the older trial's."""
    values = t.reading.values if t.reading else {}
    is_inside, least = declared.has(t.trial.setting), margin(declared, values)
    if least < 0:
        return is_inside, False, least, (), -t.number
    return is_inside, True, 0.0, _upward(declared, t) or (-math.inf,), -t.number


def with_one_more(declared: Declaration, front: Sequence[T], t: T) -> list[T]:
    """The front with one reading more, if that keeps the constraints and none dominates it."""
    mine = _upward(declared, t)
    values = t.reading.values if t.reading else {}
    if not mine or margin(declared, values) < 0 or not declared.has(t.trial.setting):
        return list(front)
    points = [_upward(declared, other) for other in front]
    if any(dominates(p, mine) or p == mine for p in points):
        return list(front)
    return [*(other for other, p in zip(front, points, strict=True) if not dominates(mine, p)), t]


def nearest_to_all(declared: Declaration, front: Sequence[T]) -> T:
    """The reading of the front that is nearest to the best of each objective."""
    return front[compromise([_upward(declared, t) for t in front])]


def upward(declared: Declaration, front: Sequence[TrialStory]) -> list[tuple[float, ...]]:
    """The objectives of each, all to be maximised."""
    return [_upward(declared, t) for t in front]


def _upward(declared: Declaration, t: TrialStory) -> tuple[float, ...]:
    """Each objective, to be maximised; empty where one has no value."""
    found = objectives(declared, t.reading.values) if t.reading else []
    return tuple(a.floor(x) for a, x in zip(declared.goal.aims, found, strict=False))
