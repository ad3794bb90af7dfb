"""When to stop: budgets and evidence, composed with ``&`` and ``|``; each stop gives its reason with figures.

Laws:
    * A verdict is pure: it depends on the state, and on the proposal where one is made.
    * A proposal whose gain a rule does not find worth its cost is not made; then the campaign stops.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from .costing import cheapest_cost, usual_cost
from .prospect import attained, bound_of_regret, course_of, promises, spread_of
from .records import Proposed, Stopped
from .state import State
from .stop import (
    Converged,
    Elapsed,
    Failures,
    GainBelow,
    GainBelowCost,
    Joined,
    Node,
    RegretBelow,
    Spent,
    Stop,
    TargetReached,
    Term,
    main_resource,
)


class Rule(ABC):
    """Says why to stop, or None: go on."""

    @abstractmethod
    def verdict(self, state: State, proposed: Proposed | None = None) -> Stopped | None:
        """The stop that this rule calls for.

        Args:
            state: with no fresh readings.
            proposed: what would be done next, once that is known; rules about its gain say nothing before.
        """

    def __and__(self, other: Rule) -> Rule:
        return Both(self, other)

    def __or__(self, other: Rule) -> Rule:
        return Either(self, other)


@dataclass(frozen=True)
class Either(Rule):
    """Stops as soon as one of the two does."""

    first: Rule
    second: Rule

    def verdict(self, state: State, proposed: Proposed | None = None) -> Stopped | None:
        """The first's stop, else the second's."""
        return self.first.verdict(state, proposed) or self.second.verdict(state, proposed)


@dataclass(frozen=True)
class Both(Rule):
    """Stops when both do; the second is asked only where the first would stop."""

    first: Rule
    second: Rule

    def verdict(self, state: State, proposed: Proposed | None = None) -> Stopped | None:
        """Both reasons in one."""
        one = self.first.verdict(state, proposed)
        two = self.second.verdict(state, proposed) if one else None
        if one is None or two is None:
            return None
        return Stopped(reason=f"{one.reason}; {two.reason}", figures={**one.figures, **two.figures})


@dataclass(frozen=True)
class Never(Rule):
    """No rule."""

    def verdict(self, state: State, proposed: Proposed | None = None) -> Stopped | None:
        """None."""
        return None


@dataclass(frozen=True)
class BudgetSpent(Rule):
    """No source that leads to the goal can be afforded any more."""

    def verdict(self, state: State, proposed: Proposed | None = None) -> Stopped | None:
        """Stops when the target source is out of reach: simulations alone can add no reading of it."""
        campaign = state.campaign
        cost = cheapest_cost(state, campaign.target)
        if state.can_afford(cost):
            return None
        short = [
            r
            for r, limit in campaign.budget_amounts.items()
            if state.spent.get(r, 0.0) + state.reserved.get(r, 0.0) + cost.get(r, 0.0) > limit * (1 + 1e-9)
        ]
        figures = {f"spent_{r}": state.spent.get(r, 0.0) for r in short}
        unit = {r: "s of time" if r == "time" else r for r in short}
        words = ", ".join(f"{state.spent.get(r, 0.0):g} of {campaign.budget_amounts[r]:g} {unit[r]}" for r in short)
        return Stopped(
            reason=f"budget spent: {words}, and one trial of {campaign.target!r} would go beyond it",
            figures=figures,
        )


@dataclass(frozen=True)
class AskedToEnd(Rule):
    """A person asked for the end."""

    def verdict(self, state: State, proposed: Proposed | None = None) -> Stopped | None:
        """Stops with the person's name and reason."""
        ending = state.ending
        if ending is None:
            return None
        word = "aborted" if ending.mode == "abort" else "stopped"
        return Stopped(reason=f"{word} by {ending.by}" + (f": {ending.reason}" if ending.reason else ""))


@dataclass(frozen=True)
class Declared(Rule):
    """One rule of the campaign's own."""

    term: Term

    def verdict(self, state: State, proposed: Proposed | None = None) -> Stopped | None:
        """As its table says."""
        return VERDICTS[type(self.term)](self.term, state, proposed)


def _target_reached(term: TargetReached, state: State, _: Proposed | None) -> Stopped | None:
    found = attained(state, term.value)
    if found is None or found.probability < term.probability:
        return None
    goal, setting = state.campaign.goal, state.campaign.space.decode(found.row)
    sign = ">=" if goal.aim.way == "maximize" else "<="
    return Stopped(
        reason=f"target reached: {goal.aim.label} {sign} {term.value:g} with probability "
        f"{found.probability:.3g} at {', '.join(f'{k} = {v}' for k, v in setting.items())}",
        figures={"target": term.value, "probability": found.probability, "expected": found.expected},
    )


def _converged(term: Converged, state: State, _: Proposed | None) -> Stopped | None:
    course = course_of(state)
    before = course.before(term.n)
    if course.n_chosen < term.n or before is None or course.now is None:
        return None
    grown = course.now - before
    if grown > term.tolerance:
        return None
    by = f"by {grown:.3g}" if grown else "not at all"
    return Stopped(
        reason=f"converged: the best of the last {term.n} readings of {state.campaign.target!r} improved on the one "
        f"before {by}, which is no more than {term.tolerance:g}",
        figures={"improvement": grown, "improvement_tolerated": term.tolerance, "readings": float(term.n)},
    )


def _gain_below(term: GainBelow, state: State, proposed: Proposed | None) -> Stopped | None:
    found, spread = promises(state, proposed, term.n), spread_of(state)
    gain = max((p.gain for p in found), default=math.inf)
    if spread is None or len(found) < term.n or gain >= term.fraction * spread:
        return None
    return Stopped(
        reason=f"nothing to gain: the last {term.n} decisions promised at most {gain:.3g}, which is less than "
        f"{term.fraction:g} of the readings' spread {spread:.3g}",
        figures={"gain": gain, "spread": spread, "fraction": term.fraction},
    )


def _gain_below_cost(term: GainBelowCost, state: State, proposed: Proposed | None) -> Stopped | None:
    campaign, found = state.campaign, promises(state, proposed, term.n)
    resource = term.resource or main_resource(campaign.budget_amounts)
    price = {s: usual_cost(state, s).get(resource, 0.0) for s in campaign.sources}
    paid = [
        (g, price[s]) for p in found for s, g in p.gains.items() if price.get(s, 0.0) > 0
    ]  # what is free is no reason
    if len(found) < term.n or any(term.worth * g >= cost for g, cost in paid):
        return None
    best = max(found[-1].gains, key=lambda s: found[-1].gains[s])
    gain = found[-1].gains[best]
    return Stopped(
        reason=f"not worth it: a trial of {best!r} costs {price[best]:g} {resource} and promises a gain of {gain:.3g}, "
        f"worth {term.worth * gain:.3g} at {term.worth:g} a unit; nor was any other in the last {term.n} decisions",
        figures={"gain": gain, "worth": term.worth * gain, f"cost_{resource}": price[best]},
    )


def _regret_below(term: RegretBelow, state: State, _: Proposed | None) -> Stopped | None:
    bound = bound_of_regret(state, term.probability)
    if bound is None or bound > term.tolerance:
        return None
    return Stopped(
        reason=f"nothing much better is left: with bounds of probability {term.probability:g} no setting is better "
        f"than the best known one by more than {bound:.3g}, and {term.tolerance:g} is tolerated",
        figures={"regret_bound": bound, "regret_tolerated": term.tolerance, "regret_probability": term.probability},
    )


def _failures(term: Failures, state: State, _: Proposed | None) -> Stopped | None:
    failed = [n for n, t in sorted(state.trials.items()) if t.status in ("failed", "invalid") and t.reading is None]
    if len(failed) < term.n:
        return None
    known = state.trials[failed[-1]]
    last = f", the last one {failed[-1]}: {known.failure.message}" if known.failure else ""
    return Stopped(reason=f"{len(failed)} trials gave nothing{last}", figures={"failures": float(len(failed))})


def _spent(term: Spent, state: State, _: Proposed | None) -> Stopped | None:
    spent, limit = state.spent.get(term.resource, 0.0), float(term.amount)
    if spent < limit * (1 - 1e-9):
        return None
    unit = "s of time" if term.resource == "time" else term.resource
    return Stopped(reason=f"{spent:g} {unit} are spent, of {limit:g}", figures={f"spent_{term.resource}": spent})


def _elapsed(term: Elapsed, state: State, _: Proposed | None) -> Stopped | None:
    if state.began is None or state.time is None:
        return None
    elapsed, limit = (state.time - state.began).total_seconds(), float(term.time)
    if elapsed < limit:
        return None
    return Stopped(reason=f"{elapsed:.0f} s have passed, of {limit:g}", figures={"elapsed_s": elapsed})


VERDICTS: dict[type[Term], Callable[[Any, State, Proposed | None], Stopped | None]] = {
    TargetReached: _target_reached,
    Converged: _converged,
    GainBelow: _gain_below,
    GainBelowCost: _gain_below_cost,
    RegretBelow: _regret_below,
    Failures: _failures,
    Spent: _spent,
    Elapsed: _elapsed,
}
DEFAULT: Rule = AskedToEnd() | BudgetSpent()


def rule_of(stop: str | None) -> Rule:
    """Budgets and people, and what the campaign declares beside them."""
    return DEFAULT if stop is None else DEFAULT | declared_rule(stop)


@lru_cache(maxsize=64)
def declared_rule(stop: str | None) -> Rule:
    """What a campaign declares."""
    return Never() if stop is None else _built(Stop(stop).tree)


def _built(node: Node) -> Rule:
    if not isinstance(node, Joined):
        return Declared(node)
    built, *rest = [_built(part) for part in node.parts]
    for rule in rest:
        built = built & rule if node.sign == "&" else built | rule
    return built
