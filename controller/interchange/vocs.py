"""A VOCS of gest-api as the declaration of a campaign: variables, objectives, constraints, constants."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import CampaignError
from .names import Names
from .needs import needed

Domains = Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class Declared:
    """A VOCS in our words; names are mapped both ways."""

    names: Names
    parameters: dict[str, dict[str, Any]]
    responses: tuple[str, ...]  # all by their own, foreign names from here on
    goal: dict[str, Any]
    labels: dict[
        str, dict[str, Any]
    ]  # values of a variable that no campaign can hold, by the text that stands for them
    contexts: tuple[str, ...]
    constants: dict[str, Any]
    observables: tuple[str, ...]


def declared_of(vocs: Any, *, domains: Domains | None = None) -> Declared:
    """The declaration of a VOCS.

    Args:
        vocs: of gest-api.
        domains: bounds of contextual variables that have none of their own.

    Raises:
        CampaignError: naming the variable, objective or constraint that has no meaning here.
    """
    kinds = needed("gest_api.vocs", extra="gest")
    if not isinstance(vocs, kinds.VOCS):
        raise CampaignError(f"vocs is a {type(vocs).__name__}; give a gest_api.vocs.VOCS")
    if not vocs.variables:
        raise CampaignError("vocs has no variables; add one, such as variables={'x': [0, 1]}")
    measured = _measured(vocs, kinds)
    names = Names.of([*vocs.variable_names, *vocs.constant_names, *measured])
    if both := sorted({*vocs.variable_names, *vocs.constant_names} & set(measured)):
        raise CampaignError(f"vocs: {both[0]!r} is both an input and an output; rename one of them")
    labels: dict[str, dict[str, Any]] = {}
    parameters = {names.ours[n]: _parameter(n, v, kinds, labels, domains or {}) for n, v in vocs.variables.items()}
    constants = {n: c.value for n, c in vocs.constants.items()}
    parameters |= {names.ours[n]: {"value": x} for n, x in constants.items() if _is_plain(x)}
    contexts = tuple(n for n, v in vocs.variables.items() if isinstance(v, kinds.ContextualVariable))
    goal = _goal(vocs, kinds, names, measured)
    others = tuple(n for n in vocs.observable_names if n not in measured)
    return Declared(names, parameters, measured, goal, labels, contexts, constants, others)


def _measured(vocs: Any, kinds: Any) -> tuple[str, ...]:
    """The outputs that a model is made of: where there is no objective, the observables are to be learned."""
    wanted = dict.fromkeys([*vocs.objective_names, *vocs.constraint_names])
    if not vocs.objectives:
        wanted = dict.fromkeys([*vocs.observable_names])
    if not wanted:
        raise CampaignError("vocs has no objectives and no observables, so there is nothing to learn; add one of them")
    return tuple(wanted)


def _parameter(
    name: str, variable: Any, kinds: Any, labels: dict[str, dict[str, Any]], domains: Domains
) -> dict[str, Any]:
    if isinstance(variable.dtype, tuple):
        raise CampaignError(f"vocs: variable {name!r} has the dtype {variable.dtype}; give each number a variable")
    if isinstance(variable, kinds.DiscreteVariable):
        return _discrete(name, variable.values, labels)
    low, high = domains.get(name, variable.domain)
    is_context = isinstance(variable, kinds.ContextualVariable)
    if not (math.isfinite(low) and math.isfinite(high)):
        remedy = f"say where it is expected with domains={{{name!r}: (low, high)}}" if is_context else "bound it"
        raise CampaignError(f"vocs: variable {name!r} has the domain [{low}, {high}]; {remedy}")
    found: dict[str, Any] = {"low": float(low), "high": float(high)}
    if is_context:
        return {**found, "context": True}
    is_whole = variable.dtype in (int, "int", "int32", "int64") and low == round(low) and high == round(high)
    return {"kind": "integer", "low": round(low), "high": round(high)} if is_whole else found


def _discrete(name: str, values: Any, labels: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Numbers are ordered, and integers where no whole one lacks; all else are choices. A set has no order."""
    plain = [v.item() if hasattr(v, "item") else v for v in values]
    if len(plain) == 1 and _is_plain(plain[0]):
        return {"value": plain[0]}
    if all(isinstance(v, int | float) and not isinstance(v, bool) for v in plain):
        levels = sorted(plain)
        is_whole = all(float(v).is_integer() for v in levels)
        if len(levels) > 1 and is_whole and levels[-1] - levels[0] == len(levels) - 1:
            return {"kind": "integer", "low": round(levels[0]), "high": round(levels[-1])}
        return {"levels": levels}
    if len({str(v) for v in plain}) < len(plain):
        raise CampaignError(f"vocs: variable {name!r} has values that look alike ({plain}); make their texts differ")
    labels[name] = {str(v): v for v in plain}
    choices = sorted(labels[name])
    return {"choices": choices} if len(choices) > 1 else {"value": choices[0]}


def _goal(vocs: Any, kinds: Any, names: Names, measured: tuple[str, ...]) -> dict[str, Any]:
    ours = names.ours
    largest = [ours[n] for n, o in vocs.objectives.items() if isinstance(o, kinds.MaximizeObjective)]
    least = [ours[n] for n, o in vocs.objectives.items() if isinstance(o, kinds.MinimizeObjective)]
    explored = [ours[n] for n, o in vocs.objectives.items() if isinstance(o, kinds.ExploreObjective)]
    limits = [text for n, c in vocs.constraints.items() for text in _limits(ours[n], c, kinds)]
    if not vocs.objectives:
        explored = [ours[n] for n in measured]
    if explored and (largest or least or limits):
        raise CampaignError(
            f"vocs: to explore {', '.join(explored)} goes with no other objective and no constraint; leave those out"
        )
    if explored:
        return {"learn": explored}
    goal: dict[str, Any] = {"subject_to": limits} if limits else {}
    for key, found in (("maximize", largest), ("minimize", least)):
        if found:
            goal[key] = found if len(found) > 1 else found[0]
    return goal


def _limits(name: str, constraint: Any, kinds: Any) -> list[str]:
    if isinstance(constraint, kinds.BoundsConstraint):
        low, high = constraint.range
        return [f"{name} >= {float(low)!r}", f"{name} <= {float(high)!r}"]
    sign = "<=" if isinstance(constraint, kinds.LessThanConstraint) else ">="
    return [f"{name} {sign} {float(constraint.value)!r}"]


def _is_plain(value: Any) -> bool:
    """Whether a campaign can hold it."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return False
    return not isinstance(value, float) or math.isfinite(value)
