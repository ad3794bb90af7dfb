"""One setting: made whole from what is varied, and checked whole against its space."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .choices import Categorical, Ordinal
from .errors import CampaignError
from .parameters import Continuous, Derived, Fixed

if TYPE_CHECKING:
    from .mixtures import Mixture
    from .records import Setting, Value
    from .space import Space


def default_context(p: Any) -> Value:
    """What a context is taken to be before it was measured: the middle, or the first choice."""
    if isinstance(p, Categorical):
        return p.choices[0]
    if isinstance(p, Ordinal):
        return p.levels[len(p.levels) // 2]
    middle: float = p.decode([0.5])
    return middle


def active_names(space: Space, setting: Mapping[str, Any]) -> set[str]:
    """The parameters that are active at a setting; what it does not hold is not."""
    active = {n for n in space.parameters if n not in space.conditions}
    for name, condition in space.conditions.items():  # parents first
        if condition.names <= (active & set(setting)) and condition.holds(setting):
            active.add(name)
    return active


def complete(space: Space, varied: Setting) -> Setting:
    """The setting of the varied parameters' values: what is not active taken out, fixed and derived values put in."""
    known = {**varied, **{n: p.value for n, p in space.parameters.items() if isinstance(p, Fixed)}}
    active = active_names(space, known)
    setting = {n: known[n] for n in space.parameters if n in known and n in active}
    for mixture in space.mixtures if space.table is None else ():  # a candidate stays as it is
        setting |= _exact(space, mixture, setting)
    for name, expression in space.derivations.items():
        setting[name] = _worked_out(expression.evaluate, setting)
    return {n: setting[n] for n in space.parameters if n in setting}


def _worked_out(evaluate: Any, setting: Setting) -> float:
    try:
        value = evaluate(setting)
    except (ArithmeticError, ValueError, TypeError):
        return math.nan
    return float(f"{value:.12g}") if isinstance(value, int | float) and math.isfinite(value) else math.nan


def _exact(space: Space, mixture: Mixture, setting: Setting) -> Setting:
    """One continuous component once more, as what the others leave of the total: no rounding adds up.

    The one that is rounded to the finest digits, and of several the largest: the others are multiples of its digits.
    """
    free = {n: p for n in mixture.of if isinstance(p := space.parameters[n], Continuous) and float(setting[n]) > 0}
    near = 1e-9 * mixture.total  # otherwise it is no mixture, and is told so
    for name, p in sorted(
        free.items(), key=lambda item: (math.floor(math.log10(item[1].high)), -float(setting[item[0]]))
    ):
        rest = mixture.total - math.fsum(float(setting[n]) for n in mixture.of if n != name)
        if abs(rest - float(setting[name])) <= near and p.low <= rest <= p.high:
            return {name: p.check(rest)}
    return {}


def checked(space: Space, setting: Mapping[str, Any]) -> Setting:
    """The setting, whole and within the space; what is fixed or derived may be left out.

    Raises:
        CampaignError: as ``Space.check``.
    """
    if unknown := sorted(set(setting) - set(space.parameters)):
        raise CampaignError(f"setting has {', '.join(unknown)}, which is no parameter; known: {', '.join(space.names)}")
    known = dict(space.context)
    given = {n: known[n] for n, p in space.varied.items() if p.context and n in known} | dict(setting)
    values = _values(space, given)
    if space.table is not None:
        own = space.table.own(space.encode(values))
        values |= {n: type(values[n])(x) for n, x in own.items() if n in values}
    whole = complete(space, values)
    if extra := sorted(set(values) - set(whole)):
        condition = space.conditions[extra[0]].text
        raise CampaignError(f"setting has {extra[0]}, which is active only where {condition}; leave it out")
    if missing := [n for n in space.names if n not in whole and n in active_names(space, whole)]:
        raise CampaignError(f"setting lacks {', '.join(missing)}; give every parameter a value")
    _check_derived(space, setting, whole)
    from .margins import breach, fault_of_predicates

    if words := breach(space, whole):
        raise CampaignError(f"setting {whole} {words}")
    if words := space.refusal(whole):
        raise CampaignError(words)
    if space.table is not None and not space.table.holds(space, space.encode(whole)[None])[0]:
        raise CampaignError(f"setting {whole} is no row of the candidates; take one of their {space.table.n} rows")
    if target := fault_of_predicates(space, whole):
        raise CampaignError(f"setting {whole} is not allowed by the predicate {target!r}; change one of its values")
    return whole


def _values(space: Space, given: Mapping[str, Any]) -> Setting:
    """Each value that is given, of a varied or fixed parameter, on that parameter's values."""
    values: Setting = {}
    always = {n: p for n, p in space.varied.items() if n not in space.conditions}
    if missing := [n for n in always if n not in given]:
        raise CampaignError(f"setting lacks {', '.join(missing)}; give every parameter a value")
    for name, p in space.parameters.items():
        if name not in given or isinstance(p, Derived):
            continue
        try:
            values[name] = p.check(given[name])
        except ValueError as error:
            raise CampaignError(f"{name}={given[name]!r}: {error}") from error
    return values


def _check_derived(space: Space, given: Mapping[str, Any], whole: Setting) -> None:
    for name in space.derivations:
        value = float(whole[name])
        if not math.isfinite(value):
            raise CampaignError(f"{name} has no finite value at this setting; change one of its parameters")
        told = given.get(name, value)
        is_number = isinstance(told, int | float) and not isinstance(told, bool)
        if not is_number or not math.isclose(told, value, rel_tol=1e-9, abs_tol=1e-12):
            raise CampaignError(f"{name}={told!r}: is derived, and is {value:.9g} at this setting; leave it out")
