"""The rules of a campaign that look at more than one key; each refusal gives name, value, rule and remedy."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from .check_goal import check_goal, check_switching
from .check_space import (
    check_candidates,
    check_constraints,
    check_context,
    check_feasible,
    check_guard_names,
    check_parameters,
    numeric_names,
)
from .check_stop import check_stop
from .designer import check_designer
from .errors import CampaignError
from .expressions import Constraint
from .parameters import Categorical, Derived, Fixed, Ordinal
from .units import is_trusted
from .warm_start import check_warm_start

if TYPE_CHECKING:
    from .campaign import Campaign
    from .parameters import Parameter
    from .source import Source
    from .space import Space

NAME = re.compile(r"^[A-Za-z][A-Za-z0-9_]*$")
FUNCTIONS = frozenset({"exp", "log", "log10", "sqrt", "sin", "cos", "tanh", "abs", "min", "max"})


def check_campaign(c: Campaign) -> None:
    """Every rule in turn.

    Raises:
        ValueError or CampaignError: at the first that is broken.
    """
    for rule in RULES:
        rule(c)


def _names(c: Campaign) -> None:
    for what, names in (("parameters", c.parameters), ("responses", c.responses), ("sources", c.sources)):
        for name in names:
            if not NAME.match(name) or (name in FUNCTIONS and what != "sources"):
                raise ValueError(
                    f"{what}: the name {name!r} must be letters, digits and _ (it stands in expressions) and no "
                    f"function's name; write {re.sub(r'[^A-Za-z0-9_]', '_', name).strip('_0123456789') or 'x'!r}"
                )
    if both := sorted(set(c.parameters) & set(c.responses)):
        raise ValueError(f"{both[0]!r} is both a parameter and a response; rename one of them")


def _budget(c: Campaign) -> None:
    for name, amount in c.budget_amounts.items():
        if amount <= 0:
            raise ValueError(f"budget.{name} = {amount}: must be above 0")
    charged = {r for s in c.sources for r, amount in c.cost_of(s).items() if amount > 0}
    knows_all_costs = all(s.cost is not None for s in c.sources.values())
    if knows_all_costs and (idle := sorted(set(c.budget_amounts) - charged)):
        raise ValueError(
            f"budget.{idle[0]}: no source has a cost in {idle[0]!r}, so it would never end; give one a cost: "
            f"{{{idle[0]}: ...}} or add trials: to the budget"
        )
    if knows_all_costs and not any(c.cost_of(c.target).get(r, 0.0) > 0 for r in c.budget_amounts):
        raise ValueError(
            f"sources.{c.target}: costs nothing of the budget ({', '.join(c.budget_amounts)}), so the campaign would "
            "never end; give it a cost or add trials: to the budget"
        )
    for source in c.sources if knows_all_costs else ():
        for name, amount in c.cost_of(source).items():
            if amount > c.budget_amounts.get(name, float("inf")):
                raise ValueError(
                    f"budget.{name} = {c.budget_amounts[name]:g}: one trial of {source!r} costs {amount:g}, so it "
                    "could never run; raise the budget or leave the source out"
                )


def _belief(c: Campaign) -> None:
    if c.belief in ("ensemble", "hybrid") and c.mechanistic is None:
        raise ValueError(
            f"belief = {c.belief!r}: needs a simulator with unknowns; give one unknowns: {{name: "
            "{lognormal: [median, sd]}} or use belief: surrogate"
        )
    if c.belief in ("ensemble", "hybrid") and not c.instruments:
        raise ValueError(f"belief = {c.belief!r}: needs an instrument whose readings correct the simulator; add one")
    others = set(c.sources) - {c.target, c.mechanistic}
    if c.belief in ("ensemble", "hybrid") and others:
        raise ValueError(
            f"belief = {c.belief!r}: knows the instrument {c.target!r} and the simulator {c.mechanistic!r}, and would "
            f"learn nothing from {', '.join(sorted(others))}; leave that out or use belief: surrogate"
        )
    with_unknowns = [n for n in c.simulators if c.sources[n].unknowns]
    if len(with_unknowns) > 1:
        raise ValueError(f"sources {', '.join(with_unknowns)} all have unknowns; give priors to one simulator only")
    for resource, amount in c.cost_of(c.target).items():
        limit = c.budget_amounts.get(resource, float("inf"))
        if c.n_initial is not None and c.n_initial * amount > limit:
            raise ValueError(
                f"n_initial = {c.n_initial}: is more than budget.{resource} = {limit:g} holds at {amount:g} a trial; "
                "lower it or raise the budget"
            )


def _guards(c: Campaign) -> None:
    """The rules of a guard speak of parameters; an interlock speaks of the driver's live readings."""
    named = {f"sources.{n}.guard": s.guard for n, s in c.sources.items() if s.guard is not None} | {"guard": c.guard}
    for where, rules in named.items():
        numeric = numeric_names(c.parameters)
        for part in ("limits", "max_step", "max_rate"):
            _known(f"{where}.{part}", getattr(rules, part), numeric, "numeric parameter")
            check_guard_names(c, f"{where}.{part}", getattr(rules, part))
        for text in rules.forbidden:
            _known(f"{where}.forbidden: {text!r}", Constraint(text).names, numeric, "numeric parameter")
            check_guard_names(c, f"{where}.forbidden: {text!r}", Constraint(text).names)
        if rules.safe_setting:
            try:
                c.space.check_achieved(rules.safe_setting)
            except CampaignError as error:
                raise CampaignError(f"{where}.safe_setting: {error}") from error


def _policies(c: Campaign) -> None:
    for name, s in c.sources.items():
        unknown = sorted(set(s.approval.above) - set(c.cost_of(name)))
        if unknown and s.cost is not None:
            raise ValueError(
                f"sources.{name}.approval.above.{unknown[0]}: the source costs no {unknown[0]!r}, so nobody would ever "
                f"be asked; it costs {', '.join(c.cost_of(name))}"
            )


def _leaves_something(c: Campaign) -> None:
    """Each guard must leave settings to be asked for; what stands in a ledger may be of before this rule."""
    if is_trusted():
        return
    for name, spec in c.sources.items():
        where = "guard" if spec.guard is None else f"sources.{name}.guard"
        rules, space = c.guard_of(name), c.spaces[name].without_code
        for p, (low, high) in rules.limits.items():
            if c.space.without_code.within({p: (low, high)}).is_empty:
                raise ValueError(
                    f"{where}.limits.{p} = [{low:g}, {high:g}]: leaves {name!r} no value of the parameter {p} "
                    f"({_range_of(c.parameters[p])}); widen the limits or move the parameter's bounds"
                )
        if rules.forbidden and _is_nowhere(space):
            whole = c.space.without_code
            alone = [t for t in rules.forbidden if _is_nowhere(whole.within(rules.limits, (Constraint(t),)))]
            within = " within limits and constraints" if rules.limits or c.constraints else ""
            raise ValueError(
                f"{where}.forbidden {', '.join(map(repr, alone or rules.forbidden))}: leaves {name!r} no setting"
                f"{within}; forbid less"
            )
        if rules.limits and c.constraints and not rules.forbidden and _is_nowhere(space):
            raise ValueError(
                f"{where}.limits of {', '.join(rules.limits)}: within them no setting of {name!r} keeps the "
                f"constraints {', '.join(map(repr, c.constraints))}; widen the limits or loosen a constraint"
            )


def _is_nowhere(space: Space) -> bool:
    from .feasible import find_feasible

    return find_feasible(space, 1) is None


def _range_of(p: Parameter) -> str:
    if isinstance(p, Ordinal):
        return f"levels {', '.join(map(str, p.levels))}"
    if isinstance(p, Fixed):
        return f"fixed at {p.value}"
    if isinstance(p, Derived):
        return f"derived: {p.derived}"
    return "choices" if isinstance(p, Categorical) else f"{p.low:g} to {p.high:g}"


def check_source(c: Campaign, name: str, cls: type[Source]) -> None:
    """The rules between a campaign and the class of one of its sources.

    Raises:
        CampaignError: if the source does not know a parameter or an unknown, or lacks one.
    """
    obeyed = cls.parameters
    if obeyed is not None:
        set_ = [n for n, p in c.space.varied.items() if not p.context]  # the rest a source may know, and need not
        _known("parameters", set_, set(obeyed), f"parameter of source {name!r}")
        if missing := sorted(set(obeyed) - set(c.parameters)):
            raise CampaignError(f"parameters: source {name!r} also takes {missing[0]!r}; add it to the campaign")
    spec = c.sources[name]
    if spec.start is None:  # a bench has settings of its own
        try:
            inspect.signature(cls).bind(**spec.settings)
        except TypeError as error:
            raise CampaignError(
                f"sources.{name}.settings {spec.settings!r}: do not fit {spec.target} ({error}); compare them with the "
                "arguments of its __init__"
            ) from error
    has = set(getattr(cls, "unknowns", {}))
    if strange := sorted(set(spec.unknowns) - has):
        raise CampaignError(
            f"sources.{name}.unknowns.{strange[0]}: {spec.target} has no such unknown; it has "
            f"{', '.join(sorted(has)) or 'none'}"
        )


RULES: tuple[Callable[[Campaign], None], ...] = (
    _names,
    check_parameters,
    check_constraints,
    check_candidates,
    check_goal,
    _budget,
    check_switching,
    _belief,
    check_stop,
    check_designer,
    check_warm_start,
    _guards,
    _policies,
    check_context,
    check_feasible,
    _leaves_something,
)


def _known(where: str, used: Iterable[str], known: set[str], what: str) -> None:
    for name in sorted(set(used) - known):
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(sorted(known))}"
        raise CampaignError(f"{where}: {name!r} is no {what}; {hint}")
