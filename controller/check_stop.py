"""The rules between a campaign and when it is to stop; each refusal gives name, value, rule and remedy."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from .intervals import bounds_of
from .stop import GainBelowCost, RegretBelow, Spent, Stop, TargetReached, Term, main_resource

if TYPE_CHECKING:
    from .campaign import Campaign


def check_stop(c: Campaign) -> None:
    """Every declared rule against goal, belief and budget.

    Raises:
        ValueError: at the first that could never hold, or has no meaning for this goal.
    """
    for term in Stop(c.stop).terms if c.stop is not None else ():
        _check_goal(c, term)
        if term.needs_belief and c.belief_kind == "climatology":
            raise ValueError(
                f"stop: {term.name} asks what the belief expects, and belief: climatology expects the same of every "
                "setting; use converged(...) or another belief"
            )
        if isinstance(term, TargetReached):
            _check_value(c, term)
        if isinstance(term, GainBelowCost):
            resource = term.resource or main_resource(c.budget)
            _check_resource(c, term.name, resource)
            if c.sources[c.target].cost is not None and c.cost_of(c.target).get(resource, 0.0) == 0.0:
                raise ValueError(
                    f"stop: {term.name}(resource={resource!r}): a trial of {c.target!r} costs no {resource!r}, so it "
                    "is always worth it; name a resource that it costs"
                )
        if isinstance(term, Spent):
            _check_resource(c, term.name, term.resource)


def _check_goal(c: Campaign, term: Term) -> None:
    if term.needs_number and c.goal.kind != "optimise":
        raise ValueError(
            f"stop: {term.name} speaks of one objective, and the goal is to {c.goal.words}; use gain_below_cost(...), "
            "spent(...), elapsed(...) or failures(...)"
        )
    if isinstance(term, TargetReached | RegretBelow) and c.goal.risk is not None:
        raise ValueError(
            f"stop: {term.name} speaks of the objective at the setting itself, and the goal has risk:; use "
            "converged(...), gain_below(...) or gain_below_cost(...)"
        )


def _check_value(c: Campaign, term: TargetReached) -> None:
    """A value that no response can give."""
    aim = c.goal.aim
    lowest, highest = bounds_of(aim.expression)
    is_distance = aim.way in ("target", "range")
    if (is_distance and term.value < 0) or (aim.way == "target" and term.value == 0):
        raise ValueError(
            f"stop: {term.name}({term.value:g}): is a distance to what is wanted, and none is "
            f"{'below 0' if term.value < 0 else 'exactly 0'}; write how near is near enough"
        )
    is_beyond = term.value > highest if aim.way == "maximize" else term.value < lowest
    if is_beyond and not is_distance:
        raise ValueError(
            f"stop: {term.name}({term.value:g}): {aim.text!r} lies between {lowest:g} and {highest:g} whatever is "
            "measured, so it could never be reached; write a value within"
        )


def _check_resource(c: Campaign, rule: str, resource: str) -> None:
    known = {*c.budget, *(r for s in c.sources for r in c.cost_of(s))}
    if resource in known or any(s.cost is None for s in c.sources.values()):
        return
    close = difflib.get_close_matches(resource, known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(sorted(known))}"
    raise ValueError(f"stop: {rule}: nothing costs {resource!r}; {hint}")
