"""The rules of a goal within its campaign; each refusal gives name, value, rule and remedy."""

from __future__ import annotations

import difflib
import itertools
import math
from typing import TYPE_CHECKING

from .errors import CampaignError
from .expressions import Constraint, Expression
from .parameters import Continuous

if TYPE_CHECKING:
    from .campaign import Campaign
    from .goal import Goal

TRIED = (0.37, -1.3, 2.9, 11.7, -47.3, 0.011)  # values of responses that an expression is tried on


def check_goal(c: Campaign) -> None:
    """Every rule in turn.

    Raises:
        ValueError or CampaignError: at the first that is broken.
    """
    _known_responses(c)
    _says_something(c.goal)
    _contradicts_nothing(c.goal)
    _risk(c)


def _known_responses(c: Campaign) -> None:
    for name in sorted(c.goal.names - set(c.responses)):
        close = difflib.get_close_matches(name, c.responses, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(sorted(c.responses))}"
        raise CampaignError(f"goal: {name!r} is no response; {hint}")


def _says_something(goal: Goal) -> None:
    """Each expression depends on a response and has a value somewhere; each condition can hold and can be broken."""
    for aim in goal.aims:
        if not aim.expression.names:
            raise ValueError(f"goal: {aim.text!r} names no response, so nothing can improve it")
        values = _tried(aim.expression)
        if not values:
            raise ValueError(f"goal: {aim.text!r} has no finite value at any reading that was tried; correct it")
        if _is_constant(values):
            raise ValueError(f"goal: {aim.text!r} is always {values[0]:g}, so nothing can improve it; correct it")
    for where, conditions in (("goal.map", goal.conditions), ("goal.subject_to", goal.constraints)):
        for condition in conditions:
            if not condition.names:
                raise ValueError(f"{where}: {condition.text!r} names no response; leave it out")


def _tried(expression: Expression) -> list[float]:
    """Its finite values at readings that tell expressions apart."""
    names, found = sorted(expression.names), []
    for k in range(len(TRIED)):
        values = {name: TRIED[(k + 2 * j) % len(TRIED)] * (1 + 0.1 * j) for j, name in enumerate(names)}
        for sign in (1.0, -1.0):
            try:
                x = expression.evaluate({n: sign * v for n, v in values.items()})
            except (ArithmeticError, ValueError):
                continue
            if isinstance(x, int | float) and math.isfinite(x):
                found.append(float(x))
    return found


def _is_constant(values: list[float]) -> bool:
    return len(values) > 1 and max(values) - min(values) <= 1e-12 * max(map(abs, values))


def _contradicts_nothing(goal: Goal) -> None:
    texts = ["".join(a.text.split()) for a in goal.aims]
    for k, text in enumerate(texts):
        for j in range(k):
            if texts[j] == text:
                raise ValueError(
                    f"goal: {goal.aims[j].words} and {goal.aims[k].words} are two aims for one expression; keep one, "
                    "and say the rest in subject_to"
                )
    if len(set(goal.wanted)) < len(goal.wanted):
        raise ValueError(f"goal.{goal.kind} {list(goal.wanted)}: repeats a response; name each once")
    for where, conditions in (("goal.map", goal.conditions), ("goal.subject_to", goal.constraints)):
        bounds = [(c, b) for c in conditions if (b := _bound(c)) is not None]
        for (one, (name, low, high)), (other, (name2, low2, high2)) in itertools.combinations(bounds, 2):
            if name == name2 and max(low, low2) > min(high, high2):
                raise ValueError(
                    f"{where}: {one.text!r} and {other.text!r} cannot both hold; loosen one of them or leave it out"
                )


def _bound(constraint: Constraint) -> tuple[str, float, float] | None:
    """The response and the interval that a linear constraint on one response leaves; None for any other."""
    if len(constraint.names) != 1:
        return None
    (name,) = constraint.names

    def margin(x: float) -> float:
        return float(constraint.margin({name: x}))

    try:
        a, b = margin(0.0), margin(1.0) - margin(0.0)
        is_linear = all(math.isclose(margin(x), a + b * x, rel_tol=1e-9, abs_tol=1e-9) for x in (-7.0, 2.5, 31.0))
    except (ArithmeticError, ValueError, TypeError):
        return None
    if not is_linear or b == 0:
        return None
    edge = -a / b
    return (name, edge, math.inf) if b > 0 else (name, -math.inf, edge)


def _risk(c: Campaign) -> None:
    if c.goal.risk is None:
        return
    for name, sd in c.goal.risk.over.items():
        p = c.parameters.get(name)
        if not isinstance(p, Continuous):
            numeric = [n for n, q in c.parameters.items() if isinstance(q, Continuous)]
            raise ValueError(
                f"goal.risk.over.{name}: is no continuous parameter; its noise may be over "
                f"{', '.join(numeric) or 'none of this campaign'}"
            )
        if sd > (p.high - p.low) / 2:
            raise ValueError(
                f"goal.risk.over.{name} = {sd:g}: is more than half of the parameter's range {p.low:g} to {p.high:g}, "
                "so every setting would be as good as any other; give the noise of the setting as a standard deviation"
            )


def check_switching(c: Campaign) -> None:
    """What a change of setting costs: of known parameters, in resources of the budget.

    Raises:
        ValueError: at the first rule that is broken.
    """
    resources = [r for r in c.budget if r != "trials"]
    for source, spec in c.sources.items():
        for name, rate in spec.switching.items():
            where = f"sources.{source}.switching.{name}"
            if name not in c.parameters:
                close = difflib.get_close_matches(name, c.parameters, n=1)
                hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(c.parameters)}"
                raise ValueError(f"{where}: is no parameter; {hint}")
            if not isinstance(rate, dict) and len(resources) != 1:
                raise ValueError(
                    f"{where} = {rate:g}: the budget has {', '.join(resources) or 'no resource but trials'}, so say "
                    f"which it costs, such as {{{resources[0] if resources else 'money'}: {rate:g}}}"
                )
            for resource in rate if isinstance(rate, dict) else ():
                if resource not in c.budget or resource == "trials":
                    raise ValueError(
                        f"{where}.{resource}: is no resource of the budget that can be spent by parts; it has "
                        f"{', '.join(resources) or 'none'}"
                    )
