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
    from .aim import Aim
    from .campaign import Campaign
    from .goal import Goal

LINE = (0.0, 0.011, 0.37, 1.3, 2.9, 11.7, 47.3, 310.0, 2900.0)  # along which poles are looked for
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
        values, is_beyond = _tried(aim.expression)
        if not values:
            raise ValueError(f"goal: {aim.text!r} has no finite value at any reading that was tried; correct it")
        if _is_constant(values) and is_beyond:
            raise ValueError(
                f"goal: {aim.text!r} has no usable finite value: at the readings that were tried it is {values[0]:g} "
                "or more than a number can hold; use a smaller power, or the logarithm"
            )
        if _is_constant(values):
            raise ValueError(f"goal: {aim.text!r} is always {values[0]:g}, so nothing can improve it; correct it")
        if aim.way in ("maximize", "minimize") and (pole := _pole(aim)):
            name, x, value = pole
            raise ValueError(
                f"goal: {aim.words} has no best value: it divides by what can be 0, so that {name} = {x:.10g} already "
                f"gives {value:.3g}; keep the divisor away from 0, such as a / max(b, 0.01) instead of a / b"
            )
    for where, conditions in (("goal.map", goal.conditions), ("goal.subject_to", goal.constraints)):
        for condition in conditions:
            if not condition.names:
                raise ValueError(f"{where}: {condition.text!r} names no response; leave it out")


def _tried(expression: Expression) -> tuple[list[float], bool]:
    """Its finite values at readings that tell expressions apart; whether at some it is beyond what a number holds."""
    names, found, is_beyond = sorted(expression.names), [], False
    for k in range(len(TRIED)):
        values = {name: TRIED[(k + 2 * j) % len(TRIED)] * (1 + 0.1 * j) for j, name in enumerate(names)}
        for sign in (1.0, -1.0):
            try:
                x = expression.evaluate({n: sign * v for n, v in values.items()})
            except (ArithmeticError, ValueError) as error:
                is_beyond |= isinstance(error, OverflowError)
                continue
            if isinstance(x, int | float) and math.isfinite(x):
                found.append(float(x))
    return found, is_beyond


def _pole(aim: Aim) -> tuple[str, float, float] | None:
    """A reading >= 0 beside which the objective grows without bound: a response, its value, the expression there.

    One is found only where it is seen to grow: a divisor that might be 0 refuses nothing.
    """
    names = sorted(aim.expression.names)
    for k, name in itertools.product(range(3), names):
        base = {n: TRIED[(k + 2 * j) % len(TRIED)] for j, n in enumerate(names)}
        base = {n: abs(v) for n, v in base.items()}
        for x in _zeros(aim.expression, base, name):
            for side in (1.0, -1.0):
                near = [{**base, name: x + side * h * max(1.0, x)} for h in (1e-3, 1e-5, 1e-7)]
                values = [_value(aim, reading) for reading in near]
                if near[0][name] >= 0 and 0 < 3 * values[0] < values[1] and 3 * values[1] < values[2]:
                    return name, near[2][name], aim.in_words(values[2])
    return None


def _value(aim: Aim, reading: dict[str, float]) -> float:
    try:
        x = aim.objective(reading)
    except (ArithmeticError, ValueError):
        return math.nan
    return float(x) if isinstance(x, int | float) else math.nan


def _zeros(expression: Expression, base: dict[str, float], name: str) -> list[float]:
    """Values of one response, along a line of readings >= 0, at which something is divided by 0."""

    def divisors(x: float) -> list[float]:
        return expression.divisors({**base, name: x})

    found = []
    for low, high in itertools.pairwise(LINE):
        for j, (a, b) in enumerate(zip(divisors(low), divisors(high), strict=True)):
            if a == 0:
                found.append(low)
            if a * b < 0:
                left, right = low, high
                for _ in range(60):
                    middle = (left + right) / 2
                    left, right = (middle, right) if divisors(middle)[j] * a > 0 else (left, middle)
                found.append(right)
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
            if name != name2:
                continue
            edge = max(low, low2) + 0.0  # no -0
            if math.isclose(edge, min(high, high2), rel_tol=1e-9):
                raise ValueError(
                    f"{where}: {one.text!r} and {other.text!r} leave {name} the one value {edge:g}, which a "
                    "reading never has to the last digit; leave it a range, or make it the goal: "
                    f"{{target: {name}, value: {edge:g}}}"
                )
            if max(low, low2) > min(high, high2):
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
