"""The rules of a space that look at more than one parameter; each refusal gives name, value, rule and remedy."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from .choices import Categorical, Ordinal
from .conditions import Condition
from .expressions import Expression, constraint_of
from .parameters import Continuous, Derived, Fixed, Integer, Stepped, Varied
from .units import is_trusted

if TYPE_CHECKING:
    from .campaign import Campaign
    from .space import Space

MAX_COLUMNS = 2000
N_LOOKED_AT = 256  # settings at which a derived parameter is worked out


def numeric_names(parameters: Mapping[str, Any]) -> set[str]:
    """The parameters whose values are numbers in expressions."""
    is_text = {n for n, p in parameters.items() if isinstance(p, Fixed) and isinstance(p.value, str)}
    return {n for n, p in parameters.items() if not isinstance(p, Categorical)} - is_text


def check_parameters(c: Campaign) -> None:
    """What is derived, conditional, measured or part of a mixture fits the other parameters."""
    if sum(p.n_columns for p in c.parameters.values()) > MAX_COLUMNS:
        widest = max(c.parameters, key=lambda n: c.parameters[n].n_columns)
        raise ValueError(
            f"parameters take more than {MAX_COLUMNS} columns ({widest!r} {c.parameters[widest].n_columns} of them): "
            "use fewer choices, or describe them by descriptors"
        )
    if not any(isinstance(p, Varied) and not p.context for p in c.parameters.values()):
        raise ValueError("parameters: none of them can be set; give one low: and high:, levels: or choices:")
    _check_derived(c)
    _check_conditions(c)
    _check_mixtures(c)


def check_constraints(c: Campaign) -> None:
    """Constraints speak of numeric parameters."""
    numeric = numeric_names(c.parameters)
    for text in c.constraints:
        names = constraint_of(text).names
        _known(f"constraints: {text!r}", names, numeric, "numeric parameter")
        if not names:
            raise ValueError(f"constraints: {text!r} names no parameter; leave it out")
        if not c.space.base_names(names) & {n for n, p in c.parameters.items() if isinstance(p, Varied)}:
            raise ValueError(f"constraints: {text!r} names only fixed parameters, so nothing can keep it; leave it out")


def check_guard_names(c: Campaign, where: str, names: Iterable[str]) -> None:
    """A guard stands beside the device: it cannot speak of what a setting may lack."""
    for name in names:
        if name in c.space.conditions:
            raise ValueError(
                f"{where}: {name!r} is not in every setting (it is active where {c.space.conditions[name].text}), and "
                "a guard refuses what it cannot work out; bound it by its low and high instead"
            )


def check_feasible(c: Campaign) -> None:
    """Some setting keeps all constraints; otherwise the fewest that exclude each other are named."""
    space = c.space.without_code
    if not space.is_cut:
        return
    from .conflicts import is_nowhere, smallest_conflict

    if not is_nowhere(space):
        return
    if space.table is not None:
        raise ValueError(f"candidates: none of the {space.table.n} rows keeps the constraints; loosen one of them")
    found, is_proved = smallest_conflict(space)
    if not found and space.derivations:
        raise ValueError(_without_value(space))
    which = "mixtures" if not c.constraints and c.mixtures else "constraints"
    if len(found) == 1:
        none = "no setting within the parameters' bounds keeps it"
        none = none if is_proved else "no setting within the parameters' bounds was found that keeps it"
        raise ValueError(f"{which} {found[0]!r}: {none}; change it or a bound")
    if not is_proved:
        raise ValueError(
            f"{which} {', '.join(map(repr, found))}: no setting within the parameters' bounds was found that keeps "
            "them all, though each of them could be kept without one of the others; loosen one of them or widen a bound"
        )
    raise ValueError(
        f"{which} {', '.join(map(repr, found))}: exclude each other: no setting within the parameters' bounds keeps "
        "them all, and each of them could be kept without one of the others; loosen one of them or widen a bound"
    )


def _without_value(space: Space) -> str:
    """Of a space that has no settings though nothing is demanded: which derived parameters have no value."""
    import numpy as np

    from .cube import values_of

    whole = space.bare
    X = whole.from_quantiles(np.random.default_rng(0).random((N_LOOKED_AT, whole.n_quantiles)))
    with np.errstate(all="ignore"):
        values = values_of(whole, X, lib=np)
    lost = [n for n in space.derivations if not np.isfinite(values[n]).any()]  # those first that others need
    names = lost[:1] or list(space.derivations)
    shown = ", ".join(f"{n} = {space.derivations[n].text!r}" for n in names)
    return (
        f"parameters.{names[0]}.derived: {shown}: no setting within the parameters' bounds was found where it has a "
        "finite value; correct it, or the bounds of what it is derived from"
    )


def _check_derived(c: Campaign) -> None:
    allowed = {n for n in numeric_names(c.parameters) if not _is_labelled(c.parameters[n])}
    for name, p in c.parameters.items():
        if not isinstance(p, Derived):
            continue
        names = Expression(p.derived).names
        _known(f"parameters.{name}.derived: {p.derived!r}", names, allowed, "numeric parameter")
        if name in names or name not in c.space.derivations:
            raise ValueError(
                f"parameters.{name}.derived: {p.derived!r} leads back to {name!r} itself; break the circle"
            )
        if conditional := sorted(n for n in c.space.base_names(names) if getattr(c.parameters[n], "when", None)):
            raise ValueError(
                f"parameters.{name}.derived: {p.derived!r}: {conditional[0]!r} is not always active, so {name!r} would "
                "have no value; derive it from what is"
            )


def _is_labelled(p: Any) -> bool:
    return isinstance(p, Ordinal) and any(isinstance(level, str) for level in p.levels)


def _check_conditions(c: Campaign) -> None:
    discrete = Categorical | Ordinal | Integer | Stepped | Fixed
    parents = {n for n, p in c.parameters.items() if isinstance(p, discrete)}
    for name, p in c.parameters.items():
        when = getattr(p, "when", None)
        if when is None:
            continue
        condition, where = Condition(when), f"parameters.{name}.when: {when!r}"
        if name not in c.space.conditions:
            circle = _circle(c, name)
            raise ValueError(
                f"{where} leads back to {circle[0]!r} itself ({' needs '.join(circle)}); break the circle: let one of "
                "them be active always"
            )
        _known(where, condition.names, parents, "parameter with single values (choices, levels, steps, integers)")
        for parent in condition.ordered:
            if isinstance(c.parameters[parent], Categorical) or _is_labelled(c.parameters[parent]):
                raise ValueError(
                    f"{where}: {parent!r} has labels, which are not above or below a number; list them with in"
                )
        for parent, value in condition.compared:
            _check_compared(where, parent, c.parameters[parent], value)


def _circle(c: Campaign, name: str) -> list[str]:
    """The circle of conditions that a parameter waits for; the last name is the first again."""
    path = [name]
    while True:
        needed = Condition(getattr(c.parameters[path[-1]], "when", "")).names
        # what has no place among the conditions needs another that has none
        found = min(n for n in needed if getattr(c.parameters.get(n), "when", None) and n not in c.space.conditions)
        if found in path:
            return [*path[path.index(found) :], found]
        path.append(found)


def _check_compared(where: str, parent: str, p: Any, value: Any) -> None:
    values = getattr(p, "choices", None) or getattr(p, "levels", None)
    if values is not None:
        if value not in values:
            close = difflib.get_close_matches(str(value), list(map(str, values)), n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"it has {', '.join(map(str, values[:10]))}"
            raise ValueError(f"{where}: {parent!r} is never {value!r}; {hint}")
        return
    try:
        p.check(value)
    except ValueError as error:
        raise ValueError(f"{where}: {parent!r} is never {value!r}, for {error}; correct the condition") from error


def _check_mixtures(c: Campaign) -> None:
    owners: dict[str, str] = {}
    for key, mixture in c.mixtures.items():
        where = f"mixtures.{key}.of"
        for name in mixture.of:
            p = c.parameters.get(name)
            if not isinstance(p, Continuous | Stepped | Integer) or getattr(p, "scale", "linear") == "log":
                raise ValueError(f"{where}: {name!r} is no amount; declare it by low and high on a linear scale")
            if p.context or p.when is not None:
                word = "measured, not set" if p.context else "not always active"
                raise ValueError(f"{where}: {name!r} is {word}, so it cannot be a component; leave it out")
            if p.low < 0:
                raise ValueError(f"{where}: {name!r} has low {p.low:g}, and no amount is below 0; raise it")
            if name in owners:
                raise ValueError(f"{where}: {name!r} is a component of {owners[name]!r} already; name it once")
            owners[name] = key
        needed = [n for n in mixture.of if c.parameters[n].low > 0]  # type: ignore[union-attr]
        if len(needed) > mixture.most:
            raise ValueError(
                f"mixtures.{key}.max_components {mixture.most}: {', '.join(needed)} have a low above 0, so they are "
                "always used; raise max_components or lower one of them to 0"
            )


def check_context(c: Campaign) -> None:
    """A context is not limited by rules that something must obey."""
    named = {f"sources.{n}.guard": s.guard for n, s in c.sources.items() if s.guard is not None} | {"guard": c.guard}
    for where, rules in named.items():
        for part in ("max_step", "max_rate", "limits", "safe_setting"):
            for name in getattr(rules, part):
                if getattr(c.parameters.get(name), "context", False):
                    raise ValueError(
                        f"{where}.{part}.{name}: is measured, not set, so nothing can obey it; leave it out"
                    )


def check_candidates(c: Campaign) -> None:
    """The table holds settings of these parameters."""
    if c.candidates is not None and not is_trusted():
        _ = c.space  # reads every cell


def _known(where: str, used: Iterable[str], known: set[str], what: str) -> None:
    for name in sorted(set(used) - known):
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(sorted(known)) or 'none'}"
        raise ValueError(f"{where}: {name!r} is no {what}; {hint}")
