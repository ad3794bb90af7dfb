"""Which demands on a space cannot be met together: the fewest, found by leaving them out one after another."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from .expressions import Constraint, Equality
from .feasible import find_feasible
from .linear import linear_margin
from .mixtures import Mixture
from .predicates import Predicate
from .programme import is_ruled_out, known_forms
from .space import Space

Demand = Constraint | Equality | Mixture | Predicate


def is_nowhere(space: Space) -> bool:
    """Whether no setting was found."""
    return find_feasible(space, 1) is None


def smallest_conflict(space: Space) -> tuple[list[str], bool]:
    """Of a space without settings: demands none of which could be left out, and whether their conflict is proved."""
    parts: list[tuple[str, Callable[[Space, Any], Space], tuple[Demand, ...]]] = [
        ("constraints", lambda s, kept: replace(s, constraints=kept), space.constraints),
        ("equalities", lambda s, kept: replace(s, equalities=kept), space.equalities),
        ("mixtures", lambda s, kept: replace(s, mixtures=kept), space.mixtures),
        ("predicates", lambda s, kept: replace(s, predicates=kept), space.predicates),
    ]
    for field, put, demands in parts:
        for demand in demands:
            kept = tuple(d for d in getattr(space, field) if d is not demand)
            without = put(space, kept)
            if is_nowhere(without):
                space = without
    left: list[Demand] = [*space.constraints, *space.equalities, *space.mixtures, *space.predicates]
    words = [d.target if isinstance(d, Predicate) else d.text for d in left]
    if len(left) == 1 and isinstance(left[0], Constraint | Equality):
        words = [words[0] + _reach(space, left[0])]
    return words, is_ruled_out(space)


def _reach(space: Space, demand: Constraint | Equality) -> str:
    """How near a linear demand can come to be met within the bounds, in words; empty where it is not linear."""
    form = linear_margin(demand, known_forms(space))
    if form is None or not set(form.coefficients) <= set(space.varied):
        return ""
    low = high = form.constant
    for name, c in form.coefficients.items():
        ends = [c * float(space.varied[name].from_unit(u, lib=math)) for u in space.bounds[space.columns[name].start]]
        low, high = low + min(ends), high + max(ends)
    if low > 0 or high < 0:
        return f" (its sides differ by at least {min(abs(low), abs(high)):g} within the bounds)"
    return ""
